"""Scaled dot-product attention."""
import numpy as np

from minigrad.kernels import jit
from minigrad.kernels.attention import (
    attention_kernel, attention_vjp_kernel, layout_of, padded, room_for, scratch)
from minigrad.kernels.memory import empty
from minigrad.kernels.rows import is_float, worth_it
from minigrad.ops.elementwise import where
from minigrad.ops.heads import (
    check_first, check_heads, check_lengths, check_seen, heads, heads_of, repeat_heads,
    side_by_side, sum_heads, visible)
from minigrad.ops.shape import swapaxes
from minigrad.ops.softmax import softmax
from minigrad.tensor import detach, op, sum_to_shape


def attention_inputs(draw):
    B = draw.side(1, 2)
    G = draw.side(1, 2)
    T = draw.side(1, 5)
    D = draw.choice([1, 2, 3, 8, 16, 32])
    H = G * draw.integer(1, 2)
    S = T + draw.integer(0, 2)
    q = draw.array((B, H, T, D))
    k = draw.array((B, G, S, D))
    v = draw.array((B, G, S, D))
    bias = lengths = mask = None
    if draw.boolean():
        lengths = draw.indices((B,), S) + 1
    if draw.boolean():
        n = draw.choice([1, B])
        bias = draw.array((n, 1, T, S))
    if draw.boolean():
        mask = draw.array((H, 1, S), "mask")
    options = {
        "causal": draw.boolean(),
        "key_lengths": lengths,
        "mask": mask,
    }
    if draw.boolean():
        options["first"] = draw.indices((B, T), S)
    return (q, k, v, bias), options


def without_last(f, q, k, v, bias=None):
    """Causality: the last position changes nothing before it."""
    n = min(q.shape[2], k.shape[2])
    arrays = [x[:, :, -n:] for x in (q, k, v)]
    before = [x[:, :, :-1] for x in arrays]
    options = {"causal": True, "key_lengths": None, "mask": None, "first": None}
    y = f(*arrays, **options)
    earlier = f(*before, **options)
    return y[:, :, :-1], earlier


def other_order(f, q, k, v, bias=None):
    """Without a mask, attention sees a set of keys: their order changes nothing."""
    last_first = np.s_[:, :, ::-1]
    options = {"causal": False, "key_lengths": None, "mask": None, "first": None}
    y = f(q, k, v, **options)
    other = f(q, k[last_first], v[last_first], **options)
    return y, other


