"""In what a run multiplies: as asked, or as the processor is made for; recorded, and kept."""
import json

import numpy as np
import pytest

from gpt import train as program
from gpt.data.corpora import stories
from gpt.training.checkpoint import load
from gpt.training.plan import Plan
from gpt.training.precision import settled
from gpt.training.run import Run
from gpt.training.step import train_steps
from minigrad.kernels import bfloat16

NONE, WRONG = "this processor has no AMX tiles", "a product on the AMX tiles was wrong"
LARGE = {"d_model": 64, "n_head": 2, "batch_tokens": 256, "context_length": 32, "n_layer": 1}


def weights_after(config, data, steps=5):
    run = Run.start(config, data, Plan.fixed(20))
    for record in train_steps(run):
        if record.step == steps:
            break
    return {name: x.copy() for name, x in run.model.state_dict().items()}


def test_large_products_of_a_step_are_rounded_and_nothing_else_is(data, tiny, monkeypatch):
    """Weights are float32 that are no bfloat16, and near to those of the other precision."""
    monkeypatch.setattr(bfloat16, "obstacle", lambda: NONE)
    by_precision = {name: weights_after(tiny(**LARGE, precision=name), data)
                    for name in ("auto", "float32", "bfloat16")}
    auto, exact, rounded = by_precision.values()
    assert all(np.array_equal(auto[name], exact[name]) for name in exact)
    assert not all(np.array_equal(rounded[name], exact[name]) for name in exact)
    for name, x in rounded.items():
        moved = np.abs(exact[name]).max()
        np.testing.assert_allclose(x, exact[name], atol=0.1 * moved + 0.01)
        if x.ndim == 2:
            assert not np.array_equal(bfloat16.rounded(x), x)


def test_small_products_are_not(data, tiny):
    exact, rounded = (weights_after(tiny(precision=name), data, steps=2)
                      for name in ("float32", "bfloat16"))
    assert all(np.array_equal(rounded[name], exact[name]) for name in exact)



@pytest.mark.parametrize("asked, tiles, obstacle, precision, said", [
    ("auto", True, None, "bfloat16", ""),
    ("auto", False, NONE, "float32", ""),
    ("auto", True, WRONG, "float32", f"products are in float32, because {WRONG}"),
    ("float32", True, None, "float32", ""),
    ("bfloat16", True, None, "bfloat16", ""),
    ("bfloat16", False, NONE, "bfloat16", f"then multiplied in float32, because {NONE}")])
def test_what_is_asked_and_what_there_is(data, tiny, monkeypatch, asked, tiles, obstacle,
                                         precision, said):
    monkeypatch.setattr(bfloat16, "obstacle", lambda: obstacle)
    monkeypatch.setattr(bfloat16, "is_fast", lambda: tiles)
    run = Run.start(tiny(**LARGE, precision=asked), data, Plan.fixed(20))
    found, slow = settled(run)
    assert found == precision and said in "".join(slow) and bool(slow) == bool(said)
    run.step = 3                                      # of a version that knew no other
    assert settled(run)[0] == ("bfloat16" if asked == "bfloat16" else "float32")


def test_a_small_net_stays_in_float32(data, tiny, monkeypatch):
    monkeypatch.setattr(bfloat16, "obstacle", lambda: None)
    assert settled(Run.start(tiny(), data, Plan.fixed(20))) == ("float32", [])


def test_a_run_says_and_keeps_its_precision(tmp_path, monkeypatch, capsys):
    (tmp_path / "text.txt").write_bytes(b"\n".join(stories(200).documents))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bfloat16, "obstacle", lambda: NONE)
    monkeypatch.setattr(bfloat16, "is_fast", lambda: False)
    given = [f"--{name}={value}" for name, value in LARGE.items()]
    given += ["--tokenizer=char", "--eval_tokens=64", "--steps=3"]
    for precision in "bfloat16", "float32":
        asked = ["--precision", precision] if precision == "bfloat16" else []
        program.main(["text.txt", *given, *asked, "--name", precision, "--plain"])
        said = capsys.readouterr().out
        assert (f"precision: {precision} in large products" in said) == bool(asked)
        folder = tmp_path / "runs" / precision
        assert json.loads((folder / "manifest.json").read_text())["precision"] == precision
        assert load(folder / "checkpoints")[1]["config"]["train"]["precision"] == precision
    program.main(["--resume", "runs/bfloat16", "--steps", "5", "--plain"])
    assert "precision: bfloat16 in large products" in capsys.readouterr().out
