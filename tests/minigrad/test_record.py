"""What the stepper says of any expression is what was done: sentences, sums, first mistakes."""
import numpy as np
import pytest
from expressions import programs, run_program, training_step
from hypothesis import given, settings
from hypothesis import strategies as st

from minigrad import Tensor, split, sum as sum_, use
from minigrad.mode import LEVELS
from minigrad.stepper import variants
from minigrad.stepper.numbers import numbers, short
from minigrad.stepper.record import record, trace
from minigrad.stepper.variants import VARIANTS, run
from minigrad.stepper.words import label, sentence, waiting

ODD = [0.0, -0.0, 1.0, -2.5, 0.3, 1e-300, 1e300, np.inf, -np.inf, np.nan]
ARRAYS = st.lists(st.sampled_from(ODD) | st.floats(-2, 2), min_size=4, max_size=4).map(np.array)
TAME = st.lists(st.floats(-2, 2).map(lambda x: round(x, 2)), min_size=4, max_size=4).map(np.array)


def loss_of(program, leaves):
    """Run a program on arrays, and leave half of its result unused."""
    half, _ = split(run_program(program, leaves), 2)
    return sum_(half)


def traced(program, *arrays):
    leaves = [Tensor(x.copy(), requires_grad=True) for x in arrays]
    with np.errstate(all="ignore"), trace() as t:
        loss_of(program, leaves).backward()
    return t, leaves


def gpt(level, n_layer=1):
    model, ids, targets = training_step(B=1, T=4, V=7, C=8, n_layer=n_layer)
    with use(level):
        return record(lambda: model(ids, targets))


def holds_to_the_engine(t):
    """Every sum is what was put in, said in these words; a node acts when all has come."""
    sums, acted = {}, set()
    for i, e in enumerate(t.events):
        said = sentence(t, e)
        if e.kind == "start":
            sums, acted = {}, set()
        if e.kind != "send":
            continue
        acted.add(e.node)
        assert t.nodes[e.to].maker not in acted
        if e.to in sums:
            before = sums[e.to]
            expected = np.add(before.cells, e.sent.cells, dtype=e.sent.dtype)
            np.testing.assert_array_equal(e.total.cells, expected)
            assert f": {short(before)} + {short(e.sent)} = {short(e.total)}" in said
        else:
            np.testing.assert_array_equal(e.total.cells, e.sent.cells)
            assert f": the first, the sum is {short(e.sent)}" in said
        assert "overwrites" not in said
        sums[e.to] = e.total
        for x, n, of in waiting(t, i):
            come = [s for s in t.events[:i + 1] if s.kind == "send" and s.to == x]
            assert 1 <= n <= of and (n < len(come) or n == len(come))
        assert e.node not in sums or short(sums[e.node]) == short(e.g)


@given(programs(), ARRAYS, ARRAYS)
def test_sentences_and_sums_hold_to_what_was_done_also_for_nan_and_inf(program, a, b):
    t, leaves = traced(program, a, b)
    with np.errstate(all="ignore"):
        holds_to_the_engine(t)
    for x in leaves:
        if x.grad is not None:
            found = [e.total.cells[0] for e in t.events if e.kind == "leaf"]
            assert any(np.array_equal(x.grad, g, equal_nan=True) for g in found)


@pytest.mark.parametrize("level", LEVELS)
def test_sentences_and_sums_of_a_gpt_hold_to_what_was_done(level):
    holds_to_the_engine(gpt(level))


def gradients(t):
    """Walk the expression of a record once more, without the stepper: {node: gradient}."""
    found = {e.node: e.g for e in t.events if e.kind in ("start", "leaf")}
    return found | {e.node: e.g for e in t.events if e.kind == "send"}


def wrong_enough(x, y):
    return not np.allclose(x.cells, y.cells, rtol=0, atol=1e-13 * (1 + abs(y.cells).max()))


