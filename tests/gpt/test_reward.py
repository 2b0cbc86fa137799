"""Rewards: answers follow from seed, step and weights, and what is rewarded becomes likelier."""
import json

import numpy as np
import pytest

from gpt import generate
from gpt import train as program
from gpt.batch import IGNORE
from gpt.data.corpora import load_corpus
from gpt.data.exercises import sorting, sums
from gpt.data.prompts import held_out, prepare_prompts, read_prompts
from gpt.data.chats import read_chats, split_by_question
from gpt.data.tokens.kinds import train_tokenizer
from gpt.models.rollouts import rollouts
from gpt.settings import ConfigError
from gpt.training import checkpoint
from gpt.training.config import Config
from gpt.training.folder import open_run
from gpt.training.judges import judge_named
from gpt.training.losses import token_nats
from gpt.training.plan import Plan
from gpt.training.run import Run
from gpt.training.step import train_steps
from gpt.training.task import read
from gpt.training.tasks.reward import reward_batch, reward_loss
from minigrad.kernels import jit

SMALL = dict(n_layer=1, n_head=2, d_model=32, context_length=16, init="scaled", answer_tokens=3,
             samples=4, batch_tokens=512, optimizer="adamw", learning_rate=1e-2, warmup_steps=0)


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    corpus = load_corpus(["sums"])
    text = corpus.documents[0]
    tokenizer = train_tokenizer("char", 0, [text], [text], ["<|endoftext|>"])
    folder = tmp_path_factory.mktemp("asked")
    return prepare_prompts(corpus, Config.make().data, folder, tokenizer), folder


def begun(asked, steps=6, **changes):
    data, folder = asked
    config = Config.make(task="reward", **{**SMALL, **data.settings, **changes})
    weights = config.new_net(np.random.default_rng(1)).state_dict()
    run = Run.start(config, data, Plan.fixed(steps), weights=weights)
    if run.task.stays(config.train):
        run.beside = config.new_net(np.random.default_rng(1))
    return run


def test_exercises_are_right_and_held_out_alike_where_answers_are_learnt():
    rows = [*map(json.loads, sums().splitlines())]
    assert len(rows) == 10_000 and {"instruction": "07+95=", "output": "102"} in rows
    rows = [*map(json.loads, sorting().splitlines())]
    assert all(sorted(row["instruction"][:-1]) == [*row["output"]] for row in rows)
    corpus = load_corpus(["sums"])
    _, val = held_out(read_prompts(corpus), 0.1)
    _, chats = split_by_question(read_chats(corpus), 0.1)
    assert {message for message, _ in val} == {said[0] for said in chats}


def test_a_batch_holds_groups_of_answers_and_their_advantages(asked):
    data, _ = asked
    run = begun(asked, reward="random")
    batch = run.batch(np.random.default_rng(0))
    rows = batch.ids.reshape(-1, 4, batch.ids.shape[1])
    assert (rows[:, :, :6] == rows[:, :1, :6]).all()           # four answers to each prompt
    assert (batch.targets[:, :5] == IGNORE).all() and (batch.targets[:, 5] != IGNORE).all()
    here = batch.targets != IGNORE
    assert (batch.ids[:, 6:][here[:, 5:-1]] == batch.targets[:, 5:-1][here[:, 5:-1]]).all()
    gain = np.abs(batch.weights).max(axis=1)
    groups = batch.rewards.reshape(-1, 4)
    apart = np.abs(groups - groups.mean(axis=1, keepdims=True))
    np.testing.assert_allclose(gain, apart.reshape(-1), atol=1e-6)
    assert (batch.weights[~here] == 0).all() and (batch.teacher[..., 0][~here] == 0).all()


def test_answers_follow_from_seed_step_and_weights(asked):
    run = begun(asked)
    one, same = (run.batch(np.random.default_rng([0, 3])) for _ in range(2))
    for a, b in zip(one, same):
        np.testing.assert_array_equal(a, b)
    other = run.batch(np.random.default_rng([0, 4]))
    assert not np.array_equal(one.ids, other.ids)


def test_the_first_gradient_is_that_of_the_likelihood_times_the_advantage(asked):
    data, _ = asked
    config = begun(asked).config
    model = config.new_net(np.random.default_rng(1), np.float64)
    batch = reward_batch(data, (8, 16), np.random.default_rng(2), model, "random", 4, 3)
    n, h = np.float64(batch.n_targets), 1e-6
    reward_loss(model, batch, n).backward()
    x = model.unembedding.weight
    i = int(np.abs(x.grad).argmax())
    found = []
    for way in (h, -h):
        x.data.flat[i] += way
        nats = token_nats(model, batch, batch.targets).data
        found.append(float((nats * batch.weights).sum() / n))
        x.data.flat[i] -= way
    assert (found[0] - found[1]) / (2 * h) == pytest.approx(x.grad.flat[i], rel=1e-5)
    whole = {name: x.grad for name, x in model.named_parameters()}
    for x in model.parameters():
        x.grad = None
    for part in batch.parts(3):
        reward_loss(model, part, n).backward()
    for name, x in model.named_parameters():
        np.testing.assert_allclose(x.grad, whole[name], atol=1e-12, err_msg=name)


