"""Scaled dot-product attention."""
import numba
import numpy as np

from minigrad.kernels import jit, threads, tiles, vmath
from minigrad.kernels.llvm import at
from minigrad.kernels.llvm import at as step
from minigrad.kernels.memory import empty
from minigrad.kernels.rows import is_float, row_kernel, widest_vectors, worth_it
from minigrad.kernels.softmax import softmax_columns as weigh
from minigrad.kernels.softmax import softmax_columns_vjp as weigh_vjp
from minigrad.ops.elementwise import where
from minigrad.ops.heads import (
    check_heads, check_lengths, check_seen, heads, heads_of, repeat_heads, side_by_side, sum_heads,
    visible)
from minigrad.ops.shape import swapaxes
from minigrad.ops.softmax import softmax
from minigrad.tensor import detach, op, sum_to_shape


def attention_inputs(draw):
    B, G, T = (draw.side(1, n) for n in (2, 2, 5))
    D = draw.choice([1, 2, 3, 8, 16, 32])
    H, S = G * draw.integer(1, 2), T + draw.integer(0, 2)
    lengths = np.array([draw.integer(1, S) for _ in range(B)]) if draw.boolean() else None
    q, k, v = draw.array((B, H, T, D)), draw.array((B, G, S, D)), draw.array((B, G, S, D))
    options = {"causal": draw.boolean(), "key_lengths": lengths, "mask": None}
    bias = draw.array((draw.choice([1, B]), 1, T, S)) if draw.boolean() else None
    if draw.boolean():
        options["mask"] = draw.array((H, 1, S), "mask")
    return (q, k, v, bias), options

def without_last(f, q, k, v, bias=None):
    """Causality: the last position changes nothing before it."""
    q, k, v = q[:, :, -k.shape[2]:], k[:, :, -q.shape[2]:], v[:, :, -q.shape[2]:]
    options = {"causal": True, "key_lengths": None, "mask": None}
    earlier = f(q[:, :, :-1], k[:, :, :-1], v[:, :, :-1], **options)
    return f(q, k, v, **options)[:, :, :-1], earlier


def other_order(f, q, k, v, bias=None):
    """Without a mask, attention sees a set of keys: their order changes nothing."""
    backward = k[:, :, ::-1], v[:, :, ::-1]
    options = {"causal": False, "key_lengths": None, "mask": None}
    return f(q, k, v, **options), f(q, *backward, **options)


@op(inputs=attention_inputs, causality=without_last, order=other_order)
def attention(q, k, v, bias=None, causal=True, scale=None, key_lengths=None, mask=None):
    r"""Let each query take the mean of the values, weighted by how well their keys match it.

    .. math:: y = P v, \quad P = \text{softmax}(q k^T \cdot \text{scale} + \text{bias})

    Backward, dv = P^T g as for any product; the gradient of P goes through the softmax,
    dS = P (dP - rowsum(dP P)), which is that of the bias, and from the scores to
    dq = dS k scale and dk = dS^T q scale.

    Parameters
    ----------
    q : (B, H, T, D)
    k, v : (B, G, S, D)
        H a multiple of G: each key head serves H / G query heads (grouped-query attention).
    bias : float array that broadcasts to (B, H, T, S), optional
        What is added to the scores, -inf to hide a key. It has a gradient.
    causal : bool
        Whether a query sees only keys up to its own position. The T queries are the last T of the
        S positions, as with a KV cache (torch's is_causal counts from the first instead).
    scale : float, optional
        1 / sqrt(D) unless given: the variance of a sum of D products of unit variance is D.
    key_lengths : (B,) int, optional
        How many keys of each sequence are real.
    mask : bool array that broadcasts to (B, H, T, S), optional
        True where a query may see a key. A key is seen if all of these agree; a query that sees
        none gives zeros.

    Returns
    -------
    y : (B, H, T, D)

    Notes
    -----
    The kernel knows `causal`, `scale` and `key_lengths`; with a mask or a bias, or where D is no
    multiple of a vector of numbers, the reference runs.

    References
    ----------
    Vaswani et al. 2017, arXiv:1706.03762, equation 1; Ainslie et al. 2023, arXiv:2305.13245.
    """
    seen, scale = who_sees(q, k, v, bias, causal, scale, key_lengths, mask)
    groups = k.shape[1]
    k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])           # (B, H, S, D)
    scores = (q @ k.mT) * scale                                               # (B, H, T, S)
    scores = np.where(seen, scores if bias is None else scores + bias, -np.inf)
    peak = scores.max(axis=-1, keepdims=True, initial=np.finfo(q.dtype).min)  # finite
    e = np.exp(scores - peak)
    total = e.sum(axis=-1, keepdims=True)
    p = e / np.where(total == 0, 1, total)                                    # (B, H, T, S)
    return p @ v, (q, k, v, p, scale, groups, None if bias is None else np.shape(bias))

