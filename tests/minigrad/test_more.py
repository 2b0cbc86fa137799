"""The second tier: NumPy's values on any shape, exact slopes of first and second order.

Values and gradients against torch are in test_torch_values.py; the laws that every op obeys are
tested with all other ops.
"""
import numpy as np
import pytest
from derivatives import check_derivatives
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
from minigrad import Tensor

numbers = st.floats(-4, 4, width=32).map(float)
arrays = hnp.arrays(np.float64, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
                    elements=numbers)
non_empty = hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=5), elements=numbers)


def agree(ours, theirs):
    assert isinstance(ours, Tensor)
    assert ours.shape == np.shape(theirs)
    np.testing.assert_allclose(ours.data, theirs, rtol=1e-13, atol=1e-13)


# ---- values are NumPy's ----------------------------------------------------------------------

@given(arrays, st.data())
def test_shape_functions_equal_those_of_numpy(x, data):
    t = Tensor(x)
    axis = data.draw(st.integers(-x.ndim - 1, x.ndim))
    agree(t.unsqueeze(axis), np.expand_dims(x, axis))
    agree(t.squeeze(), np.squeeze(x))
    agree(t.unsqueeze(axis).squeeze(axis), x)
    agree(t.flip(), np.flip(x))
    agree(t.permute(*range(x.ndim)[::-1]), x.T)
    agree(t.flatten(), x.flatten())
    reps = tuple(data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=3)))
    agree(t.tile(reps), np.tile(x, reps))
    agree(t.expand(2, *[-1] * x.ndim), np.broadcast_to(x, (2, *x.shape)))
    width = data.draw(st.integers(0, 2))
    agree(t.pad(width, 0.5), np.pad(x, width, constant_values=0.5) if x.ndim else x)
    k = data.draw(st.integers(-5, 5))
    if x.ndim >= 2:
        agree(t.tril(k), np.tril(x, k))
        agree(t.triu(k), np.triu(x, k))


@given(non_empty, st.data())
def test_functions_along_an_axis_equal_those_of_numpy(x, data):
    t, axis = Tensor(x), data.draw(st.integers(-x.ndim, x.ndim - 1))
    kept = {"axis": axis, "keepdims": data.draw(st.booleans())}
    for name in ("prod", "std", "min", "argmax", "argmin", "any", "all"):
        agree(getattr(t, name)(**kept), getattr(np, name)(x, **kept))
        agree(getattr(t, name)(), getattr(np, name)(x))
    agree(t.cumsum(axis), np.cumsum(x, axis))
    agree(t.cumsum(), np.cumsum(x))
    agree(t.flip(axis), np.flip(x, axis))
    counts = data.draw(st.lists(st.integers(0, 3), min_size=x.shape[axis], max_size=x.shape[axis]))
    agree(t.repeat(counts, axis), np.repeat(x, counts, axis))
    agree(t.repeat(2), np.repeat(x, 2))
    ids = data.draw(hnp.arrays(np.int64, x.shape, elements=st.integers(0, x.shape[axis] - 1)))
    agree(t.gather(axis, ids), np.take_along_axis(x, ids, axis))
    agree(t.gather(axis, Tensor(ids)), np.take_along_axis(x, ids, axis))
    n = data.draw(st.integers(1, 6))
    pieces = t.chunk(n, axis)
    agree(mg.concatenate(pieces, axis), x)
    sizes = [piece.shape[axis] for piece in pieces]
    assert len(sizes) <= n and len(set(sizes[:-1])) <= 1 and sizes[-1] <= sizes[0]


