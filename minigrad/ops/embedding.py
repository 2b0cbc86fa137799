"""Embedding of tokens, and of their places."""
import numpy as np

from minigrad.kernels import jit, quantised
from minigrad.kernels.memory import empty
from minigrad.kernels.rows import is_float, plain, row_kernel, worth_it
from minigrad.ops.linear import rows
from minigrad.ops.reduce import sum
from minigrad.ops.shape import scatter
from minigrad.tensor import op


def other_order(f, ids, weight):
    """Rows keep their meaning if they are numbered from the end."""
    last = len(weight) - 1
    y = f(ids, weight)
    return y, f(last - ids, weight[::-1])

@op("(),(v,c)->(c)", replayed=True, ids="index(v)", batched=("ids",), order=other_order)
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
    return weight[ids], (np.array(ids), weight.shape)     # a copy: they may be written to later

@embedding.vjp
def embedding_vjp(g, ids, shape):
    return None, scatter(g, key=ids, shape=shape)


def placed_inputs(draw):
    *axes, T = draw.shape(max_dims=2, min_dims=1)
    V = draw.side(1, 5)
    P = draw.side(1, 5)
    C = draw.side(1, 5)
    T = min(T, P)
    ids = draw.indices((*axes, T), V)
    weight = draw.array((V, C))
    places = draw.array((P, C))
    return (ids, weight, places), {"start": draw.integer(0, P - T)}

@op(inputs=placed_inputs, replayed=True)
def placed_embedding(ids, weight, places, start=0):
    """Look up one row for each id and add one row for its place, as GPT-2 begins.

    A row of `places` receives the sum of the gradients of its place in all sequences.

    Parameters
    ----------
    ids : (..., t) int
        Each from 0 to v - 1.
    weight : (v, c)
    places : (p, c)
    start : int
        The place of the first id; start + t is at most p.

    Returns
    -------
    (..., t, c)

    Raises
    ------
    IndexError, TypeError
        If an id is out of range, or no integer.
    ValueError
        If there are too few places, or their width is another than the weight's.

    References
    ----------
    Radford et al. 2019, Language models are unsupervised multitask learners.
    """
    check_ids(ids, len(weight))
    y = weight[ids] + places_of(ids, weight, places, start)
    return y, (np.array(ids), weight.shape, places.shape, start)

@placed_embedding.vjp
def placed_embedding_vjp(g, ids, shape, places_shape, start):
    dweight = scatter(g, key=ids, shape=shape)
    *sequences, T = np.shape(ids)
    if sequences:
        g = sum(g, axis=tuple(range(len(sequences))))         # (t, c)
    places = slice(start, start + T)
    dplaces = scatter(g, key=places, shape=places_shape)
    return None, dweight, dplaces

@placed_embedding.parts
def placed_embedding_parts(ids, weight, places, start=0):
    return embedding(ids, weight) + places_of(ids, weight, places, start)


def places_of(ids, weight, places, start):
    """Return the rows of `places` that ids take from `start` on."""
    if np.ndim(ids) == 0:
        raise ValueError(f"ids is the number {ids}, but must be (..., t): use ids[None]")
    if places.shape[1:] != weight.shape[1:]:
        raise ValueError(f"places is {places.shape}, but weight is {weight.shape}: give both rows "
                         "of one width")
    T = np.shape(ids)[-1]
    stop = start + T
    if not 0 <= start <= stop <= len(places):
        raise ValueError(f"there are {len(places)} places, but {T} ids from "
                         f"start={start} on take more: give fewer ids, or more places")
    return places[start:stop]


def check_ids(ids, n, name="ids"):
    """Refuse what would index from the end, past it, or by a float."""
    ids = np.asarray(ids)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, but they are {ids.dtype}: convert "
                        "them with .astype(np.int64)")
    if not ids.size:
        return
    least, most = ids.min(), ids.max()
    if least < 0 or most >= n:
        wrong = least if least < 0 else most
        raise IndexError(f"{name} holds {wrong}, but there are {n} rows: use 0 to {n - 1}")


