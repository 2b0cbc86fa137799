"""Planning: sizes, tokenizers, memory, and runs that end in time."""
import gc
import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.data.corpora import Corpus
from gpt.settings import ConfigError
from gpt.training import clock, forecast as costs
from gpt.training.clock import (
    Pacer, Rates, check_duration, continue_plan, duration, closing_s, plan_by_time,
    reading_s)
from gpt.training.forecast import forecast, sequence_bytes
from gpt.training.plan import Plan
from gpt.training.recipes import (
    REFERENCE_GFLOPS, choose_settings, choose_size, choose_tokenizer, expected_passes, other_net)
from gpt.training.run import Run
from minigrad.kernels import memory


class Clock:
    """A clock that the test moves; the process has so much of a processor."""

    def __init__(self, monkeypatch, share=1.0):
        self.now = 1000.0
        monkeypatch.setattr(clock.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(clock.time, "process_time", lambda: share * (self.now - 980))


@pytest.mark.parametrize("speeds", [[1.0], [1.0, 2.0], [1.0, 0.5], [1.0, 2.0, 1.0, 0.6, 1.7]])
@pytest.mark.parametrize("first_guess", [0.7, 1.0, 1.6])
def test_a_run_ends_in_time_though_the_machine_changes_its_speed(monkeypatch, speeds, first_guess):
    clock, budget, step = Clock(monkeypatch), 300.0, 0
    pacer = Pacer(clock.now + budget, 0.1 * first_guess)
    plan = pacer.first_plan(Plan.fixed(1), 0)
    while step < plan.steps:
        share = min(0.999, (clock.now - 1000) / budget)
        elapsed = 0.1 * speeds[int(share * len(speeds))]
        clock.now += elapsed
        step += 1
        pacer.step(elapsed)
        plan = pacer.replan(plan, step)
        if int(20 * plan.progress(step)) > int(20 * plan.progress(step - 1)):
            clock.now += 0.7
            pacer.pause(0.7)
    assert abs(clock.now - 1000 - budget) < 0.05 * budget
    assert len(plan.lines) < 200


def test_a_run_that_is_late_from_the_start_ends_at_once(monkeypatch):
    clock = Clock(monkeypatch)
    pacer = Pacer(clock.now - 5, 0.1)
    plan = pacer.first_plan(Plan.fixed(1), 0)
    assert plan.steps == 1 and pacer.replan(plan, 1) == plan


@given(st.floats(0.3, 20), st.floats(0.001, 0.3))
def test_a_short_run_spends_most_of_its_time_on_steps(data, tiny, minutes, step_s):
    """Of what is planned, not of the start, which is what it is."""
    corpus = Corpus("x", [b"some text"], "x")
    config = choose_settings(corpus, "fast", {"minutes": minutes}, 240)
    run = Run.start(tiny(minutes=minutes, batch_tokens=1024, eval_tokens=config.train.eval_tokens,
                         evaluations=config.train.evaluations), data, Plan.fixed(1))
    run.data, rates = replace(data, val=np.tile(data.val, 200)), Rates(step_s, step_s / 2500)
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock(patch)
        try:
            plan_by_time(run, clock.now, rates)
        except ConfigError:
            assert 50 * step_s > 0.6 * 60 * minutes           # too few, though they are the most
            return
    assert run.plan.steps >= 50
    assert run.plan.steps * step_s > 0.6 * 60 * minutes
    assert run.plan.steps * step_s + closing_s(run) <= 60 * minutes


@given(st.floats(0.02, 0.5), st.floats(0.01, 0.5), st.floats(0, 20), st.sampled_from([0.2, 1]))
def test_a_time_too_short_is_refused_with_what_works(data, tiny, minutes, step_s, start_s, share):
    corpus = Corpus("x", [b"some text"], "x")

    def planned(minutes, batch_tokens):
        chosen = choose_settings(corpus, "fast", {"minutes": minutes}, 240).train
        config = tiny(minutes=minutes, evaluations=chosen.evaluations,
                      eval_tokens=chosen.eval_tokens, batch_tokens=batch_tokens)
        run = Run.start(config, data, Plan.fixed(1))
        with pytest.MonkeyPatch.context() as patch:
            began = Clock(patch, share).now - start_s
            plan_by_time(run, began, Rates(step_s * batch_tokens / 512, step_s / 2500))
        return run.plan.steps
    try:
        assert planned(minutes, 512) >= 50
    except ConfigError as refused:
        words = str(refused)
        assert f"minutes is {minutes:g}, " in words and "--d_model" in words
        remedy = lambda flag: float(words.split(flag)[1].split()[0].strip(","))
        assert planned(remedy("--minutes "), 512) >= 50
        if "--batch_tokens" in words:
            assert planned(minutes, int(remedy("--batch_tokens "))) >= 50


def test_fewer_threads_than_cores_are_named_where_time_is_short(data, tiny, monkeypatch):
    monkeypatch.setattr(clock.threads, "most_threads", lambda: 2)
    monkeypatch.setattr(clock.threads, "available_cores", lambda: 8)
    run, now = Run.start(tiny(minutes=0.1), data, Plan.fixed(1)), time.monotonic()
    with pytest.raises(ConfigError, match="MINIGRAD_THREADS=8, which is 2"):
        plan_by_time(run, now, Rates(5.0, 0.0))


def test_what_closes_a_run_reads_less_if_its_last_step_was_late(data, tiny):
    run = Run.start(tiny(minutes=1.0), data, Plan.fixed(1))
    for spent_s, seconds in ((10, 1.8), (57, 1.8), (58, 0.8), (70, 0.3)):
        assert reading_s(run, spent_s) == pytest.approx(seconds)


def test_more_time_never_chooses_a_smaller_model():
    sizes = [choose_size(minutes, REFERENCE_GFLOPS) for minutes in (1, 5, 30, 300)]
    products = [size["n_layer"] * size["d_model"] ** 2 for size in sizes]
    assert products == sorted(products)
    assert choose_size(5, REFERENCE_GFLOPS) == choose_size(10, REFERENCE_GFLOPS / 2)


@pytest.mark.parametrize("given, other", [
    ({"minutes": 0.5}, "gru"), ({"minutes": 5}, "lstm"), ({"minutes": 60}, None),
    ({"steps": 50}, None),
    ({"minutes": 0.5, "net": "gru"}, None), ({"minutes": 0.5, "tokenizer": "bpe"}, None)])
def test_where_another_net_gets_further_it_is_named(given, other):
    config = choose_settings(Corpus("x", [b"some text"], "x"), "fast", given, REFERENCE_GFLOPS)
    assert other_net(config, REFERENCE_GFLOPS) == other


def test_a_recurrent_net_grows_with_the_time_and_drops_what_it_would_learn_by_heart():
    short, long = (Corpus("x", [b"some text " * n], "x") for n in (10_000, 10_000_000))
    of = lambda corpus, **given: choose_settings(corpus, "fast", {"net": "lstm", **given}, 240)
    widths = [of(short, minutes=minutes).model.d_model for minutes in (1, 2, 10)]
    assert widths == sorted({*widths})
    assert of(short, minutes=10).model.dropout > 0 == of(long, minutes=10).model.dropout
    narrow = of(short, minutes=1), of(short, minutes=10, d_model=64)
    assert [config.model.dropout for config in narrow] == [0, 0]
    assert of(short, minutes=10, dropout=0.1).model.dropout == 0.1
    assert of(short, steps=10).model == of(long, steps=10).model


def test_what_is_seen_often_is_learnt_with_decay_and_what_is_seen_once_is_kept_in_tables():
    corpus = Corpus("x", [b"some text " * 10_000], "x")
    once, often = (choose_settings(corpus, "fast", {"steps": steps, "batch_tokens": 1000}, 240)
                   for steps in (40, 1000))
    assert once.model.ngram_rows > 0 == once.train.weight_decay
    assert often.train.weight_decay > 0 == often.model.ngram_rows
    assert once.model.look_back == often.model.look_back == 4
    given = {"steps": 1000, "weight_decay": 0.5, "batch_tokens": 1000}
    assert choose_settings(corpus, "fast", given, 240).train.weight_decay == 0.5
    llama = choose_settings(corpus, "llama", {"steps": 1}, 240).model
    assert llama.ngram_rows == llama.look_back == 0
    assert expected_passes(often, corpus, 240) == pytest.approx(1000 * 1000 / 90_000)


@pytest.mark.parametrize("given", [{"tokenizer": "auto"}, {"vocabulary": 0}, {"minutes": 0.0},
                                   {"steps": 0}])
def test_to_say_what_is_usual_changes_nothing(given):
    corpus = Corpus("x", [b"some text " * 30_000], "x")
    assert choose_settings(corpus, "fast", given, 240) == choose_settings(corpus, "fast", {}, 240)


@given(st.floats(0.5, 100), st.floats(10, 1000))
def test_twice_the_time_is_twice_the_passes(minutes, gflops):
    corpus = Corpus("x", [b"some text " * 10_000], "x")
    config = choose_settings(corpus, "fast", {"minutes": minutes}, gflops)
    longer = config.changed(minutes=2 * minutes)
    ratio = expected_passes(longer, corpus, gflops) / expected_passes(config, corpus, gflops)
    assert ratio == pytest.approx(2)


@given(st.text(min_size=1, max_size=50))
def test_a_tokenizer_is_chosen_that_can_read_the_text(text):
    kind, vocabulary = choose_tokenizer(Corpus("x", [text.encode("utf-8", "replace")], "x"))
    assert kind == "char" and vocabulary == 0


@pytest.mark.parametrize("document, expected", [
    (b"\xff\xfe" * 50, ("byte", 0)), ("".join(map(chr, range(256, 900))).encode(), ("byte", 0)),
    (b"a" * 300_000, ("bpe", 512)), (b"a" * 2_000_000, ("bpe", 1024))])
def test_tokenizers_by_what_the_text_is(document, expected):
    assert choose_tokenizer(Corpus("x", [document], "x")) == expected


def test_what_the_user_says_wins_over_the_table_and_the_preset():
    corpus = Corpus("x", [b"some text"], "x")
    config = choose_settings(corpus, "gpt2", {"n_layer": 9, "norm": "rms", "d_model": 128}, 240)
    assert (config.model.n_layer, config.model.norm, config.model.d_model) == (9, "rms", 128)
    assert config.model.n_head == 2 and config.model.position == "learned"
    assert config.train.minutes == 5 and config.data.tokenizer == "char"
    assert choose_settings(corpus, "fast", {"steps": 7}, 240).train.minutes == 0


@pytest.mark.parametrize("more", [{}, {"dropout": 0.1}, {"preset": "llama"}], ids=str)
def test_the_memory_of_a_step_is_what_was_said(data, tiny, more):
    """What a forward pass takes and keeps, by the allocator's count, and twice it for twice T."""
    said = []
    for T in (128, 256):
        run = Run.start(tiny(context_length=T, d_model=64, **more), data, Plan.fixed(1))
        rng = np.random.default_rng(0)
        batch = run.task.batch(data, (1, T), rng, run.model)
        said.append(sequence_bytes(run))                      # with which kernels are compiled
        held = allocated_by(run.task.loss, run.model, batch, 1.0, rng)
        assert held == pytest.approx(said[-1], rel=0.03)
    assert said[1] == pytest.approx(2 * said[0], rel=0.01)


def allocated_by(function, *args):
    """The bytes that are held while the result of a function is, none from a pool."""
    memory.reuse(False)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        result = function(*args)
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] - before
        del result
        return held
    finally:
        tracemalloc.stop()
        memory.reuse(True)


