"""What tests of single functions hold derivatives to: differences, once and twice."""
import numpy as np

import minigrad as mg
from minigrad import Tensor, jvp


def check_derivatives(f, x):
    """Compare slopes of first and second order with central differences of fourth order."""
    rng = np.random.default_rng(0)
    v, g = rng.standard_normal(x.shape), rng.standard_normal(f(Tensor(x)).shape)

    def gradient(x):
        return mg.grad(lambda x: (f(x) * g).sum())(x)

    def slope(function, h=1e-3):
        return (8 * (function(x + h * v) - function(x - h * v))
                - (function(x + 2 * h * v) - function(x - 2 * h * v))) / (12 * h)

    first = slope(lambda x: (f(Tensor(x)).data * g).sum())
    assert np.isclose((gradient(x) * v).sum(), first, rtol=1e-8)
    np.testing.assert_allclose(jvp(gradient, (x,), (v,))[1], slope(gradient), rtol=1e-8, atol=1e-8)