@attention.vjp
def attention_vjp(g, q, k, v, p, scale, groups, bias_shape):
    dv = p.mT @ g
    dp = g @ v.mT
    ds = p * (dp - (dp * p).sum(axis=-1, keepdims=True))                      # (B, H, T, S)
    dbias = None if bias_shape is None else sum_to_shape(ds, bias_shape)
    ds = ds * scale
    return ds @ k, sum_heads(ds.mT @ q, groups), sum_heads(dv, groups), dbias

@attention.parts
def attention_parts(q, k, v, bias=None, causal=True, scale=None, key_lengths=None, mask=None):
    seen, scale = who_sees(q, k, v, bias, causal, scale, key_lengths, mask)
    k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])
    scores = (q @ swapaxes(k, -1, -2)) * scale
    if bias is not None:
        scores, seen = scores + bias, seen & (detach(bias) > -np.inf)
    p = softmax(where(seen, scores, np.finfo(q.dtype).min / 2))
    return where(seen, p, 0.0) @ v                                            # (B, H, T, D)


def who_sees(q, k, v, bias, causal, scale, key_lengths, mask):
    """Check what attention is given; return which keys each query sees, and the scale."""
    check_heads(q, k, v)
    (B, H, T, D), S = q.shape, k.shape[2]
    check_seen(mask, bias, (B, H, T, S))
    lengths = check_lengths(key_lengths, B, S)
    return visible(q, k, causal, lengths, mask), scale_of(D, scale)

def scale_of(D, scale):
    return max(1, D) ** -0.5 if scale is None else scale


def self_attention_inputs(draw):
    B, T, G, D = draw.side(1, 2), draw.side(1, 5), draw.side(1, 2), draw.choice([1, 2, 3, 8, 16])
    H = G * draw.integer(1, 2)
    return (draw.array((B, T, (H + 2 * G) * D)),), {"n_head": H, "n_kv_head": G,
                                                    "causal": draw.boolean()}

