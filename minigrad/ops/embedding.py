"""Token embedding."""
import numpy as np

from minigrad.buffers import empty
from minigrad.ops.shape import scatter
from minigrad.parallel import FEW, plain, row_kernel
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
