"""Activations, arcs, hyperbolas and products; and dtypes, ties and special values of all.

Values and gradients against torch are in test_torch_values.py.
"""
import numpy as np
import pytest
from derivatives import check_derivatives
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
from minigrad import Tensor, grad, ops

REGULAR = np.array([[0.55, 0.1, -1.5], [0.8, -0.3, 2.0], [1.25, -0.6, 3.1]])   # far from kinks
TINY, INF, NAN = 1e-20, np.inf, np.nan


# ---- slopes ----------------------------------------------------------------------------------

SMOOTH = {name: lambda x, name=name: getattr(mg, name)(x) * x for name in (
    "relu6", "hardtanh", "hardsigmoid", "hardswish", "softsign", "mish", "selu", "celu",
    "exact_gelu", "softmin", "tanhshrink", "hardshrink", "sinh", "cosh", "arctan", "arcsinh",
    "cbrt")}
SLOPES = {
    **SMOOTH, "softshrink": lambda x: mg.softshrink(x, 0.2) ** 3,
    "threshold": lambda x: mg.threshold(x, 0.2, 7.0) ** 3,
    "arcsin": lambda x: mg.arcsin(x / 4) * x, "arccos": lambda x: mg.arccos(x / 4) * x,
    "arctanh": lambda x: mg.arctanh(x / 4) * x, "arccosh": lambda x: mg.arccosh(x + 3) * x,
    "glu over rows": lambda x: mg.glu(mg.concatenate([x, x * x]), 0) ** 2,
    "prelu": lambda x: mg.prelu(x, x * x), "hypot": lambda x: mg.hypot(x, x.mT) * x,
    "arctan2": lambda x: mg.arctan2(x, x.mT * x.mT + 1), "outer": lambda x: x.outer(x[0]),
    "kron": lambda x: mg.kron(x, x[:2]), "cross": lambda x: mg.cross(x, x.mT) * x,
    "tensordot": lambda x: mg.tensordot(x, x * x, ((0, 1), (1, 0)))}


@pytest.mark.parametrize("name", SLOPES)
def test_first_and_second_derivatives_equal_finite_differences(name):
    check_derivatives(SLOPES[name], REGULAR)


# ---- digits ----------------------------------------------------------------------------------

EXACT = [                                             # function, x, value, slope
    ("log1p", TINY, TINY, 1), ("log1p", -1.0, -INF, INF), ("expm1", TINY, TINY, 1),
    ("expm1", 1e4, INF, INF), ("logsigmoid", -1000.0, -1000, 1), ("logsigmoid", 1000.0, 0, 0),
    ("mish", 1e4, 1e4, 1), ("mish", -1e4, 0, 0), ("softsign", 1e10, 1 - 1e-10, (1 + 1e10)**-2),
    ("softsign", -INF, -1, 0), ("softsign", TINY, TINY, 1), ("sinh", TINY, TINY, 1),
    ("sinh", 710.0, np.sinh(710.0), np.cosh(710.0)), ("arcsinh", 1e200, np.arcsinh(1e200), 1e-200),
    ("arctan", 1e100, np.pi / 2, 1e-200), ("arctan", INF, np.pi / 2, 0), ("arctan", TINY, TINY, 1),
    ("arcsin", 1.0, np.pi / 2, INF), ("arccos", 1.0, 0, -INF), ("arccos", -1.0, np.pi, -INF),
    ("arcsin", TINY, TINY, 1), ("arcsin", 1 - 2.0**-40, np.arcsin(1 - 2.0**-40), 2**19.5),
    ("arccos", 1 - 2.0**-40, np.arccos(1 - 2.0**-40), -2**19.5), ("arctanh", TINY, TINY, 1),
    ("arctanh", -1.0, -INF, INF), ("arccosh", 1.0, 0, INF), ("arccosh", INF, INF, 0),
    ("arccosh", 1 + 2.0**-40, np.arccosh(1 + 2.0**-40), 2**19.5),
    ("arccosh", 1e300, np.arccosh(1e300), 1e-300), ("tan", 1.57, np.tan(1.57), 1 / np.cos(1.57)**2),
    ("cbrt", -8.0, -2, 1 / 12), ("cbrt", 0.0, 0, INF), ("hardswish", -INF, 0, 0),
    ("hardswish", INF, INF, 1), ("hardsigmoid", -INF, 0, 0), ("relu6", INF, 6, 0),
    ("tanhshrink", INF, INF, 1), ("selu", -INF, -1.7580993408473766, 0), ("celu", INF, INF, 1),
    ("softshrink", -INF, -INF, 1), ("erf", INF, 1, 0), ("log10", 1000.0, 3, 1e-3 / np.log(10))]


