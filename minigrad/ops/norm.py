"""Normalization over the last axis."""
import functools

import numpy as np

from minigrad.kernels.jit import helper
from minigrad.kernels.llvm import widest_vectors
from minigrad.kernels.memory import empty, empty_like
from minigrad.kernels.rows import first_fits, plain, row_kernel
from minigrad.kernels.vmath import inverse_root, power_of_two_below
from minigrad.ops.elementwise import sqrt
from minigrad.ops.linear import added_up, rows
from minigrad.ops.reduce import mean
from minigrad.tensor import detach, op


def shifted(f, x, *rest):
    """A constant added to all of x changes nothing."""
    y = f(x + 1.5, *rest)
    return y, f(x, *rest)

def scaled(f, x, *rest):
    """Nor does a factor of x, where eps grows with its square."""
    y = f(2 * x, *rest, eps=4e-5)
    return y, f(x, *rest, eps=1e-5)

@op("(n),(n),(n)->(n)", replayed=True, x="spread", batched=("x",), eps=[1e-5, 0.1],
    shift=shifted, scale=scaled)
def layer_norm(x, gain=None, bias=None, eps=1e-5):
    r"""Normalize the last axis to zero mean and unit variance, then scale and shift.

    .. math:: y = \hat{x} \odot \text{gain} + \text{bias},
              \quad \hat{x} = (x - \mu) / \sqrt{\sigma^2 + \epsilon}

    With g' = g * gain and sigma = sqrt(var(x) + eps),
    dx = (g' - mean(g') - x_hat mean(g' x_hat)) / sigma. Why it has this form:

    If the mean and sigma did not move with x, dx would be g' / sigma. But they do, and undo some
    changes of x. Adding a constant to x changes nothing, so dx has no part along (1, ..., 1).
    Stretching x about its mean changes nothing (but for eps), so dx has no part along x_hat. The
    two directions are perpendicular, since sum(x_hat) = 0, and both have squared length n, since
    mean(x_hat**2) = 1. So the projection of g' on the first is sum(g') / n = mean(g'), and on the
    second x_hat sum(g' x_hat) / n = x_hat mean(g' x_hat). Subtract both: sum(dx) = 0 and
    sum(dx x_hat) = 0.

    With eps, x_hat is a little shorter, and sum(dx x_hat) is not quite 0; dx is exact all the same.

    Parameters
    ----------
    x : (..., n)
    gain, bias : (n,) or None
    eps : float
        Added to the variance, in the units of x**2.

    Returns
    -------
    (..., n)

    References
    ----------
    Ba et al. 2016, arXiv:1607.06450, equation 4.
    """
    centered = x - x.mean(axis=-1, keepdims=True)
    scale = power_of_two(centered)                            # it drops out: x_hat has no scale
    x_hat, rstd = over_rms(centered / scale, eps / scale / scale)
    y = scale_and_shift(x_hat, gain, bias)
    return y, (x_hat, rstd / scale, gain, bias is not None)

@layer_norm.vjp
def layer_norm_vjp(g, x_hat, rstd, gain, has_bias):
    dx_hat = g if gain is None else g * gain
    of_mean = dx_hat.mean(axis=-1, keepdims=True)             # x moved the mean
    along = (dx_hat * x_hat).mean(axis=-1, keepdims=True)     # x moved the variance
    dx = rstd * (dx_hat - of_mean - x_hat * along)
    dbias = rows(g).sum(axis=0) if has_bias else None
    return dx, gain_vjp(g, x_hat, gain), dbias

@layer_norm.parts
def layer_norm_parts(x, gain=None, bias=None, eps=1e-5):
    centered = x - mean(x, axis=-1, keepdims=True)
    scale = power_of_two(detach(centered))
    z = centered / scale
    square = mean(z * z, axis=-1, keepdims=True)
    x_hat = z / sqrt(square + eps / scale / scale)
    return scale_and_shift(x_hat, gain, bias)


@op("(n),(n)->(n)", replayed=True, x="away_from_zero", batched=("x",), eps=[1e-5, 0.1],
    scale=scaled)
