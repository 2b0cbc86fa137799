"""Whatever takes an axis takes NumPy's: the same values, dtypes and refusals."""
import inspect
from itertools import product

import numpy as np
import pytest

from minigrad import Op, Tensor
from minigrad import ops as mg

NAMES = {"axis", "axes", "axis1", "start_axis", "source"}
DTYPES = ("?", "u1", "i1", "i4", "f2", "f4", "f8", ">f8", ">i4")


def same(name, **params):
    return (lambda x, i: getattr(mg, name)(x, axis=i, **params),
            lambda x, i: getattr(np, name)(x, axis=i, **params))


ALONG = {                                             # name -> (ours, NumPy's) of (x, axis)
    **{name: same(name) for name in (
        "all", "any", "argmax", "argmin", "cumprod", "cumsum", "flip", "max", "mean", "min",
        "prod", "sort", "std", "sum", "var")},
    "argsort": (lambda x, i: mg.argsort(x, i), lambda x, i: np.argsort(x, i, kind="stable")),
    "chunk": (lambda x, i: mg.chunk(x, 2, i)[1], lambda x, i: np.array_split(x, 2, i)[1]),
    "concatenate": (lambda x, i: mg.concatenate([x, x], i),
                    lambda x, i: np.concatenate([x, x], i)),
    "cross": (lambda x, i: mg.cross(x, x[:, ::-1], i),
              lambda x, i: np.cross(x, x[:, ::-1], axis=i)),
    "diagonal": (lambda x, i: mg.diagonal(x, 1, i, 0), lambda x, i: np.diagonal(x, 1, i, 0)),
    "flatten": (lambda x, i: mg.flatten(x, i), lambda x, i: x.reshape(*x.shape[:i % 2], -1)),
    "gather": (lambda x, i: mg.gather(x, i, np.zeros(x.shape, int)),
               lambda x, i: np.take_along_axis(x, np.zeros(x.shape, int), i)),
    "moveaxis": (lambda x, i: mg.moveaxis(x, i, 0), lambda x, i: np.moveaxis(x, i, 0)),
    "repeat": (lambda x, i: mg.repeat(x, 2, i), lambda x, i: np.repeat(x, 2, i)),
    "roll": (lambda x, i: mg.roll(x, 4, i), lambda x, i: np.roll(x, 4, i)),
    "split": (lambda x, i: mg.split(x, [1], i)[1], lambda x, i: np.split(x, [1], i)[1]),
    "squeeze": (lambda x, i: mg.squeeze(x[:1, :1], i), lambda x, i: np.squeeze(x[:1, :1], i)),
    "stack": (lambda x, i: mg.stack([x, x], i), lambda x, i: np.stack([x, x], i)),
    "swapaxes": (lambda x, i: mg.swapaxes(x, i, 0), lambda x, i: np.swapaxes(x, i, 0)),
    "tensordot": (lambda x, i: mg.tensordot(x, x, (i, i)),
                  lambda x, i: np.tensordot(x, x, (i, i))),
    "topk": (lambda x, i: mg.topk(x, 2, i)[0],
             lambda x, i: np.take(np.flip(np.sort(x, i), i), [0, 1], i)),
    "trace": (lambda x, i: mg.trace(x, 0, i, 0), lambda x, i: np.trace(x, 0, i, 0)),
    "transpose": (lambda x, i: mg.transpose(x, (i, 0)), lambda x, i: np.transpose(x, (i, 0))),
    "unsqueeze": (lambda x, i: mg.unsqueeze(x, i), np.expand_dims),
}
WITHOUT_NUMPY = {name: lambda x, i, name=name: getattr(mg, name)(x, axis=i)
                 for name in ("glu", "log_softmax", "logsumexp", "softmax", "softmin")}
OURS = {**{name: ours for name, (ours, _) in ALONG.items()}, **WITHOUT_NUMPY}
SEVERAL = ("all", "any", "flip", "logsumexp", "max", "mean", "min", "moveaxis", "prod", "squeeze",
           "std", "sum", "unsqueeze", "var")
NEW = ("stack", "unsqueeze")                          # which make an axis: there is one more


def array(name, dtype="f8"):
    x = (np.arange(12).reshape(3, 4) * 5 % 7).astype(dtype)
    return x[:, :3] if name == "cross" else x


