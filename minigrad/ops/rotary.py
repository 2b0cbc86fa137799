"""Rotary position embedding, alone and for the queries and keys of one projection."""
from math import prod

import numpy as np

from minigrad.kernels.jit import helper
from minigrad.kernels.memory import empty_like
from minigrad.kernels.rows import fits, plain, row_kernel, widest_vectors
from minigrad.kernels.vmath import inverse_root, power_of_two_below
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
    return rotate(x, cos, sin, interleaved), (cos, sin, interleaved)

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
    a, b = (x[..., ::2], x[..., 1::2]) if interleaved else (x[..., :D // 2], x[..., D // 2:])
    a, b = a * cos - b * sin, a * sin + b * cos
    if interleaved:
        return stack([a, b], axis=-1).reshape(*a.shape[:-1], D)
    return concatenate([a, b], axis=-1)


def rotary_angles(T, D, base=10_000.0, dtype=np.float32, start=0):
    """Return cos and sin of position * base**(-2i/D), each (T, D / 2), from position `start`."""
    frequency = base ** (-np.arange(0, D, 2) / D)                       # (D / 2,)
    angle = np.arange(start, start + T)[:, None] * frequency            # (T, D / 2)
    return np.cos(angle).astype(dtype), np.sin(angle).astype(dtype)


def qk_rotary_inputs(draw):
    B, T, half = draw.side(1, 2), draw.side(1, 4), draw.choice([1, 2, 3, 8])
    n_turned, n_values = draw.integer(1, 3), draw.integer(0, 2)
    qkv = draw.array((B, T, (n_turned + n_values) * 2 * half))
    params = {"n_value_head": n_values, "norm": draw.boolean()}
    return (qkv, *rotary_angles(T, 2 * half, dtype=np.float64)), params


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
    x, values = heads[:, :, :n_turned], heads[:, :, n_turned:]
    x, of_norm = rms_norm.forward(x, None, eps) if norm else (x, None)
    y = np.concatenate([rotate(x, cos[:, None], sin[:, None], False), values], axis=2)
    return y.reshape(qkv.shape), (cos, sin, n_turned, of_norm)

@qk_rotary.vjp
def qk_rotary_vjp(g, cos, sin, n_turned, of_norm):
    heads = g.reshape(*g.shape[:2], -1, 2 * cos.shape[-1])
    dx = rotate(heads[:, :, :n_turned], cos[:, None], -sin[:, None], False)
    if of_norm:
        dx, _ = rms_norm_vjp(dx, *of_norm)
    return np.concatenate([dx, heads[:, :, n_turned:]], axis=2).reshape(g.shape), None, None

@qk_rotary.parts
def qk_rotary_parts(qkv, cos, sin, n_value_head, norm=False, eps=1e-5):
    heads, n_turned = turned_heads(qkv, cos, sin, n_value_head)
    x, values = heads[:, :, :n_turned], heads[:, :, n_turned:]
    x = rms_norm(x, eps=eps) if norm else x
    y = concatenate([rotary(x, cos[:, None], sin[:, None]), values], axis=2)
    return y.reshape(qkv.shape)


def turned_heads(qkv, cos, sin, n_value_head):
    """View (B, T, n D) as (B, T, n, D), and count the heads that are no values."""
    (B, T, C), D = qkv.shape, 2 * cos.shape[-1]
    if C % D or C < n_value_head * D or not cos.shape == sin.shape == (T, D // 2):
        raise ValueError(f"qkv has {T} positions of {C} features, {n_value_head} heads of them "
                         f"values: that does not go with angles of shapes {cos.shape} and "
                         f"{sin.shape}, which must be (T, D / 2)")
    return qkv.reshape((B, T, C // D, D)), C // D - n_value_head


# ---- fast path -------------------------------------------------------------------------------

@rotary.fast(when=lambda x, cos, sin, interleaved=False: rows_per_angle(x, cos, sin) > 0)
def rotary_fast(x, cos, sin, interleaved=False):
    inner = rows_per_angle(x, cos, sin)
    out, half = empty_like(x), cos.shape[-1]
    angles = plain(cos).reshape(-1, half), plain(sin).reshape(-1, half)
    n = x.size // x.shape[-1]
    matrices = plain(x).reshape(n, -1), *angles, out.reshape(n, -1)
    (_rotary_interleaved if interleaved else _rotary)(n, *matrices[:3], inner, matrices[3])
    return out, (cos, sin, interleaved)

def rows_per_angle(x, cos, sin):
    """How many rows of x, one after the other, take the same angle; 0 if no kernel fits."""
    axes = cos.shape[:-1]                                     # (T, 1, ..., 1) against (..., T, H)
    place = x.ndim - cos.ndim
    if (not fits(x) or not axes or place < 0 or cos.shape != sin.shape or axes[0] != x.shape[place]
            or any(n != 1 for n in axes[1:]) or not cos.dtype == sin.dtype == x.dtype
            or x.shape[-1] != 2 * cos.shape[-1]):
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
            a, b = x[i, 2 * j], x[i, 2 * j + 1]
            out[i, 2 * j] = a * cos[t, j] - b * sin[t, j]
            out[i, 2 * j + 1] = a * sin[t, j] + b * cos[t, j]


def are_of_one_type(qkv, cos, sin, *_, **__):
    return fits(qkv) and cos.dtype == sin.dtype == qkv.dtype

@qk_rotary.fast(when=are_of_one_type)
def qk_rotary_fast(qkv, cos, sin, n_value_head, norm=False, eps=1e-5):
    heads, n_turned = turned_heads(plain(qkv), cos, sin, n_value_head)
    out, cos, sin, eps = empty_like(heads), plain(cos), plain(sin), qkv.dtype.type(eps)
    B, T, n, D = heads.shape
    x = heads.reshape(B * T, n, D)
    qk_rotary_kernel(B * T, x, cos, sin, n_turned, bool(norm), eps, out.reshape(x.shape))
    return out.reshape(qkv.shape), (x, cos, sin, n_turned, bool(norm), eps)

@qk_rotary.fast_vjp
def qk_rotary_fast_vjp(g, x, *rest):
    dx = empty_like(g)
    _qk_rotary_vjp(len(x), plain(g).reshape(x.shape), x, *rest, dx.reshape(x.shape))
    return dx, None, None

@row_kernel
def qk_rotary_kernel(start, stop, x, cos, sin, n_turned, norm, eps, out):
    widest_vectors()
    half = cos.shape[1]
    for i in range(start, stop):
        t = i % len(cos)
        for h in range(n_turned):
            rstd = _rstd(x, i, h, eps) if norm else x.dtype.type(1)
            for j in range(half):
                a, b = x[i, h, j] * rstd, x[i, h, half + j] * rstd
                out[i, h, j] = a * cos[t, j] - b * sin[t, j]
                out[i, h, half + j] = a * sin[t, j] + b * cos[t, j]
        for h in range(n_turned, x.shape[1]):
            for j in range(2 * half):
                out[i, h, j] = x[i, h, j]

@row_kernel
def _qk_rotary_vjp(start, stop, g, x, cos, sin, n_turned, norm, eps, dx):
    widest_vectors()
    half, zero, share = cos.shape[1], x.dtype.type(0), x.dtype.type(1) / x.dtype.type(x.shape[2])
    for i in range(start, stop):
        t = i % len(cos)
        for h in range(n_turned):
            along = zero
            for j in range(half):
                a = g[i, h, j] * cos[t, j] + g[i, h, half + j] * sin[t, j]
                b = g[i, h, half + j] * cos[t, j] - g[i, h, j] * sin[t, j]
                dx[i, h, j], dx[i, h, half + j] = a, b
                along += a * x[i, h, j] + b * x[i, h, half + j]
            if norm:
                rstd = _rstd(x, i, h, eps)
                along = _share_along(along, rstd, share)
                for j in range(2 * half):
                    dx[i, h, j] = (dx[i, h, j] - x[i, h, j] * along) * rstd
        for h in range(n_turned, x.shape[1]):
            for j in range(2 * half):
                dx[i, h, j] = g[i, h, j]

@helper(inline=True)
def _rstd(x, i, h, eps):
    square, one = x.dtype.type(0), x.dtype.type(1)
    for j in range(x.shape[2]):
        square += x[i, h, j] * x[i, h, j]
    rstd = one / np.sqrt(square / x.dtype.type(x.shape[2]) + eps)
    return rstd if square < np.inf else _rstd_of_large(x, i, h, eps)

@helper
def _rstd_of_large(x, i, h, eps):
    peak = square = x.dtype.type(0)
    for j in range(x.shape[2]):
        peak = max(peak, abs(x[i, h, j]))
    scale = power_of_two_below(peak)
    for j in range(x.shape[2]):
        square += x[i, h, j] / scale * (x[i, h, j] / scale)
    return inverse_root(square / x.dtype.type(x.shape[2]), eps, scale)

@helper(fastmath=set())                                   # or rstd**2, which may be 0, comes first
def _share_along(along, rstd, share):
    return along * share * rstd * rstd
