"""Attention of heads, forward and backward.

A task is one head of one sequence (backward: a key head with all query heads that share it).
Scores exist for a few queries at a time and stay in cache, never T x T of them; keys that none
of these queries sees are skipped. A block of scores is (keys, queries): K Q^T, which lets the
softmax work on a vector of queries.
"""
import numba
import numpy as np

from minigrad.kernels import jit, threads, tiles, vmath
from minigrad.kernels.memory import empty
from minigrad.kernels.rows import row_kernel, widest_vectors
from minigrad.kernels.softmax import weigh, weigh_vjp
from minigrad.kernels.tiles import at, step

QUERIES = 32                              # columns of a block of scores, a multiple of all vectors
FEW_QUERIES = 256                         # for which one thread is faster

# What a layout holds, an array of int64: sizes, then three strides of each array, then lengths.
N_HEAD, N_KV_HEAD, N_QUERY, N_KEY, WIDTH, CAUSAL, STRIDES = range(7)
Q, K, V, OUT = range(4)                   # the arrays of the forward pass, (B, heads, rows, width)
G, DQ, DK, DV = range(3, 7)               # and those that the backward pass has instead of OUT


def layout_of(arrays, k, causal, lengths):
    """Pack for a kernel: sizes, the strides of all arrays, how many keys of each are real."""
    B, n_kv_head, S, width = k.shape
    n_head, T = arrays[0].shape[1:3]
    sizes = n_head, n_kv_head, T, S, width, causal
    strides = [stride // x.itemsize for x in arrays for stride in x.strides[:3]]
    lengths = [S] * B if lengths is None else lengths
    return np.array([*sizes, *strides, *lengths], np.int64)


def padded(x):
    """Return (..., D) with a contiguous last axis of whole vectors: a copy if need be."""
    lanes = tiles.lanes(x.dtype)
    D = x.shape[-1]
    in_rows = x[0, 0, 0].flags.carray and all(s % x.itemsize == 0 for s in x.strides)
    if in_rows and D % lanes == 0:
        return x
    copy = empty((*x.shape[:-1], -(-D // lanes) * lanes), x.dtype)
    jit.run(pad, x, copy)
    return copy


def pad(x, out):
    """Write x, (..., D), into a wider array, and zeros behind it."""
    D = x.shape[-1]
    out[..., :D] = x
    out[..., D:] = 0


def room_for(x, width):
    """Make an array for heads side by side, of (B, heads, T, ...) as (B, T, heads, width)."""
    B, n, T = x.shape[:3]
    return empty((B, T, n, width), x.dtype)


def scratch(dtype, n):
    """Make room on each thread for n rows of QUERIES numbers."""
    return empty((threads.n_threads(), n * QUERIES), dtype)


# ---- parts of the kernels --------------------------------------------------------------------

@jit.helper
def seen_by(i, layout, length):
    """How many keys query i sees."""
    if not layout[CAUSAL]:
        return length
    return max(0, min(length, layout[N_KEY] - layout[N_QUERY] + i + 1))


@jit.helper
def place(layout, array, b, h):
    """Where head h of sequence b begins in an array."""
    strides = STRIDES + 3 * array
    return b * layout[strides] + h * layout[strides + 1]


@jit.helper
def row_of(layout, array):
    """How far apart the rows of a head are in an array."""
    return layout[STRIDES + 3 * array + 2]


@jit.helper
def transposed(x, stride, m, D, out, width):
    """Copy m queries (m, D) as the columns of (D, QUERIES); return m rounded up to whole vectors.

    The columns beyond m repeat the last query.
    """
    for j in range(0, m, width):
        for d in range(0, D, width):
            tiles.transpose(min(width, m - j), step(x, j * stride + d), stride,
                            step(out, d * QUERIES + j), QUERIES)
    return (m + width - 1) // width * width


@jit.helper
def products(n, D, x, stride, columns, out, m, width):
    """Multiply n rows of x (n, D) by m columns of (D, QUERIES)."""
    for j in range(0, n, tiles.ROWS):
        tiles.strip(min(tiles.ROWS, n - j), m, D, step(x, j * stride), stride, 1, columns, QUERIES,
                    step(out, j * QUERIES), QUERIES, 0, width)


@jit.helper
def weighted(i, m, D, layout, length, weights, x, stride, out, stride_out, width):
    """For m queries from i on, sum the rows of x (keys, D) that they see, weighted."""
    for r in range(0, m, tiles.ROWS):
        rows = min(tiles.ROWS, m - r)
        seen = max(1, seen_by(i + r + rows - 1, layout, length))
        tiles.strip(rows, D, seen, step(weights, r), 1, QUERIES, x, stride,
                    step(out, (i + r) * stride_out), stride_out, 0, width)


# ---- forward ---------------------------------------------------------------------------------

@row_kernel(small=FEW_QUERIES)
def attention_kernel(start, stop, lse, q, k, v, layout, scale, work, out):
    widest_vectors()
    H, T, S, D = layout[N_HEAD], layout[N_QUERY], layout[N_KEY], layout[WIDTH]
    q_row, k_row, v_row = row_of(layout, Q), row_of(layout, K), row_of(layout, V)
    out_row = row_of(layout, OUT)
    width, w = tiles.VECTOR_BYTES // out.itemsize, work[numba.get_thread_id()]
    columns, scores = at(w, 0), at(w, D * QUERIES)        # (D, QUERIES), (S, QUERIES)
    peak = w[(D + S) * QUERIES:(D + S + 1) * QUERIES]
    total = w[(D + S + 1) * QUERIES:]
    infinity = w.dtype.type(np.inf)
    for task in range(start, stop):
        b, h = task // H, task % H
        group = h * layout[N_KV_HEAD] // H
        length = layout[STRIDES + 3 * 4 + b]
        qp = at(q, place(layout, Q, b, h))
        kp = at(k, place(layout, K, b, group))
        vp = at(v, place(layout, V, b, group))
        yp = at(out, place(layout, OUT, b, h))
        for i in range(0, T, QUERIES):
            m = min(QUERIES, T - i)
            seen = seen_by(i + m - 1, layout, length)
            first = S - T + i if layout[CAUSAL] else S    # the last key that query i sees
            cols = transposed(step(qp, i * q_row), q_row, m, D, columns, width)
            products(seen, D, kp, k_row, columns, scores, cols, width)
            for r in range(0, cols, width):
                weigh(step(scores, r), QUERIES, max(1, seen), first + r if seen else -QUERIES,
                      scale, at(peak, r), at(total, r))
            for r in range(cols):             # inf if no key is seen: e**(score - inf) is 0 again
                total[r] = peak[r] + vmath.log(total[r]) if total[r] != 0 else infinity
            for r in range(m):
                lse[b, h, i + r] = total[r]
            weighted(i, m, D, layout, length, scores, vp, v_row, yp, out_row, width)


# ---- backward --------------------------------------------------------------------------------

@row_kernel(small=FEW_QUERIES)
def attention_vjp_kernel(start, stop, lse, q, k, v, g, layout, scale, work, dq, dk, dv):
    widest_vectors()
    H, n_kv, T, S, D = layout[0], layout[1], layout[2], layout[3], layout[4]
    q_row, k_row, v_row = row_of(layout, Q), row_of(layout, K), row_of(layout, V)
    g_row, dq_row = row_of(layout, G), row_of(layout, DQ)
    dk_row, dv_row = row_of(layout, DK), row_of(layout, DV)
    width, w = tiles.VECTOR_BYTES // lse.itemsize, work[numba.get_thread_id()]
    shift, qt = w[:QUERIES], at(w, QUERIES)               # (QUERIES,), (D, QUERIES)
    gt = at(w, (1 + D) * QUERIES)                         # (D, QUERIES)
    p = at(w, (1 + 2 * D) * QUERIES)                      # (S, QUERIES)
    dp = at(w, (1 + 2 * D + S) * QUERIES)                 # (S, QUERIES)
    for task in range(start, stop):
        b, group, add = task // n_kv, task % n_kv, 0
        length = layout[STRIDES + 3 * 7 + b]
        kp, vp = at(k, place(layout, K, b, group)), at(v, place(layout, V, b, group))
        dkp, dvp = at(dk, place(layout, DK, b, group)), at(dv, place(layout, DV, b, group))
        for h in range(group * (H // n_kv), (group + 1) * (H // n_kv)):
            qp, gp = at(q, place(layout, Q, b, h)), at(g, place(layout, G, b, h))
            dqp = at(dq, place(layout, DQ, b, h))
            for i in range((T - 1) // QUERIES * QUERIES, -1, -QUERIES):   # the last sees all keys
                m = min(QUERIES, T - i)
                seen = seen_by(i + m - 1, layout, length)
                first = S - T + i if layout[CAUSAL] else S
                for r in range(QUERIES):
                    shift[r] = lse[b, h, min(i + r, T - 1)]
                cols = transposed(step(qp, i * q_row), q_row, m, D, qt, width)
                transposed(step(gp, i * g_row), g_row, m, D, gt, width)
                products(seen, D, kp, k_row, qt, p, cols, width)
                products(seen, D, vp, v_row, gt, dp, cols, width)
                for r in range(0, cols, width):
                    weigh_vjp(step(p, r), step(dp, r), QUERIES, max(1, seen),
                              first + r if seen else -QUERIES, scale, at(shift, r))
                weighted(i, m, D, layout, length, dp, kp, k_row, dqp, dq_row, width)
                for j in range(0, seen, tiles.ROWS):
                    r = max(0, j - first) if layout[CAUSAL] else 0        # the first to see key j
                    n, here = min(tiles.ROWS, seen - j), j * QUERIES + r
                    tiles.strip(n, D, m - r, step(dp, here), QUERIES, 1,
                                step(qp, (i + r) * q_row), q_row,
                                step(dkp, j * dk_row), dk_row, add, width)
                    tiles.strip(n, D, m - r, step(p, here), QUERIES, 1,
                                step(gp, (i + r) * g_row), g_row,
                                step(dvp, j * dv_row), dv_row, add, width)
                add = 1 if seen else add
