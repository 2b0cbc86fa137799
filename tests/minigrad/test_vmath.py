"""The vectorising functions: their error over the whole range, and what is special."""
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad.kernels import vmath
from minigrad.kernels.rows import element_kernel


@element_kernel
def _exp(x):
    return vmath.exp(x)

@element_kernel
def _tanh(x):
    return vmath.tanh(x)

@element_kernel
def _log(x):
    return vmath.log(x)

@element_kernel
def _erf(x):
    return vmath.erf(x)


def by_element(function):
    """Run a function of Python's math module on an array."""
    return lambda x: np.array([function(v) for v in x.tolist()])


# name -> (kernel, exact in float64, largest error in ulp for float32 and float64)
FUNCTIONS = {"exp": (_exp, np.exp, 1.7, 2), "tanh": (_tanh, np.tanh, 3.3, 4),
             "log": (_log, np.log, 1.0, 2), "erf": (_erf, by_element(math.erf), 1.5, 2)}
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 5e-324, 1e-45, 1e-40, 1e-310, 3e38]


def points(dtype):
    """Sample the whole range: linear, logarithmic in both signs, and around the thresholds."""
    top = 89 if dtype == np.float32 else 710
    low, high = (-45, 38) if dtype == np.float32 else (-320, 308)
    powers = 10.0 ** np.linspace(low, high, 4001)
    return np.concatenate([np.linspace(-1.2 * top, top, 20_001), np.linspace(-7, 7, 10_001),
                           powers, -powers]).astype(dtype)


def error_ulp(kernel, exact, x):
    """Return the distance from the exact value in units of its last place, where it is finite."""
    with np.errstate(all="ignore"):
        want = exact(x.astype(np.float64))
        near = want.astype(x.dtype)
        got = kernel(x)
        finite = np.isfinite(near)
        distance = np.abs(got.astype(np.float64) - want) / np.spacing(np.abs(near)).astype(float)
    same = (got == near) | (np.isnan(got) & np.isnan(near))
    return np.where(finite, distance, np.where(same, 0, np.inf))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_error_stays_within_what_is_stated_over_the_whole_range(name, dtype):
    kernel, exact, *stated = FUNCTIONS[name]
    x = points(dtype)
    x = np.abs(x) if name == "log" else x
    error = error_ulp(kernel, exact, x)
    worst = np.argmax(error)
    assert error[worst] <= stated[dtype == np.float64], (x[worst], error[worst])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_zeros_infinities_nan_and_subnormals_come_out_as_in_numpy(name, dtype):
    kernel, exact, *stated = FUNCTIONS[name]
    with np.errstate(all="ignore"):
        x = np.array(SPECIAL, dtype)
        want = exact(x.astype(np.float64)).astype(dtype) if name != "log" else np.log(x)
    got = kernel(x)
    np.testing.assert_allclose(got, want, rtol=8 * np.finfo(dtype).eps, atol=1e-323)
    if name in ("tanh", "erf"):
        assert (np.signbit(got) == np.signbit(x))[~np.isnan(x)].all()


@given(st.floats(-80, 80, width=32), st.floats(-80, 80, width=32))
def test_order_is_kept_up_to_rounding(a, b):
    x = np.array(sorted([a, b]), np.float32)
    for kernel in (_exp, _tanh, _erf):
        low, high = kernel(x)
        assert low <= high * (1 + 4e-7) + 1e-6 * (high < 0)