def test_every_function_with_an_axis_is_tested_here():
    found = set()
    for name, function in vars(mg).items():
        if name in ("function", "method"):            # of the loop that makes methods
            continue
        function = function.forward if isinstance(function, Op) else function
        if inspect.isfunction(function) and NAMES & set(inspect.signature(function).parameters):
            found.add(name)
    assert found == set(OURS)


@pytest.mark.parametrize("name", ALONG)
def test_values_and_dtypes_along_an_axis_are_those_of_numpy(name):
    ours, theirs = ALONG[name]
    for dtype, axis in product(DTYPES, (0, 1, -1, -2)):
        x = array(name, dtype)
        try:
            expected = np.asarray(theirs(x, axis))
        except (ValueError, TypeError):               # of the same axis twice, of booleans
            continue
        for given in [x] if dtype[0] == ">" else [x, Tensor(x)]:
            y = ours(given, axis)
            y = y.data if isinstance(given, Tensor) else y
            assert y.shape == expected.shape
            assert y.dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")
            np.testing.assert_allclose(y, expected, rtol=1e-2 if dtype == "f2" else 1e-6)


@pytest.mark.parametrize("name", WITHOUT_NUMPY)
def test_dtypes_along_an_axis_are_kept(name):
    for dtype, axis in product(("f2", "f4", "f8"), (0, 1, -1, -2)):
        x = np.concatenate([array(name, dtype)] * 2)  # of even sizes
        assert OURS[name](Tensor(x), axis).dtype == dtype


@pytest.mark.parametrize("name", sorted(OURS))
@pytest.mark.parametrize("make", [np.asarray, Tensor])
def test_an_axis_that_there_is_not_is_named(name, make):
    x, more = make(array(name)), name in NEW
    for axis in (2 + more, -3 - more, 7):
        with pytest.raises(np.exceptions.AxisError, match=rf"\b{abs(axis)}\b.*\b{2 + more}\b"):
            OURS[name](x, axis)
    with pytest.raises(TypeError):
        OURS[name](x, 1.0)


@pytest.mark.parametrize("name", SEVERAL)
def test_an_axis_is_named_once(name):
    with pytest.raises(ValueError):
        OURS[name](Tensor(array(name)), (1, 1))


def test_several_axes_are_those_of_numpy():
    x = np.arange(24.0).reshape(2, 3, 4) % 5
    t = Tensor(x)
    for axes in ((0, 1), (-1, 0), (1,), ()):
        for name in ("all", "any", "max", "min", "prod", "sum", "mean", "std"):
            expected = getattr(np, name)(x, axis=axes)
            np.testing.assert_allclose(getattr(t, name)(axis=axes).data, expected, rtol=1e-13)
        np.testing.assert_array_equal(t.flip(axes).data, np.flip(x, axes))
        np.testing.assert_array_equal(t.unsqueeze(axes).data, np.expand_dims(x, axes))
        np.testing.assert_array_equal(t.unsqueeze(axes).squeeze(axes).data, x)
    for source, places in (((0, 1), (1, 2)), ((-1, 0), (0, -1)), (2, 0), ((), ())):
        np.testing.assert_array_equal(t.moveaxis(source, places).data,
                                      np.moveaxis(x, source, places))
    for shift, axis in ((2, None), ((1, -2), (0, 2)), (1, (0, 1)), ((1, 2), (1, 1)), (-7, 2)):
        np.testing.assert_array_equal(t.roll(shift, axis).data, np.roll(x, shift, axis))


def test_a_single_number_has_the_axis_that_numpy_gives_it():
    for name in ("all", "any", "argmax", "argmin", "prod"):
        for axis in (None, 0, -1):
            found = getattr(mg, name)(Tensor(3.0), axis=axis)
            assert found.shape == () and found.item() == getattr(np, name)(np.array(3.0), axis)
    for name in ("cumsum", "cumprod"):
        assert np.array_equal(getattr(mg, name)(Tensor(3.0), axis=0).data, [3.0])
    for name in ("flip", "sort"):
        with pytest.raises(np.exceptions.AxisError):
            getattr(mg, name)(Tensor(3.0), axis=0)
