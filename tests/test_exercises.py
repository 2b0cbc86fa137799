"""Every exercise is broken as it stands, one small repair solves it, and hints are shown."""
import io
import runpy
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import pytest

FOLDER = Path(__file__).parent.parent / "docs" / "exercises"
REPAIRS = {
    "sum_of_paths": ("return g * x,", "return 2 * g * x,"),
    "broadcast": ("g.mean(axis=0)", "g.sum(axis=0)"),
    "matmul": ("(b if k == n else b.T)", "b.T"),
    "relu": ("g *= x > 0\n    return g,", "return g * (x > 0),"),
    "softmax": ("y * (1 - y) * g", "y * (g - (g * y).sum(axis=-1, keepdims=True))"),
    "layer_norm": ("return (g - g.mean(axis=-1, keepdims=True)) / std,",
                   "y = centered / std\n    return (g - g.mean(axis=-1, keepdims=True)"
                   " - y * (g * y).mean(axis=-1, keepdims=True)) / std,"),
    "embedding": ("dweight[ids] = g", "np.add.at(dweight, ids, g)"),
    "attention": ("scores = q @ k.T / np.sqrt(D)",
                  "scores = np.where(np.tri(T), q @ k.T / np.sqrt(D), -np.inf)"),
    "batch": ("y = np.stack([ids[i:i + T]", "y = np.stack([ids[i + 1:i + T + 1]"),
    "training": ("            p.data -= learning_rate * p.grad",
                 "            p.data -= learning_rate * p.grad\n            p.grad = None"),
    "adam": ("learning_rate * m / (np.sqrt(v) + eps)",
             "learning_rate * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)"),
    "tokenizer": ("""    i = 0
    while i < len(ids) - 1:
        pair = ids[i], ids[i + 1]
        if pair in merges:
            ids[i:i + 2] = [merges[pair]]
            i = 0
        else:
            i += 1
""", """    while known := [pair for pair in zip(ids, ids[1:]) if pair in merges]:
        best, i = min(known, key=merges.get), 0
        while i < len(ids) - 1:
            if (ids[i], ids[i + 1]) == best:
                ids[i:i + 2] = [merges[best]]
            i += 1
"""),
}


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
        patch.delitem(sys.modules, "checks", raising=False)   # it is this folder's own
        try:
            runpy.run_path(str(folder), run_name="__main__")
        except SystemExit as left:
            status = left.code or 0
    return SimpleNamespace(returncode=status, stdout=out.getvalue(), stderr=err.getvalue())


def test_the_list_is_a_program(folder):
    done = subprocess.run([sys.executable, folder], capture_output=True, text=True,
                          encoding="utf-8")
    assert done.returncode == 0 and f"0 of {len(REPAIRS)} solved" in done.stdout
    assert done.stdout == run(folder).stdout


def test_every_exercise_is_broken_and_one_repair_solves_it(folder):
    before = run(folder, "check")
    assert before.returncode == 1, before.stderr
    assert before.stdout.count("not yet") == len(REPAIRS)
    assert "Hint:" in before.stdout and "Traceback" not in before.stdout + before.stderr
    for name, (broken, repaired) in REPAIRS.items():
        path = folder / f"{name}.py"
        text = path.read_text(encoding="utf-8")
        assert text.count(broken) == 1, name
        path.write_text(text.replace(broken, repaired), encoding="utf-8")
    after = run(folder, "check")
    assert after.returncode == 0, after.stdout
    assert f"{len(REPAIRS)} of {len(REPAIRS)} solved" in run(folder).stdout


def test_an_unknown_exercise_is_answered_with_the_nearest(folder):
    answer = run(folder, "check", "sofmax")
    assert answer.returncode == 2 and "did you mean softmax?" in answer.stderr


def test_a_file_that_does_not_parse_is_reported_and_counts_as_open(folder):
    (folder / "relu.py").write_text("def vjp(g, x:\n", encoding="utf-8")
    answer = run(folder, "check", "relu")
    assert answer.returncode == 1 and "SyntaxError" in answer.stdout
    assert "[ ] relu" in run(folder).stdout
