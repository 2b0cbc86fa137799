"""Distillation: what a teacher says is kept or asked, and learnt by a student of any net."""
import json

import numpy as np
import pytest

from gpt import train as program
from gpt.data.corpora import stories
from gpt.data.documents import prepare
from gpt.data.taught import load_taught
from gpt.settings import ConfigError
from gpt.training import checkpoint
from gpt.training.config import Config
from gpt.training.folder import open_run
from gpt.training.plan import Plan
from gpt.training.run import Run
from gpt.training.step import train_steps
from gpt.training.task import Measure
from gpt.training.tasks.distil import distil_batch, distil_loss, remark
from minigrad.kernels import jit


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    return prepare(stories(120), Config.make(tokenizer="char").data, folder), folder


def config_of(data, **changes):
    return Config.make(**{
        "task": "distil", "n_layer": 1, "n_head": 2, "d_model": 16, "context_length": 16,
        "batch_tokens": 64, "init": "scaled", "teacher": "somewhere",
        "vocab_size": data.tokenizer.vocab_size, "steps": 20, **changes})


def net(data, seed, dtype=np.float32, **changes):
    """Make a net with weights that say something."""
    rng = np.random.default_rng(seed)
    model = config_of(data, **changes).new_net(rng, dtype)
    for x in model.parameters():
        x.data += (0.3 * rng.standard_normal(x.shape)).astype(dtype)
    return model


def begun(text, teacher, **changes):
    data, folder = text
    for name in ("teacher.npy", "teacher_ids.npy", "teacher.json"):
        (folder / name).unlink(missing_ok=True)
    run = Run.start(config_of(data, **changes), data, Plan.fixed(20))
    run.beside, run.beside_sha256 = teacher, "of the teacher"
    run.task.prepared(run, folder)
    if not run.task.stays(run.config.train):
        run.beside = None
    return run


@pytest.mark.parametrize("top", [0, 5])
def test_what_was_kept_is_what_is_said_now(text, top):
    data, _ = text
    teacher = net(data, 1)
    kept, now = (begun(text, teacher, teacher_top=top, temperature=2.0, teacher_beside=beside)
                 for beside in (False, True))
    batches = [run.batch(np.random.default_rng(3)) for run in (kept, now)]
    for name in ("ids", "targets", "teacher_ids"):
        np.testing.assert_array_equal(*(getattr(batch, name) for batch in batches))
    np.testing.assert_allclose(*(batch.teacher for batch in batches), rtol=1e-3)
    V = data.tokenizer.vocab_size
    assert batches[0].teacher.shape == (4, 16, top or V)
    assert (batches[0].ids[:, 1:] == batches[0].targets[:, :-1]).all()


def test_who_says_what_the_teacher_says_has_nothing_to_learn(text):
    data, _ = text
    teacher = net(data, 1, np.float64)
    for top in (0, 7):
        run = begun(text, teacher, teacher_top=top, teacher_beside=True)
        batch = distil_batch(run.data, (4, 16), np.random.default_rng(0), teacher,
                             teacher_top=top, beside=teacher)
        loss = distil_loss(teacher, batch, np.float64(64), mix=1.0)
        loss.backward()
        assert abs(loss.item()) < 1e-6
        assert max(np.abs(x.grad).max() for x in teacher.parameters()) < 1e-6
        for x in teacher.parameters():
            x.grad = None


def test_micro_batches_are_equal(text):
    data, _ = text
    run, model = begun(text, net(data, 1)), net(data, 2, np.float64)
    batch = run.batch(np.random.default_rng(0))
    found = []
    for size in (4, 1, 3):
        loss = 0.0
        for part in batch.parts(size):
            part_loss = distil_loss(model, part, np.float64(64), mix=0.7, temperature=2.0)
            part_loss.backward()
            loss += part_loss.item()
        found.append([loss, *(x.grad for x in model.parameters())])
        for x in model.parameters():
            x.grad = None
    for other in found[1:]:
        for a, b in zip(found[0], other):
            np.testing.assert_allclose(a, b, atol=1e-12)


def test_a_student_of_another_net_comes_near(text):
    data, _ = text
    teacher = net(data, 1)
    with pytest.raises(ConfigError, match="mix is of the task distil, but this run learns causal"):
        Run.start(config_of(data, task="causal", teacher="", mix=0.5), data, Plan.fixed(1))
    run = begun(text, teacher, mix=1.0, d_model=64, learning_rate=0.02, batch_tokens=256)
    losses = [record.loss for record in train_steps(run)]
    assert losses[-1] < 0.8 * losses[0]
    assert run.obstacle is None or not jit.COMPILED


def test_it_warns_where_the_student_has_reached_its_teacher(text):
    data, _ = text
    run = begun(text, net(data, 1))
    known = run.data.teacher["nats_per_token"]
    assert remark(run, Measure(known + 0.1, 1)) == ""
    assert "alone it would go past it" in remark(run, Measure(known + 0.01, 1))


def test_the_program_takes_a_teacher_and_resumes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny = ["--context_length", "16", "--batch_tokens", "64", "--plain"]
    program.main(["stories", "--n_layer", "1", "--n_head", "1", "--d_model", "16", "--steps", "2",
                  "--tokenizer", "char", "--name", "large", *tiny])
    program.main(["stories", "--task", "distil", "--teacher", "runs/large", "--net", "gru",
                  "--d_model", "16", "--steps", "4", "--eval_every", "2", "--teacher_top", "8",
                  "--name", "small", *tiny])
    said = capsys.readouterr().out
    assert "of the teacher" in said and "parameters, " in said and "to ask it took" in said
    result = json.loads((tmp_path / "runs/small/manifest.json").read_text())["result"]
    assert result["teacher"]["n_parameters"] > 0
    assert "to train the teacher took" in said and min(result["beside_flops"], result["flops"]) > 0
    assert load_taught(tmp_path / "runs/small/data").said.named.shape[2] == 8
    run = open_run("runs/small", 2)
    for _ in train_steps(run):
        pass
    whole, _ = checkpoint.load("runs/small/checkpoints", 4)
    for name, x in run.tensors().items():
        np.testing.assert_array_equal(x, whole[name], err_msg=name)
    for wrong, words in ((["--tokenizer", "byte", "--teacher", "runs/large"], "comes from the"),
                         (["--teacher", "runs/large", "--context_length", "32"],
                          "reads 16 tokens, and windows would have 32: use --context_length 16"),
                         ([], "name it with --teacher")):
        with pytest.raises(SystemExit):
            program.main(["stories", "--task", "distil", "--steps", "2", *tiny, *wrong])
        assert words in capsys.readouterr().err
