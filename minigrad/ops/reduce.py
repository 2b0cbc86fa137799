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
    return (x,), {"axis": draw.axes(x.ndim), "keepdims": draw.boolean()}


def kept_shape(shape, axis):
    """Return `shape` with the reduced axes kept as size 1."""
    axes = normalized_axes(axis, len(shape) or 1)             # NumPy takes axis 0 of a number
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def kept(g, shape, axis):
    """Return g with the reduced axes as size 1, so that it broadcasts against the input."""
    return g.reshape(kept_shape(shape, axis))


@op(inputs=axis_inputs)
def sum(x, axis=None, keepdims=False):
    """Sum. Every element moves it one for one, so all receive the same g."""
    return x.sum(axis, keepdims=keepdims), (x.shape, axis)

@sum.vjp
def sum_vjp(g, shape, axis):
    return broadcast_to(kept(g, shape, axis), shape),


@op(inputs=axis_inputs)
def mean(x, axis=None, keepdims=False):
    """Arithmetic mean: g is shared out equally."""
    return x.mean(axis, keepdims=keepdims), (x.shape, axis)

@mean.vjp
def mean_vjp(g, shape, axis):
    n = prod(shape) // (g.size or 1)                          # elements in each mean
    return broadcast_to(kept(g / n, shape, axis), shape),


@op(inputs=axis_inputs, x="spread")
def max(x, axis=None, keepdims=False):
    """Largest element: it alone receives g; elements that tie share g equally (torch: amax)."""
    y = x.max(axis, keepdims=keepdims)
    return y, (x, y, axis)

@max.vjp
def max_vjp(g, x, y, axis):
    peak = kept(detach(y), x.shape, axis)
    ties = detach(x) == peak
    n = ties.sum(axis, g.dtype, keepdims=True)                # 0 where the peak is nan
    share = kept(g, x.shape, axis) / np.maximum(n, 1)
    return where(ties, share, np.where(np.isnan(peak), peak, 0)),     # nan has no slope