# ---- fast path -------------------------------------------------------------------------------

COLUMNS = 64       # of the weight that one task adds to, so that no two threads share an element


def is_table(ids, weight, *_, **__):
    """Whether the kernels take an array of ids and rows of one float type, enough of them."""
    if type(ids) is np.ndarray and type(weight) is quantised.Quantised:
        return jit.COMPILED
    if not type(ids) is type(weight) is np.ndarray:
        return False
    if not is_float(weight.dtype) or weight.ndim != 2:
        return False
    return worth_it(ids.size * weight.shape[1])


@embedding.fast(when=is_table)
def embedding_fast(ids, weight):
    ids = kept(ids)
    no_places = empty((0, weight.shape[1]), weight.dtype)
    return look_up(ids, weight, no_places), (ids, weight.shape)

@embedding.fast_vjp
def embedding_fast_vjp(g, ids, shape):
    return None, added_by_id(g, ids, shape)

@placed_embedding.fast(when=is_table)
def placed_embedding_fast(ids, weight, places, start=0):
    ids = kept(ids)
    taken = places_of(ids, weight, places, start)
    y = look_up(ids, weight, plain(taken))
    return y, (ids, weight.shape, places.shape, start)

@placed_embedding.fast_vjp
def placed_embedding_fast_vjp(g, ids, shape, places_shape, start):
    dplaces = empty(places_shape, g.dtype)
    sequences = plain(g).reshape(-1, *g.shape[-2:])           # (..., t, c) as (B, t, c)
    _sum_of_places(len(dplaces), sequences, start, dplaces)
    return None, added_by_id(g, ids, shape), dplaces


def kept(ids):
    """Return a copy: who gave the ids may write the next ones into them before backward."""
    copy = empty(ids.shape, ids.dtype)
    jit.run(np.copyto, copy, ids)
    return copy

def look_up(ids, weight, places):
    """Return weight[ids], (..., t, c), plus the t rows of `places` if there are any."""
    jit.run(check_range, ids, len(weight))
    if type(weight) is quantised.Quantised:
        out = weight.rows(flat(ids)).reshape(*ids.shape, weight.shape[1])
        if len(places):
            jit.run(np.add, out, places, out)
        return out
    out = empty((*ids.shape, weight.shape[1]), weight.dtype)
    _gather(ids.size, plain(weight), flat(ids), places, rows(out))
    return out

def check_range(ids, n):
    """Do `check_ids`, in one look where they are all right: unsigned, what is below 0 is large."""
    if ids.dtype == np.int64 and ids.size:
        largest = ids.view(np.uint64).max()
        if largest < n:
            return
    check_ids(ids, n)

def added_by_id(g, ids, shape):
    """Return zeros of the weight's shape, with each row of g added to the row of its id."""
    dweight = empty(shape, g.dtype)
    tasks = -(-shape[1] // COLUMNS)
    _scatter(tasks, rows(plain(g)), flat(ids), dweight)
    return dweight

def flat(ids):
    ids = ids.astype(np.int64, copy=False)
    return plain(ids).reshape(-1)

@row_kernel
def _gather(start, stop, weight, ids, places, out):
    for i in range(start, stop):
        row = ids[i]
        for j in range(out.shape[1]):
            out[i, j] = weight[row, j]
        if len(places):
            place = places[i % len(places)]
            for j in range(out.shape[1]):
                out[i, j] += place[j]

@row_kernel
def _sum_of_places(start, stop, g, first, dplaces):
    for i in range(start, stop):
        dplaces[i] = 0
        if first <= i < first + g.shape[1]:
            for b in range(len(g)):
                for j in range(g.shape[2]):
                    dplaces[i, j] += g[b, i - first, j]

@row_kernel
def _scatter(start, stop, g, ids, dweight):
    first = start * COLUMNS
    last = min(g.shape[1], stop * COLUMNS)
    dweight[:, first:last] = 0
    for i in range(len(ids)):
        source = g[i, first:last]
        target = dweight[ids[i], first:last]
        for j in range(source.size):
            target[j] += source[j]
