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


# ---- derivatives inside of derivatives -------------------------------------------------------

SMOOTH = {"mul": lambda x, y: x * y, "add": lambda x, y: x + 2 * y,
          "exp": lambda x, y: (x / 3).exp() * y, "tanh": lambda x, y: (x * y).tanh(),
          "sin": lambda x, y: (x + y).sin() * x,
          "power": lambda x, y: (x * x + 1) ** 0.5 + y * y, "unused": lambda x, y: x * x * x,
          "gelu": lambda x, y: (x * y).gelu(), "norm": lambda x, y: mg.layer_norm(
              mg.stack([x * x, x * y, y])).sum() + mg.softmax(mg.stack([x, y, x * y]))[0]}


def differentiated(kind, f, as_array):
    """Return the derivative of f(x, y) in y, once more a function of x and y."""
    def once(x, y):
        at, inner = (mg.tensor.detach(y) if as_array else y), lambda z: f(x, z)
        if kind == "grad":
            return grad(inner)(at)
        if kind == "grad of two":
            return grad(f, 1)(x, at)
        if kind == "vjp":
            return vjp(inner, at)[1](1.0)[0]
        if kind == "jvp":
            return jvp(inner, (at,), (np.ones(()),))[1]
        return hessian_vector_product(inner, at, np.ones(()))
    return once


KINDS = ["grad", "grad of two", "vjp", "jvp", "hessian"]


@given(st.sampled_from(sorted(SMOOTH)), st.lists(st.sampled_from(KINDS), min_size=1, max_size=2),
       st.booleans(), st.sampled_from(["grad", "jvp", "value_and_grad", "backward"]), seeds)
def test_a_derivative_of_an_inner_derivative_is_its_slope(name, kinds, as_array, outer, seed):
    f = lambda x, y: Tensor.sum(SMOOTH[name](x, y))
    for kind in kinds:
        f = differentiated(kind, f, as_array)
    x, y = np.random.default_rng(seed).uniform(0.5, 1.5, 2)
    along = lambda x: x * f(x, y) if as_array else x * f(x, x * y)    # y from outside, or traced
    value = lambda x: float(np.asarray(mg.tensor.detach(along(Tensor(x)))))
    if outer == "backward":
        leaf = Tensor(x, requires_grad=True)
        along(leaf).backward()
        found = leaf.grad
    else:
        found = {"grad": lambda: grad(along)(x), "jvp": lambda: jvp(along, (x,), (1.0,))[1],
                 "value_and_grad": lambda: value_and_grad(along)(x)[1]}[outer]()
    assert type(found) is not Tensor
    want = slope(value, x, 1.0)
    np.testing.assert_allclose(found, want, rtol=1e-6, atol=1e-6 * max(1, abs(value(x))))


def test_a_derivative_that_depends_on_nothing_traced_is_an_array_and_else_a_tensor():
    w = Tensor(2.0, requires_grad=True)
    assert type(grad(lambda x: x * x)(3.0)) is np.ndarray
    found = grad(lambda x: w * w * x * x)(3.0)            # 6 w w
    found.backward()
    assert found.item() == 24 and w.grad == 24
    with mg.no_grad():                                    # nothing outside is recorded, but f is
        assert grad(lambda x: w * x * x)(3.0) == 12
        assert not grad(lambda x: x * x)(w).requires_grad
    g = Tensor(np.ones(2), requires_grad=True)
    back, = vjp(lambda x: x * x, np.array([1.0, 3.0]))[1](g)
    back.sum().backward()                                 # linear in g: 2 x
    np.testing.assert_array_equal(g.grad, [2, 6])


def test_two_tensors_of_one_array_are_told_apart():
    assert grad(grad(lambda x: x * x.detach()))(3.0) == 0
    assert grad(grad(lambda x: x.detach() * x))(3.0) == 0
    a = np.array(3.0)
    assert grad(grad(lambda x: Tensor(a) * x * x))(a) == 6


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_an_input_of_no_influence_has_the_slope_zero_whatever_its_value(value):
    bad = np.array([value, 1.0])
    assert np.array_equal(vjp(lambda x, y: x * 2, 1.0, bad)[1](1.0)[1], [0, 0])
    assert np.array_equal(grad(lambda x, y: x * 2, 1)(1.0, bad), [0, 0])
    assert jvp(lambda x, y: x * 2, (1.0, bad), (1.0, bad))[1] == 2
    assert np.array_equal(jvp(lambda x: x.exp(), (np.array([0.0, -np.inf]),), (np.ones(2),))[1],
                          [1, 0])
    assert np.array_equal(hessian_vector_product(lambda x: (x[1:] ** 3).sum(), bad, np.ones(2)),
                          [0, 6])


def test_what_has_no_derivative_is_refused_in_words():
    with pytest.raises(TypeError, match="returned tuple, but must return one Tensor"):
        grad(lambda x: (x, x))(1.0)
    with pytest.raises(TypeError, match="returned NoneType"):
        vjp(lambda x: None, 1.0)
    with pytest.raises(IndexError, match="argnum is 2, but there are 2 arguments"):
        grad(lambda x, y: x * y, 2)(1.0, 2.0)
    assert grad(lambda x, y: x * y, -1)(2.0, 3.0) == 2
    with pytest.raises(ValueError, match=r"a tangent has shape \(3,\), but its argument"):
        jvp(lambda x: x, (np.ones(2),), (np.ones(3),))
    with pytest.raises(ValueError, match=r"v has shape \(\), but x has shape \(2,\)"):
        hessian_vector_product(lambda x: (x * x).sum(), np.ones(2), 1.0)


def test_derivatives_keep_the_dtype():
    x = np.linspace(0.5, 1, 3, dtype=np.float32)
    for found in (grad(lambda x: x.exp().sum())(x), jvp(lambda x: x.exp(), (x,), (x,))[1],
                  hessian_vector_product(lambda x: x.exp().sum(), x, x), jvp(lambda x: 1.0 + 0 * x,
                                                                             (x,), (x,))[1]):
        assert found.dtype == np.float32


@given(st.permutations(["x", "x", "x * x", "2 * x", "x.sin()"]))
def test_constant_and_curved_contributions_add_in_any_order(terms):
    def f(x):
        total = 0
        for term in terms:
            total = total + eval(term, {"x": x})
        return total.sum()
    x, v = np.array([1.0, 2.0]), np.array([1.0, -1.0])
    np.testing.assert_allclose(hessian_vector_product(f, x, v), (2 - np.sin(x)) * v)
