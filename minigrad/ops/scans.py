"""Reductions, scans and orders of the second tier: several elements make one, or change places."""
import math

import numpy as np

from minigrad.mistakes import normalized_axes
from minigrad.ops.elementwise import where
from minigrad.ops.flat import constant, reduced
from minigrad.ops.places import flip, gather
from minigrad.ops.norm import power_of_two
from minigrad.ops.reduce import axis_inputs, kept, kept_shape, max, mean, sum
from minigrad.ops.shape import concatenate, reshape, swapaxes, transpose
from minigrad.tensor import detach, op


# ---- reductions ------------------------------------------------------------------------------

@op(inputs=axis_inputs, shift=lambda f, x: (f(x + 1.5), f(x)))
def var(x, axis=None, ddof=0, keepdims=False):
    """Mean squared distance from the mean, n - ddof in the denominator (torch: 1 unless told).

    dx = 2 g (x - mean) / (n - ddof): that x also moves the mean changes nothing, because the
    distances from the mean sum to zero.
    """
    y = x.var(axis, ddof=ddof, keepdims=keepdims)
    return y, (x, axis, ddof)

@var.vjp
def var_vjp(g, x, axis, ddof):
    n = count(x.shape, axis) - ddof
    scale = float(2 / np.maximum(n, 0))                       # infinite rather than negative
    distance = x - mean(x, axis, True)
    return kept(g, x.shape, axis) * scale * distance,


@op(inputs=axis_inputs, x="spread")
def std(x, axis=None, ddof=0, keepdims=False):
    """Square root of `var`, n - ddof in its denominator (torch: 1 unless told).

    dx = g (x - mean) / ((n - ddof) y), and 0 where all elements are equal, as in torch.
    """
    x_float = x if x.dtype.kind == "f" else x.astype(float)
    scale = power_of_two(x_float, axis)                       # the axes kept, as size 1
    y = (x / scale).std(axis, ddof=ddof, keepdims=keepdims)
    y = y * scale.reshape(y.shape)
    return y, (x, y, axis, ddof)

@std.vjp
def std_vjp(g, x, y, axis, ddof):
    g = kept(g, x.shape, axis)
    y = kept(y, x.shape, axis)
    is_flat = y == 0
    slope = where(is_flat, 0.0, g / where(is_flat, 1.0, y))
    distance = x - mean(x, axis, True)
    n = count(x.shape, axis) - ddof
    return slope * distance / float(n),


def count(shape, axis):
    """Return how many elements each result is made of."""
    sizes = zip(shape, kept_shape(shape, axis))
    return math.prod(n for n, size in sizes if size == 1)


def min(x, axis=None, keepdims=False):
    """Smallest element; elements that tie share g equally (torch: amin)."""
    if x.dtype.kind != "f":                           # -x is no order of unsigned numbers
        return reduced(np.min, x, axis, keepdims)
    return -max(-x, axis=axis, keepdims=keepdims)


def prod(x, axis=None, keepdims=False):
    """Product, as a tree of pairwise products: slopes of every order are exact, at zeros too."""
    if x.dtype.kind != "f":
        return reduced(np.prod, x, axis, keepdims)
    axes = normalized_axes(axis, x.ndim or 1)[:x.ndim]        # a single number has axis 0
    others = tuple(i for i in range(x.ndim) if i not in axes)
    shape = tuple(x.shape[i] for i in others)
    y = transpose(x, (*axes, *others))
    y = y.reshape(count(x.shape, axes), *shape)               # (n, ...): n factors each
    while len(y) > 1:
        half = len(y) // 2
        pairs = y[:half] * y[half:2 * half]
        left_over = y[2 * half:]                              # none or one
        y = concatenate([pairs, left_over]) if len(left_over) else pairs
    y = y[0] if len(y) else sum(y, axis=0) + 1                # of no factors it is 1
    if keepdims:
        shape = kept_shape(x.shape, axes)
    return reshape(y, shape=shape)


# ---- scans -----------------------------------------------------------------------------------

def cumsum_inputs(draw):
    (x,), params = axis_inputs(draw)
    axis = params["axis"]
    return (x,), {"axis": None if isinstance(axis, tuple) else axis}

@op(inputs=cumsum_inputs)
def cumsum(x, axis=None):
    """Sums of the elements up to each one; of the flattened array without an axis.

    Each element moves all sums from its own place on: dx is the cumulative sum from the end.
    """
    return x.cumsum(axis=axis), (x.shape, axis)

@cumsum.vjp
def cumsum_vjp(g, shape, axis):
    axis = 0 if axis is None else axis
    sums = cumsum(flip(g, axis), axis=axis)                   # from the end
    return flip(sums, axis).reshape(shape),


def cumprod(x, axis=None):
    """Products of the elements up to each one; of the flattened array without an axis.

    Each round doubles how many factors there are: slopes are exact at zeros too, as for `prod`.
    """
    if x.dtype.kind != "f":
        return constant(np.cumprod, x, axis=axis)
    if axis is None or x.ndim == 0:
        x = reshape(x, shape=(-1,))
    axis, = normalized_axes(axis or 0, x.ndim)
    y, n = swapaxes(x, axis, -1), 1
    while n < y.shape[-1]:                                    # y[i]: products of up to n
        longer = y[..., n:] * y[..., :-n]
        y = concatenate([y[..., :n], longer], axis=-1)
        n *= 2
    return swapaxes(y, axis, -1)


# ---- orders ----------------------------------------------------------------------------------

def argsort(x, axis=-1):
    """The places of the elements in ascending order; those that tie keep theirs, nan is last."""
    if axis is not None:
        normalized_axes(axis, np.ndim(x))
    return constant(np.argsort, x, axis=axis, kind="stable")


def sort(x, axis=-1):
    """Elements in ascending order, as a copy (torch: with their places, see `argsort`)."""
    if axis is None:
        x, axis = reshape(x, shape=(-1,)), 0
    return gather(x, axis, argsort(x, axis))


def topk(x, k, axis=-1, largest=True):
    """Return the k largest elements, or smallest, in order, and their places (torch only).

    Of elements that tie the first come first; nan counts as the largest.
    """
    axis, = normalized_axes(axis, x.ndim)
    n = x.shape[axis]
    if not 0 <= k <= n:
        raise ValueError(f"k is {k}, but axis {axis} has {n} elements: use 0 to {n}")
    values = detach(x)
    if largest:                                               # read backwards, both times
        values = np.flip(values, axis)
    order = np.argsort(values, axis, kind="stable")
    if largest:
        order = n - 1 - np.flip(order, axis)
    ids = np.take(order, np.arange(k), axis)
    return gather(x, axis, ids), constant(lambda _: ids, x)
