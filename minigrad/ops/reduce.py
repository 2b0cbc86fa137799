"""Reductions over some axes or all, with NumPy's arguments (torch says dim for axis)."""
from math import prod

import numpy as np

from minigrad import vmath
from minigrad.buffers import empty
from minigrad.mistakes import normalized_axes
from minigrad.ops.elementwise import exp, log, where
from minigrad.ops.shape import broadcast_to
from minigrad.parallel import fits, plain, row_kernel, widest_vectors
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


@op(inputs=axis_inputs, x="masked", shift=lambda f, x: (f(x + 1.5), f(x) + 1.5))
def logsumexp(x, axis=None, keepdims=False):
    """log(sum(e**x)), shifted by the maximum so that nothing overflows: dx = g softmax(x)."""
    peak = x.max(axis=axis, keepdims=True, initial=-np.inf)
    peak = np.where(np.isfinite(peak), peak, 0)               # -inf - -inf would be nan
    with np.errstate(divide="ignore"):                        # log(0) = -inf is meant
        y = np.log(np.exp(x - peak).sum(axis=axis, keepdims=True)) + peak
    y = y if keepdims else y.reshape(x.sum(axis=axis).shape)
    return y, (x, y, axis)

@logsumexp.vjp
def logsumexp_vjp(g, x, y, axis):
    kept = kept_shape(x.shape, axis)
    return g.reshape(kept) * exp(x - y.reshape(kept)),        # nan for a row of -inf, as in torch

@logsumexp.parts
def logsumexp_parts(x, axis=None, keepdims=False):
    peak = detach(x).max(axis=axis, keepdims=True, initial=-np.inf)
    peak = np.where(np.isfinite(peak), peak, 0)
    y = log(sum(exp(x - peak), axis=axis, keepdims=True)) + peak
    return y if keepdims else y.reshape(detach(x).sum(axis=axis).shape)


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


# ---- fast path -------------------------------------------------------------------------------

@logsumexp.fast
def logsumexp_fast(x, axis=None, keepdims=False):
    if not fits(x) or axis not in (-1, x.ndim - 1):
        return logsumexp.forward(x, axis, keepdims)
    y = empty((*x.shape[:-1], 1) if keepdims else x.shape[:-1], x.dtype)
    _logsumexp(y.size, plain(x).reshape(y.size, x.shape[-1]), y.reshape(-1))
    return y, (x, y, axis)

@row_kernel
def _logsumexp(start, stop, x, out):
    widest_vectors()
    for i in range(start, stop):
        m = vmath.peak_of(x[i])
        m = m if abs(m) < np.inf else x.dtype.type(0)     # -inf - -inf would be nan
        out[i] = m + vmath.log_total(x[i], m)