def judged_right(t):
    """What is called the first wrong number is wrong, and nothing that was used before it is."""
    right = gradients(t)
    last = {e.to: e.total for e in t.events if e.kind == "send"}
    for variant in VARIANTS:
        outcome = run(t, variant)
        first = outcome.first_wrong
        before = outcome.events[:first] if first >= 0 else outcome.events
        for e in before:
            if e.kind == "leaf":
                np.testing.assert_allclose(e.total.cells, right[e.node].cells, rtol=1e-4, atol=1e-6)
            if e.kind == "send":
                np.testing.assert_allclose(e.g.cells, right[e.node].cells, rtol=1e-4, atol=1e-6)
        if first >= 0:
            e = outcome.events[first]
            x = e.node if e.kind == "leaf" else e.to
            target = right.get(x, last.get(x))
            assert wrong_enough(e.total, target)
            assert f"should be {short(target)}." in outcome.verdict
            assert sentence(t, e) in outcome.verdict
        else:
            assert outcome.verdict.startswith("Every number is right here.")


@given(programs(), TAME, TAME)
@settings(max_examples=settings().max_examples // 4)
def test_the_first_wrong_number_is_the_first_that_is_wrong(program, a, b):
    t, _ = traced(program, a, b)
    judged_right(t)


@pytest.mark.parametrize("level", [
    "fast", *(pytest.param(level, marks=pytest.mark.thorough) for level in ("reference", "parts"))])
def test_the_first_wrong_number_of_a_gpt_is_wrong(level):
    judged_right(gpt(level))


def test_nothing_is_called_wrong_where_an_output_is_not_used():
    x = Tensor(np.arange(4.0), requires_grad=True)
    with trace() as t:
        p, q = split(x, 2)
        p.sum().backward()
    assert [run(t, v).first_wrong >= 0 for v in VARIANTS] == [False, False, True, True]
    assert "; nobody has sent to q: 0" in t.text()


@pytest.mark.parametrize("f", [lambda x: x * x, lambda x: x * 1e10 + x])
def test_infinity_is_added_and_does_not_overwrite(f):
    x = Tensor(np.array([np.inf, 1.0]), requires_grad=True)
    with trace() as t:
        sum_(f(x)).backward()
    assert "overwrites" not in t.text() and "] + [" in t.text()


def test_a_contribution_of_nothing_may_be_overwritten_unharmed():
    x = Tensor(np.array([2.0, 1.0]), requires_grad=True)
    with trace() as t:
        sum_(x * 3.0 + x * 0.0).backward()
    outcome = run(t, VARIANTS[1])
    assert outcome.first_wrong == -1
    assert any("it overwrites [0, 0], the sum is [3, 3]" in sentence(t, e) for e in outcome.events)


def test_what_is_written_behind_the_engine_does_not_change_what_was_said():
    x = Tensor(np.array(2.0), requires_grad=True)
    index = np.array([0, 1])
    y = Tensor(np.ones(3), requires_grad=True)
    with trace() as t:
        loss = x * x + y[index].sum()
        said = sentence(t, t.events[0])
        x.data[...] = 5.0
        index[:] = 2
        loss.backward()
    assert sentence(t, t.events[0]) == said == "mul_1 = mul(x, x) = 4"
    assert any(e.kind == "leaf" and short(e.total) == short(numbers(x.grad)) for e in t.events)
    outcome = run(t, VARIANTS[1])
    assert "should be 4." in outcome.verdict and "written in place" in outcome.verdict


def test_two_passes_are_counted_apart():
    x = Tensor(2.0, requires_grad=True)
    with trace() as t:
        (x * x).backward()
        (x * x).backward()
    seen = {(label(t.nodes[n]), have, of) for i in range(len(t.events))
            for n, have, of in waiting(t, i)}
    assert seen == {("x", 1, 2), ("x", 2, 2)}


def test_a_long_chain_is_not_called_a_doubling(monkeypatch):
    monkeypatch.setattr(variants, "MOST_STEPS", 5)
    y = Tensor(0.5, requires_grad=True)
    with trace() as t:
        for _ in range(12):
            y = y * 1.01
        y.backward()
    assert run(t, VARIANTS[0]).verdict == "Every number is right here."
