"""Exercises are open as they stand; solutions and other right forms pass, wrong ones do not."""
import io
import re
import runpy
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from exercise_answers import WRONG
from exercise_answers_of_ranks import RIGHT as RIGHT_OF_RANKS
from exercise_answers_of_ranks import WRONG as WRONG_OF_RANKS
from right_answers import RIGHT

RIGHT, WRONG = RIGHT | RIGHT_OF_RANKS, WRONG | WRONG_OF_RANKS
FOLDER = Path(__file__).parent.parent / "docs" / "exercises"
SOLUTIONS = {path.stem: path.read_text(encoding="utf-8")
             for path in sorted((FOLDER / "solutions").glob("*.py"))}
MODULES = ("checks", "judge", "pairs", "running", "stages", "writing")       # a folder's own


@pytest.fixture(scope="module")
def program():
    """Import the modules of the exercises, and leave no trace of their short names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield SimpleNamespace(**{name: __import__(name) for name in MODULES})
        for name in MODULES:
            sys.modules.pop(name, None)


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(FOLDER, tmp_path / "exercises", ignore=shutil.ignore_patterns(
        ".progress.json", "__pycache__"))
    return tmp_path / "exercises"


def run(folder, *arguments):
    """Run the program in this process, where all that it imports is there already."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", [str(folder), *arguments])
        for name in MODULES:
            patch.setitem(sys.modules, name, None)      # what was there comes back afterwards
            del sys.modules[name]
        try:
            runpy.run_path(str(folder), run_name="__main__")
        except SystemExit as left:
            status = left.code or 0
    return SimpleNamespace(returncode=status, stdout=out.getvalue(), stderr=err.getvalue())


def problem_of(program, name, text, limit_s=None, explain=False):
    """Check an answer; return what is wrong with it, None for nothing."""
    path = FOLDER / f"{name}.py"

    def task():
        names = {"__name__": name, "__file__": str(path), "np": np}
        exec(compile(text, path, "exec"), names)
        program.checks.CHECKS[name](names)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program.pairs, "EXPLAIN", explain)
        return program.running.attempt(task, path, limit_s)[0]


def changed(name, old, new):
    """Return a solution with one place changed, and the function in which that is."""
    text = SOLUTIONS[name]
    assert text.count(old) == 1, (name, old)
    return text.replace(old, new), re.findall(r"^def (\w+)", text[:text.index(old)], re.M)[-1]


# ---- the exercises and the program -----------------------------------------------------------

def test_there_is_a_solution_to_each_exercise_and_a_test_of_answers(program):
    names = {*program.checks.CHECKS}
    assert names == {*SOLUTIONS} == {*WRONG} == {*RIGHT}
    assert min(map(len, WRONG.values())) >= 5 and min(map(len, RIGHT.values())) >= 2


def test_the_list_names_each_exercise_with_its_title(folder):
    listed = run(folder)
    assert listed.returncode == 0 and f"0 of {len(SOLUTIONS)} solved" in listed.stdout
    for name in SOLUTIONS:
        assert re.search(rf"\[ \] {name} +\w", listed.stdout)


def test_the_program_ends_with_the_line_even_if_an_answer_holds_up_all_threads(folder):
    text = SOLUTIONS["relu"].replace("    return g", "    sum(iter(int, 1))\n    return g")
    (folder / "relu.py").write_text(text, encoding="utf-8")
    settings = (folder / "running.py").read_text(encoding="utf-8")
    assert settings.count("LAST_S = 60.0") == 1
    (folder / "running.py").write_text(settings.replace("LAST_S = 60.0", "LAST_S = 1.0"),
                                       encoding="utf-8")
    done = subprocess.run([sys.executable, folder, "check", "attention", "relu"], timeout=60,
                          capture_output=True, text=True, encoding="utf-8")
    line = 1 + text.splitlines().index("    sum(iter(int, 1))")
    assert done.returncode == 1 and done.stdout.startswith("attention: not yet")
    assert f'relu.py", line {line} in vjp' in done.stderr


def test_every_exercise_is_open_until_its_solution_is_written(folder):
    before = run(folder, "check")
    assert before.returncode == 1, before.stderr
    assert before.stdout.count("not yet") == len(SOLUTIONS)
    assert "Traceback" not in before.stdout + before.stderr
    shutil.copytree(folder / "solutions", folder, dirs_exist_ok=True)
    after = run(folder, "check")
    assert after.returncode == 0, after.stdout
    assert f"{len(SOLUTIONS)} of {len(SOLUTIONS)} solved" in run(folder).stdout


@pytest.mark.parametrize("name", SOLUTIONS)
def test_a_solution_changes_few_lines_of_its_exercise(name):
    lines = (FOLDER / f"{name}.py").read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if line in SOLUTIONS[name].splitlines()]
    assert len(lines) <= 25 and len(lines) - len(kept) <= 9


def test_an_unknown_exercise_is_answered_with_the_nearest(folder):
    answer = run(folder, "check", "sofmax")
    assert answer.returncode == 2 and "did you mean softmax?" in answer.stderr


def test_a_file_that_does_not_parse_or_is_gone_is_reported_and_counts_as_open(folder):
    (folder / "relu.py").write_text("def vjp(g, x:\n", encoding="utf-8")
    (folder / "adam.py").unlink()
    answer = run(folder, "check", "relu", "adam")
    assert answer.returncode == 1 and "SyntaxError" in answer.stdout
    assert "FileNotFoundError" in answer.stdout
    assert "[ ] relu" in run(folder).stdout