@op(inputs=attention_inputs, causality=without_last, order=other_order)
def attention(q, k, v, bias=None, causal=True, scale=None, key_lengths=None, mask=None, first=None):
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
    first : (B, T) int, optional
        The first key that each query sees, as where its document begins, or a window.

    Returns
    -------
    y : (B, H, T, D)

    Notes
    -----
    With a mask or a bias the reference runs; the kernel knows all else.

    References
    ----------
    Vaswani et al. 2017, arXiv:1706.03762, equation 1; Ainslie et al. 2023, arXiv:2305.13245.
    """
    seen = who_sees(q, k, v, bias, causal, key_lengths, mask, first)
    scale = scale_of(q, scale)
    H, groups = q.shape[1], k.shape[1]
    k = repeat_heads(k, H)                                # (B, H, S, D)
    v = repeat_heads(v, H)
    scores = q @ k.mT                                     # (B, H, T, S)
    scores = scores * scale
    if bias is not None:
        scores = scores + bias
    scores = np.where(seen, scores, -np.inf)
    lowest = np.finfo(q.dtype).min                        # the peak is finite
    peak = scores.max(axis=-1, keepdims=True, initial=lowest)
    e = np.exp(scores - peak)
    total = e.sum(axis=-1, keepdims=True)
    p = e / np.where(total == 0, 1, total)                # (B, H, T, S)
    bias_shape = None if bias is None else np.shape(bias)
    saved = q, k, v, p, scale, groups, bias_shape
    return p @ v, saved

@attention.vjp
def attention_vjp(g, q, k, v, p, scale, groups, bias_shape):
    dp = g @ v.mT                                         # (B, H, T, S)
    along = (dp * p).sum(axis=-1, keepdims=True)
    ds = p * (dp - along)                                 # of the scores with their bias
    dbias = None if bias_shape is None else sum_to_shape(ds, bias_shape)
    ds = ds * scale
    dq = ds @ k                                           # (B, H, T, D)
    dk = sum_heads(ds.mT @ q, groups)                     # (B, G, S, D)
    dv = sum_heads(p.mT @ g, groups)
    return dq, dk, dv, dbias

@attention.parts
def attention_parts(q, k, v, bias=None, causal=True, scale=None, key_lengths=None, mask=None,
                    first=None):
    seen = who_sees(q, k, v, bias, causal, key_lengths, mask, first)
    scale = scale_of(q, scale)
    k = repeat_heads(k, q.shape[1])
    v = repeat_heads(v, q.shape[1])
    scores = (q @ swapaxes(k, -1, -2)) * scale
    if bias is not None:
        scores = scores + bias
        seen = seen & (detach(bias) > -np.inf)
    low = np.finfo(q.dtype).min / 2
    p = softmax(where(seen, scores, low))
    return where(seen, p, 0.0) @ v                        # (B, H, T, D)


def who_sees(q, k, v, bias, causal, key_lengths, mask, first):
    """Check what attention is given; return which keys each query sees."""
    check_heads(q, k, v)
    S = k.shape[2]
    check_seen(mask, bias, (*q.shape[:3], S))             # (B, H, T, S)
    lengths = check_lengths(key_lengths, len(q), S)
    first = check_first(first, q, k)
    return visible(q, k, causal, lengths, mask, first)

def scale_of(q, scale=None):
    D = max(1, q.shape[-1])
    return D ** -0.5 if scale is None else scale


def self_attention_inputs(draw):
    B = draw.side(1, 2)
    T = draw.side(1, 5)
    G = draw.side(1, 2)
    D = draw.choice([1, 2, 3, 8, 16])
    H = G * draw.integer(1, 2)
    C = (H + 2 * G) * D
    options = {
        "n_head": H,
        "n_kv_head": G,
        "causal": draw.boolean(),
    }
    if draw.boolean():
        options["key_lengths"] = draw.indices((B,), T) + 1
    if draw.boolean():
        options["first"] = draw.indices((B, T), T)
    return [draw.array((B, T, C))], options


def last_changes_nothing(f, qkv):
    """Causality, with one head that is as wide as a third of the features."""
    D = qkv.shape[-1] // 3
    qkv = qkv[..., :3 * D]
    options = {
        "n_head": 1, "n_kv_head": 1,
        "causal": True, "key_lengths": None, "first": None,
    }
    y = f(qkv, **options)
    earlier = f(qkv[:, :-1], **options)
    return y[:, :-1], earlier


@op(inputs=self_attention_inputs, replayed=True, causality=last_changes_nothing)
def self_attention(qkv, n_head, n_kv_head=None, causal=True,
                   scale=None, key_lengths=None, first=None):
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
    scale, key_lengths, first
        As for `attention`.

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
    q, k, v = heads(qkv, n_head, n_kv_head)
    y, saved = attention.forward(q, k, v, None, causal, scale, key_lengths, None, first)
    return side_by_side(y), saved

@self_attention.vjp
def self_attention_vjp(g, q, *saved):
    H = q.shape[1]
    g = heads_of(g, H)
    *gradients, _ = attention_vjp(g, q, *saved)
    parts = [side_by_side(x) for x in gradients]
    return np.concatenate(parts, axis=-1),

@self_attention.parts
def self_attention_parts(qkv, n_head, n_kv_head=None, causal=True,
                         scale=None, key_lengths=None, first=None):
    q, k, v = heads(qkv, n_head, n_kv_head)
    y = attention(q, k, v, causal=causal, scale=scale, key_lengths=key_lengths, first=first)
    return side_by_side(y)


# ---- fast path -------------------------------------------------------------------------------
# Saved is log(sum(e**scores)) of each query: the weights are made once more on the way back.
# Heads are read and written through strides, where they are, if they are whole vectors wide.


def are_heads(q, k, v, bias=None, causal=True, scale=None, key_lengths=None, mask=None, first=None):
    if bias is not None or mask is not None or turned_over(scale, first):
        return False
    of_one_type = is_float(q.dtype) and q.dtype == k.dtype == v.dtype
    some = q.size > 0 and k.size > 0
    return of_one_type and some and worth_it(q.size + k.size)

@attention.fast(when=are_heads)
def attention_fast(q, k, v, bias=None, causal=True, scale=None, key_lengths=None, mask=None,
                   first=None):
    check_heads(q, k, v)
    lengths = check_lengths(key_lengths, len(k), k.shape[2])
    first = check_first(first, q, k)
    scale = scale_of(q, scale)
    y, saved = attend(q, k, v, causal, scale, lengths, first)
    return y.swapaxes(1, 2), saved

@attention.fast_vjp
def attention_fast_vjp(g, q, k, v, *saved):
    gradients = rooms_for(q, k, v, g.shape[-1])
    attend_vjp(g, q, k, v, *saved, *gradients)
    return *gradients, None


def turned_over(scale, first):
    """Whether a score of -inf, which hides a key from the kernel, would not stay one."""
    return first is not None and scale is not None and scale <= 0


def are_side_by_side(qkv, n_head, n_kv_head=None, causal=True, scale=None, key_lengths=None,
                     first=None):
    if turned_over(scale, first):
        return False
    return is_float(qkv.dtype) and qkv.size > 0 and worth_it(qkv.size)

@self_attention.fast(when=are_side_by_side)
def self_attention_fast(qkv, n_head, n_kv_head=None, causal=True,
                        scale=None, key_lengths=None, first=None):
    q, k, v = heads(qkv, n_head, n_kv_head)
    B, T, _ = qkv.shape
    lengths = check_lengths(key_lengths, B, T)
    first = check_first(first, q, k)
    y, saved = attend(q, k, v, causal, scale_of(q, scale), lengths, first)
    return y.reshape(B, T, -1), saved

@self_attention.fast_vjp
def self_attention_fast_vjp(g, q, k, v, *saved):
    B, T, C = g.shape
    H, G = q.shape[1], k.shape[1]
    D = C // H
    n_features = (H + 2 * G) * D
    dqkv = empty((B, T, n_features), q.dtype)
    g = heads_of(g, H)
    gradients = heads(dqkv, H, G)
    attend_vjp(g, q, k, v, *saved, *gradients)
    return dqkv,


def attend(q, k, v, causal, scale, lengths, first=None):
    """Run the kernel; return y, (B, T, H, D), and what `attend_vjp` takes."""
    D = q.shape[-1]
    scale = q.dtype.type(scale)
    q, k, v = map(padded, (q, k, v))
    B, H, T, width = q.shape
    n_rows = width + k.shape[2] + 2                       # of a thread's scratch
    y = room_for(q, width)
    lse = empty((B, H, T), q.dtype)
    out = y.swapaxes(1, 2)                                # (B, H, T, width)
    layout = layout_of((q, k, v, out), k, causal, lengths, first)
    work = scratch(q.dtype, n_rows)
    q0, k0, v0, out0 = firsts(q, k, v, out)
    attention_kernel(B * H, lse, q0, k0, v0, layout, scale, work, out0)
    return narrowed(y, D), (q, k, v, lse, scale, causal, lengths, first)

def narrowed(y, D):
    """Return the first D features of heads that were padded, (B, T, H, width)."""
    if y.shape[-1] == D:
        return y
    B, T, H, _ = y.shape
    out = empty((B, T, H, D), y.dtype)
    jit.run(np.copyto, out, y[..., :D])
    return out

def attend_vjp(g, q, k, v, lse, scale, causal, lengths, first, *gradients):
    """Run the backward kernel, which writes into the gradients of q, k and v."""
    D = g.shape[-1]
    g = padded(g)
    B, G, S, width = k.shape
    wide = gradients if width == D else rooms_for(q, k, v, width)
    if lengths is not None or first is not None:          # what nobody sees
        for dx in wide[1:]:
            jit.run(np.copyto, dx, 0)
    arrays = q, k, v, g
    layout = layout_of((*arrays, *wide), k, causal, lengths, first)
    n_rows = 2 * (S + width) + 1
    work = scratch(q.dtype, n_rows)
    inputs = firsts(*arrays)
    outputs = firsts(*wide)
    attention_vjp_kernel(B * G, lse, *inputs, layout, scale, work, *outputs)
    if width != D:
        for dx, whole in zip(gradients, wide):
            jit.run(np.copyto, dx, whole[..., :D])

def rooms_for(q, k, v, width):
    """Make arrays for the gradients of heads, (B, heads, T, width)."""
    rooms = [room_for(x, width) for x in (q, k, v)]
    return [x.swapaxes(1, 2) for x in rooms]

def firsts(*arrays):
    """The first row of each: where a kernel finds the array."""
    return [x[0, 0, 0] for x in arrays]
