"""Derivatives of functions, of any order, for any composition of operations."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Tensor, grad, hessian_vector_product, jvp, use, value_and_grad, vjp

STEPS = {
    "exp": lambda x: (0.3 * x).exp(), "tanh": lambda x: x.tanh(), "gelu": lambda x: x.gelu(),
    "silu": lambda x: x.silu(), "square": lambda x: x * x, "softmax": lambda x: x.softmax(),
    "log_softmax": lambda x: x.log_softmax(), "layer_norm": lambda x: mg.layer_norm(x + SHIFT),
    "rms_norm": mg.rms_norm, "matmul": lambda x: x @ WEIGHT,
    "linear": lambda x: mg.linear(x, WEIGHT),
    "rotary": lambda x: mg.rotary(x, *mg.rotary_angles(3, 4, dtype=np.float64)),
    "attention": lambda x: mg.attention(*[x.reshape(1, 1, 3, 4)] * 3).reshape(3, 4),
    "swiglu": lambda x: mg.swiglu(mg.concatenate([x, x[::-1]], axis=1)),
    "logsumexp": lambda x: x - x.logsumexp(axis=0),
    "var": lambda x: x / (1 + x.var(axis=1, keepdims=True)), "split": lambda x: mg.concatenate(
        x.split(2, axis=1)[::-1], axis=1), "add_norm": lambda x: sum(mg.add_layer_norm(x, SHIFT)),
    "loss": lambda x: x * mg.cross_entropy(x, np.array([0, 3, -100])),
    "linear_loss": lambda x: x * mg.linear_cross_entropy(x, WEIGHT, np.array([1, 1, 0])),
    "indexed": lambda x: x[np.array([2, 0, 2])] + x[:, :1], "sqrt": lambda x: (x * x + 1).sqrt(),
    "sigmoid": lambda x: x.sigmoid(), "pow": lambda x: (x * x + 0.5) ** 1.5,
}
WEIGHT = np.random.default_rng(0).standard_normal((4, 4))
SHIFT = np.random.default_rng(1).standard_normal((3, 4))

compositions = st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=3)
seeds = st.integers(0, 2**16)


def scalar(names):
    def f(x):
        for name in names:
            x = STEPS[name](x)
        return (x * SHIFT).sum()
    return f


def slope(f, x, v, h=1e-3):
    """Differentiate numerically along v, to fourth order in h."""
    at = lambda k: np.asarray(f(x + k * h * v))
    return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * h)


@pytest.mark.parametrize("level", ["fast", "reference", "parts"])
@given(names=compositions, seed=seeds)
def test_hessian_vector_product_is_the_slope_of_the_gradient(level, names, seed):
    rng = np.random.default_rng(seed)
    x, v = rng.standard_normal((2, 3, 4))
    with use(level):
        f = scalar(names)
        got = hessian_vector_product(f, x, v)
        want = slope(grad(f), x, v)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6 * max(1, np.abs(want).max()))


@given(compositions, seeds)
def test_jvp_and_vjp_are_adjoint_and_jvp_is_the_slope(names, seed):
    rng = np.random.default_rng(seed)
    x, v, g = rng.standard_normal((3, 3, 4))

    def f(x):
        for name in names:
            x = STEPS[name](x)
        return x

    value, forward = jvp(f, (x,), (v,))
    value_again, pull_back = vjp(f, x)
    backward, = pull_back(g)
    np.testing.assert_array_equal(value, value_again)
    np.testing.assert_allclose(np.vdot(g, forward), np.vdot(backward, v), rtol=1e-9)
    want = slope(lambda x: f(Tensor(x)).data, x, v)
    np.testing.assert_allclose(forward, want, rtol=1e-6, atol=1e-7 * max(1, np.abs(want).max()))


def test_gradients_of_gradients_of_gradients():
    f = lambda x: x ** 4 + x.exp()
    for order, want in enumerate([4 * 8 + np.exp(2), 12 * 4 + np.exp(2), 24 * 2 + np.exp(2)]):
        f = grad(f)
        assert np.isclose(f(2.0), want), order


def test_an_inner_variable_is_not_confused_with_an_outer_one():
    assert grad(lambda x: x * grad(lambda y: x + y)(x))(1.0) == 1
    assert grad(lambda x: grad(lambda y: x * y)(x))(3.0) == 1
    assert grad(lambda x: x * grad(lambda y: x * y)(Tensor(2.0)))(3.0) == 6


def test_arrays_in_give_arrays_and_tensors_in_give_recorded_tensors():
    f = lambda x, y: (x * y).sum()
    x, y = np.array([1.0, 2]), np.array([3.0, 4])
    value, gradient = value_and_grad(f, argnum=1)(x, y)
    assert value == 11 and type(gradient) is np.ndarray and np.array_equal(gradient, x)
    w = Tensor(x, requires_grad=True)
    dy = grad(f, argnum=1)(w, Tensor(y))
    (dy * dy).sum().backward()
    assert np.array_equal(w.grad, 2 * x)


def test_a_function_that_ignores_its_argument_has_gradient_zero():
    assert np.array_equal(grad(lambda x: Tensor(1.0))(np.ones(2)), [0, 0])
    value, derivative = jvp(lambda x, y: x * 2, (np.ones(2), np.ones(3)), (np.ones(2), np.ones(3)))
    assert np.array_equal(derivative, [2, 2])


def test_gradient_of_a_vector_is_refused():
    with pytest.raises(ValueError, match="needs a scalar"):
        grad(lambda x: x * 2)(np.ones(2))
