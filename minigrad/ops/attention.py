"""Scaled dot-product attention."""
import numpy as np

from minigrad.kernels import jit
from minigrad.kernels.attention import (
    attention_kernel, attention_vjp_kernel, layout_of, padded, room_for, scratch)
from minigrad.kernels.rows import is_float, worth_it
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


@op(inputs=self_attention_inputs, replayed=True, causality=last_changes_nothing)
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
# Saved is log(sum(e**scores)) of each query: the weights are made once more on the way back.
# Heads are read and written through strides, where they are, if they are whole vectors wide.


def are_heads(q, k, v, bias=None, causal=True, scale=None, key_lengths=None, mask=None):
    return (bias is None and mask is None and is_float(q.dtype) and q.dtype == k.dtype == v.dtype
            and q.size > 0 and k.size > 0 and worth_it(q.size + k.size))

@attention.fast(when=are_heads)
def attention_fast(q, k, v, bias=None, causal=True, scale=None, key_lengths=None, mask=None):
    check_heads(q, k, v)
    lengths = check_lengths(key_lengths, len(k), k.shape[2])
    y, saved = attend(q, k, v, causal, scale_of(q.shape[-1], scale), lengths)
    return y.swapaxes(1, 2), saved

@attention.fast_vjp
def attention_fast_vjp(g, q, k, v, *saved):
    dq, dk, dv = (room_for(x, g.shape[-1]).swapaxes(1, 2) for x in (q, k, v))
    attend_vjp(g, q, k, v, *saved, dq, dk, dv)
    return dq, dk, dv, None


def are_side_by_side(qkv, n_head, n_kv_head=None, causal=True):
    return is_float(qkv.dtype) and qkv.size > 0 and worth_it(qkv.size)

@self_attention.fast(when=are_side_by_side)
def self_attention_fast(qkv, n_head, n_kv_head=None, causal=True):
    q, k, v = heads(qkv, n_head, n_kv_head)
    y, saved = attend(q, k, v, causal, scale_of(q.shape[-1], None), None)
    return y.reshape(*qkv.shape[:2], -1), saved

@self_attention.fast_vjp
def self_attention_fast_vjp(g, q, k, v, *saved):
    (B, H, T, _), G = q.shape, k.shape[1]
    D = g.shape[-1] // H
    dqkv = room_for(q[:, :1], (H + 2 * G) * D)                                # (B, T, 1, ...)
    dqkv = dqkv.reshape(B, T, -1)
    attend_vjp(heads_of(g, H), q, k, v, *saved, *heads(dqkv, H, G))
    return dqkv,


def attend(q, k, v, causal, scale, lengths):
    """Run the kernel; return y, (B, T, H, D), and what `attend_vjp` takes."""
    D, scale = q.shape[-1], q.dtype.type(scale)
    q, k, v = padded(q), padded(k), padded(v)
    (B, H, T, width), S = q.shape, k.shape[2]
    y, lse = room_for(q, width), room_for(q[..., 0], 1)
    lse = lse.reshape(B, H, T)
    layout = layout_of((q, k, v, y.swapaxes(1, 2)), k, causal, lengths)
    attention_kernel(B * H, lse, *firsts(q, k, v), layout, scale, scratch(q.dtype, width + S + 2),
                     y[0, 0, 0])
    if width != D:
        y, whole = room_for(q, D), y
        jit.run(np.copyto, y, whole[..., :D])
    return y, (q, k, v, lse, scale, causal, lengths)

def attend_vjp(g, q, k, v, lse, scale, causal, lengths, *gradients):
    """Run the backward kernel, which writes into the gradients of q, k and v."""
    D, (S, width), g = g.shape[-1], k.shape[2:], padded(g)
    wide = gradients
    if width != D:
        wide = [room_for(x, width).swapaxes(1, 2) for x in (q, k, v)]
    if lengths is not None:
        wide[1][...] = wide[2][...] = 0                                       # what nobody sees
    layout = layout_of((q, k, v, g, *wide), k, causal, lengths)
    attention_vjp_kernel(k.shape[0] * k.shape[1], lse, *firsts(q, k, v, g), layout, scale,
                         scratch(q.dtype, 2 * (S + width) + 1), *firsts(*wide))
    if width != D:
        for dx, whole in zip(gradients, wide):
            jit.run(np.copyto, dx, whole[..., :D])

def firsts(*arrays):
    """The first row of each: where a kernel finds the array."""
    return [x[0, 0, 0] for x in arrays]
