"""Normalization over the last axis, alone and together with the residual add before it."""
import functools

import numpy as np

from minigrad.kernels.jit import helper
from minigrad.kernels.memory import empty, empty_like
from minigrad.kernels.rows import first_fits, fits, plain, row_kernel, widest_vectors
from minigrad.kernels.vmath import inverse_root, power_of_two_below
from minigrad.ops.elementwise import sqrt
from minigrad.ops.linear import added_up, rows
from minigrad.ops.reduce import mean
from minigrad.tensor import detach, op


@op("(n),(n),(n)->(n)", replayed=True, x="spread", batched=("x",), eps=[1e-5, 0.1],
    shift=lambda f, x, *rest: (f(x + 1.5, *rest), f(x, *rest)),
    scale=lambda f, x, *rest: (f(2 * x, *rest, eps=4e-5), f(x, *rest, eps=1e-5)))
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
    z = centered / scale
    rstd = 1 / np.sqrt(np.square(z).mean(axis=-1, keepdims=True) + eps / scale / scale)
    x_hat = z * rstd
    return scale_and_shift(x_hat, gain, bias), (x_hat, rstd / scale, gain, bias is not None)

@layer_norm.vjp
def layer_norm_vjp(g, x_hat, rstd, gain, has_bias):
    dx_hat = g if gain is None else g * gain
    dx = rstd * (dx_hat
                 - dx_hat.mean(axis=-1, keepdims=True)                       # x moved the mean
                 - x_hat * (dx_hat * x_hat).mean(axis=-1, keepdims=True))    # x moved the variance
    dgain = None if gain is None else rows(g * x_hat).sum(axis=0)
    return dx, dgain, rows(g).sum(axis=0) if has_bias else None

@layer_norm.parts
def layer_norm_parts(x, gain=None, bias=None, eps=1e-5):
    centered = x - mean(x, axis=-1, keepdims=True)
    scale = power_of_two(detach(centered))
    z = centered / scale
    x_hat = z / sqrt(mean(z * z, axis=-1, keepdims=True) + eps / scale / scale)
    return scale_and_shift(x_hat, gain, bias)


@op("(n),(n)->(n)", replayed=True, x="away_from_zero", batched=("x",), eps=[1e-5, 0.1],
    scale=lambda f, x, *rest: (f(2 * x, *rest, eps=4e-5), f(x, *rest, eps=1e-5)))
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
    z = x / scale
    rstd = 1 / np.sqrt(np.square(z).mean(axis=-1, keepdims=True) + eps / scale / scale)
    x_hat = z * rstd
    return scale_and_shift(x_hat, gain, None), (x_hat, rstd / scale, gain)

@rms_norm.vjp
def rms_norm_vjp(g, x_hat, rstd, gain):
    dx_hat = g if gain is None else g * gain
    dx = rstd * (dx_hat - x_hat * (dx_hat * x_hat).mean(axis=-1, keepdims=True))
    return dx, None if gain is None else rows(g * x_hat).sum(axis=0)

@rms_norm.parts
def rms_norm_parts(x, gain=None, eps=1e-5):
    scale = power_of_two(detach(x))
    z = x / scale
    x_hat = z / sqrt(mean(z * z, axis=-1, keepdims=True) + eps / scale / scale)
    return scale_and_shift(x_hat, gain, None)


@op("(n),(n),(n),(n)->(n),(n)", replayed=True, x="spread", residual="spread",
    batched=("x", "residual"),
    order=lambda f, x, y, *rest: (f(x, y, *rest)[1], f(y, x, *rest)[1]))
def add_layer_norm(x, residual, gain=None, bias=None, eps=1e-5):
    """Add to the residual stream and normalize the sum: (x + residual, layer_norm(x + residual)).

    The sum reaches the loss on two ways, directly and through the norm: their gradients add, and
    x and residual both receive the total.

    Parameters
    ----------
    x, residual : (..., n), of one shape
    gain, bias, eps
        As for `layer_norm`.

    Returns
    -------
    total, y : (..., n)
    """
    same_shape(x, residual)
    total = x + residual
    y, saved = layer_norm.forward(total, gain, bias, eps)
    return (total, y), saved

