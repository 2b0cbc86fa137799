"""Every snippet of the README and the docs runs, and every example in a docstring holds."""
import doctest
import importlib
import os
import pkgutil
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

import minigrad

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", *sorted(path.relative_to(ROOT).as_posix()
                              for path in (ROOT / "docs").rglob("*.md")
                              if path.name == "README.md" or path.parent.name != "ops")]
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


def broken_links(text, folder):
    """List the links of a page, as it would stand in a folder, to files that are not there."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return [link for link in re.findall(r"\]\(([^)#]+)", prose)
            if not link.startswith("http") and not (folder / link).exists()]


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page):
    assert not broken_links((ROOT / page).read_text(encoding="utf-8"), (ROOT / page).parent)


def test_chapters_have_names_in_parts_and_the_front_page_lists_each():
    front = (ROOT / "docs" / "README.md").read_text(encoding="utf-8").split("Looking for one")[0]
    listed = re.findall(r"^- \[.*\]\((learn/.*?)\)", front, flags=re.MULTILINE)
    found = [page for page in PAGES if page.startswith("docs/learn/")]
    assert sorted(f"docs/{page}" for page in listed) == found
    assert all(re.fullmatch(r"docs/learn/[a-z_]+/[a-z_]+\.md", page) for page in found)
    numbered = re.compile(r"\bour chapters? \d|\[chapter\s+\d|next: \[\d", re.I)
    assert not [page for page in PAGES if numbered.search((ROOT / page).read_text("utf-8"))]


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


def test_the_list_of_operations_has_a_line_for_each():
    made = runpy.run_path(ROOT / "docs" / "make_op_pages.py")
    written = (ROOT / "docs" / "ops" / "README.md").read_text(encoding="utf-8")
    assert written == made["index"](), "run `python docs/make_op_pages.py`"
    lines = re.findall(r"^- `(\w+)`: \S", written, flags=re.MULTILINE)
    assert sorted(lines) == sorted(op.name for op in made["listed"]())


def test_the_site_gets_a_page_for_each_operation_and_their_links_lead_somewhere(tmp_path):
    made = runpy.run_path(ROOT / "docs" / "make_op_pages.py")
    (tmp_path / "gone.md").write_text("a page of an operation that there is no more")
    made["write_pages"](tmp_path)
    pages = {page.stem: page.read_text(encoding="utf-8") for page in tmp_path.glob("*.md")}
    assert set(pages) == {op.name for op in made["listed"]()}
    for text in pages.values():
        assert not broken_links(text, ROOT / "docs" / "ops")


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


@pytest.mark.thorough
def test_an_operation_added_by_the_letter_of_the_guide_keeps_every_law(tmp_path):
    for folder in ("minigrad", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder,
                        ignore=shutil.ignore_patterns("__pycache__", "gpt", "bpe"))
    page = "docs/adding_an_op.md"
    kernel, centred, centred_kernel = blocks(page, "py")
    parts = [blocks(page, "python")[0], centred, "# ---- fast path\n", kernel, centred_kernel]
    text = "\n".join(parts).replace("from minigrad import Tensor, exp, op",
                                    "from minigrad.ops.elementwise import exp\n"
                                    "from minigrad.tensor import op")
    (tmp_path / "minigrad" / "ops" / "guide.py").write_text(text, encoding="utf-8")
    put(tmp_path / "minigrad" / "ops" / "__init__.py", "from minigrad.ops.linear import",
        "from minigrad.ops.guide import bell, centred\n")
    rows = '"bell": plain(1), "centred": plain(1), '
    put(tmp_path / "tests" / "minigrad" / "test_fast_kernels.py", '"exp": plain(1)', rows)
    put(tmp_path / "tests" / "minigrad" / "test_replay.py", '    "add": lambda',
        '    "centred": lambda x, ids, w: OPS["centred"](x),\n')
    files = [f"tests/minigrad/test_{name}.py" for name in "ops fast_kernels trace replay".split()]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k",
               "bell or centred", *files]
    env = os.environ | {"PYTHONPATH": str(tmp_path), "HYPOTHESIS_PROFILE": "quick"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def put(path, before, words):
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1
    path.write_text(text.replace(before, words + before), encoding="utf-8")