def last_changes_nothing(f, qkv):
    """Causality, with one head that is as wide as a third of the features."""
    qkv = qkv[..., :qkv.shape[-1] // 3 * 3]
    options = {"n_head": 1, "n_kv_head": 1, "causal": True}
    return f(qkv, **options)[:, :-1], f(qkv[:, :-1], **options)


@op(inputs=self_attention_inputs, causality=last_changes_nothing)
def self_attention(qkv, n_head, n_kv_head=None, causal=True):
    """Attention within a sequence, from queries, keys and values side by side in one array.

    The same as cutting them apart, `attention`, and putting the heads back together, but in one
    step: one projection makes all three, and its gradient comes in one piece.

    Parameters
    ----------
    qkv : (B, T, (H + 2 G) D)
        The features of H = `n_head` heads of queries, then of G = `n_kv_head` (H unless given)
        heads of keys, and of as many of values.
    causal : bool
        Whether a query sees only keys up to its own position.

    Returns
    -------
    y : (B, T, H D)

    Raises
    ------
    ValueError
        If H is no multiple of G, or the features are not H + 2 G heads of one width.

    References
    ----------
    As for `attention`.
    """
    y, saved = attention.forward(*heads(qkv, n_head, n_kv_head), causal=causal)
    return side_by_side(y), saved

@self_attention.vjp
def self_attention_vjp(g, q, *saved):
    *gradients, _ = attention_vjp(heads_of(g, q.shape[1]), q, *saved)
    return np.concatenate([side_by_side(x) for x in gradients], axis=-1),

@self_attention.parts
def self_attention_parts(qkv, n_head, n_kv_head=None, causal=True):
    y = attention(*heads(qkv, n_head, n_kv_head), causal=causal)
    return side_by_side(y)


# ---- fast path -------------------------------------------------------------------------------
# A task is one head of one sequence (backward: a key head with all query heads that share it).
# Scores exist for a few queries at a time and stay in cache, never T x T of them; keys that none
# of these queries sees are skipped. Saved is log(sum(e**scores)) of each query: the weights are
# made once more on the way back. Heads are read and written through strides, where they are.
# A block of scores is (keys, queries): K Q^T, which lets `weights` work on a vector of queries.

QUERIES = 32                              # columns of a block of scores, a multiple of all vectors
FEW_QUERIES = 256                         # for which one thread is faster


@attention.fast
def attention_fast(q, k, v, bias=None, causal=True, scale=None, key_lengths=None, mask=None):
    if bias is not None or mask is not None or not suits(q, k, v):
        return attention.forward(q, k, v, bias, causal, scale, key_lengths, mask)
    check_heads(q, k, v)
    (B, H, T, D), S = q.shape, k.shape[2]
    key_lengths = check_lengths(key_lengths, B, S)
    scale = q.dtype.type(scale_of(D, scale))
    q, k, v = in_rows(q), in_rows(k), in_rows(v)
    y, lse = empty((B, T, H, D), q.dtype).swapaxes(1, 2), empty((B, H, T), q.dtype)
    layout = layout_of((q, k, v, y), k, causal, key_lengths)
    work = scratch(q.dtype, D + S + 2)
    attention_kernel(B * H, lse, q[0, 0, 0], k[0, 0, 0], v[0, 0, 0], layout, scale, work,
                     y[0, 0, 0])
    return y, (q, k, v, lse, scale, causal, key_lengths)

@attention.fast_vjp
def attention_fast_vjp(g, q, k, v, *saved):
    if saved[0].ndim == 4:                                    # the weights, of the reference
        return attention_vjp(g, q, k, v, *saved)
    lse, scale, causal, key_lengths = saved
    g = in_rows(g)
    dq, dk, dv = (empty((B, T, n, D), q.dtype).swapaxes(1, 2)
                  for B, n, T, D in (x.shape for x in (q, k, v)))
    attention_backward(g, q, k, v, lse, scale, causal, key_lengths, dq, dk, dv)
    return dq, dk, dv, None

@self_attention.fast
def self_attention_fast(qkv, n_head, n_kv_head=None, causal=True):
    y, saved = attention_fast(*heads(qkv, n_head, n_kv_head), causal=causal)
    return side_by_side(y), saved

@self_attention.fast_vjp
def self_attention_fast_vjp(g, q, k, v, *saved):
    if saved[0].ndim == 4:                                    # the weights, of the reference
        return self_attention_vjp(g, q, k, v, *saved)
    (B, H, T, D), G = q.shape, k.shape[1]
    dqkv = empty((B, T, (H + 2 * G) * D), q.dtype)
    attention_backward(in_rows(heads_of(g, H)), q, k, v, *saved, *heads(dqkv, H, G))
    return dqkv,

def attention_backward(g, q, k, v, lse, scale, causal, key_lengths, dq, dk, dv):
    if key_lengths is not None:
        dk[...] = dv[...] = 0                                 # keys that nobody sees
    layout = layout_of((q, k, v, g, dq, dk, dv), k, causal, key_lengths)
    work = scratch(q.dtype, 2 * (k.shape[2] + k.shape[3]) + 1)
    _attention_vjp(k.shape[0] * k.shape[1], lse, *(x[0, 0, 0] for x in (q, k, v, g)), layout,
                   scale, work, *(x[0, 0, 0] for x in (dq, dk, dv)))


def suits(q, k, v):
    """Whether to run the kernels."""
    return (is_float(q.dtype) and q.dtype == k.dtype == v.dtype
            and q.size and k.size and worth_it(q.size + k.size)
            and q.shape[-1] % tiles.lanes(q.dtype) == 0)

def in_rows(x):
    """Return x, or a copy if its last axis is not contiguous."""
    whole = all(s % x.itemsize == 0 for s in x.strides)
    return x if whole and x[0, 0, 0].flags.carray else np.array(x, order="C")

def layout_of(arrays, k, causal, key_lengths):
    """Pack for a kernel: sizes, how many keys are real, and the strides of all arrays."""
    B, G, S, D = k.shape
    H, T = arrays[0].shape[1:3]
    lengths = [S] * B if key_lengths is None else key_lengths
    strides = [s // x.itemsize for x in arrays for s in x.strides[:3]]
    return np.array([H, G, T, S, D, causal, *strides, *lengths], np.int64)

def scratch(dtype, n):
    """Make room on each thread for n rows of QUERIES numbers."""
    return empty((threads.n_threads(), n * QUERIES), dtype)


@jit.helper
def seen_by(i, layout, length):
    """How many keys query i sees."""
    return max(0, min(length, layout[3] - layout[2] + i + 1)) if layout[5] else length

@jit.helper
def place(layout, array, b, h):
    """Where head h of sequence b begins in an array."""
    return b * layout[6 + 3 * array] + h * layout[7 + 3 * array]

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


@row_kernel(small=FEW_QUERIES)
def attention_kernel(start, stop, lse, q, k, v, layout, scale, work, out):
    widest_vectors()
    H, G, T, S, D = layout[0], layout[1], layout[2], layout[3], layout[4]
    width, w = tiles.VECTOR_BYTES // out.itemsize, work[numba.get_thread_id()]
    scores, peak = at(w, D * QUERIES), w[(D + S) * QUERIES:(D + S + 1) * QUERIES]
    total, infinity = w[(D + S + 1) * QUERIES:], w.dtype.type(np.inf)
    for task in range(start, stop):
        b, h = task // H, task % H
        group, length = h * G // H, layout[6 + 12 + b]
        qp, kp = at(q, place(layout, 0, b, h)), at(k, place(layout, 1, b, group))
        vp, yp = at(v, place(layout, 2, b, group)), at(out, place(layout, 3, b, h))
        for i in range(0, T, QUERIES):
            m = min(QUERIES, T - i)
            seen = seen_by(i + m - 1, layout, length)
            first = S - T + i if layout[5] else S         # the last key that query i sees
            cols = transposed(step(qp, i * layout[8]), layout[8], m, D, at(w, 0), width)
            products(seen, D, kp, layout[11], at(w, 0), scores, cols, width)
            for r in range(0, cols, width):
                weigh(step(scores, r), QUERIES, max(1, seen), first + r if seen else -QUERIES,
                      scale, at(peak, r), at(total, r))
            for r in range(cols):             # inf if no key is seen: e**(score - inf) is 0 again
                total[r] = peak[r] + vmath.log(total[r]) if total[r] != 0 else infinity
            for r in range(m):
                lse[b, h, i + r] = total[r]
            weighted(i, m, D, layout, length, scores, vp, layout[14], yp, layout[17], width)

@row_kernel(small=FEW_QUERIES)
def _attention_vjp(start, stop, lse, q, k, v, g, layout, scale, work, dq, dk, dv):
    widest_vectors()
    H, G, T, S, D = layout[0], layout[1], layout[2], layout[3], layout[4]
    width, w = tiles.VECTOR_BYTES // lse.itemsize, work[numba.get_thread_id()]
    shift, qt, gt = w[:QUERIES], at(w, QUERIES), at(w, (1 + D) * QUERIES)
    p, dp = at(w, (1 + 2 * D) * QUERIES), at(w, (1 + 2 * D + S) * QUERIES)
    for task in range(start, stop):
        b, group, add = task // G, task % G, 0
        length = layout[6 + 21 + b]
        kp, vp = at(k, place(layout, 1, b, group)), at(v, place(layout, 2, b, group))
        dkp, dvp = at(dk, place(layout, 5, b, group)), at(dv, place(layout, 6, b, group))
        for h in range(group * (H // G), (group + 1) * (H // G)):
            qp, gp = at(q, place(layout, 0, b, h)), at(g, place(layout, 3, b, h))
            dqp = at(dq, place(layout, 4, b, h))
            for i in range((T - 1) // QUERIES * QUERIES, -1, -QUERIES):   # the last sees all keys
                m = min(QUERIES, T - i)
                seen = seen_by(i + m - 1, layout, length)
                first = S - T + i if layout[5] else S
                for r in range(QUERIES):
                    shift[r] = lse[b, h, min(i + r, T - 1)]
                cols = transposed(step(qp, i * layout[8]), layout[8], m, D, qt, width)
                transposed(step(gp, i * layout[17]), layout[17], m, D, gt, width)
                products(seen, D, kp, layout[11], qt, p, cols, width)
                products(seen, D, vp, layout[14], gt, dp, cols, width)
                for r in range(0, cols, width):
                    weigh_vjp(step(p, r), step(dp, r), QUERIES, max(1, seen),
                              first + r if seen else -QUERIES, scale, at(shift, r))
                weighted(i, m, D, layout, length, dp, kp, layout[11], dqp, layout[20], width)
                for j in range(0, seen, tiles.ROWS):
                    r = max(0, j - first) if layout[5] else 0             # the first to see key j
                    n, here = min(tiles.ROWS, seen - j), j * QUERIES + r
                    tiles.strip(n, D, m - r, step(dp, here), QUERIES, 1,
                                step(qp, (i + r) * layout[8]), layout[8],
                                step(dkp, j * layout[23]), layout[23], add, width)
                    tiles.strip(n, D, m - r, step(p, here), QUERIES, 1,
                                step(gp, (i + r) * layout[17]), layout[17],
                                step(dvp, j * layout[26]), layout[26], add, width)
                add = 1 if seen else add