@pytest.mark.parametrize("changes", [{}, {"updates": 3, "kl": 0.1}])
def test_a_run_that_is_lost_goes_on_to_the_same_bytes(asked, changes):
    run = begun(asked, reward="random", **changes)
    middle = None
    for record in train_steps(run):
        assert {"reward", "entropy", "length"} == record.notes.keys()
        if record.step == 4:
            middle = {name: x.copy() for name, x in run.tensors().items()}
    again = Run.resume(middle, run.facts() | {"step": 4}, run.data)
    again.beside = run.beside
    for _ in train_steps(again):
        pass
    for name, x in run.tensors().items():
        np.testing.assert_array_equal(x, again.tensors()[name], err_msg=name)


def test_a_judge_that_was_changed_is_noticed(asked, tmp_path):
    judge = tmp_path / "judge.py"
    judge.write_text("def longer(record, text): return len(text)\n")
    run = begun(asked, reward=f"{judge}:longer")
    run.step = 1
    facts, tensors = run.facts(), run.tensors()
    assert Run.resume(tensors, facts | {"step": 1}, run.data).judge_sha256 == run.judge_sha256
    judge.write_text("def longer(record, text): return -len(text)\n")
    with pytest.raises(ConfigError, match="is not as this run began with"):
        Run.resume(tensors, facts | {"step": 1}, run.data)


@pytest.mark.skipif(not jit.COMPILED, reason="there are no kernels to replay")
def test_steps_are_replayed(asked):
    run = begun(asked, d_model=64)
    for _ in train_steps(run):
        assert run.obstacle is None


def test_what_is_rewarded_becomes_likelier(asked, tmp_path):
    (tmp_path / "judge.py").write_text("def one(record, text): return text.startswith('1')\n")
    run = begun(asked, steps=25, reward=f"{tmp_path}/judge.py:one", answer_tokens=2)
    before = read(run.measures()).means
    for _ in train_steps(run):
        pass
    after = read(run.measures()).means
    assert before["reward"] < 0.3 and after["reward"] > 0.8
    assert after["entropy"] < before["entropy"]


def test_judges_are_named_or_refused(tmp_path):
    (tmp_path / "bad.py").write_text("def one(record, text): return 'x'\ndef two(r, t): 1 / 0\n")
    (tmp_path / "broken.py").write_text("def one(:\n")
    for name, words in (("rigth", "there is no judge 'rigth'"), ("nowhere.py:one", "no judge"),
                        (f"{tmp_path}/bad.py:three", "has no function three"),
                        (f"{tmp_path}/broken.py:one", "cannot be run: SyntaxError")):
        with pytest.raises(ConfigError, match=words):
            judge_named(name)
    for name, words in (("one", "returned 'x'"), ("two", "ZeroDivisionError")):
        with pytest.raises(ConfigError, match=words):
            judge_named(f"{tmp_path}/bad.py:{name}")({}, "text", None)


def test_answers_end_where_they_end_and_have_room(asked):
    data, _ = asked
    model = begun(asked).model
    prompts = data.train.rows(np.arange(6))
    answers, lengths = rollouts(model, prompts, 5, {3, 4}, np.random.default_rng(0))
    for row, n in zip(answers, lengths):
        ends = np.flatnonzero(np.isin(row[:n], [3, 4]))
        assert ends.tolist() in ([n - 1], []) and (row[n:] == 0).all() and (ends.size or n == 5)
    with pytest.raises(ConfigError, match="use fewer --answer_tokens"):
        rollouts(model, prompts, 12, {3}, np.random.default_rng(0))


def test_the_program_rewards_and_makes_pairs_by_a_rule(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny = ["--batch_tokens", "256", "--plain", "--eval_tokens", "64"]
    program.main(["sums", "--task", "instruct", "--n_layer", "1", "--n_head", "1", "--d_model",
                  "16", "--steps", "2", "--name", "base", *tiny])
    program.main(["sums", "--task", "reward", "--base", "runs/base", "--steps", "4", "--samples",
                  "4", "--answer_tokens", "4", "--eval_every", "2", "--kl", "0.1", "--updates",
                  "2", "--name", "rewarded", *tiny])
    said = capsys.readouterr().out
    assert "prompts: 9,000 to learn, 1,000 to validate on, template none" in said
    assert "answers are right" in said and "at the start" in said and "  entropy " in said
    lines = (tmp_path / "runs/rewarded/metrics.jsonl").read_text().splitlines()
    rows = [*map(json.loads, lines)]
    assert {"reward", "entropy", "length"} <= rows[0].keys()
    result = json.loads((tmp_path / "runs/rewarded/manifest.json").read_text())["result"]
    assert 0 <= result["accuracy"] <= 1 and result["n_prompts"] == 1000
    whole, _ = checkpoint.load("runs/rewarded/checkpoints", 4)
    program.main(["--resume", "runs/rewarded", "--from_step", "2", "--plain"])
    run = open_run("runs/rewarded", 4)
    for name, x in run.tensors().items():
        np.testing.assert_array_equal(x, whole[name], err_msg=name)
    generate.main(["runs/rewarded", "12+30=", "--max_tokens", "4"])
    (tmp_path / "rule.py").write_text("def even(record, text): return text.count('1')\n")
    program.main(["sums", "--task", "prefer", "--base", "runs/base", "--rule", "rule.py:even",
                  "--prompts", "40", "--answer_tokens", "4", "--steps", "2", "--name", "ruled",
                  *tiny])
    assert "prompts, answered twice, differ by rule.py:even" in capsys.readouterr().out