@pytest.mark.parametrize("name, x, value, slope", EXACT)
def test_digits_are_right_where_formulas_lose_them(name, x, value, slope):
    with np.errstate(all="ignore"):
        y = getattr(mg, name)(t := Tensor(x, requires_grad=True))
        y.backward()
    np.testing.assert_allclose([y.item(), t.grad], [value, slope], rtol=2e-12, atol=1e-300)


def test_logaddexp_and_hypot_neither_overflow_nor_lose_infinities():
    with np.errstate(all="ignore"):
        x, y = (Tensor(z, requires_grad=True) for z in ([1000.0, -INF, 0.0], [1000.0, 3.0, -INF]))
        mg.logaddexp(x, y).sum().backward()
    assert np.array_equal(x.grad, [0.5, 0, 1]) and np.array_equal(y.grad, [0.5, 1, 0])
    assert mg.logaddexp(-INF, -INF) == -INF
    x = Tensor(3e200, requires_grad=True)
    mg.hypot(x, 4e200).backward()
    assert np.isclose(x.grad, 0.6, rtol=1e-15)
    x = Tensor([0.0, 3e200], requires_grad=True)      # the origin has no angle
    mg.arctan2(x, Tensor([0.0, 4e200])).sum().backward()
    np.testing.assert_allclose(x.grad, [0, 0.16e-200], rtol=1e-14, atol=0)


@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 40)), elements=st.sampled_from(
    [0.0, -1.0, 2.0, 0.5, -3.0])))
def test_a_cumulative_product_is_exact_at_zeros(x):
    expected = np.cumprod(x)
    np.testing.assert_allclose(mg.cumprod(Tensor(x)).data, expected, rtol=1e-12)
    dx = grad(lambda x: mg.cumprod(x)[-1] * 1.0)(x)
    others = [np.prod(np.delete(x, i)) for i in range(len(x))]
    np.testing.assert_allclose(dx, others, rtol=1e-12)


# ---- orders ----------------------------------------------------------------------------------

few = hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=5),
                 elements=st.sampled_from([0.0, -0.0, 1.0, -2.5, INF, -INF, NAN]))


@given(few, st.data())
def test_sorting_is_stable_and_sends_each_gradient_to_its_place(array, data):
    axis = data.draw(st.integers(-array.ndim, array.ndim - 1))
    x = Tensor(array, requires_grad=True)
    ids = np.argsort(array, axis, kind="stable")
    assert np.array_equal(x.argsort(axis).data, ids)
    y = x.sort(axis)
    assert np.array_equal(y.data, np.sort(array, axis), equal_nan=True)
    g = np.arange(1.0, 1 + array.size).reshape(array.shape)
    y.backward(g)
    assert np.array_equal(np.take_along_axis(x.grad, ids, axis), g)
    assert np.array_equal(x.sort(None).data, np.sort(array, None), equal_nan=True)


@given(few, st.booleans(), st.data())
def test_the_k_largest_come_in_order_and_the_first_of_those_that_tie(array, largest, data):
    axis = data.draw(st.integers(-array.ndim, array.ndim - 1))
    k = data.draw(st.integers(0, array.shape[axis]))
    x = Tensor(array, requires_grad=True)
    y, ids = x.topk(k, axis, largest)

    def rank(v):                                      # nan counts as the largest
        key = (1, 0.0) if np.isnan(v) else (0, v)
        return tuple(-part for part in key) if largest else key
    rows, chosen = np.moveaxis(array, axis, -1), np.moveaxis(ids.data, axis, -1)
    for i in np.ndindex(rows.shape[:-1]):
        order = sorted(range(rows.shape[-1]), key=lambda j: rank(rows[i][j]))
        assert chosen[i].tolist() == order[:k]
    assert np.array_equal(y.data, np.take_along_axis(array, ids.data, axis), equal_nan=True)
    assert not ids.requires_grad and ids.dtype.kind == "i"
    y.backward(np.ones(y.shape))
    assert x.grad.sum() == y.size


