"""Training: plans, steps that depend on nothing before them but the weights, what diverges."""
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.data.windows import random_windows
from gpt.settings import ConfigError
from gpt.training import checkpoint
from gpt.training.config import Config
from gpt.training.divergence import Diverged
from gpt.training.measures import token_loss
from gpt.training.plan import Plan, batch_shape, due, rate_at
from gpt.training.run import Run
from gpt.training.step import train_steps
from gpt.training.tasks import TASKS
from minigrad.kernels import jit, replay, threads


def finished(run):
    for _ in train_steps(run):
        pass
    return run


def bytes_of(run, folder):
    """Return all bytes of a checkpoint."""
    checkpoint.save(folder, run.step, run.tensors(), run.facts())
    return [path.read_bytes() for path in sorted(folder.iterdir())]


# ---- plans ----

@given(st.integers(1, 500), st.lists(st.tuples(st.floats(0, 1), st.integers(1, 500)), max_size=4))
def test_progress_rises_from_0_to_1_however_often_it_is_replanned(steps, changes):
    plan = Plan.fixed(steps)
    for where, more in changes:
        step = int(where * (plan.steps - 1))
        before = [plan.progress(s) for s in range(step + 1)]
        plan = plan.replanned(step, step + more)
        assert [plan.progress(s) for s in range(step + 1)] == before
    assert Plan.parse(str(plan)) == plan
    progress = [plan.progress(s) for s in range(plan.steps + 1)]
    assert progress[0] == 0 and progress[-1] == 1 and progress == sorted(progress)


@pytest.mark.parametrize("text", ["", "9", "0:0,5", "0:0:1", "5:0:0.1,9", "0:0:0.1,0", "a:b:c,3"])
def test_a_plan_that_makes_no_sense_is_refused(text):
    with pytest.raises(ConfigError, match="plan is"):
        Plan.parse(text)


@pytest.mark.parametrize("schedule", ["trapezoid", "cosine"])
def test_the_rate_rises_to_1_and_falls_to_its_end(tiny, schedule):
    settings = tiny(schedule=schedule, warmup_steps=10, final_rate=0.1).train
    rates = [rate_at(settings, Plan.fixed(200), step) for step in range(201)]
    peak = int(np.argmax(rates))
    assert 0 < rates[0] < 0.2 and 8 <= peak <= 12 and rates[peak] > 0.95
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert abs(rates[-1] - 0.1) < 1e-9


def test_a_finished_plan_can_be_made_longer():
    plan = Plan.fixed(100).extended(150)
    assert plan.steps == 150 and plan.progress(99) < 1 and plan.progress(150) == 1
    assert 0.6 < plan.progress(100) < 0.7


@given(st.integers(1, 100), st.integers(1, 30))
def test_evaluations_come_as_often_as_is_said_and_at_the_end(steps, evaluations):
    class Now:
        plan, step = Plan.fixed(steps), 0
        config = Config.make(evaluations=evaluations)
    count = 0
    for Now.step in range(1, steps + 1):
        count += due(Now)
    assert count == min(evaluations, steps) and due(Now)


def test_a_growing_context_keeps_the_tokens_of_a_batch(tiny):
    config = tiny(context_growth=True)
    shapes = [batch_shape(config.train, config.model.context_length, p) for p in (0, 0.3, 0.8)]
    assert shapes == [(16, 4), (8, 8), (4, 16)]


# ---- steps ----

LARGE_ENOUGH = {"d_model": 64, "batch_tokens": 512}                  # to be replayed

@settings(max_examples=5)
@given(st.sampled_from([{}, {"optimizer": "adamw"}, {"dropout": 0.1}, {"context_growth": True},
                        {"preset": "gpt2"}, {"preset": "llama"}, LARGE_ENOUGH]),
       st.lists(st.integers(1, 11), max_size=3, unique=True))
def test_a_run_that_was_stopped_equals_one_that_was_not(data, tiny, tmp_path_factory, changes,
                                                        stops):
    config, folder = tiny(**changes), tmp_path_factory.mktemp("runs")
    whole = bytes_of(finished(Run.start(config, data, Plan.fixed(12))), folder / "whole")
    run = Run.start(config, data, Plan.fixed(12))
    for stop in sorted(stops):
        for _ in train_steps(run):
            if run.step == stop:
                break
        checkpoint.save(folder / "parts", run.step, run.tensors(), run.facts())
        run = Run.resume(*checkpoint.load(folder / "parts"), data)
    assert bytes_of(finished(run), folder / "last") == whole


def test_any_number_of_threads_gives_the_same_bytes(data, tiny, tmp_path):
    config, found, before = tiny(**LARGE_ENOUGH), [], threads.n_threads()
    try:
        for n in {1, jit.config.NUMBA_NUM_THREADS}:
            threads.set_threads(n)
            run = finished(Run.start(config, data, Plan.fixed(6)))
            found.append(bytes_of(run, tmp_path / str(n)))
    finally:
        threads.set_threads(before)
    assert all(other == found[0] for other in found)