def test_memory_that_is_short_gives_smaller_micro_batches_then_a_refusal(data, tiny, monkeypatch):
    short = replace(data, train=data.train[:1000], val=data.val[:100])     # soon counted
    run = Run.start(tiny(batch_tokens=16 * 64), short, Plan.fixed(1))
    assert forecast(run, 100).micro_batch == 64
    one, n = sequence_bytes(run), sum(x.size for x in run.model.parameters())
    fixed = 4 * n * 3.5
    longer = replace(data, train=np.tile(data.train, 500))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(costs, "available_bytes", lambda: 25_000_000)
        with pytest.raises(ConfigError, match="a text of 1[0-9] MB needs 0.[0-9] GB at the"):
            forecast(Run.start(tiny(), longer, Plan.fixed(1)), 100)
    monkeypatch.setattr(costs, "baseline_bytes", lambda run: 0)
    monkeypatch.setattr(costs, "available_bytes", lambda: int((fixed + 20 * one) / 0.9))
    assert 10 <= forecast(run, 100).micro_batch <= 20
    monkeypatch.setattr(costs, "available_bytes", lambda: int(fixed))
    with pytest.raises(ConfigError, match="are free: use --d_model"):
        forecast(run, 100)


def test_the_rate_of_matmul_is_measured_however_little_time_there_is():
    assert 0 < costs.matmul_gflops((32, 64), seconds=0) < 1e5