def test_orders_of_whole_numbers_and_booleans_are_numpys():
    for dtype in (np.uint8, np.int8, bool, np.int64):
        x = np.array([0, 5, 128, 255, 5]).astype(dtype)
        assert np.array_equal(mg.sort(Tensor(x)).data, np.sort(x)) and mg.sort(x).dtype == dtype
        assert np.array_equal(mg.topk(Tensor(x), 3)[0].data, np.sort(x)[::-1][:3])
        for name in ("min", "max", "prod", "cumprod", "cumsum", "argsort"):
            if not (name == "argsort" and x.dtype == bool):
                ours = getattr(mg, name)(Tensor(x)).data
                theirs = getattr(np, name)(x) if name != "argsort" else np.argsort(
                    x, kind="stable")
                assert np.array_equal(ours, theirs) and ours.dtype == theirs.dtype, (name, dtype)


# ---- dtypes and arrays -----------------------------------------------------------------------

PLACES = {
    "chunk": lambda x: mg.chunk(x, 2)[0], "clone": mg.clone, "cross": lambda x: mg.cross(x, x),
    "diag": lambda x: mg.diag(x, 1), "diagonal": mg.diagonal, "expand": lambda x: mg.expand(
        x, (2, 3, 3)), "flatten": mg.flatten, "flip": mg.flip, "full_like": lambda x: mg.full_like(
        x, 1), "gather": lambda x: mg.gather(x, 0, np.zeros((1, 3), int)),
    "masked_fill": lambda x: mg.masked_fill(x, np.eye(3, dtype=bool), x[0, 0]),
    "moveaxis": lambda x: mg.moveaxis(x, 0, 1), "ones_like": mg.ones_like, "pad": lambda x: mg.pad(
        x, 1), "repeat": lambda x: mg.repeat(x, 2, 0), "roll": lambda x: mg.roll(x, 1),
    "sort": mg.sort, "squeeze": lambda x: mg.squeeze(x[:1]), "tile": lambda x: mg.tile(x, 2),
    "topk": lambda x: mg.topk(x, 2)[0], "tril": mg.tril, "triu": lambda x: mg.triu(x, 1),
    "unsqueeze": lambda x: mg.unsqueeze(x, 0), "vector to matrix": lambda x: mg.diag(x[0]),
    "zeros_like": mg.zeros_like, "kron": lambda x: mg.kron(x, x), "min": mg.min,
    "outer": lambda x: mg.outer(x, x)}


@pytest.mark.parametrize("name", PLACES)
def test_places_keep_every_dtype(name):
    for dtype in ("?", "u1", "i1", "i2", "u8", "f2", "f4", "f8"):
        x = (np.arange(9).reshape(3, 3) * 4 % 7).astype(dtype)
        if not (name == "cross" and dtype == "?"):    # NumPy subtracts no booleans
            x.flags.writeable = False
            assert PLACES[name](Tensor(x)).dtype == PLACES[name](x).dtype == dtype


ON_NUMBERS = {name: getattr(np, name, None) for name in (
    "abs sin cos tan sinh cosh arcsin arccos arctan arcsinh arccosh arctanh cbrt exp2 expm1 log1p "
    "square isnan isinf isfinite sign floor ceil erf softplus logsigmoid leaky_relu elu relu6 "
    "hardtanh hardsigmoid hardswish softsign mish selu celu exact_gelu tanhshrink hardshrink "
    "softshrink").split()}


@pytest.mark.parametrize("name", ON_NUMBERS)
def test_functions_of_numbers_take_every_float(name):
    function = getattr(mg, name)
    wide = np.array([[0.5, -0.25, 0.0], [-0.0, 0.75, -0.5]]) + (name == "arccosh") * 2
    expected = (ON_NUMBERS[name] or function)(wide)
    for dtype in ("f2", "f4", ">f4", ">f8"):
        x = wide.astype(dtype)
        x.flags.writeable = False
        y = function(x)
        assert y.dtype.newbyteorder("=") == (
            x.dtype.newbyteorder("=") if expected.dtype.kind == "f" else expected.dtype)
        np.testing.assert_allclose(y, expected, atol=8 * np.finfo(x.dtype).eps)
        assert np.array_equal(x, wide)                # nothing was written
        if dtype[0] != ">":
            t = Tensor(x, requires_grad=True)
            y = function(t)
            if y.requires_grad:
                with np.errstate(divide="ignore"):    # at the border
                    y.sum().backward()
                assert t.grad.dtype == dtype
        for shape in ((), (0,), (2, 0, 3)):
            assert function(np.full(shape, wide[0, 0], dtype)).shape == shape


