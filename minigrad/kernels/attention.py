"""Attention of heads, forward and backward.

A task is one head of one sequence (backward: a key head with all query heads that share it).
Scores exist for a few queries at a time and stay in cache, never T x T of them; keys that none
of these queries sees are skipped. A block of scores is (keys, queries): K Q^T, which lets the
softmax work on a vector of queries.
"""
import numba
import numpy as np

from minigrad.kernels import jit, threads, vmath
from minigrad.kernels.llvm import VECTOR_BYTES, at, transpose, widest_vectors
from minigrad.kernels.memory import empty
from minigrad.kernels.rows import row_kernel
from minigrad.kernels.softmax import softmax_columns, softmax_columns_vjp
from minigrad.kernels.tiles import ROWS, strip
from minigrad.kernels.twins import lanes

QUERIES = 32                              # columns of a block of scores, a multiple of all vectors
FEW_QUERIES = 256                         # for which one thread is faster

Q, K, V, OUT = range(4)                   # the arrays of the forward pass, (B, heads, rows, width)
G, DQ, DK, DV = range(3, 7)               # and those that the backward pass has instead of OUT
# What a layout holds, an array of int64: sizes; three strides of all arrays; lengths; first keys.
N_HEAD, N_KV_HEAD, N_QUERY, N_KEY, WIDTH, CAUSAL, FIRST = range(7)
SEQUENCE, HEAD, ROW, LENGTHS = range(7, 7 + 4 * 7, 7)