def counted_losses(monkeypatch):
    """Return a list that grows with every ordinary loss of a run."""
    calls, task = [], TASKS["causal"]
    loss = lambda *args: calls.append(0) or token_loss(*args)
    monkeypatch.setitem(TASKS, "causal", task._replace(loss=loss))
    return calls


@pytest.mark.skipif(not jit.COMPILED, reason="there are no kernels to replay")
@pytest.mark.parametrize("preset, more", [
    ("fast", {}), ("fast", {"ngram_rows": 50, "look_back": 3}), ("gpt2", {}), ("llama", {})])
def test_replayed_steps_give_the_bytes_of_ordinary_ones(data, tiny, tmp_path, preset, more,
                                                        monkeypatch):
    found, calls = [], counted_losses(monkeypatch)
    for replayed, most in ((True, 3), (False, 9)):        # to prepare, record, confirm
        if not replayed:
            monkeypatch.setattr(replay.Replay, "possible", lambda self: False)
        run = finished(Run.start(tiny(preset, **LARGE_ENOUGH, **more), data, Plan.fixed(9)))
        found.append(bytes_of(run, tmp_path / str(replayed)))
        assert len(calls) == most
        calls.clear()
    assert found[0] == found[1]


def test_micro_batches_add_up_to_the_batch(data, tiny):
    losses = []
    for micro in (0, 1, 3):
        run = finished(Run.start(tiny(micro_batch=micro), data, Plan.fixed(3), np.float64))
        losses.append(run.model.head.data.copy())
    np.testing.assert_allclose(losses[1], losses[0], atol=1e-9)
    np.testing.assert_allclose(losses[2], losses[0], atol=1e-9)


@pytest.mark.skipif(not jit.COMPILED, reason="there are no kernels to replay")
@pytest.mark.parametrize("more", [{"dropout": 0.1}, {"micro_batch": 8}, {"mlp": "gelu"}], ids=str)
def test_steps_of_these_settings_are_replayed_to_the_same_bytes(data, tiny, tmp_path, more,
                                                                monkeypatch):
    found, config = [], tiny(**LARGE_ENOUGH | more)
    for replayed in (True, False):
        if not replayed:
            monkeypatch.setattr(replay.Replay, "possible", lambda self: False)
        calls = counted_losses(monkeypatch)
        run = finished(Run.start(config, data, Plan.fixed(12)))
        found.append(bytes_of(run, tmp_path / str(replayed)))
        assert (len(calls) <= 3) == replayed                  # to prepare, record, confirm
    assert found[0] == found[1]


def test_the_loss_falls_in_20_steps(data, tiny):
    run = Run.start(tiny(batch_tokens=256, warmup_steps=3), data, Plan.fixed(20))
    records = list(train_steps(run))
    assert records[0].loss == pytest.approx(math.log(data.tokenizer.vocab_size), abs=0.1)
    assert records[-1].loss < records[0].loss - 0.3
    assert [r.step for r in records] == list(range(1, 21))


def test_a_batch_follows_from_the_seed_and_the_step_alone(data):
    rngs = [np.random.default_rng((3, step)) for step in (5, 5, 6)]
    a, b, c = (random_windows(data.train, 4, 16, rng) for rng in rngs)
    assert (a == b).all() and (a != c).any()


# ---- what goes wrong ----

@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_parameter_that_is_no_number_is_named(data, tiny, value):
    run = Run.start(tiny(), data, Plan.fixed(5))
    run.model.blocks[1].mlp.expand.weight.data[3, 2] = value
    name = r"step 1 the parameter blocks\.1\.mlp\.expand\.weight"
    with np.errstate(all="ignore"), pytest.raises(Diverged, match=name):
        next(train_steps(run))


def test_the_first_operation_that_overflows_is_named_and_no_weight_is_spoilt(data, tiny):
    run = Run.start(tiny("gpt2"), data, Plan.fixed(5))
    run.model.blocks[1].mlp.expand.weight.data *= np.float32(1e30)
    run.model.blocks[1].mlp.projection.weight.data *= np.float32(1e30)
    before = [x.data.copy() for x in run.model.parameters()]
    with np.errstate(all="ignore"), pytest.raises(Diverged, match=r"step 1 .*blocks\.1\.mlp"):
        next(train_steps(run))
    for x, old in zip(run.model.parameters(), before):
        np.testing.assert_array_equal(x.data, old)


def test_a_model_that_sees_the_answer_is_not_trained(data, tiny):
    with pytest.raises(ConfigError, match="needs a net that sees what comes before alone"):
        Run.start(tiny(causal=False), data, Plan.fixed(5))