@pytest.mark.parametrize("name", ON_NUMBERS)
def test_functions_of_numbers_take_whole_numbers_and_booleans(name):
    for dtype in ("?", "i4", "u1"):
        x = np.array([0, 1, 2]).astype(dtype)
        if dtype == "?" and name == "sign":
            continue                                  # NumPy has no sign of booleans
        with np.errstate(all="ignore"):               # at the border, and beyond
            y = getattr(mg, name)(Tensor(x)).data
            expected = (ON_NUMBERS[name] or getattr(mg, name))(x.astype(float))
        np.testing.assert_allclose(y.astype(float), expected, rtol=3e-3)


@given(hnp.arrays(np.float64, hnp.array_shapes(max_dims=2, max_side=4),
                  elements=st.floats(-0.99, 0.99)))
def test_values_are_those_of_numpy(x):
    t = Tensor(x)
    for name in ("sinh", "cosh", "tan", "arcsin", "arccos", "arctan", "arctanh", "arcsinh", "cbrt",
                 "expm1", "log1p"):
        np.testing.assert_allclose(getattr(mg, name)(t).data, getattr(np, name)(x), 1e-14, 1e-300)
    np.testing.assert_allclose(mg.arccosh(t + 2).data, np.arccosh(x + 2), 1e-14)
    for name in ("hypot", "arctan2", "logaddexp"):
        np.testing.assert_allclose(getattr(mg, name)(t, t[:1]).data, getattr(np, name)(x, x[:1]),
                                   1e-14, 1e-300)
    np.testing.assert_allclose(t.outer(t[0]).data, np.outer(x, x[0]))
    np.testing.assert_allclose(t.kron(t[:1]).data, np.kron(x, x[:1]))
    for axes in (0, 1, (0, 0)):
        np.testing.assert_allclose(mg.tensordot(t, t[:, ...] if axes != 1 else t.T, axes).data,
                                   np.tensordot(x, x if axes != 1 else x.T, axes), atol=1e-14)
    if x.ndim == 2:
        for k in (-1, 0, 1, 5):
            assert np.array_equal(t.diag(k).data, np.diag(x, k))
            assert np.array_equal(t.diagonal(k).data, np.diagonal(x, k))
            np.testing.assert_allclose(t.trace(k).item(), np.trace(x, k), atol=1e-14)
    else:
        assert np.array_equal(t.diag(-2).data, np.diag(x, -2))


# ---- others ----------------------------------------------------------------------------------

def test_one_hot_rows_have_one_1_each():
    ids = np.array([[2, 0], [1, 1]])
    y = mg.one_hot(Tensor(ids))
    assert y.shape == (2, 2, 3) and y.dtype == np.int64
    assert np.array_equal(y.data @ np.arange(3), ids) and (y.data.sum(-1) == 1).all()
    assert mg.one_hot(np.zeros((0, 2), int), 5).shape == (0, 2, 5)
    with pytest.raises(IndexError, match="ids holds 2, but there are 2 rows"):
        mg.one_hot(ids, 2)
    with pytest.raises(TypeError, match="ids must be integers"):
        mg.one_hot(ids * 1.0)


def test_a_clone_has_memory_of_its_own_and_passes_the_gradient_on():
    x = Tensor([1.0, -0.0], requires_grad=True)
    y = x.clone()
    (y * y).sum().backward()
    assert np.array_equal(x.grad, [2, 0]) and not np.shares_memory(x.data, y.data)
    assert np.signbit(y.data[1])
    assert mg.clone(Tensor(np.array([True]))).dtype == bool


def test_messages_name_the_value():
    x = Tensor(REGULAR)
    for words, call in {
            "k is 4, but axis 1 has 3 elements": lambda: x.topk(4),
            "x has shape .3,., but a triangle needs two axes": lambda: x[0].tril(),
            "must be a vector or a matrix": lambda: x[None].diag(),
            "axis 0 must have 3 elements": lambda: mg.cross(x[:2], x[:2], 0),
            "must have the same sizes": lambda: mg.tensordot(x, x[:2], 2),
            "source names 1 axes, but destination 2": lambda: x.moveaxis(0, (0, 1)),
            "axis 1 is behind axis 0": lambda: x.flatten(1, 0),
            "chunks is 0": lambda: x.chunk(0), "pad_width is -1": lambda: x.pad(-1),
            "pad_width is 1.5": lambda: x.pad(1.5),
            "ids has shape .1,.": lambda: x.gather(0, [0]),
            "an axis that x does not have needs a size": lambda: x.expand(-1, 3, 3)}.items():
        with pytest.raises(ValueError, match=words):
            call()


def test_every_operation_can_be_imported_from_minigrad():
    for name in ops.__all__:
        assert getattr(mg, name) is getattr(ops, name)
    assert "trace" not in ops.__all__                 # minigrad.stepper.record is the stepper
