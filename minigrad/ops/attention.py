"""Scaled dot-product attention."""
import numpy as np

from minigrad.ops.elementwise import where
from minigrad.ops.shape import broadcast_to, swapaxes
from minigrad.ops.softmax import softmax
from minigrad.tensor import op


def attention_inputs(draw):
    B, G, T, D = (draw.integer(1, n) for n in (2, 2, 5, 4))
    H, S = G * draw.integer(1, 2), T + draw.integer(0, 2)
    lengths = np.array([draw.integer(1, S) for _ in range(B)]) if draw.boolean() else None
    arrays = draw.array((B, H, T, D)), draw.array((B, G, S, D)), draw.array((B, G, S, D))
    return arrays, {"causal": draw.boolean(), "key_lengths": lengths}

@op(inputs=attention_inputs)
def attention(q, k, v, causal=True, scale=None, key_lengths=None):
    r"""Let each query take the mean of the values, weighted by how well their keys match it.

    .. math:: y = P v, \quad P = \text{softmax}(q k^T \cdot \text{scale} + \text{mask})

    Backward, dv = P^T g as for any product; the gradient of P goes through the softmax,
    dS = P (dP - rowsum(dP P)), and from the scores to dq = dS k scale and dk = dS^T q scale.

    Parameters
    ----------
    q : (B, H, T, D)
    k, v : (B, G, S, D)
        H a multiple of G: each key head serves H / G query heads (grouped-query attention).
    causal : bool
        Whether a query sees only keys up to its own position. The T queries are the last T of the
        S positions, as with a KV cache (torch's is_causal counts from the first instead).
    scale : float, optional
        1 / sqrt(D) unless given: the variance of a sum of D products of unit variance is D.
    key_lengths : (B,) int, optional
        How many keys of each sequence are real. A query that sees none gives zeros.

    Returns
    -------
    y : (B, H, T, D)

    References
    ----------
    Vaswani et al. 2017, arXiv:1706.03762, equation 1; Ainslie et al. 2023, arXiv:2305.13245.
    """
    check_heads(q, k, v, key_lengths)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    groups = k.shape[1]
    k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])           # (B, H, S, D)
    scores = np.where(visible(q, k, causal, key_lengths), (q @ k.mT) * scale, -np.inf)
    peak = scores.max(axis=-1, keepdims=True, initial=np.finfo(q.dtype).min)  # finite
    e = np.exp(scores - peak)
    total = e.sum(axis=-1, keepdims=True)
    p = e / np.where(total == 0, 1, total)                                    # (B, H, T, S)
    return p @ v, (q, k, v, p, scale, groups)

@attention.vjp
def attention_vjp(g, q, k, v, p, scale, groups):
    dv = p.mT @ g
    dp = g @ v.mT
    ds = p * (dp - (dp * p).sum(axis=-1, keepdims=True)) * scale
    return ds @ k, sum_heads(ds.mT @ q, groups), sum_heads(dv, groups)

@attention.parts
def attention_parts(q, k, v, causal=True, scale=None, key_lengths=None):
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])
    scores = (q @ swapaxes(k, -1, -2)) * scale
    mask = visible(q, k, causal, key_lengths)
    p = softmax(where(mask, scores, np.finfo(q.dtype).min / 2))
    return where(mask, p, 0.0) @ v                                            # (B, H, T, D)


def check_heads(q, k, v, key_lengths):
    B, H, T, D = q.shape
    if k.shape != v.shape or k.shape[0] != B or k.shape[3] != D or H % k.shape[1]:
        raise ValueError("q must be (B, H, T, D), k and v (B, G, S, D) with H a multiple of G")
    if key_lengths is not None and np.shape(key_lengths) != (B,):
        raise ValueError(f"key_lengths has shape {np.shape(key_lengths)}, but there are {B} "
                         "sequences: give one length for each")


def visible(q, k, causal, key_lengths):
    """Return which keys each query may see, as a mask that broadcasts to (B, H, T, S)."""
    T, S = q.shape[-2], k.shape[-2]
    mask = np.ones((1, 1, T, S), bool)
    if causal:
        mask &= np.arange(S) <= np.arange(S - T, S)[:, None]
    if key_lengths is not None:
        mask = mask & (np.arange(S) < np.asarray(key_lengths)[:, None, None, None])
    return mask


def repeat_heads(x, H):
    """Repeat each of G heads H / G times: (B, G, S, D) to (B, H, S, D)."""
    B, G, S, D = x.shape
    if G == H:
        return x
    return broadcast_to(x[:, :, None], (B, G, H // G, S, D)).reshape(B, H, S, D)


def sum_heads(dx, G):
    """Add what the query heads of each group send to their one key head: the vjp of repeating."""
    B, H, S, D = dx.shape
    return dx if G == H else dx.reshape(B, G, H // G, S, D).sum(axis=2)
