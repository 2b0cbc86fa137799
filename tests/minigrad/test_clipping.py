"""Gradients are clipped as they should be, and schedules rise to one and end where they say."""
import math

import numpy as np
import pytest
from gradients_at_hand import GOLDEN, LEVELS, matrices
from golden.optimizer_cases import CLIPPED, START, gradient
from hypothesis import given
from hypothesis import strategies as st

from minigrad import Tensor, use
from minigrad.optim import (
    clip_grad_norm, clip_grad_value, cosine_schedule, linear_schedule, trapezoid_schedule)


# ---- clipping --------------------------------------------------------------------------------

@given(st.floats(1e-3, 1e3), st.integers(0, 99))
def test_clipping_bounds_the_joint_norm_and_keeps_the_direction(max_norm, seed):
    parameters = matrices(seed, (3, 2), (4,), ())
    before = np.concatenate([p.grad.ravel() for p in parameters])
    norm = clip_grad_norm(parameters, max_norm)
    after = np.concatenate([p.grad.ravel() for p in parameters])
    assert math.isclose(norm, np.linalg.norm(before))
    np.testing.assert_allclose(after, before * min(1, max_norm / norm), rtol=1e-12)


def test_clipping_skips_missing_gradients_and_leaves_infinite_ones():
    a, b = matrices(0, (2,), (2,))
    a.grad = None
    assert clip_grad_norm([a, b], 1e9) == np.linalg.norm(b.grad)
    a.grad, before = np.array([np.inf, 1.0]), b.grad.copy()
    with pytest.raises(FloatingPointError, match="inf"):
        clip_grad_norm([a, b], 1.0)
    assert np.array_equal(b.grad, before)


def test_the_norm_of_float32_gradients_does_not_overflow():
    (p,) = matrices(0, (2,), dtype=np.float32)
    p.grad[:] = 3e30, 4e30
    assert math.isclose(clip_grad_norm([p], 1.0), 5e30, rel_tol=1e-6)
    np.testing.assert_allclose(p.grad, [0.6, 0.8], rtol=1e-6)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("i", range(len(CLIPPED)), ids=[str(case) for case in CLIPPED])
def test_gradients_are_clipped_as_by_torch_in_every_norm(i, level):
    max_norm, p = CLIPPED[i]
    parameters = [Tensor(x, requires_grad=True) for x in START.values()]
    for parameter, name in zip(parameters, START):
        parameter.grad = gradient(parameter.data, name, 4)
    with use(level):
        norm = clip_grad_norm(parameters, max_norm, p, eps=1e-6)
    found = np.concatenate([[norm]] + [x.grad.ravel() for x in parameters])
    np.testing.assert_allclose(found, GOLDEN[f"clipped|{i}"], rtol=1e-12)


@given(st.floats(-300, 300), st.sampled_from([0.5, 1.0, 2.0, 3.0, math.inf]),
       st.sampled_from(LEVELS))
def test_a_norm_is_as_large_as_its_gradients_whatever_their_size(exponent, p, level):
    (a,) = matrices(0, (5,))
    expected = np.sum(np.abs(a.grad) ** p) ** (1 / p) if p < math.inf else np.abs(a.grad).max()
    a.grad *= 10 ** exponent
    with use(level):
        assert math.isclose(clip_grad_norm([a], math.inf, p), expected * 10 ** exponent,
                            rel_tol=1e-12)


@pytest.mark.parametrize("dtype, size", [(np.float16, 6e4), (np.float32, 3e38),
                                         (np.float64, 1e300)])
def test_a_clipped_norm_is_exact_at_the_largest_numbers(dtype, size):
    (p,) = matrices(0, (1000,), dtype=dtype)
    p.grad[:] = size
    clip_grad_norm([p], 1.0)
    assert p.grad.dtype == dtype
    assert math.isclose(clip_grad_norm(p, math.inf), 1, rel_tol=2 * np.finfo(dtype).eps)


def test_clipping_by_value_bounds_every_element():
    a, b = matrices(0, (3,), (2, 2))
    before, b.grad = a.grad.copy(), None
    clip_grad_value([a, b], 0.1)
    assert np.array_equal(a.grad, np.clip(before, -0.1, 0.1))


def test_limits_that_make_no_sense_are_named():
    (p,) = matrices(0, (3,))
    before = p.grad.copy()
    for wrong in (math.nan, -1.0, -math.inf):
        with pytest.raises(ValueError, match=f"max_norm is {wrong}"):
            clip_grad_norm([p], wrong)
        with pytest.raises(ValueError, match=f"max_value is {wrong}"):
            clip_grad_value([p], wrong)
        with pytest.raises(ValueError, match=f"norm_type is {wrong}"):
            clip_grad_norm([p], 1.0, wrong)
        with pytest.raises(ValueError, match=f"eps is {wrong}"):
            clip_grad_norm([p], 1.0, eps=wrong)
    with pytest.raises(ValueError, match="norm_type is 0"):
        clip_grad_norm([p], 1.0, 0)
    assert np.array_equal(p.grad, before)


# ---- schedules -------------------------------------------------------------------------------

SCHEDULES = {
    "cosine": cosine_schedule, "linear": linear_schedule,
    "trapezoid": lambda *args: trapezoid_schedule(*args[:3], args[1] // 4, args[3])}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@given(total=st.integers(4, 200), warmup=st.integers(0, 50), final=st.floats(0, 1))
def test_a_schedule_rises_to_one_and_never_rises_again(schedule, total, warmup, final):
    warmup = min(warmup, total // 4)
    values = [schedule(step, total, warmup, final) for step in range(total + 3)]
    rising, falling = values[:warmup + 1], values[warmup:]
    assert all(0 < a < b for a, b in zip(rising, rising[1:])) and values[warmup] == 1
    assert all(a >= b for a, b in zip(falling, falling[1:]))
    np.testing.assert_allclose(values[total:], final, atol=1e-12)


def test_schedules_at_a_few_steps():
    assert [linear_schedule(step, 4) for step in range(5)] == [1, 0.75, 0.5, 0.25, 0]
    assert [linear_schedule(step, 6, 2) for step in range(3)] == [1 / 3, 2 / 3, 1]
    assert [trapezoid_schedule(step, 6, 1, 2) for step in range(7)] == [0.5, 1, 1, 1, 1, 0.5, 0]
    assert math.isclose(cosine_schedule(5, 10, 0, 0.1), 0.55)