@given(non_empty)
def test_elementwise_functions_equal_those_of_numpy(x):
    t = Tensor(x)
    for name in ("abs", "sin", "cos", "square", "exp2", "sign", "floor", "ceil", "round"):
        agree(getattr(t, name)(), getattr(np, name)(x))
    agree(t.round(1), np.round(x, 1))
    agree(t.clip(-1, 2), np.clip(x, -1, 2))
    agree(t.clip(min=0), np.clip(x, 0, None))
    agree(t.masked_fill(t > 1, 7), np.where(x > 1, 7, x))
    agree(t.minimum(0.5), np.minimum(x, 0.5))
    agree(t.softplus(), np.log1p(np.exp(x)))
    agree((t * t + 1).rsqrt(), 1 / np.sqrt(x * x + 1))
    agree((t * t + 1).log2(), np.log2(x * x + 1))
    agree((t * t + 1).reciprocal(), 1 / (x * x + 1))


@given(st.data())
def test_dot_and_einsum_equal_those_of_numpy(data):
    def array(*shape):
        return data.draw(hnp.arrays(np.float64, shape, elements=numbers))

    m, k, n = (data.draw(st.integers(0, 3)) for _ in range(3))
    for a, b in [(array(k), array(k)), (array(m, k), array(k)), (array(k), array(k, n)),
                 (array(2, m, k), array(3, k, n)), (array(m), array())]:
        agree(mg.dot(Tensor(a), Tensor(b)), np.dot(a, b))
    a, b, c = array(m, k), array(k, n), array(n, n)
    for subscripts, inputs in [("ij,jk->ik", (a, b)), ("ij,jk", (a, b)), ("kk", (c,)),
                               ("ij,jk,kk->ki", (a, b, c)), ("...j,jk->k...", (a, b)),
                               ("ij->j", (a,))]:
        agree(mg.einsum(subscripts, *map(Tensor, inputs)), np.einsum(subscripts, *inputs))


# ---- slopes ----------------------------------------------------------------------------------

ZEROS = np.array([[0.5, 0.0, -1.5], [0.0, 0.0, 2.0], [1.0, -0.5, 3.0]])
REGULAR = np.array([[0.5, 0.1, -1.5], [0.8, -0.3, 2.0], [1.25, -0.5, 3.0]])   # far from kinks
FUNCTIONS = {
    "prod": (ZEROS, lambda x: x.prod()), "prod over an axis": (ZEROS, lambda x: x.prod(1)),
    "einsum": (REGULAR, lambda x: mg.einsum("ij,jk,ik->i", x, x, x)),
    "einsum of diagonals": (REGULAR, lambda x: mg.einsum("ii,ji->j", x, x * x)),
    "dot": (REGULAR, lambda x: x.dot((x * x).reshape(1, 3, 3))),
    "std": (REGULAR, lambda x: x.std(0)), "min": (REGULAR, lambda x: (x * x).min(1)),
    "cumsum": (REGULAR, lambda x: (x * x).cumsum(0)),
    "cumprod": (ZEROS, lambda x: (x * x).cumprod(1)), "sort": (REGULAR, lambda x: x.sort(0) ** 3),
    "topk": (REGULAR, lambda x: x.topk(2, 1)[0] ** 3), "roll": (REGULAR, lambda x: x.roll(4) ** 3),
    "diagonals": (REGULAR, lambda x: (x * x).diag(-1) * x.trace() + x[0].diag(1).sum()),
    "clip": (REGULAR, lambda x: x.clip(-1, 1) * x),
    "gather": (REGULAR, lambda x: (x * x).gather(1, [[0, 0], [2, 1]])),
    "pad and flip": (REGULAR, lambda x: (x * x).pad(1).flip(0) * 2),
    "repeat and tile": (REGULAR, lambda x: (x * x).repeat([1, 0, 2], 0).tile((2, 1))),
    "triangles": (REGULAR, lambda x: (x * x).tril() - x.triu(1) ** 3),
    "minimum": (REGULAR, lambda x: mg.minimum(x * x, x)), "abs": (REGULAR, lambda x: abs(x) * x),
    "elu": (REGULAR, lambda x: mg.elu(x, 0.7) * x), "erf": (REGULAR, lambda x: x.erf()),
    "leaky_relu": (REGULAR, lambda x: mg.leaky_relu(x) * x),
    "rest": (REGULAR, lambda x: (x.sin() + x.cos() * x.exp2() + x.softplus() + x.square())
             / (x.square() + 1).rsqrt() * (x.square() + 1).reciprocal()
             + (x.square() + 1).log2()),
    "new": (REGULAR, lambda x: x.expm1() * (x / 3).tan() + (x * x).log1p() * (x + 3).log10()
            + mg.logaddexp(x, x.mT) * mg.logsigmoid(x) + mg.logaddexp(x * x, x * x) * x)}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_first_and_second_derivatives_equal_finite_differences(name):
    x, f = FUNCTIONS[name]
    check_derivatives(f, x)


