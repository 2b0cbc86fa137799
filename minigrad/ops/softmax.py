"""Softmax, its logarithm, and the logarithm of its denominator."""
import numpy as np

from minigrad.kernels import jit, vmath
from minigrad.kernels.llvm import at, widest_vectors
from minigrad.kernels.memory import empty, empty_like
from minigrad.kernels.rows import fits, plain, row_kernel
from minigrad.kernels.softmax import softmax_row
from minigrad.ops.elementwise import exp, log
from minigrad.ops.linear import rows
from minigrad.ops.reduce import axis_inputs, kept_shape, sum
from minigrad.tensor import detach, op


def peak_of(x, axis):
    """Return the largest elements along an axis, which is kept, as floats; of none, -inf."""
    x = x if x.dtype.kind == "f" else x.astype(np.float64)    # what is unsigned would wrap
    return x.max(axis=axis, keepdims=True, initial=-np.inf)


def shifted(f, x):
    """A constant added to all of x changes nothing."""
    y = f(x + 1.5)
    return y, f(x)

def turned(f, x):
    """The last element first, y has the same order."""
    y = f(x)
    other = f(x[..., ::-1])
    return other, y[..., ::-1]

def moved(f, x):
    """A constant added to all of x is added to y."""
    y = f(x)
    return f(x + 1.5), y + 1.5


@op("(n)->(n)", x="masked", axis=[-1, 0], shift=shifted, order=turned)
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
    mean = (g * y).sum(axis=axis, keepdims=True)
    return y * (g - mean),

@softmax.parts
def softmax_parts(x, axis=-1):
    e = exp(x - peak_of(detach(x), axis))
    return e / sum(e, axis=axis, keepdims=True)


@op("(n)->(n)", axis=[-1, 0], shift=shifted, order=turned)
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
    total = np.exp(shifted).sum(axis=axis, keepdims=True)
    y = shifted - np.log(total)
    return y, (y, axis)

@log_softmax.vjp
def log_softmax_vjp(g, y, axis):
    total = g.sum(axis=axis, keepdims=True)
    return g - exp(y) * total,

@log_softmax.parts
def log_softmax_parts(x, axis=-1):
    shifted = x - peak_of(detach(x), axis)
    return shifted - logsumexp(shifted, axis=axis, keepdims=True)


@op(inputs=axis_inputs, x="masked", shift=moved)
def logsumexp(x, axis=None, keepdims=False):
    """log(sum(e**x)), shifted by the maximum so that nothing overflows: dx = g softmax(x)."""
    peak = peak_of(x, axis)
    peak = np.where(np.isfinite(peak), peak, 0)               # -inf - -inf would be nan
    total = np.exp(x - peak).sum(axis=axis, keepdims=True)
    with np.errstate(divide="ignore"):                        # log(0) = -inf is meant
        y = np.log(total) + peak
    if not keepdims:
        y = y.squeeze(axis)
    return y, (x, y, axis)

@logsumexp.vjp
def logsumexp_vjp(g, x, y, axis):
    kept = kept_shape(x.shape, axis)
    return g.reshape(kept) * exp(x - y.reshape(kept)),        # nan for a row of -inf, as in torch

@logsumexp.parts
def logsumexp_parts(x, axis=None, keepdims=False):
    peak = peak_of(detach(x), axis)
    peak = np.where(np.isfinite(peak), peak, 0)
    total = sum(exp(x - peak), axis=axis, keepdims=True)
    y = log(total) + peak
    if keepdims:
        return y
    return y.reshape(detach(y).squeeze(axis).shape)


# ---- fast path -------------------------------------------------------------------------------

# Every row is read from cache but for the first time.

def by_rows(kernel, *arrays):
    """Run a kernel on arrays of shape (..., n), viewed as rows, into a new one."""
    out = empty_like(arrays[0])
    matrices = [rows(plain(x)) for x in arrays]
    kernel(len(matrices[0]), *matrices, rows(out))
    return out

def along_rows(x, axis=-1):
    return fits(x) and axis in (-1, x.ndim - 1)


@softmax.fast(when=along_rows)
def softmax_fast(x, axis=-1):
    y = by_rows(_softmax, x)
    return y, (y, axis)

@softmax.fast_vjp
def softmax_fast_vjp(g, y, axis):
    return by_rows(_softmax_vjp, g, y),

@log_softmax.fast(when=along_rows)
def log_softmax_fast(x, axis=-1):
    y = by_rows(_log_softmax, x)
    return y, (y, axis)

@log_softmax.fast_vjp
def log_softmax_fast_vjp(g, y, axis):
    return by_rows(_log_softmax_vjp, g, y),

@row_kernel
def _softmax(start, stop, x, out):
    widest_vectors()
    n, one = x.shape[1], x.dtype.type(1)
    for i in range(start, stop):
        source, target = at(x[i], 0), at(out[i], 0)
        softmax_row(source, target, n, one)

@row_kernel
def _softmax_vjp(start, stop, g, y, dx):
    widest_vectors()
    for i in range(start, stop):
        dot = y.dtype.type(0)
        for j in range(y.shape[1]):
            dot += g[i, j] * y[i, j]
        for j in range(y.shape[1]):
            centered = g[i, j] - dot
            dx[i, j] = y[i, j] * centered

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
            p = vmath.exp(y[i, j])
            dx[i, j] = g[i, j] - p * total


def over_rows(x, axis=None, keepdims=False):
    return along_rows(x, axis)

@logsumexp.fast(when=over_rows)
def logsumexp_fast(x, axis=None, keepdims=False):
    *places, _ = x.shape
    y = empty((*places, 1) if keepdims else (*places,), x.dtype)
    x_rows = rows(plain(x))
    _logsumexp(len(x_rows), x_rows, y.reshape(-1))
    return y, (x, y, axis)

@row_kernel
def _logsumexp(start, stop, x, out):
    widest_vectors()
    zero = x.dtype.type(0)
    for i in range(start, stop):
        m = vmath.peak_of(x[i])
        m = m if abs(m) < np.inf else zero                # -inf - -inf would be nan
        out[i] = m + vmath.log_total(x[i], m)