@add_layer_norm.vjp
def add_layer_norm_vjp(g, x_hat, rstd, gain, has_bias):
    dtotal, dgain, dbias = layer_norm_vjp(g[1], x_hat, rstd, gain, has_bias)
    dx = g[0] + dtotal
    return dx, dx, dgain, dbias

@add_layer_norm.parts
def add_layer_norm_parts(x, residual, gain=None, bias=None, eps=1e-5):
    total = x + residual
    return total, layer_norm(total, gain, bias, eps=eps)


@op("(n),(n),(n)->(n),(n)", replayed=True, x="away_from_zero", residual="spread",
    batched=("x", "residual"),
    order=lambda f, x, y, *rest: (f(x, y, *rest)[1], f(y, x, *rest)[1]))
def add_rms_norm(x, residual, gain=None, eps=1e-5):
    """Add to the residual stream and normalize the sum: (x + residual, rms_norm(x + residual)).

    Parameters
    ----------
    x, residual : (..., n), of one shape
    gain, eps
        As for `rms_norm`.

    Returns
    -------
    total, y : (..., n)
    """
    same_shape(x, residual)
    total = x + residual
    y, saved = rms_norm.forward(total, gain, eps)
    return (total, y), saved

@add_rms_norm.vjp
def add_rms_norm_vjp(g, x_hat, rstd, gain):
    dtotal, dgain = rms_norm_vjp(g[1], x_hat, rstd, gain)
    dx = g[0] + dtotal
    return dx, dx, dgain

@add_rms_norm.parts
def add_rms_norm_parts(x, residual, gain=None, eps=1e-5):
    total = x + residual
    return total, rms_norm(total, gain, eps=eps)


def power_of_two(x, axis=-1):
    """Return for each row a number, 1 or more, by which x can be divided so that no square is inf.

    Of 2**n nothing is rounded: where the squares are finite, all digits are as without it.
    """
    peak = np.abs(x).max(axis=axis, keepdims=True, initial=0)
    n = np.where(np.isfinite(peak), np.frexp(peak)[1] - 1, 0)
    return np.ldexp(np.ones_like(peak), np.maximum(n, 0))


def scale_and_shift(x_hat, gain, bias):
    y = x_hat if gain is None else x_hat * gain
    return y if bias is None else y + bias


def same_shape(x, residual):
    if x.shape != residual.shape:
        raise ValueError(f"the residual stream has shape {residual.shape}, but what is added to "
                         f"it has shape {x.shape}")


# ---- fast path -------------------------------------------------------------------------------

# Saved are the input and, for each row, what it was shifted and scaled by: not x_hat. The four
# ops share two kernels: without a residual the row is read where it is, and rms_norm has no mean.

ROWS = 64         # rows of one task in the backward pass, whose gradients of gain are summed


def first_two_fit(x, residual, *_, **__):
    return fits(x, residual)


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

@add_layer_norm.fast(when=first_two_fit)
def add_layer_norm_fast(x, residual, gain=None, bias=None, eps=1e-5):
    return normalize(x, residual, gain, bias, eps, means=True)

@add_layer_norm.fast_vjp
def add_layer_norm_fast_vjp(g, *saved):
    dx, dgain, dbias = denormalize(*g, *saved)
    return dx, dx, dgain, dbias

@add_rms_norm.fast(when=first_two_fit)
def add_rms_norm_fast(x, residual, gain=None, eps=1e-5):
    return normalize(x, residual, gain, None, eps, means=False)

@add_rms_norm.fast_vjp
def add_rms_norm_fast_vjp(g, *saved):
    dx, dgain, _ = denormalize(*g, *saved)
    return dx, dx, dgain


