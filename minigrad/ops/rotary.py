"""Rotary position embedding, alone and for the queries and keys of one projection."""
from math import prod

import numpy as np

from minigrad.kernels.jit import helper
from minigrad.kernels.llvm import widest_vectors
from minigrad.kernels.memory import empty_like
from minigrad.kernels.rows import fits, plain, row_kernel
from minigrad.kernels.vmath import inverse_root, power_of_two_below
from minigrad.ops.linear import rows
from minigrad.ops.norm import rms_norm, rms_norm_vjp
from minigrad.ops.shape import concatenate, stack
from minigrad.tensor import op


@op("(2h),(h),(h)->(2h)", cos="constant", sin="constant", interleaved=[False, True])
def rotary(x, cos, sin, interleaved=False):
    """Rotate each pair of features by an angle that grows with the position.

    The dot product of two rotated vectors depends on their distance alone, so attention sees
    relative positions. A rotation is undone by the opposite one, which is its transpose: dx is
    g rotated by the negative angle.

    Parameters
    ----------
    x : (..., T, D)
    cos, sin : (T, D / 2)
        Of the angles, from `rotary_angles`; constants, which have no gradient.
    interleaved : bool
        Pair feature 2i with 2i + 1 (as in the paper) and not i with i + D / 2 (as in GPT-NeoX).

    Returns
    -------
    (..., T, D)

    References
    ----------
    Su et al. 2021, arXiv:2104.09864, equation 34.
    """
    y = rotate(x, cos, sin, interleaved)
    return y, (cos, sin, interleaved)

@rotary.vjp
def rotary_vjp(g, cos, sin, interleaved):
    return rotary(g, cos, -sin, interleaved=interleaved), None, None

@rotary.parts
def rotary_parts(x, cos, sin, interleaved=False):
    return rotate(x, cos, sin, interleaved)


