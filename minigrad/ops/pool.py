"""Pooling: one vector a text, made of those at its places."""
import numpy as np

from minigrad.kernels.memory import empty
from minigrad.kernels.rows import is_float, plain, row_kernel, worth_it
from minigrad.ops.elementwise import where
from minigrad.ops.heads import check_lengths
from minigrad.ops.reduce import sum
from minigrad.ops.shape import concatenate
from minigrad.tensor import detach, op

LAST, MEAN, MAX = KINDS = "last", "mean", "max"


def pool_inputs(draw):
    B, T, C = draw.shape(min_dims=3, max_dims=3, min_side=1)
    lengths = draw.indices((B,), T + 1)
    kinds = draw.choice([KINDS, (MAX,), (MEAN, LAST)])
    return (draw.array((B, T, C)), lengths), {"kinds": kinds}


def other_order(f, x, lengths):
    """The mean and the largest of a whole text do not ask for its order."""
    whole = np.full(len(x), x.shape[1])
    kinds = MEAN, MAX
    return f(x, whole, kinds=kinds), f(x[:, ::-1], whole, kinds=kinds)


@op(inputs=pool_inputs, replayed=True, x="spread", order=other_order)
def pool(x, lengths, kinds):
    """Put side by side what is left of the real places of a text: last, mean, largest.

    Each is a sum over the places, weighted by shares: 1 for the last, 1 / length for the mean, and
    for the largest of a channel 1 where the first of them stands. So dx = g share.

    Parameters
    ----------
    x : (B, T, C)
    lengths : (B,) int
        How many places are real; a text of none leaves zeros.
    kinds : sequence of str
        Of "last", "mean" and "max".

    Returns
    -------
    (B, len(kinds) C)

    References
    ----------
    Howard & Ruder 2018, arXiv:1801.06146, 3.3, for all three.
    """
    check_kinds(kinds)
    lengths = check_lengths(lengths, *x.shape[:2], "lengths")
    shares = [share_of(kind, x, lengths) for kind in kinds]
    pooled = [(np.where(share, x, 0) * share).sum(axis=1) for share in shares]
    return np.concatenate(pooled, axis=-1), (shares,)

@pool.vjp
def pool_vjp(g, shares):
    parts = np.split(g[:, None], len(shares), axis=-1)    # each (B, 1, C)
    products = [part * share for part, share in zip(parts, shares)]
    return np.sum(products, axis=0), None

@pool.parts
def pool_parts(x, lengths, kinds):
    check_kinds(kinds)
    lengths = check_lengths(lengths, *x.shape[:2], "lengths")
    pooled = []
    for kind in kinds:
        share = share_of(kind, detach(x), lengths)
        counted = where(share != 0, x, 0)               # what may be inf elsewhere is nobody's
        pooled.append(sum(counted * share, axis=1))       # (B, C)
    return concatenate(pooled, axis=-1)


def check_kinds(kinds):
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"kinds holds {kind!r}, but must be of {', '.join(KINDS)}")


def share_of(kind, x, lengths):
    """Return what each place of (B, T, C) counts: (B, T, 1) or (B, T, C), of the type of x."""
    places = np.arange(x.shape[1])[:, None]               # (T, 1)
    n = lengths[:, None, None]
    is_real = places < n                                  # (B, T, 1)
    if kind == LAST:
        share = places == n - 1
    elif kind == MEAN:
        share = is_real / np.maximum(n, 1)
    else:
        known = np.where(is_real, x, -np.inf)             # (B, T, C)
        first = known.argmax(axis=1)[:, None]             # (B, 1, C)
        share = is_real & (places == first)
    return share.astype(x.dtype)


# ---- fast path -------------------------------------------------------------------------------
# The shares are not made.

def are_texts(x, *_, **__):
    return x.ndim == 3 and is_float(x.dtype) and x.size > 0 and worth_it(x.size)

@pool.fast(when=are_texts)
def pool_fast(x, lengths, kinds):
    check_kinds(kinds)
    B, T, C = x.shape
    lengths = check_lengths(lengths, B, T, "lengths")
    codes = np.array([KINDS.index(kind) for kind in kinds])
    out = empty((B, len(kinds) * C), x.dtype)
    peaks = empty((B, C), np.int64)                       # where the largest stand
    _pool(B, plain(x), lengths, codes, peaks, out)
    return out, (lengths, codes, peaks, T)

@pool.fast_vjp
def pool_fast_vjp(g, lengths, codes, peaks, T):
    B, C = peaks.shape
    dx = empty((B, T, C), g.dtype)
    _pool_vjp(B, plain(g), lengths, codes, peaks, dx)
    return dx, None

@row_kernel
def _pool(start, stop, x, lengths, codes, out_peaks, out):
    C = x.shape[2]
    for b in range(start, stop):
        n = lengths[b]
        out[b] = 0
        for i in range(len(codes) if n else 0):
            y = out[b, i * C:(i + 1) * C]
            y[:] = x[b, n - 1]
            if codes[i] == 1:
                for t in range(n - 1):
                    y += x[b, t]
                y /= x.dtype.type(n)
            elif codes[i] == 2:
                out_peaks[b] = n - 1
                for t in range(n - 2, -1, -1):
                    for c in range(C):
                        if x[b, t, c] >= y[c] or np.isnan(x[b, t, c]):
                            y[c] = x[b, t, c]
                            out_peaks[b, c] = t

@row_kernel
def _pool_vjp(start, stop, g, lengths, codes, peaks, dx):
    C = dx.shape[2]
    for b in range(start, stop):
        n = lengths[b]
        dx[b] = 0
        for i in range(len(codes) if n else 0):
            dy = g[b, i * C:(i + 1) * C]
            if codes[i] == 0:
                dx[b, n - 1] += dy
            elif codes[i] == 1:
                for t in range(n):
                    dx[b, t] += dy / g.dtype.type(n)
            else:
                for c in range(C):
                    dx[b, peaks[b, c], c] += dy[c]
