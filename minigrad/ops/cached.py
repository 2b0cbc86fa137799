"""Attention to what came before, for nets that write: without gradients."""
import numpy as np

from minigrad.kernels import jit, one_query, threads
from minigrad.kernels.attention import (
    LENGTHS, N_KEY, attention_kernel, layout_of, padded, room_for, scratch)
from minigrad.kernels.byte_rows import BYTES, numbers_of
from minigrad.kernels.memory import empty
from minigrad.kernels.rows import SMALL, is_float, plain
from minigrad.mode import mode
from minigrad.ops.attention import attention, firsts, narrowed, scale_of
from minigrad.ops.heads import heads, side_by_side


def cached_attention(qkv, k, v, place, n_head, causal=True, scale=None, **options):
    """Store the keys and values of T new positions, and let their queries see all so far.

    Parameters
    ----------
    qkv : (B, T, (H + 2 G) D) array
        As for `self_attention`.
    k, v : (B or more, G, S, W) array, W = `one_query.padded_width(D)`
        They are written to, at T positions from `place` on. Of the dtype of qkv, or bytes beside
        float32, to which keys and values are then rounded.
    place : (B,) int64
        How many positions of each sequence are there already; for T > 1 of all as many. An array,
        so that it can differ in a replay.
    n_head : int
    causal : bool
    scale : float, optional
    **options
        A bias and a mask, as for `attention`, of all positions so far: with them no kernel runs,
        and nothing is replayed.

    Returns
    -------
    y : (B, T, H D)

    Raises
    ------
    ValueError
        If there is no room for T more positions.
    """
    q, new_k, new_v = heads(qkv, n_head, k.shape[1])
    B, T, _ = qkv.shape
    S = int(place.max()) + T
    if S > k.shape[2]:
        raise ValueError(f"there is room for {k.shape[2]} positions, but this is number "
                         f"{S}: begin a new cache with the last ones")
    how = {"causal": causal, "scale": scale_of(q, scale)}
    fast = jit.COMPILED and mode.level == "fast"
    fast = fast and is_float(qkv.dtype) and not options
    if fast and T == 1 and one_query.reads(k, qkv):
        qkv, scale = plain(qkv), how["scale"]
        return one_query.attend(qkv, k, v, place, n_head, scale)
    if fast and T > 1 and k.dtype == qkv.dtype:
        qkv = plain(qkv)
        return cached_attention_fast(qkv, q, k, v, place, **how)
    how.update(options, key_lengths=place + T)
    seen = np.s_[:B, :, :S]
    if k.dtype == BYTES:
        one_query.stored(plain(qkv), k, v, place, n_head)
        y = attention_to_bytes(q, k[seen], v[seen], **how)
    else:
        D = put(new_k, new_v, place, k, v)
        k, v = k[seen], v[seen]
        y = attention(q, k[..., :D], v[..., :D], **how)
    return side_by_side(y)


def put(new_k, new_v, place, out_k, out_v):
    """Write new keys and values behind those that are there, and return their width."""
    T, D = new_k.shape[2:]
    for b, start in enumerate(place):
        new = np.s_[b, :, start:start + T, :D]
        out_k[new] = new_k[b]
        out_v[new] = new_v[b]
    return D


def attention_to_bytes(q, k, v, **how):
    """Attend with keys and values as numbers, of few heads at a time, which is less memory."""
    G, D = k.shape[1], q.shape[-1]
    shared = q.shape[1] // G
    options = how.keys() - {"causal", "scale", "key_lengths"}
    step = G if options else -(-threads.n_threads() // shared)      # that keep all threads busy
    y = empty(q.shape, q.dtype)
    for g in range(0, G, step):
        last = g + step
        groups = np.s_[:, g:last]
        heads = np.s_[:, g * shared:last * shared]
        numbers = numbers_of(k[groups], D), numbers_of(v[groups], D)
        y[heads] = attention(q[heads], *numbers, **how)
        del numbers                                       # before there are the next
    return y


# ---- fast path -------------------------------------------------------------------------------

def cached_attention_fast(qkv, q, k, v, place, causal, scale):
    B, H, T, D = q.shape
    S, width = k.shape[2:]
    q = padded(q)
    y = room_for(q, width)
    lse = empty((B, H, T), q.dtype)
    out = y.swapaxes(1, 2)                                # (B, H, T, width)
    layout = layout_of((q, k, v, out), k, causal, None)
    jit.run(_store, qkv, place, H, D, k, v, layout)
    work = B * H * S * width
    threaded = threads.n_threads() > 1 and work >= 4 * SMALL
    threads.enter_pool()
    q0, k0, v0, out0 = firsts(q, k, v, out)
    scale = q.dtype.type(scale)
    rest = layout, scale, scratch(q.dtype, width + S + 2), out0
    jit.run(attention_kernel.driver, threaded, B * H, lse, q0, k0, v0, *rest)
    y = narrowed(y, D)
    return y.reshape(B, T, H * D)


@jit.kernel
def _store(qkv, place, H, D, out_k, out_v, layout):
    """Write new keys and values behind those that are there, and how many there are now."""
    B, T, _ = qkv.shape
    G = out_k.shape[1]
    layout[N_KEY] = place.max() + T
    for b in range(B):
        start = place[b]
        layout[LENGTHS + b] = start + T
        for t in range(T):
            for g in range(G):
                first_k = (H + g) * D
                first_v = (H + G + g) * D
                for j in range(D):
                    out_k[b, g, start + t, j] = qkv[b, t, first_k + j]
                    out_v[b, g, start + t, j] = qkv[b, t, first_v + j]


def rows_at(table, place, T):
    """Return rows place[b] to place[b] + T of a table, (N, n), for each b: (B T, n)."""
    n = len(place) * T
    out = empty((n, table.shape[1]), table.dtype)
    jit.run(_copy_rows, plain(table), place, T, out)
    return out


@jit.kernel
def _copy_rows(table, place, T, out):
    for i in range(out.shape[0]):
        row = place[i // T] + i % T
        for j in range(out.shape[1]):
            out[i, j] = table[row, j]
