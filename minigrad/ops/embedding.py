"""Token embedding, and rotary position embedding."""
from math import prod

import numpy as np

from minigrad.buffers import empty, empty_like
from minigrad.ops.shape import concatenate, scatter, stack
from minigrad.parallel import FEW, fits, plain, row_kernel, widest_vectors
from minigrad.tensor import op


@op("(),(v,c)->(c)", ids="index(v)", batched=("ids",),
    order=lambda f, ids, weight: (f(ids, weight), f(len(weight) - 1 - ids, weight[::-1])))
def embedding(ids, weight):
    """Look up one row of the weight for each id (torch's order of arguments).

    A row receives the sum of the gradients of all places that used it, and unused rows nothing.

    Parameters
    ----------
    ids : (...) int
        Each from 0 to v - 1; negative ids are an error here.
    weight : (v, c)

    Returns
    -------
    (..., c)
    """
    check_ids(ids, len(weight))
    return weight[ids], (ids, weight.shape)

@embedding.vjp
def embedding_vjp(g, ids, shape):
    return None, scatter(g, key=ids, shape=shape)


def check_ids(ids, n, name="ids"):
    """Refuse what would index from the end, past it, or by a float."""
    if np.asarray(ids).dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, but they are {np.asarray(ids).dtype}: convert "
                        "them with .astype(np.int64)")
    if np.size(ids) and (np.min(ids) < 0 or np.max(ids) >= n):
        wrong = np.min(ids) if np.min(ids) < 0 else np.max(ids)
        raise IndexError(f"{name} holds {wrong}, but there are {n} rows: use 0 to {n - 1}")


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
        Of the angles, from `rotary_angles`; no gradient flows to them.
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


# ---- fast path -------------------------------------------------------------------------------

COLUMNS = 64       # of the weight that one task adds to, so that no two threads share an element


@embedding.fast
def embedding_fast(ids, weight):
    n_out = np.size(ids) * weight.shape[1]
    if n_out < FEW or weight.dtype.char not in "fd" or type(ids) is not np.ndarray:
        return embedding.forward(ids, weight)
    check_ids(ids, len(weight))
    flat = plain(ids.astype(np.int64, copy=False)).reshape(-1)
    out = empty((*ids.shape, weight.shape[1]), weight.dtype)
    _gather(flat.size, plain(weight), flat, out.reshape(flat.size, -1))
    return out, (ids, weight.shape)

@embedding.fast_vjp
def embedding_fast_vjp(g, ids, shape):
    if type(ids) is not np.ndarray or g.size < FEW or g.dtype.char not in "fd":
        return embedding_vjp(g, ids, shape)
    flat = plain(ids.astype(np.int64, copy=False)).reshape(-1)
    dweight = empty(shape, g.dtype)
    dweight.fill(0)
    _scatter(-(-shape[1] // COLUMNS), plain(g).reshape(flat.size, -1), flat, dweight)
    return None, dweight

@row_kernel
def _gather(start, stop, weight, ids, out):
    for i in range(start, stop):
        row = ids[i]
        for j in range(out.shape[1]):
            out[i, j] = weight[row, j]

@row_kernel
def _scatter(start, stop, g, ids, dweight):
    first, last = start * COLUMNS, min(g.shape[1], stop * COLUMNS)
    for i in range(len(ids)):
        source, target = g[i, first:last], dweight[ids[i], first:last]
        for j in range(source.size):
            target[j] += source[j]


@rotary.fast
def rotary_fast(x, cos, sin, interleaved=False):
    inner = rows_per_angle(x, cos, sin)
    if not inner:
        return rotary.forward(x, cos, sin, interleaved)
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
