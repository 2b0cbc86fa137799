"""Token embedding, and rotary position embedding."""
import numpy as np

from minigrad.ops.shape import concatenate, scatter, stack
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
