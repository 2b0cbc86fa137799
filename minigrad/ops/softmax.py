"""Softmax, its logarithm, and the logarithm of its denominator."""
import numpy as np

from minigrad.kernels import jit, vmath
from minigrad.kernels.llvm import at
from minigrad.kernels.memory import empty, empty_like
from minigrad.kernels.rows import fits, plain, row_kernel, widest_vectors
from minigrad.kernels.softmax import softmax_row as weigh_row
from minigrad.ops.elementwise import exp, log
from minigrad.ops.linear import rows
from minigrad.ops.reduce import axis_inputs, kept_shape, sum
from minigrad.tensor import detach, op


def peak_of(x, axis):
    """Return the largest elements along an axis, which is kept, as floats; of none, -inf."""
    x = x if x.dtype.kind == "f" else x.astype(np.float64)    # what is unsigned would wrap
    return x.max(axis=axis, keepdims=True, initial=-np.inf)


@op("(n)->(n)", x="masked", axis=[-1, 0], shift=lambda f, x: (f(x + 1.5), f(x)),
    order=lambda f, x: (f(x[..., ::-1]), f(x)[..., ::-1]))
def softmax(x, axis=-1):
    """Turn logits into probabilities along an axis.

    y_i = exp(x_i) / sum_j exp(x_j), and the vector-Jacobian product is dx = y (g - <g, y>):
    the mean of g under y is taken away, because adding a constant to every logit changes nothing.

    Parameters
    ----------
    x : (..., n) float
        Logits. A row may contain -inf (a masked position), but not only -inf: that gives nan.

    Returns
    -------
    y : (..., n), each row non-negative and summing to 1.
    """
    e = np.exp(x - peak_of(x, axis))                #  the shift avoids overflow
    y = e / e.sum(axis=axis, keepdims=True)
    return y, (y, axis)

@softmax.vjp
def softmax_vjp(g, y, axis):
    return y * (g - (g * y).sum(axis=axis, keepdims=True)),

@softmax.parts
def softmax_parts(x, axis=-1):
    e = exp(x - peak_of(detach(x), axis))
    return e / sum(e, axis=axis, keepdims=True)


@op("(n)->(n)", axis=[-1, 0], shift=lambda f, x: (f(x + 1.5), f(x)),
    order=lambda f, x: (f(x[..., ::-1]), f(x)[..., ::-1]))
def log_softmax(x, axis=-1):
    """Logarithm of softmax, y = x - logsumexp(x), without the loss of digits of log(softmax(x)).

    dx = g - softmax(x) sum(g): x_i moves y_i one for one, and all y through the sum.

    Parameters
    ----------
    x : (..., n) float
        Logits; -inf (masked) gives -inf.

    Returns
    -------
    y : (..., n), log-probabilities in nats.
    """
    shifted = x - peak_of(x, axis)
    y = shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))
    return y, (y, axis)

@log_softmax.vjp
def log_softmax_vjp(g, y, axis):
    return g - exp(y) * g.sum(axis=axis, keepdims=True),

@log_softmax.parts
def log_softmax_parts(x, axis=-1):
    shifted = x - peak_of(detach(x), axis)
    return shifted - logsumexp(shifted, axis=axis, keepdims=True)


@op(inputs=axis_inputs, x="masked", shift=lambda f, x: (f(x + 1.5), f(x) + 1.5))
def logsumexp(x, axis=None, keepdims=False):
    """log(sum(e**x)), shifted by the maximum so that nothing overflows: dx = g softmax(x)."""
    peak = peak_of(x, axis)
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
    peak = peak_of(detach(x), axis)
    peak = np.where(np.isfinite(peak), peak, 0)
    y = log(sum(exp(x - peak), axis=axis, keepdims=True)) + peak
    return y if keepdims else y.reshape(detach(x).sum(axis=axis).shape)


# ---- fast path -------------------------------------------------------------------------------

# Every row is read from cache but for the first time.

def by_rows(kernel, *arrays):
    """Run a kernel on arrays of shape (..., n), viewed as rows, into a new one."""
    out = empty_like(arrays[0])
    matrices = [rows(plain(x)) for x in arrays]
    kernel(len(matrices[0]), *matrices, rows(out))
    return out

def last(x, axis):
    return axis in (-1, x.ndim - 1)


@softmax.fast
def softmax_fast(x, axis=-1):
    if not (fits(x) and last(x, axis)):
        return softmax.forward(x, axis)
    y = by_rows(_softmax, x)
    return y, (y, axis)

@softmax.fast_vjp
def softmax_fast_vjp(g, y, axis):
    if not (fits(y, g) and last(y, axis)):
        return softmax_vjp(g, y, axis)
    return by_rows(_softmax_vjp, g, y),

@log_softmax.fast
def log_softmax_fast(x, axis=-1):
    if not (fits(x) and last(x, axis)):
        return log_softmax.forward(x, axis)
    y = by_rows(_log_softmax, x)
    return y, (y, axis)

@log_softmax.fast_vjp
def log_softmax_fast_vjp(g, y, axis):
    if not (fits(y, g) and last(y, axis)):
        return log_softmax_vjp(g, y, axis)
    return by_rows(_log_softmax_vjp, g, y),

@row_kernel
def _softmax(start, stop, x, out):
    widest_vectors()
    for i in range(start, stop):
        weigh_row(at(x[i], 0), at(out[i], 0), x.shape[1], x.dtype.type(1))

@row_kernel
def _softmax_vjp(start, stop, g, y, dx):
    widest_vectors()
    for i in range(start, stop):
        dot = y.dtype.type(0)
        for j in range(y.shape[1]):
            dot += g[i, j] * y[i, j]
        for j in range(y.shape[1]):
            dx[i, j] = y[i, j] * (g[i, j] - dot)

@row_kernel(fastmath=jit.EXACT_MATH)                  # or x - (m + s), without the digits of s
def _log_softmax(start, stop, x, out):
    widest_vectors()
    for i in range(start, stop):
        m = vmath.peak_of(x[i])
        s = vmath.log_total(x[i], m)
        for j in range(x.shape[1]):
            out[i, j] = x[i, j] - m - s

@row_kernel
def _log_softmax_vjp(start, stop, g, y, dx):
    widest_vectors()
    for i in range(start, stop):
        total = y.dtype.type(0)
        for j in range(y.shape[1]):
            total += g[i, j]
        for j in range(y.shape[1]):
            dx[i, j] = g[i, j] - vmath.exp(y[i, j]) * total


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
