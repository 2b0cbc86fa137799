"""Normalization over the last axis, alone and together with the residual add before it."""
import numpy as np

from minigrad.ops.elementwise import sqrt
from minigrad.ops.linear import rows
from minigrad.ops.reduce import mean
from minigrad.tensor import op


@op("(n),(n),(n)->(n)", x="spread", batched=("x",))
def layer_norm(x, gain=None, bias=None, eps=1e-5):
    r"""Normalize the last axis to zero mean and unit variance, then scale and shift.

    .. math:: y = \hat{x} \odot \text{gain} + \text{bias},
              \quad \hat{x} = (x - \mu) / \sqrt{\sigma^2 + \epsilon}

    With g' = g * gain, dx = (g' - mean(g') - x_hat mean(g' x_hat)) / sigma: what would move the
    mean or the variance of x is taken out of the gradient, since the norm undoes it.

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
    rstd = 1 / np.sqrt(np.square(centered).mean(axis=-1, keepdims=True) + eps)
    x_hat = centered * rstd
    return scale_and_shift(x_hat, gain, bias), (x_hat, rstd, gain, bias is not None)

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
    x_hat = centered / sqrt(mean(centered * centered, axis=-1, keepdims=True) + eps)
    return scale_and_shift(x_hat, gain, bias)


@op("(n),(n)->(n)", x="away_from_zero", batched=("x",))
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
    rstd = 1 / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + eps)
    x_hat = x * rstd
    return scale_and_shift(x_hat, gain, None), (x_hat, rstd, gain)

@rms_norm.vjp
def rms_norm_vjp(g, x_hat, rstd, gain):
    dx_hat = g if gain is None else g * gain
    dx = rstd * (dx_hat - x_hat * (dx_hat * x_hat).mean(axis=-1, keepdims=True))
    return dx, None if gain is None else rows(g * x_hat).sum(axis=0)

@rms_norm.parts
def rms_norm_parts(x, gain=None, eps=1e-5):
    x_hat = x / sqrt(mean(x * x, axis=-1, keepdims=True) + eps)
    return scale_and_shift(x_hat, gain, None)


@op("(n),(n),(n),(n)->(n),(n)", x="spread", residual="spread", batched=("x", "residual"))
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


@op("(n),(n),(n)->(n),(n)", x="away_from_zero", residual="spread", batched=("x", "residual"))
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


def scale_and_shift(x_hat, gain, bias):
    y = x_hat if gain is None else x_hat * gain
    return y if bias is None else y + bias


def same_shape(x, residual):
    if x.shape != residual.shape:
        raise ValueError(f"the residual stream has shape {residual.shape}, but what is added to "
                         f"it has shape {x.shape}")