def test_a_product_with_one_zero_has_one_slope():
    x = Tensor([2.0, 0.0, 3.0], requires_grad=True)
    x.prod().backward()
    assert np.array_equal(x.grad, [0, 6, 0])


def test_equal_elements_have_no_standard_deviation_and_no_slope():
    x = Tensor(np.ones(3), requires_grad=True)
    x.std().backward()
    assert np.array_equal(x.grad, np.zeros(3))


# ---- dtypes, arrays, booleans ----------------------------------------------------------------

@pytest.mark.parametrize("name", FUNCTIONS)
def test_float32_stays_float32(name):
    array, f = FUNCTIONS[name]
    x = Tensor(array.astype(np.float32), requires_grad=True)
    y = f(x)
    (y * y).sum().backward()
    assert y.dtype == np.float32 and x.grad.dtype == np.float32


def test_functions_take_arrays_as_well():
    for f in (lambda x: mg.prod(x, 0), lambda x: mg.pad(x, 1), lambda x: mg.einsum("ij->j", x),
              mg.std, mg.argmax, mg.sign, mg.flatten, mg.min):
        y = f(REGULAR)
        assert not isinstance(y, Tensor)
        np.testing.assert_array_equal(y, f(Tensor(REGULAR)).data)


def test_conversion_lets_the_gradient_through_and_integers_cut_it():
    x = Tensor(np.array([1.5, 2.5], np.float32), requires_grad=True)
    y = x.astype(np.float64)
    (y * y).sum().backward()
    assert y.dtype == np.float64 and x.grad.dtype == np.float32
    assert np.array_equal(x.grad, [3, 5])
    n = x.astype(int)
    assert n.dtype.kind == "i" and not n.requires_grad


@given(non_empty, non_empty)
def test_comparisons_are_those_of_numpy_on_both_sides(x, y):
    y = np.resize(y, x.shape)
    for tensor, array in ((Tensor(x) < y, x < y), (x < Tensor(y), x < y), (Tensor(x) >= 1, x >= 1),
                          (Tensor(x) == Tensor(y), x == y), (x != Tensor(y), x != y),
                          ((Tensor(x) > y) & (x <= Tensor(y)), np.zeros(x.shape, bool)),
                          ((Tensor(x) > 0) | ~(Tensor(x) > 0), np.ones(x.shape, bool)),
                          ((x > 0) & (Tensor(y) > 0), (x > 0) & (y > 0))):
        assert isinstance(tensor, Tensor) and not tensor.requires_grad
        assert tensor.dtype == bool and np.array_equal(tensor.data, array)


def test_tensors_are_told_apart_in_sets_though_equality_compares_values():
    x, y = Tensor([1.0]), Tensor([1.0])
    assert len({x, y, x}) == 2 and x in {x} and x not in {y}
    assert (x == y).all()


def test_messages_name_the_value():
    with pytest.raises(ValueError, match="axis 1 has size 3, and only axes of size 1"):
        Tensor(REGULAR).squeeze(1)
    with pytest.raises(IndexError, match="ids holds 3, but there are 3 rows"):
        Tensor(REGULAR).gather(0, [[3]])
    with pytest.raises(ValueError, match="names 2 arrays, but got 1"):
        mg.einsum("ij,jk", REGULAR)
