"""Every snippet of the README and the docs runs, and every example in a docstring holds."""
import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

import minigrad

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", *sorted(path.relative_to(ROOT).as_posix()
                              for path in (ROOT / "docs").rglob("*.md"))]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
PACKAGES = [importlib.import_module(name) for name in ("minigrad", "bpe", "gpt")
            if (ROOT / name).exists()]
MODULES = [name for package in PACKAGES
           for _, name, _ in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
           if not name.endswith("__main__")]


# From these headings on, pages train one model after the other, as they did before them.
LONG = {"docs/learn/gpt/networks.md": "## What it is worth",
        "docs/learn/gpt/training.md": "## The learning rate"}


def run_snippets(page, stop=None):
    """Run the snippets that begin before a place of the page."""
    sybil = Sybil([PythonCodeBlockParser(doctest_optionflags=FLAGS), SkipParser()])
    for example in sybil.parse(ROOT / page).examples():
        if stop is None or example.start < stop:
            example.evaluate()


@pytest.mark.parametrize("page", PAGES)
def test_the_snippets_of_a_page_run_and_print_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / page).read_text(encoding="utf-8")
    run_snippets(page, text.index(LONG[page]) if page in LONG else None)


@pytest.mark.thorough
@pytest.mark.parametrize("page", LONG)
def test_so_do_those_that_train_for_long(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_snippets(page)


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert link.startswith("http") or ((ROOT / page).parent / link).exists(), link


def test_chapters_have_names_in_parts_and_the_front_page_lists_each():
    front = (ROOT / "docs" / "README.md").read_text(encoding="utf-8").split("Looking for one")[0]
    listed = re.findall(r"^- \[.*\]\((learn/.*?)\)", front, flags=re.MULTILINE)
    found = [page for page in PAGES if page.startswith("docs/learn/")]
    assert sorted(f"docs/{page}" for page in listed) == found
    assert all(re.fullmatch(r"docs/learn/[a-z_]+/[a-z_]+\.md", page) for page in found)
    assert not [page for page in PAGES if re.search(
        r"\bour chapters? \d|\[chapter \d", (ROOT / page).read_text(encoding="utf-8"), re.I)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_hold(name):
    module = importlib.import_module(name)
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner(optionflags=FLAGS)
    ops = [op.forward for op in minigrad.OPS.values() if op.forward.__module__ == name]
    names = {**vars(minigrad), **vars(module), "np": np}
    for thing in (module, *ops):
        for test in finder.find(thing, globs=dict(names)):
            runner.run(test)
    assert runner.failures == 0


def test_the_pages_of_the_operations_are_up_to_date():
    path = ROOT / "docs" / "make_op_pages.py"
    names = {"__file__": str(path), "__name__": "make_op_pages"}
    exec(compile(path.read_text(encoding="utf-8"), path, "exec"), names)
    folder = ROOT / "docs" / "ops"
    written = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}
    assert written == names["pages"](), "run `python docs/make_op_pages.py`"


def test_the_pages_of_rare_operations_are_made_with_the_site(tmp_path):
    path = ROOT / "docs" / "make_op_pages.py"
    names = {"__file__": str(path), "__name__": "make_op_pages"}
    exec(compile(path.read_text(encoding="utf-8"), path, "exec"), names)
    names["HERE"] = tmp_path
    (tmp_path / "ops").mkdir()
    names["write_rare"]()
    written = {page.stem: page.read_text(encoding="utf-8")
               for page in (tmp_path / "ops" / "rare").glob("*.md")}
    assert set(written) == {name for name, op in minigrad.OPS.items() if names["is_rare"](op)}
    for text in written.values():
        for link in re.findall(r"\]\(([^)#]+)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
            assert (ROOT / "docs" / "ops" / "rare" / link).resolve().exists(), link


def blocks(page, language):
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_scalar_engine_has_as_many_lines_as_its_title_says():
    page = "docs/learn/engine/scalar_engine.md"
    code = "".join(block for block in blocks(page, "python") if not block.startswith(">>>"))
    count = sum(bool(line.strip()) for line in code.splitlines())
    assert f"engine in {count} lines\n" in (ROOT / page).read_text(encoding="utf-8")


def test_the_loop_that_a_chapter_quotes_stands_in_the_program():
    program = (ROOT / "gpt" / "training" / "step.py").read_text(encoding="utf-8")
    quoted, = blocks("docs/learn/gpt/networks.md", "py")
    for line in quoted.splitlines():
        assert line.split("#")[0].strip() + "\n" in program, line


def test_the_readme_names_every_file_of_the_engine():
    tree = (ROOT / "README.md").read_text(encoding="utf-8").split("## What is where")[1]
    for path in (*(ROOT / "minigrad").glob("*.py"), *(ROOT / "minigrad" / "ops").glob("*.py")):
        assert path.name in tree or path.name == "__init__.py", path


FIGURES = sorted(path.stem for path in (ROOT / "docs" / "figures").glob("*.svg"))
TRAINED = [pytest.param(name, marks=pytest.mark.thorough if name == "loss_curve" else ())
           for name in FIGURES]


@pytest.mark.parametrize("name", TRAINED)
def test_a_figure_is_up_to_date(name):
    path = ROOT / "docs" / "make_figures.py"
    names = {"__file__": str(path), "__name__": "make_figures"}
    exec(compile(path.read_text(encoding="utf-8"), path, "exec"), names)
    assert sorted(names["FIGURES"]) == FIGURES
    written = (ROOT / "docs" / "figures" / f"{name}.svg").read_text(encoding="utf-8")
    assert written == names["FIGURES"][name](), "run `python docs/make_figures.py`"
