"""Preferences: pairs are read and learnt, the reference is frozen, the loss is that of torch."""
import json

import numpy as np
import pytest

from gpt import generate
from gpt import train as program
from gpt.batch import IGNORE
from gpt.data.corpora import Corpus, CorpusError
from gpt.data.preferences import prepare_preferences, read_preferences
from gpt.opening import open_model
from gpt.training import checkpoint
from gpt.training.config import Config
from gpt.training.folder import open_run
from gpt.training.losses import policy, policy_loss, preference, preference_loss
from gpt.training.plan import Plan
from gpt.training.run import Run
from gpt.training.step import train_steps
from gpt.training.task import read
from gpt.training.tasks.prefer import batch_of, prefer_batch, prefer_loss
from minigrad import Tensor
from minigrad.kernels import jit


def corpus_of(records):
    return Corpus("some", [json.dumps(records).encode()], "some.json")


def some_pairs(n=60):
    """The chosen answer names the number, the rejected one does not."""
    return [{"prompt": f"{i:02d}", "chosen": f" is {i:02d}{'!' * (i % 3)}", "rejected": " is?"}
            for i in range(n)]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    settings = Config.make(tokenizer="char", val_fraction=0.2).data
    return prepare_preferences(corpus_of(some_pairs()), settings, folder), folder


def config_of(data, **changes):
    return Config.make(task="prefer", **{
        "n_layer": 2, "n_head": 2, "d_model": 16, "context_length": 16, "batch_tokens": 192,
        "init": "scaled", "learning_rate": 1e-2, "optimizer": "adamw", "warmup_steps": 0,
        **data.settings, **changes})


def begun(pairs, **changes):
    """Begin a run from weights that know something, as from a base."""
    data, folder = pairs
    config = config_of(data, **changes)
    rng = np.random.default_rng(1)
    weights = {name: x + 0.1 * rng.standard_normal(x.shape).astype(x.dtype)
               for name, x in config.new_net(rng).state_dict().items()}
    run = Run.start(config, data, Plan.fixed(30), weights=weights)
    run.task.prepared(run, folder)
    return run


# ---- the formulas, beside values of torch 2.13 in float64 ----

X = np.array([[0.5, 1.25, 0.0], [2.0, 0.25, 0.75], [1.5, 0.5, 0.25], [0.125, 3.0, 0.0]])
OLD = np.array([[-0.75, -1.0, 0.0], [-1.5, -0.5, -1.0], [-1.0, -0.75, -0.5], [-0.25, -2.5, 0.0]])
GAIN = np.array([[1.0, 1.0, 0.0], [-0.5, -0.5, -0.5], [2.0, 2.0, 2.0], [-1.0, -1.0, 0.0]])
START = np.array([[-0.5, -1.5, 0.0], [-1.0, -0.25, -1.25], [-2.0, -0.5, 0.0], [-0.5, -2.0, 0.0]])
GOLDEN = json.loads("""{
 "dpo0": [{}, 1.3677201320711734,
  [[0.05, 0.05, 0.05],
  [-0.05, -0.05, -0.05],
  [0.04906260984783393, 0.04906260984783393, 0.04906260984783393],
  [-0.04906260984783393, -0.04906260984783393, -0.04906260984783393]]],
 "dpo1": [{"beta": 0.5, "n": 2}, 0.64846623505777,
  [[0.125, 0.125, 0.125],
  [-0.125, -0.125, -0.125],
  [0.11331546200384654, 0.11331546200384654, 0.11331546200384654],
  [-0.11331546200384654, -0.11331546200384654, -0.11331546200384654]]],
 "dpo2": [{"beta": 0.3, "label_smoothing": 0.2, "n": 3}, 0.4513751862662807,
  [[0.03, 0.03, 0.03],
  [-0.03, -0.03, -0.03],
  [0.02719046255916129, 0.02719046255916129, 0.02719046255916129],
  [-0.02719046255916129, -0.02719046255916129, -0.02719046255916129]]],
 "grpo0": [{}, -4.374688232742104,
  [[-0.0, 0.7788007830714049, 0.0],
  [-0.0, -0.6420127083438707, -0.6420127083438707],
  [1.2130613194252668, -0.0, -0.0],
  [-1.1331484530668263, -0.0, 0.0]]],
 "grpo1": [{"limit": 0.1, "n": 5}, -0.744937646548421,
  [[-0.0, 0.155760156614281, 0.0],
  [-0.0, -0.12840254166877416, -0.12840254166877416],
  [0.2426122638850534, -0.0, -0.0],
  [-0.22662969061336527, -0.0, 0.0]]],
 "grpo2": [{"kl": 0.3, "n": 7}, -0.5488951566105802,
  [[-0.0, 0.10177728828468946, 0.0],
  [0.07364064979110191, -0.09171610119198152, -0.10857907291858294],
  [0.15643150247700813, -0.0, 0.012172517858046059],
  [-0.17528023848993352, 0.07364064979110191, 0.0]]]}""")


@pytest.mark.parametrize("name", GOLDEN)
def test_losses_and_gradients_are_those_of_torch(name):
    options, value, gradient = GOLDEN[name]
    formula, loss = ((preference, preference_loss) if name.startswith("dpo") else
                     (policy, policy_loss))
    given = {"reference": OLD} if formula is preference else {
        "old": OLD, "advantages": GAIN, "start": START}
    found, dx = formula(X, **given, **options)
    assert found == pytest.approx(value, rel=1e-10)
    np.testing.assert_allclose(dx, gradient, atol=1e-10)
    x = Tensor(X, requires_grad=True)
    (3 * loss(x, **given, **options)).backward()
    np.testing.assert_allclose(x.grad, 3 * np.array(gradient), atol=1e-10)


