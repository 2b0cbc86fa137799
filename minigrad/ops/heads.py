"""Heads of attention: how they are cut, shared and put back, and which keys a query sees."""
import numpy as np

from minigrad.kernels import jit
from minigrad.kernels.memory import empty
from minigrad.ops.shape import broadcast_to
from minigrad.tensor import detach


def repeat_heads(x, H):
    """Repeat each of G heads H / G times: (B, G, S, D) to (B, H, S, D)."""
    B, G, S, D = x.shape
    if G == H:
        return x
    groups = broadcast_to(x[:, :, None], (B, G, H // G, S, D))
    return groups.reshape(B, H, S, D)


def sum_heads(dx, G):
    """Add what the query heads of each group send to their one key head: the vjp of repeating."""
    B, H, S, D = dx.shape
    if G == H:
        return dx
    groups = dx.reshape(B, G, H // G, S, D)
    return groups.sum(axis=2)                             # (B, G, S, D)


def heads(qkv, H, G=None):
    """View (B, T, (H + 2 G) D) as q, k and v, each (B, heads, T, D)."""
    G = G or H
    if H < 1 or H % G:
        raise ValueError(f"there are {H} heads of queries and {G} of keys: the first must be a "
                         "multiple of the second")
    D = qkv.shape[-1] // (H + 2 * G)
    if D * (H + 2 * G) != qkv.shape[-1]:
        raise ValueError(f"{qkv.shape[-1]} features cannot be shared by {H} heads of queries and "
                         f"{G} of keys and values: they must be ({H} + 2 x {G}) D")
    end_of_q = H * D
    end_of_k = end_of_q + G * D
    q = qkv[..., :end_of_q]
    k = qkv[..., end_of_q:end_of_k]
    v = qkv[..., end_of_k:]
    return heads_of(q, H), heads_of(k, G), heads_of(v, G)


def heads_of(x, n):
    """Cut the features into n heads: (B, T, n D) to (B, n, T, D)."""
    B, T, C = x.shape
    x = x.reshape((B, T, n, C // n))
    return x.transpose((0, 2, 1, 3))                      # (B, n, T, D)


def side_by_side(x):
    """Put heads back together: (B, n, T, D) to (B, T, n D)."""
    B, n, T, D = x.shape
    x = x.transpose((0, 2, 1, 3))                         # (B, T, n, D)
    return x.reshape((B, T, n * D))


# ---- who sees whom ---------------------------------------------------------------------------

def visible(q, k, causal, key_lengths, mask, first=None):
    """Return which keys each query may see, as a mask that broadcasts to (B, H, T, S)."""
    T, S = q.shape[-2], k.shape[-2]
    seen = np.ones((1, 1, T, S), bool)
    keys = np.arange(S)
    if causal:
        queries = np.arange(S - T, S)
        seen &= keys <= queries[:, None]                  # (T, S)
    if key_lengths is not None:
        lengths = key_lengths[:, None, None, None]
        seen = seen & (keys < lengths)
    if first is not None:
        seen = seen & (keys >= first[:, None, :, None])   # (B, 1, T, S)
    return seen if mask is None else seen & detach(mask)


def check_heads(q, k, v):
    """Refuse arrays that are not queries, keys and values of heads."""
    if q.ndim == k.ndim == v.ndim == 4:
        B, H, _, D = q.shape
        _, G, S, _ = k.shape
        if k.shape == v.shape == (B, G, S, D) and G and H % G == 0:
            return
    raise ValueError("q must be (B, H, T, D), k and v (B, G, S, D) with H a multiple of G")


def check_lengths(lengths, B, S, name="key_lengths"):
    """Return a copy of the lengths, (B,), each from 0 to S; None if there are none."""
    if lengths is None:
        return None
    lengths = np.asarray(detach(lengths))
    if lengths.shape != (B,):
        raise ValueError(f"{name} has shape {lengths.shape}, but there are {B} sequences: give "
                         "one length for each")
    if lengths.dtype.kind not in "iu":
        raise TypeError(f"{name} holds {lengths.tolist()}: give whole numbers")
    checked = empty((B,), np.int64)
    jit.run(copy_lengths, lengths, S, name, checked)
    return checked


def check_first(first, q, k):
    """Return a copy of the first keys of queries, (B, T), each from 0 to S; None if there are none.
    """
    if first is None:
        return None
    shape, first = (len(q), q.shape[2]), np.asarray(detach(first))
    if first.shape != shape:
        raise ValueError(f"first has shape {first.shape}, but there are queries {shape}: give the "
                         "first key of each")
    if first.dtype.kind not in "iu":
        raise TypeError(f"first holds {first.dtype}: give whole numbers")
    checked = empty(shape, np.int64)
    jit.run(copy_lengths, first, k.shape[2], "first", checked)
    return checked


def copy_lengths(lengths, S, name, out):
    """Write lengths into out; refuse one that is not from 0 to S."""
    wrong = lengths[(lengths < 0) | (lengths > S)]
    if wrong.size:
        raise ValueError(f"{name} holds {wrong[0]}, but there are {S} places: give 0 to {S}")
    out[...] = lengths


def check_seen(mask, bias, shape):
    """Refuse a mask that is not of booleans, a bias that is not of floats, and other shapes."""
    for name, x, kinds, advice in [
            ("mask", mask, "b", "booleans, True where a query may see a key"),
            ("bias", bias, "fc", "floats, which are added to the scores")]:
        if x is None:
            continue
        x = np.asarray(detach(x))
        if x.dtype.kind not in kinds:
            raise TypeError(f"{name} is {x.dtype}: give {advice}")
        try:
            fits = np.broadcast_shapes(x.shape, shape) == shape
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(f"{name} has shape {x.shape}, which does not broadcast to {shape}: "
                             "(sequences, heads, queries, keys)")
