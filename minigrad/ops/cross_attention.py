"""Attention of one sequence to another: of what is written to what has been read."""
import numpy as np

from minigrad.kernels.memory import empty
from minigrad.kernels.rows import is_float, worth_it
from minigrad.ops.attention import attend, attend_vjp, attention, attention_vjp, scale_of
from minigrad.ops.heads import check_heads, check_lengths, heads_of, side_by_side
from minigrad.tensor import op


def cross_attention_inputs(draw):
    B = draw.side(1, 2)
    T = draw.side(1, 4)
    S = draw.side(1, 5)
    G = draw.side(1, 2)
    D = draw.choice([1, 2, 3, 8, 16])
    H = G * draw.integer(1, 2)
    q = draw.array((B, T, H * D))
    kv = draw.array((B, S, 2 * G * D))
    options = {
        "n_head": H,
        "n_kv_head": G,
    }
    if draw.boolean():
        options["key_lengths"] = draw.indices((B,), S) + 1
    return (q, kv), options


def other_order(f, q, kv):
    """A source is a set of keys: their order changes nothing."""
    D = kv.shape[-1] // 2
    q = q[..., :D]
    options = {
        "n_head": 1,
        "n_kv_head": 1,
        "key_lengths": None,
    }
    y = f(q, kv, **options)
    last_first = kv[:, ::-1]
    return y, f(q, last_first, **options)


@op(inputs=cross_attention_inputs, replayed=True, order=other_order)
def cross_attention(q, kv, n_head, n_kv_head=None,
                    scale=None, key_lengths=None):
    """Attention of T queries to S keys and values that come side by side in another array.

    The same as cutting heads apart, `attention` that is not causal, and putting the heads back
    together, but in one step.

    Parameters
    ----------
    q : (B, T, H D)
        The features of H = `n_head` heads of queries.
    kv : (B, S, 2 G D)
        Of G = `n_kv_head` (H unless given) heads of keys, and of as many of values.
    scale, key_lengths
        As for `attention`.

    Returns
    -------
    y : (B, T, H D)

    Raises
    ------
    ValueError
        If H is no multiple of G, or the heads have not one width.

    References
    ----------
    Vaswani et al. 2017, arXiv:1706.03762, 3.2.3.
    """
    heads = apart(q, kv, n_head, n_kv_head)
    y, saved = attention.forward(*heads, None, False, scale, key_lengths)
    return side_by_side(y), saved

@cross_attention.vjp
def cross_attention_vjp(g, q, *saved):
    H = q.shape[1]
    gradients = attention_vjp(heads_of(g, H), q, *saved)
    dq, dk, dv = map(side_by_side, gradients[:3])
    return dq, np.concatenate([dk, dv], axis=-1)

@cross_attention.parts
def cross_attention_parts(q, kv, n_head, n_kv_head=None,
                          scale=None, key_lengths=None):
    heads = apart(q, kv, n_head, n_kv_head)
    y = attention(*heads, causal=False, scale=scale, key_lengths=key_lengths)
    return side_by_side(y)


def apart(q, kv, H, G=None):
    """View (B, T, H D) and (B, S, 2 G D) as q, k and v, each (B, heads, rows, D)."""
    G = G or H
    wide, wide_kv = q.shape[-1], kv.shape[-1]
    D = wide // max(1, H)
    if wide != H * D or wide_kv != 2 * G * D:
        raise ValueError(f"{wide} features of queries and {wide_kv} of keys and values cannot be "
                         f"{H} and 2 x {G} heads of one width: give {H} D and 2 x {G} D")
    end_of_k = G * D
    k = kv[..., :end_of_k]
    v = kv[..., end_of_k:]
    return heads_of(q, H), heads_of(k, G), heads_of(v, G)


# ---- fast path -------------------------------------------------------------------------------

def are_side_by_side(q, kv, *_, **__):
    of_one_type = is_float(q.dtype) and q.dtype == kv.dtype
    some = q.size > 0 and kv.size > 0
    return of_one_type and some and worth_it(q.size + kv.size)

@cross_attention.fast(when=are_side_by_side)
def cross_attention_fast(q, kv, n_head, n_kv_head=None,
                         scale=None, key_lengths=None):
    heads = apart(q, kv, n_head, n_kv_head)
    check_heads(*heads)
    B, S, _ = kv.shape
    lengths = check_lengths(key_lengths, B, S)
    scale = scale_of(heads[0], scale)
    y, saved = attend(*heads, False, scale, lengths)
    return y.reshape(q.shape), saved

@cross_attention.fast_vjp
def cross_attention_fast_vjp(g, q, k, v, *saved):
    B, G, S, _ = k.shape
    H = q.shape[1]
    D = g.shape[-1] // H
    dq = empty(g.shape, q.dtype)
    dkv = empty((B, S, 2 * G * D), q.dtype)
    g = heads_of(g, H)                                    # (B, H, T, D)
    gradients = apart(dq, dkv, H, G)
    attend_vjp(g, q, k, v, *saved, *gradients)
    return dq, dkv