def layout_of(arrays, k, causal, lengths, first=None):
    """Pack for a kernel: sizes, the strides of all arrays, how many keys of each are real.

    first : (B, T) int64, optional
        The first key that each query sees.
    """
    B, n_kv_head, S, width = k.shape
    n_head, T = arrays[0].shape[1:3]
    at_first = 0 if first is None else LENGTHS + B    # where the first keys are in the layout
    numbers = [n_head, n_kv_head, T, S, width, causal, at_first]
    for axis in range(3):
        steps = [x.strides[axis] // x.itemsize for x in arrays]
        numbers += steps + [0] * (7 - len(steps))
    numbers += [S] * B
    n_first = 0 if first is None else first.size
    layout = np.array(numbers + [0] * n_first, np.int64)
    real, firsts = layout[LENGTHS:LENGTHS + B], layout[LENGTHS + B:]
    if lengths is not None:                               # which may differ in a replay
        jit.run(np.copyto, real, lengths)
    if first is not None:
        jit.run(np.copyto, firsts.reshape(B, T), first)
    return layout


def padded(x):
    """Return (..., D) with a contiguous last axis of whole vectors: a copy if need be."""
    n = lanes(x.dtype)
    whole = all(stride % x.itemsize == 0 for stride in x.strides)
    *axes, D = x.shape
    if D % n == 0 and whole and x[0, 0, 0].flags.carray:
        return x
    width = -(-D // n) * n
    copy = empty((*axes, width), x.dtype)
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
    before = layout[N_KEY] - layout[N_QUERY] + i
    return max(0, min(length, before + 1))


@jit.helper
def nobody_before(place, m, layout):
    """The first key that one of m queries sees, or some keys before it.

    place : where in the layout the first key of the first of these queries is.
    """
    if not layout[FIRST]:
        return 0
    least = layout[place]
    for r in range(1, m):
        least = min(least, layout[place + r])
    return least // ROWS * ROWS


@jit.helper
def hide(place, m, cols, layout, low, w, scores):
    """Hide from each of m queries the keys before its first.

    Scores are (keys, QUERIES) from a place in w on, the first of them those of key `low`. The
    columns beyond m repeat the last query.
    """
    infinity = w.dtype.type(np.inf)
    for r in range(cols):
        first = layout[place + min(r, m - 1)]
        for j in range(first - low):
            w[scores + j * QUERIES + r] = -infinity


@jit.helper
def transposed(x, stride, m, D, out, width):
    """Copy m queries (m, D) as the columns of (D, QUERIES); return m rounded up to whole vectors.

    The columns beyond m repeat the last query.
    """
    for j in range(0, m, width):
        rows = min(width, m - j)
        for d in range(0, D, width):
            source = at(x, j * stride + d)
            target = at(out, d * QUERIES + j)
            transpose(rows, source, stride, target, QUERIES)
    return (m + width - 1) // width * width


@jit.helper
def products(n, D, x, stride, columns, out, m, width):
    """Multiply n rows of x (n, D) by m columns of (D, QUERIES)."""
    for j in range(0, n, ROWS):
        rows = min(ROWS, n - j)
        source = at(x, j * stride)
        target = at(out, j * QUERIES)
        strip(rows, m, D, source, stride, 1,
                    columns, QUERIES, target, QUERIES, 0, width)


@jit.helper
def weighted(i, m, D, layout, length, low, weights, x, stride, out, stride_out, width):
    """For m queries from i on, sum the rows of x (keys, D) that they see, weighted.

    x and the weights begin with key `low`.
    """
    for r in range(0, m, ROWS):
        rows = min(ROWS, m - r)
        last = i + r + rows - 1
        seen = max(1, seen_by(last, layout, length) - low)
        target = at(out, (i + r) * stride_out)
        strip(rows, D, seen, at(weights, r), 1, QUERIES,
                    x, stride, target, stride_out, 0, width)


# ---- forward ---------------------------------------------------------------------------------

@row_kernel(small=FEW_QUERIES)
def attention_kernel(start, stop, lse, q, k, v, layout, scale, work, out):
    widest_vectors()
    H, T = layout[N_HEAD], layout[N_QUERY]
    S, D = layout[N_KEY], layout[WIDTH]
    sequence, head = layout[SEQUENCE:HEAD], layout[HEAD:ROW]      # strides of each array
    row = layout[ROW:LENGTHS]
    q_row, k_row = row[Q], row[K]
    v_row, out_row = row[V], row[OUT]
    width = VECTOR_BYTES // out.itemsize
    w = work[numba.get_thread_id()]
    columns = at(w, 0)                                    # (D, QUERIES)
    scores = at(w, D * QUERIES)                           # (S, QUERIES)
    after = (D + S) * QUERIES
    peak = w[after:after + QUERIES]
    total = w[after + QUERIES:]
    infinity = w.dtype.type(np.inf)
    for task in range(start, stop):
        b, h = task // H, task % H
        group = h * layout[N_KV_HEAD] // H
        length = layout[LENGTHS + b]
        qp = at(q, b * sequence[Q] + h * head[Q])
        kp = at(k, b * sequence[K] + group * head[K])
        vp = at(v, b * sequence[V] + group * head[V])
        yp = at(out, b * sequence[OUT] + h * head[OUT])
        for i in range(0, T, QUERIES):
            m = min(QUERIES, T - i)
            place = layout[FIRST] + b * T + i
            low = nobody_before(place, m, layout)         # keys are counted from it on
            seen = max(0, seen_by(i + m - 1, layout, length) - low)
            first = (S - T + i if layout[CAUSAL] else S) - low    # the last key query i sees
            queries = at(qp, i * q_row)
            cols = transposed(queries, q_row, m, D, columns, width)
            keys = at(kp, low * k_row)
            products(seen, D, keys, k_row, columns, scores, cols, width)
            if layout[FIRST]:
                hide(place, m, cols, layout, low, w, D * QUERIES)
            for r in range(0, cols, width):
                last = first + r if seen else -QUERIES
                softmax_columns(at(scores, r), QUERIES, max(1, seen), last,
                      scale, at(peak, r), at(total, r))
            for r in range(cols):             # inf if no key is seen: e**(score - inf) is 0 again
                e = total[r]
                y = peak[r] + vmath.log(e)
                total[r] = y if e != 0 else infinity
            for r in range(m):
                lse[b, h, i + r] = total[r]
            values = at(vp, low * v_row)
            weighted(i, m, D, layout, length, low, scores,
                     values, v_row, yp, out_row, width)


# ---- backward --------------------------------------------------------------------------------

@row_kernel(small=FEW_QUERIES)
def attention_vjp_kernel(start, stop, lse, q, k, v, g, layout, scale, work, dq, dk, dv):
    widest_vectors()
    n_kv = layout[N_KV_HEAD]
    shared = layout[N_HEAD] // n_kv                       # query heads to a key head
    T, S = layout[N_QUERY], layout[N_KEY]
    D = layout[WIDTH]
    sequence, head = layout[SEQUENCE:HEAD], layout[HEAD:ROW]
    row = layout[ROW:LENGTHS]
    q_row, dq_row = row[Q], row[DQ]
    k_row, dk_row = row[K], row[DK]
    v_row, dv_row = row[V], row[DV]
    g_row = row[G]
    width = VECTOR_BYTES // lse.itemsize
    w = work[numba.get_thread_id()]
    shift = w[:QUERIES]                                   # (QUERIES,)
    qt = at(w, QUERIES)                                   # (D, QUERIES)
    gt = at(w, (1 + D) * QUERIES)                         # (D, QUERIES)
    p = at(w, (1 + 2 * D) * QUERIES)                      # (S, QUERIES)
    dp = at(w, (1 + 2 * D + S) * QUERIES)                 # (S, QUERIES)
    for task in range(start, stop):
        b, group = task // n_kv, task % n_kv
        add = 1 if layout[FIRST] else 0                   # the first block writes, later ones add
        length = layout[LENGTHS + b]
        kp = at(k, b * sequence[K] + group * head[K])
        vp = at(v, b * sequence[V] + group * head[V])
        dkp = at(dk, b * sequence[DK] + group * head[DK])
        dvp = at(dv, b * sequence[DV] + group * head[DV])
        first_head = group * shared
        for h in range(first_head, first_head + shared):
            qp = at(q, b * sequence[Q] + h * head[Q])
            gp = at(g, b * sequence[G] + h * head[G])
            dqp = at(dq, b * sequence[DQ] + h * head[DQ])
            last_block = (T - 1) // QUERIES * QUERIES     # it sees all keys, unless FIRST
            for i in range(last_block, -1, -QUERIES):
                m = min(QUERIES, T - i)
                place = layout[FIRST] + b * T + i
                low = nobody_before(place, m, layout)
                seen = max(0, seen_by(i + m - 1, layout, length) - low)
                first = (S - T + i if layout[CAUSAL] else S) - low
                keys = at(kp, low * k_row)
                values = at(vp, low * v_row)
                dkeys = at(dkp, low * dk_row)
                dvalues = at(dvp, low * dv_row)
                for r in range(QUERIES):
                    t = min(i + r, T - 1)
                    shift[r] = lse[b, h, t]
                queries = at(qp, i * q_row)
                cols = transposed(queries, q_row, m, D, qt, width)
                gradients = at(gp, i * g_row)
                transposed(gradients, g_row, m, D, gt, width)
                products(seen, D, keys, k_row, qt, p, cols, width)
                products(seen, D, values, v_row, gt, dp, cols, width)
                if layout[FIRST]:
                    scores = (1 + 2 * D) * QUERIES
                    hide(place, m, cols, layout, low, w, scores)
                for r in range(0, cols, width):
                    last = first + r if seen else -QUERIES
                    softmax_columns_vjp(at(p, r), at(dp, r), QUERIES, max(1, seen), last,
                              scale, at(shift, r))
                weighted(i, m, D, layout, length, low, dp,
                         keys, k_row, dqp, dq_row, width)
                for j in range(0, seen, ROWS):
                    n = min(ROWS, seen - j)
                    r = max(0, j - first) if layout[CAUSAL] else 0        # the first to see key j
                    here = j * QUERIES + r
                    queries = at(qp, (i + r) * q_row)
                    target = at(dkeys, j * dk_row)
                    strip(n, D, m - r, at(dp, here), QUERIES, 1,
                                queries, q_row, target, dk_row, add, width)
                    gradients = at(gp, (i + r) * g_row)
                    target = at(dvalues, j * dv_row)
                    strip(n, D, m - r, at(p, here), QUERIES, 1,
                                gradients, g_row, target, dv_row, add, width)
                add = 1 if seen else add