def rms_norm(x, gain=None, eps=1e-5):
    r"""Divide the last axis by its root mean square, then scale.

    .. math:: y = \hat{x} \odot \text{gain},
              \quad \hat{x} = x / \sqrt{\text{mean}(x^2) + \epsilon}

    As `layer_norm`, but nothing is centered: dx = (g' - x_hat mean(g' x_hat)) / rms.

    Parameters
    ----------
    x : (..., n)
    gain : (n,) or None
    eps : float
        Added to the mean square, in the units of x**2 (torch: the smallest normal difference
        of the dtype unless told).

    Returns
    -------
    (..., n)

    References
    ----------
    Zhang & Sennrich 2019, arXiv:1910.07467, equation 4.
    """
    scale = power_of_two(x)
    x_hat, rstd = over_rms(x / scale, eps / scale / scale)
    y = scale_and_shift(x_hat, gain, None)
    return y, (x_hat, rstd / scale, gain)

@rms_norm.vjp
def rms_norm_vjp(g, x_hat, rstd, gain):
    dx_hat = g if gain is None else g * gain
    along = (dx_hat * x_hat).mean(axis=-1, keepdims=True)
    dx = rstd * (dx_hat - x_hat * along)
    return dx, gain_vjp(g, x_hat, gain)

@rms_norm.parts
def rms_norm_parts(x, gain=None, eps=1e-5):
    scale = power_of_two(detach(x))
    z = x / scale
    square = mean(z * z, axis=-1, keepdims=True)
    x_hat = z / sqrt(square + eps / scale / scale)
    return scale_and_shift(x_hat, gain, None)


def power_of_two(x, axis=-1):
    """Return for each row a number, 1 or more, by which x can be divided so that no square is inf.

    Of 2**n nothing is rounded: where the squares are finite, all digits are as without it.
    """
    peak = np.abs(x).max(axis=axis, keepdims=True, initial=0)
    _, exponent = np.frexp(peak)
    n = np.where(np.isfinite(peak), exponent - 1, 0)
    one = np.ones_like(peak)
    return np.ldexp(one, np.maximum(n, 0))


def over_rms(z, eps):
    """Return z over its root mean square, and one over that."""
    square = np.square(z).mean(axis=-1, keepdims=True)
    rstd = 1 / np.sqrt(square + eps)
    return z * rstd, rstd


def gain_vjp(g, x_hat, gain):
    return None if gain is None else rows(g * x_hat).sum(axis=0)


def scale_and_shift(x_hat, gain, bias):
    y = x_hat if gain is None else x_hat * gain
    return y if bias is None else y + bias


# ---- fast path -------------------------------------------------------------------------------

# Saved are the input and, for each row, what it was shifted and scaled by: not x_hat. These ops and
# those of add_norm.py share two kernels: without a residual the row is read where it is, and
# rms_norm has no mean.

TASK_ROWS = 64    # rows of one task in the backward pass, whose gradients of gain are summed

@layer_norm.fast(when=first_fits)
def layer_norm_fast(x, gain=None, bias=None, eps=1e-5):
    (_, y), saved = normalize(x, None, gain, bias, eps, means=True)
    return y, saved

@layer_norm.fast_vjp
def layer_norm_fast_vjp(g, *saved):
    return denormalize(None, g, *saved)

@rms_norm.fast(when=first_fits)
def rms_norm_fast(x, gain=None, eps=1e-5):
    (_, y), saved = normalize(x, None, gain, None, eps, means=False)
    return y, saved

@rms_norm.fast_vjp
def rms_norm_fast_vjp(g, *saved):
    return denormalize(None, g, *saved)[:2]

def normalize(x, residual, gain, bias, eps, means):
    """Run the forward kernel; return (total, y) and what `denormalize` takes."""
    x = plain(x)
    total = x if residual is None else empty_like(x)
    y = empty_like(x)
    n_rows, _ = rows(x).shape
    stats = empty((1 + means, n_rows), x.dtype)
    inputs = rows(x), rows_or_none(residual, x)
    affine = vector(gain, 1, x), vector(bias, 0, x)
    eps = x.dtype.type(eps)
    normalize_kernel(n_rows, *inputs, *affine, eps, rows(total), rows(y), stats)
    saved = total, stats, gain, bias is not None, means
    return (total, y), saved