def test_a_broken_record_of_progress_is_begun_anew(folder):
    for text in ("[1, 2]", "{", '"softmax"'):
        (folder / ".progress.json").write_text(text, encoding="utf-8")
        assert "0 of" in run(folder).stdout


def test_the_program_is_left_by_ctrl_c_without_a_traceback(folder, monkeypatch):
    (folder / ".progress.json").write_text("{}", encoding="utf-8")

    def interrupted(text):
        raise KeyboardInterrupt
    monkeypatch.setattr("json.loads", interrupted)
    left = run(folder)
    assert left.returncode == 130 and left.stderr == ""


def test_what_an_answer_prints_is_shown_shortened_and_under_its_verdict(folder):
    text = SOLUTIONS["relu"].replace("    return np", "    print('x is', x)\n    return np")
    (folder / "relu.py").write_text(text, encoding="utf-8")
    lines = run(folder, "check", "relu").stdout.splitlines()
    assert lines[0] == "relu: solved" and lines[1].startswith("  it printed: x is")
    assert len(lines) == 12 and "more lines" in lines[-1]
    assert run(folder, "check", "relu", "--debug").stdout.startswith("x is")


# ---- answers ---------------------------------------------------------------------------------

@pytest.mark.parametrize("name", SOLUTIONS)
def test_wrong_answers_are_refused_and_the_wrong_function_is_blamed(program, name):
    for old, new in WRONG[name]:
        text, function = changed(name, old, new)
        problem = problem_of(program, name, text)
        assert problem, f"{new!r} passes"
        assert problem.startswith(f"{function}: "), (new, problem)


@pytest.mark.parametrize("name", SOLUTIONS)
def test_other_right_forms_are_accepted(program, name):
    for old, new in RIGHT[name]:
        problem = problem_of(program, name, changed(name, old, new)[0])
        assert problem is None, (new, problem)


def test_a_reason_read_from_the_numbers_is_called_a_guess(program):
    for name, old, new in (
            ("sum_of_paths", "return 2 * g * x,", "return g * x,"),
            ("adam", " / (1 - beta1**t)", ""), ("attention", " / np.sqrt(D)", ""),
            ("rotary", "x[:, :D // 2], x[:, D // 2:]", "x[:, ::2], x[:, 1::2]")):
        problem = problem_of(program, name, changed(name, old, new)[0], explain=True)
        hints = [line for line in problem.splitlines() if line.startswith("Hint")]
        assert hints and all("(a guess" in line for line in hints), problem


def test_what_a_law_knows_is_not_called_a_guess(program):
    text = changed("relu", "return g * (x > 0),", "return np.abs(g) * (x > 0),")[0]
    assert "it breaks the law" in problem_of(program, "relu", text, explain=True)
    text = changed("relu", "return g * (x > 0),", "g *= x > 0\n    return g,")[0]
    problem = problem_of(program, "relu", text, explain=True)
    assert problem.startswith("vjp: it wrote into g") and "guess" not in problem, problem


# ---- answers that do not play along ------------------------------------------------------------

@pytest.mark.parametrize("name, function", [("relu", "vjp"), ("training", "train")])
def test_an_endless_answer_is_stopped_and_the_line_named(program, name, function):
    text = re.sub(rf"(def {function}\(.*\):\n)", r"\1    while True:\n        pass\n",
                  SOLUTIONS[name])
    problem = problem_of(program, name, text, limit_s=0.5)
    line = 1 + next(i for i, row in enumerate(text.splitlines()) if "while True" in row)
    assert problem.startswith(f"{function}: it did not end within 0.5 s"), problem
    assert f"line {line})" in problem or f"line {line + 1})" in problem


def test_an_answer_that_is_endless_where_it_is_loaded_is_stopped(program):
    assert "did not end" in problem_of(program, "relu", "while True:\n    pass\n", limit_s=0.1)


@pytest.mark.parametrize("line, words", [
    ("exit()", "calls exit()"), ("raise SystemExit(0)", "calls exit()"),
    ("import sys; sys.exit('enough')", "calls exit()"),
    ("raise KeyboardInterrupt", "KeyboardInterrupt"), ("raise BaseException('no')", "no (line"),
    ("class Odd(BaseException): pass\n    raise Odd", "Odd"), ("input()", "EOFError"),
    ("1 / 0", "ZeroDivisionError"), ("return f()", "NameError"), ("g[...] = 0", "wrote into g"),
    ("x[...] = 0", "wrote into x"), ("return vjp(g, x)", "RecursionError")])
def test_an_answer_that_exits_raises_or_writes_is_survived_and_blamed(program, line, words):
    text, _ = changed("relu", "    return g * (x > 0),", f"    {line}\n    return g * (x > 0),")
    problem = problem_of(program, "relu", text)
    assert problem.startswith("vjp: ") and words in problem


def test_a_file_that_exits_when_it_is_loaded_is_survived(program):
    assert "it calls exit()" in problem_of(program, "relu", "exit()\n")


@pytest.mark.parametrize("name", SOLUTIONS)
@pytest.mark.parametrize("value", ["None", "'text'", "[[1.0], [1.0, 2.0]]", "np.nan", "object()"])
def test_an_answer_of_another_kind_is_refused_in_a_sentence(program, name, value):
    text = re.sub(r"^(def .*\):\n)", rf"\1    return {value}\n", SOLUTIONS[name], flags=re.M)
    problem = problem_of(program, name, text)
    if (name, value) != ("adam", "None"):
        assert ": " in problem and "Error" not in problem.split(":")[0], problem


def test_an_answer_whose_function_has_another_name_is_told_so(program):
    text = SOLUTIONS["relu"].replace("def vjp", "def backward")
    assert "vjp: there is no function of this name" in problem_of(program, "relu", text)