def test_a_run_of_days_needs_a_yes():
    check_duration(1000, False)
    check_duration(1e6, True)
    with pytest.raises(ConfigError, match="11 days.*--yes"):
        check_duration(1e6, False)


def test_a_first_evaluation_that_compiles_kernels_does_not_end_a_run(monkeypatch):
    clock = Clock(monkeypatch)
    pacer = Pacer(clock.now + 300, 0.1, pause_s=1.0, evaluations=20)
    plan = pacer.first_plan(Plan.fixed(1), 0)
    clock.now += 10 + 30                              # 100 steps, and the pause
    pacer.pause(30.0)
    plan = pacer.replan(plan, 100)
    assert 2400 < plan.steps < 2600                   # in 260 s, less 19 evaluations of 1 s


@given(st.floats(0, 1e7))
def test_durations_are_never_empty(seconds):
    assert duration(seconds)[0].isdigit()


def test_a_resumed_run_takes_a_new_end_and_nothing_else(data, tiny):
    run = Run.start(tiny(), data, Plan.fixed(10))
    run.step = 4
    continue_plan(run, {"steps": 20})
    assert run.plan.steps == 20 and np.isclose(run.plan.progress(4), 0.4)
    for given_settings, words in (({"steps": 3}, "4 are done"), ({"n_layer": 3}, "--n_layer")):
        with pytest.raises(ConfigError, match=words):
            continue_plan(run, given_settings)
    run.step = 20
    with pytest.raises(ConfigError, match="at its end"):
        continue_plan(run, {}, 20)
    continue_plan(run, {}, 10)
    assert run.plan.steps == 20
    continue_plan(run, {"minutes": 1.0})
    assert run.plan.steps > 20 and run.config.train.minutes == 1


def test_what_is_to_go_elsewhere_gets_no_tokenizer_and_no_tables_that_stay_here():
    corpus = Corpus("x", [b"some text" * 1000], "x")
    config = choose_settings(corpus, "portable", {"steps": 1}, 240)
    assert (config.data.tokenizer, config.data.vocabulary) == ("bpe", 512)
    assert config.model.ngram_rows == 0 and config.model.mlp == "swiglu"
    assert choose_settings(corpus, "portable", {"minutes": 60}, 240).train.weight_decay == 0.15
    assert choose_settings(corpus, "fast", {"steps": 1}, 240).model.ngram_rows == 4096