def rotate(x, cos, sin, interleaved):
    D = x.shape[-1]
    if D != 2 * cos.shape[-1]:
        raise ValueError(f"{D} features make {D / 2:g} pairs, but there are {cos.shape[-1]} angles")
    if interleaved:
        a, b = x[..., ::2], x[..., 1::2]
    else:
        a, b = x[..., :D // 2], x[..., D // 2:]
    a, b = a * cos - b * sin, a * sin + b * cos
    if not interleaved:
        return concatenate([a, b], axis=-1)
    pairs = stack([a, b], axis=-1)                        # (..., D / 2, 2)
    return pairs.reshape(*a.shape[:-1], D)


def rotary_angles(T, D, base=10_000.0, dtype=np.float32, start=0, frequency=None):
    """Return cos and sin of position * base**(-2i/D), each (T, D / 2), from position `start`.

    Other frequencies than these powers can be given, (D / 2,).
    """
    if frequency is None:
        frequency = base ** (-np.arange(0, D, 2) / D)     # (D / 2,)
    position = np.arange(start, start + T)
    angle = position[:, None] * frequency                 # (T, D / 2)
    cos, sin = np.cos(angle), np.sin(angle)
    return cos.astype(dtype), sin.astype(dtype)


def qk_rotary_inputs(draw):
    B = draw.side(1, 2)
    T = draw.side(1, 4)
    D = 2 * draw.choice([1, 2, 3, 8])
    n_values = draw.integer(0, 2)
    n = draw.integer(1, 3) + n_values
    qkv = draw.array((B, T, n * D))
    angles = rotary_angles(T, D, dtype=np.float64)
    params = {"n_value_head": n_values, "norm": draw.boolean()}
    return (qkv, *angles), params


@op(inputs=qk_rotary_inputs, replayed=True, qkv="away_from_zero", cos="constant", sin="constant")
def qk_rotary(qkv, cos, sin, n_value_head, norm=False, eps=1e-5):
    """Rotate the queries and keys of a projection by their positions, and leave its values.

    With `norm`, each head is divided by its root mean square first, so that no score can grow
    beyond the square root of the width.

    Parameters
    ----------
    qkv : (B, T, n D)
        The features of n heads of D, the last `n_value_head` of them of values.
    cos, sin : (T, D / 2)
        As for `rotary`, whose half-split pairs these are; constants.
    norm : bool
        As `rms_norm` without a gain, its `eps` included.

    Returns
    -------
    (B, T, n D)

    Raises
    ------
    ValueError
        If the features are not heads of D, or the angles not those of T positions.

    References
    ----------
    Su et al. 2021, arXiv:2104.09864; Henry et al. 2020, arXiv:2010.04245.
    """
    heads, n_turned = turned_heads(qkv, cos, sin, n_value_head)               # (B, T, n, D)
    x = heads[:, :, :n_turned]
    values = heads[:, :, n_turned:]
    of_norm = None
    if norm:
        x, of_norm = rms_norm.forward(x, None, eps)
    angles = cos[:, None], sin[:, None]                   # (T, 1, D / 2)
    turned = rotate(x, *angles, False)
    y = np.concatenate([turned, values], axis=2)
    saved = cos, sin, n_turned, of_norm
    return y.reshape(qkv.shape), saved

@qk_rotary.vjp
def qk_rotary_vjp(g, cos, sin, n_turned, of_norm):
    B, T, _ = g.shape
    D = 2 * cos.shape[-1]
    heads = g.reshape(B, T, -1, D)
    dx = heads[:, :, :n_turned]
    dvalues = heads[:, :, n_turned:]
    angles = cos[:, None], -sin[:, None]
    dx = rotate(dx, *angles, False)
    if of_norm:
        dx, _ = rms_norm_vjp(dx, *of_norm)
    dqkv = np.concatenate([dx, dvalues], axis=2)
    return dqkv.reshape(g.shape), None, None

@qk_rotary.parts
def qk_rotary_parts(qkv, cos, sin, n_value_head, norm=False, eps=1e-5):
    heads, n_turned = turned_heads(qkv, cos, sin, n_value_head)
    x = heads[:, :, :n_turned]
    values = heads[:, :, n_turned:]
    if norm:
        x = rms_norm(x, eps=eps)
    angles = cos[:, None], sin[:, None]
    turned = rotary(x, *angles)
    y = concatenate([turned, values], axis=2)
    return y.reshape(qkv.shape)


def turned_heads(qkv, cos, sin, n_value_head):
    """View (B, T, n D) as (B, T, n, D), and count the heads that are no values."""
    B, T, C = qkv.shape
    half = cos.shape[-1]
    D = 2 * half
    are_angles = cos.shape == sin.shape == (T, half)
    if C % D or C < n_value_head * D or not are_angles:
        raise ValueError(f"qkv has {T} positions of {C} features, {n_value_head} heads of them "
                         f"values: that does not go with angles of shapes {cos.shape} and "
                         f"{sin.shape}, which must be (T, D / 2)")
    n = C // D
    return qkv.reshape((B, T, n, D)), n - n_value_head


# ---- fast path -------------------------------------------------------------------------------

def go_together(x, cos, sin, interleaved=False):
    return rows_per_angle(x, cos, sin) > 0

@rotary.fast(when=go_together)
def rotary_fast(x, cos, sin, interleaved=False):
    inner = rows_per_angle(x, cos, sin)
    out = empty_like(x)
    kernel = _rotary_interleaved if interleaved else _rotary
    x_rows = rows(plain(x))
    angles = rows(plain(cos)), rows(plain(sin))
    kernel(len(x_rows), x_rows, *angles, inner, rows(out))
    return out, (cos, sin, interleaved)

def rows_per_angle(x, cos, sin):
    """How many rows of x, one after the other, take the same angle; 0 if no kernel fits."""
    if not (fits(x) and cos.dtype == sin.dtype == x.dtype):
        return 0
    if cos.shape != sin.shape:
        return 0
    *axes, half = cos.shape                               # (T, 1, ..., 1) against (..., T, H)
    if x.shape[-1] != 2 * half:
        return 0
    place = x.ndim - cos.ndim
    if not axes or place < 0 or axes[0] != x.shape[place]:
        return 0
    if prod(axes) != axes[0]:
        return 0
    return prod(x.shape[place + 1:-1])

@row_kernel
def _rotary(start, stop, x, cos, sin, inner, out):
    widest_vectors()
    half = cos.shape[1]
    for i in range(start, stop):
        t = i // inner % len(cos)
        for j in range(half):
            a, b = x[i, j], x[i, half + j]
            out[i, j] = a * cos[t, j] - b * sin[t, j]
            out[i, half + j] = a * sin[t, j] + b * cos[t, j]

@row_kernel
def _rotary_interleaved(start, stop, x, cos, sin, inner, out):
    widest_vectors()
    for i in range(start, stop):
        t = i // inner % len(cos)
        for j in range(cos.shape[1]):
            even, odd = 2 * j, 2 * j + 1
            a, b = x[i, even], x[i, odd]
            out[i, even] = a * cos[t, j] - b * sin[t, j]
            out[i, odd] = a * sin[t, j] + b * cos[t, j]


def are_of_one_type(qkv, cos, sin, *_, **__):
    return fits(qkv) and cos.dtype == sin.dtype == qkv.dtype

@qk_rotary.fast(when=are_of_one_type)
def qk_rotary_fast(qkv, cos, sin, n_value_head, norm=False, eps=1e-5):
    heads, n_turned = turned_heads(plain(qkv), cos, sin, n_value_head)
    B, T, n, D = heads.shape
    x = heads.reshape(B * T, n, D)
    out = empty_like(x)
    angles = plain(cos), plain(sin)
    eps = x.dtype.type(eps)
    rest = *angles, n_turned, bool(norm), eps
    qk_rotary_kernel(B * T, x, *rest, out)
    return out.reshape(qkv.shape), (x, *rest)

@qk_rotary.fast_vjp
def qk_rotary_fast_vjp(g, x, *rest):
    g_heads = plain(g).reshape(x.shape)                   # (B T, n, D)
    dx = empty_like(g)
    dx_heads = dx.reshape(x.shape)
    _qk_rotary_vjp(len(x), g_heads, x, *rest, dx_heads)
    return dx, None, None

@row_kernel
def qk_rotary_kernel(start, stop, x, cos, sin, n_turned, norm, eps, out):
    widest_vectors()
    half = cos.shape[1]
    one = x.dtype.type(1)
    for i in range(start, stop):
        t = i % len(cos)
        for h in range(n_turned):
            rstd = _rstd(x, i, h, eps) if norm else one
            for j in range(half):
                a = x[i, h, j] * rstd
                b = x[i, h, half + j] * rstd
                out[i, h, j] = a * cos[t, j] - b * sin[t, j]
                out[i, h, half + j] = a * sin[t, j] + b * cos[t, j]
        for h in range(n_turned, x.shape[1]):
            for j in range(2 * half):
                out[i, h, j] = x[i, h, j]

@row_kernel
def _qk_rotary_vjp(start, stop, g, x, cos, sin, n_turned, norm, eps, dx):
    widest_vectors()
    half = cos.shape[1]
    zero = x.dtype.type(0)
    one = x.dtype.type(1)
    share = one / x.dtype.type(x.shape[2])
    for i in range(start, stop):
        t = i % len(cos)
        for h in range(n_turned):
            along = zero
            for j in range(half):
                k = half + j
                ga = g[i, h, j]
                gb = g[i, h, k]
                c, s = cos[t, j], sin[t, j]
                a = ga * c + gb * s
                b = gb * c - ga * s
                dx[i, h, j] = a
                dx[i, h, k] = b
                along += a * x[i, h, j] + b * x[i, h, k]
            if norm:
                rstd = _rstd(x, i, h, eps)
                along = _share_along(along, rstd, share)
                for j in range(2 * half):
                    part = x[i, h, j] * along
                    dx[i, h, j] = (dx[i, h, j] - part) * rstd
        for h in range(n_turned, x.shape[1]):
            for j in range(2 * half):
                dx[i, h, j] = g[i, h, j]

@helper(inline=True)
def _rstd(x, i, h, eps):
    D = x.dtype.type(x.shape[2])
    square = x.dtype.type(0)
    one = x.dtype.type(1)
    for j in range(x.shape[2]):
        square += x[i, h, j] * x[i, h, j]
    rstd = one / np.sqrt(square / D + eps)
    return rstd if square < np.inf else _rstd_of_large(x, i, h, eps)

@helper
def _rstd_of_large(x, i, h, eps):
    peak = square = x.dtype.type(0)
    for j in range(x.shape[2]):
        peak = max(peak, abs(x[i, h, j]))
    scale = power_of_two_below(peak)
    for j in range(x.shape[2]):
        z = x[i, h, j] / scale
        square += z * z
    D = x.dtype.type(x.shape[2])
    return inverse_root(square / D, eps, scale)

@helper(fastmath=set())                                   # or rstd**2, which may be 0, comes first
def _share_along(along, rstd, share):
    return along * share * rstd * rstd