# ---- data ----

def test_both_kinds_of_records_are_read_and_equal_answers_are_left_out():
    alpaca = {"instruction": "Add.", "input": "2, 2", "output": "4", "chosen": "4", "rejected": "5"}
    plain = {"prompt": "Add.\n\n2, 2", "chosen": "4", "rejected": "5"}
    same = {"prompt": "x", "chosen": "4", "rejected": "4"}
    one, = read_preferences(corpus_of([alpaca, plain, same]))
    assert [content for _, content in one] == ["Add.\n\n2, 2", "4", "5"]


@pytest.mark.parametrize("record", [1, {}, {"prompt": "x", "chosen": "a"}, {"chosen": "a"},
                                    {"prompt": 1, "chosen": "a", "rejected": "b"}])
def test_what_is_no_pair_is_named(record):
    with pytest.raises(CorpusError, match="record 1 of some.json is .* chosen and rejected"):
        read_preferences(corpus_of([record]))


def test_a_row_is_a_prompt_with_one_of_its_answers(pairs):
    data, _ = pairs
    batch = batch_of(data.train, np.array([0, 3]), 12)
    tokens = batch.teacher_ids[..., 0]
    assert batch.targets.tolist() == [0, IGNORE, 0, IGNORE] and batch.n_targets == 2
    texts = [data.tokenizer.decode(row[row != IGNORE].tolist()) for row in tokens]
    assert all(text.startswith(" is ") for text in texts[::2])
    assert texts[1::2] == [" is?<|endoftext|>"] * 2
    for ids, row in zip(batch.ids, tokens):
        asked = np.flatnonzero(row != IGNORE)[:-1]
        assert (ids[asked + 1] == row[asked]).all()        # the target is the token behind


# ---- training ----

def test_it_begins_at_ln_2_and_tells_pairs_apart_later(pairs):
    run = begun(pairs)
    before = read(run.measures())
    assert abs(before.nats_per_token - np.log(2)) < 1e-6
    assert before.share_right == 0.5 and abs(before.means["margin"]) < 1e-6
    losses = [record.loss for record in train_steps(run)]
    assert abs(losses[0] - np.log(2)) < 1e-6
    after = read(run.measures())
    assert after.share_right == 1 and after.means["margin"] > 0.2
    assert after.means["chosen"] > after.means["rejected"]
    assert run.obstacle is None or not jit.COMPILED


def test_micro_batches_are_equal_and_never_part_a_pair(pairs):
    data, _ = pairs
    run = begun(pairs)
    config = config_of(data)
    model = config.new_net(np.random.default_rng(0), np.float64)
    batch = prefer_batch(run.data, (12, 16), np.random.default_rng(0), model)
    n, found = np.float64(batch.n_targets), []
    for size in (len(batch.ids), 3):
        loss = 0.0
        for part in batch.parts(size):
            assert len(part.ids) % 2 == 0
            part_loss = prefer_loss(model, part, n, beta=0.5, label_smoothing=0.1)
            part_loss.backward()
            loss += part_loss.item()
        found.append([loss, *(x.grad for x in model.parameters())])
        for x in model.parameters():
            x.grad = None
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_smoothing_keeps_the_margin_small(pairs):
    margins = []
    for smoothing in (0.0, 0.4):
        run = begun(pairs, label_smoothing=smoothing)
        for _ in train_steps(run):
            pass
        margins.append(read(run.measures()).means["margin"])
    assert margins[1] < margins[0] and margins[1] < 1


def test_the_program_goes_on_from_a_base_and_resumes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.json").write_text(json.dumps(some_pairs()))
    (tmp_path / "text.txt").write_text("".join(f"{i:02d} is {i:02d}!?\n" for i in range(60)) * 5)
    program.main(["text.txt", "--n_layer", "1", "--n_head", "1", "--d_model", "16",
                  "--context_length", "16", "--steps", "2", "--tokenizer", "char", "--plain",
                  "--name", "base"])
    program.main(["pairs.json", "--task", "prefer", "--base", "runs/base", "--steps", "4",
                  "--eval_every", "2", "--batch_tokens", "192", "--plain", "--name", "preferred"])
    said = capsys.readouterr().out
    assert "pairs held out" in said and "template none" in said and "log p of a chosen" in said
    manifest = json.loads((tmp_path / "runs/preferred/manifest.json").read_text())
    assert manifest["result"]["n_pairs"] == 6
    run = open_run("runs/preferred", 2)
    for _ in train_steps(run):
        pass
    whole, _ = checkpoint.load("runs/preferred/checkpoints", 4)
    for name, x in run.tensors().items():
        np.testing.assert_array_equal(x, whole[name], err_msg=name)
    assert not open_model("runs/preferred").talks
    generate.main(["runs/preferred", "12", "--max_tokens", "4"])
    with pytest.raises(SystemExit):
        program.main(["pairs.json", "--task", "prefer", "--plain"])
    assert "goes on from a model that can write: name it with --base" in capsys.readouterr().err
