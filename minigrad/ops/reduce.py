"""Reductions over some axes or all, with NumPy's arguments (torch says dim for axis)."""
from math import prod

import numpy as np

from minigrad.mistakes import normalized_axes
from minigrad.ops.elementwise import where
from minigrad.ops.shape import broadcast_to
from minigrad.tensor import detach, op


def axis_inputs(draw):
    """Draw an array without empty axes, one axis, some or None, and whether to keep them."""
    x = draw.array(draw.shape(min_side=1))
    axis = draw.choice([None, *range(-x.ndim, x.ndim), tuple(range(x.ndim))])
    return (x,), {"axis": axis, "keepdims": draw.boolean()}


def kept_shape(shape, axis):
    """Return `shape` with the reduced axes kept as size 1."""
    axes = normalized_axes(axis, len(shape) or 1)             # NumPy takes axis 0 of a number
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def count(shape, axis):
    """Return how many elements each result is made of."""
    return prod(n for n, kept in zip(shape, kept_shape(shape, axis)) if kept == 1)


@op(inputs=axis_inputs)
def sum(x, axis=None, keepdims=False):
    """Sum. Every element moves it one for one, so all receive the same g."""
    return x.sum(axis=axis, keepdims=keepdims), (x.shape, axis)

@sum.vjp
def sum_vjp(g, shape, axis):
    return broadcast_to(g.reshape(kept_shape(shape, axis)), shape),


@op(inputs=axis_inputs)
def mean(x, axis=None, keepdims=False):
    """Arithmetic mean: g is shared out equally."""
    return x.mean(axis=axis, keepdims=keepdims), (x.shape, axis)

@mean.vjp
def mean_vjp(g, shape, axis):
    return broadcast_to((g / count(shape, axis)).reshape(kept_shape(shape, axis)), shape),


@op(inputs=axis_inputs, x="spread")
def max(x, axis=None, keepdims=False):
    """Largest element: it alone receives g; elements that tie share g equally (torch: amax)."""
    y = x.max(axis=axis, keepdims=keepdims)
    return y, (x, y, axis)

@max.vjp
def max_vjp(g, x, y, axis):
    kept = kept_shape(x.shape, axis)
    peak = detach(y).reshape(kept)
    ties = detach(x) == peak
    share = g.reshape(kept) / np.maximum(ties.sum(axis=axis, keepdims=True, dtype=g.dtype), 1)
    return where(ties, share, np.where(np.isnan(peak), peak, 0)),     # nan has no slope


@op(inputs=axis_inputs, shift=lambda f, x: (f(x + 1.5), f(x)))
def var(x, axis=None, ddof=0, keepdims=False):
    """Mean squared distance from the mean, n - ddof in the denominator (torch: 1 unless told).

    dx = 2 g (x - mean) / (n - ddof): that x also moves the mean changes nothing, because the
    distances from the mean sum to zero.
    """
    return x.var(axis=axis, ddof=ddof, keepdims=keepdims), (x, axis, ddof)

@var.vjp
def var_vjp(g, x, axis, ddof):
    scale = 2 / np.maximum(count(x.shape, axis) - ddof, 0)
    return g.reshape(kept_shape(x.shape, axis)) * float(scale) * (x - mean(x, axis, True)),