def denormalize(g_total, g, total, stats, gain, has_bias, means):
    """Run the backward kernel; return dx, dgain and dbias."""
    n_rows, n = rows(total).shape
    tasks = -(-n_rows // TASK_ROWS)
    dx = empty_like(total)
    sums = empty((tasks, 2, n), total.dtype)
    gradients = rows(plain(g)), rows_or_none(g_total, total)
    weights = vector(gain, 1, total)
    _denormalize(tasks, *gradients, rows(total), stats, weights, rows(dx), sums)
    dgain = None if gain is None else added_up(sums[:, 0])
    dbias = added_up(sums[:, 1]) if has_bias else None
    return dx, dgain, dbias

def rows_or_none(x, like):
    """View x as rows; without it, return none of them."""
    if x is None:
        return np.empty((0, like.shape[-1]), like.dtype)
    return rows(plain(x))

def vector(x, value, like):
    """Return a gain or bias, or one that changes nothing."""
    if x is None:
        return constant(like.shape[-1], value, like.dtype)
    return plain(x)

@functools.lru_cache(maxsize=64)
def constant(n, value, dtype):
    return np.full(n, value, dtype)


@row_kernel
def normalize_kernel(start, stop, x, residual, gain, bias, eps, total, out, stats):
    widest_vectors()
    n = x.shape[1]
    zero, one = x.dtype.type(0), x.dtype.type(1)
    share = one / x.dtype.type(n)
    for i in range(start, stop):
        if residual.shape[0]:                             # else total is x
            for j in range(n):
                total[i, j] = x[i, j] + residual[i, j]
        mean, square = zero, zero
        if stats.shape[0] == 2:
            for j in range(n):
                mean += total[i, j]
            mean *= share
            stats[0, i] = mean
        for j in range(n):
            centered = total[i, j] - mean
            square += centered * centered
        rstd = one / np.sqrt(square * share + eps)
        if not square < np.inf:
            rstd = rstd_of_large(total[i], mean, eps)
        stats[-1, i] = rstd
        for j in range(n):
            x_hat = (total[i, j] - mean) * rstd
            out[i, j] = x_hat * gain[j] + bias[j]

@helper
def rstd_of_large(row, mean, eps):
    """Return 1 / sqrt(mean((row - mean)**2) + eps) where the squares are not finite."""
    peak = square = row.dtype.type(0)
    for j in range(row.size):
        peak = max(peak, abs(row[j] - mean))
    scale = power_of_two_below(peak)
    for j in range(row.size):
        z = (row[j] - mean) / scale
        square += z * z
    n = row.dtype.type(row.size)
    return inverse_root(square / n, eps, scale)

@row_kernel
def _denormalize(start, stop, g, g_total, total, stats, gain, dx, dsums):
    widest_vectors()
    n_rows, n = total.shape
    zero, one = total.dtype.type(0), total.dtype.type(1)
    share = one / total.dtype.type(n)
    for task in range(start, stop):
        dgain, dbias = dsums[task, 0], dsums[task, 1]
        dgain[:] = zero
        dbias[:] = zero
        first = task * TASK_ROWS
        last = min(n_rows, first + TASK_ROWS)
        for i in range(first, last):
            rstd = stats[-1, i]
            mean = a = b = zero
            if stats.shape[0] == 2:
                mean = stats[0, i]
            for j in range(n):
                x_hat = (total[i, j] - mean) * rstd
                gj = g[i, j]
                dgain[j] += gj * x_hat
                dbias[j] += gj
                a += gj * gain[j]
                b += gj * gain[j] * x_hat
            a = a * share if stats.shape[0] == 2 else zero
            b *= share
            for j in range(n):
                x_hat = (total[i, j] - mean) * rstd
                dx_hat = g[i, j] * gain[j]
                dx[i, j] = (dx_hat - a - x_hat * b) * rstd
            if g_total.shape[0]:
                for j in range(n):
                    dx[i, j] += g_total[i, j]