def normalize(x, residual, gain, bias, eps, means):
    """Run the forward kernel; return (total, y) and what `denormalize` takes."""
    n = x.shape[-1]
    x = plain(x)
    total = x if residual is None else empty_like(x)
    y, stats = empty_like(x), empty((1 + means, x.size // n), x.dtype)
    other = np.empty((0, n), x.dtype) if residual is None else rows(plain(residual))
    normalize_kernel(len(rows(x)), rows(x), other, vector(gain, n, 1, x), vector(bias, n, 0, x),
                     x.dtype.type(eps), rows(total), rows(y), stats)
    return (total, y), (total, stats, gain, bias is not None, means)

def denormalize(g_total, g, total, stats, gain, has_bias, means):
    """Run the backward kernel; return dx, dgain and dbias."""
    n = total.shape[-1]
    n_rows = total.size // n
    tasks = -(-n_rows // ROWS)
    dx, sums = empty_like(total), empty((tasks, 2, n), total.dtype)
    other = np.empty((0, n), total.dtype) if g_total is None else rows(plain(g_total))
    _denormalize(tasks, rows(plain(g)), other, rows(total), stats, vector(gain, n, 1, total),
                 rows(dx), sums)
    return (dx, None if gain is None else added_up(sums[:, 0]),
            added_up(sums[:, 1]) if has_bias else None)

def vector(x, n, value, like):
    """Return a gain or bias, or one that changes nothing."""
    return constant(n, value, like.dtype) if x is None else plain(x)

@functools.lru_cache(maxsize=64)
def constant(n, value, dtype):
    return np.full(n, value, dtype)


@row_kernel
def normalize_kernel(start, stop, x, residual, gain, bias, eps, total, out, stats):
    widest_vectors()
    n, zero, one = x.shape[1], x.dtype.type(0), x.dtype.type(1)
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
            square += (total[i, j] - mean) * (total[i, j] - mean)
        rstd = one / np.sqrt(square * share + eps)
        if not square < np.inf:
            rstd = rstd_of_large(total[i], mean, eps)
        stats[-1, i] = rstd
        for j in range(n):
            out[i, j] = (total[i, j] - mean) * rstd * gain[j] + bias[j]

@helper
def rstd_of_large(row, mean, eps):
    """Return 1 / sqrt(mean((row - mean)**2) + eps) where the squares are not finite."""
    peak = square = row.dtype.type(0)
    for j in range(row.size):
        peak = max(peak, abs(row[j] - mean))
    scale = power_of_two_below(peak)
    for j in range(row.size):
        square += (row[j] - mean) / scale * ((row[j] - mean) / scale)
    return inverse_root(square / row.dtype.type(row.size), eps, scale)

@row_kernel
def _denormalize(start, stop, g, g_total, total, stats, gain, dx, dsums):
    widest_vectors()
    n_rows, n = total.shape
    zero, share = total.dtype.type(0), total.dtype.type(1) / total.dtype.type(n)
    for task in range(start, stop):
        dgain, dbias = dsums[task, 0], dsums[task, 1]
        dgain[:] = zero
        dbias[:] = zero
        for i in range(task * ROWS, min(n_rows, (task + 1) * ROWS)):
            rstd, mean, a, b = stats[-1, i], zero, zero, zero
            if stats.shape[0] == 2:
                mean = stats[0, i]
            for j in range(n):
                x_hat, gj = (total[i, j] - mean) * rstd, g[i, j]
                dgain[j] += gj * x_hat
                dbias[j] += gj
                a += gj * gain[j]
                b += gj * gain[j] * x_hat
            a = a * share if stats.shape[0] == 2 else zero
            b *= share
            for j in range(n):
                x_hat = (total[i, j] - mean) * rstd
                dx[i, j] = (g[i, j] * gain[j] - a - x_hat * b) * rstd
            if g_total.shape[0]:
                for j in range(n):
                    dx[i, j] += g_total[i, j]
