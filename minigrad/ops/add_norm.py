"""The residual add and the normalization after it, in one step."""
from minigrad.kernels.rows import fits
from minigrad.ops.norm import (
    denormalize, layer_norm, layer_norm_vjp, normalize, rms_norm, rms_norm_vjp)
from minigrad.tensor import op


def either_first(f, x, residual, *rest):
    """The sum has no order, and y depends on it alone."""
    _, y = f(x, residual, *rest)
    _, other = f(residual, x, *rest)
    return y, other


@op("(n),(n),(n),(n)->(n),(n)", replayed=True, x="spread", residual="spread",
    batched=("x", "residual"), order=either_first)
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
    g_total, g = g
    dtotal, dgain, dbias = layer_norm_vjp(g, x_hat, rstd, gain, has_bias)
    dx = g_total + dtotal
    return dx, dx, dgain, dbias

@add_layer_norm.parts
def add_layer_norm_parts(x, residual, gain=None, bias=None, eps=1e-5):
    total = x + residual
    return total, layer_norm(total, gain, bias, eps=eps)


@op("(n),(n),(n)->(n),(n)", replayed=True, x="away_from_zero", residual="spread",
    batched=("x", "residual"), order=either_first)
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
    g_total, g = g
    dtotal, dgain = rms_norm_vjp(g, x_hat, rstd, gain)
    dx = g_total + dtotal
    return dx, dx, dgain

@add_rms_norm.parts
def add_rms_norm_parts(x, residual, gain=None, eps=1e-5):
    total = x + residual
    return total, rms_norm(total, gain, eps=eps)


def same_shape(x, residual):
    if x.shape != residual.shape:
        raise ValueError(f"the residual stream has shape {residual.shape}, but what is added to "
                         f"it has shape {x.shape}")


# ---- fast path -------------------------------------------------------------------------------

def first_two_fit(x, residual, *_, **__):
    return fits(x, residual)


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
