"""Attention to what came before, for nets that write: without gradients."""
import numpy as np

from minigrad.kernels import jit, threads, tiles
from minigrad.kernels.attention import (
    LENGTHS, N_KEY, attention_kernel, layout_of, padded, room_for, scratch)
from minigrad.kernels.memory import empty
from minigrad.kernels.rows import SMALL, is_float, plain
from minigrad.mode import mode
from minigrad.ops.attention import attention, firsts, narrowed, scale_of
from minigrad.ops.heads import heads, side_by_side


def padded_width(D, dtype):
    """Return the width of cached heads of D features: whole vectors."""
    lanes = tiles.lanes(np.dtype(dtype))
    return -(-D // lanes) * lanes


def cached_attention(qkv, k, v, place, n_head, causal=True, scale=None, **options):
    """Store the keys and values of T new positions, and let their queries see all so far.

    Parameters
    ----------
    qkv : (B, T, (H + 2 G) D) array
        As for `self_attention`.
    k, v : (B, G, S, W) array, W = `padded_width(D)`
        They are written to, at S positions from `place` on.
    place : (1,) int64
        How many positions are there already; an array, so that it can differ in a replay.
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
    start = int(place[0])
    T = qkv.shape[1]
    if start + T > k.shape[2]:
        raise ValueError(f"there is room for {k.shape[2]} positions, but this is number "
                         f"{start + T}: begin a new cache with the last ones")
    scale = scale_of(q, scale)
    fast = jit.COMPILED and mode.level == "fast"
    if fast and is_float(qkv.dtype) and not options:
        return cached_attention_fast(plain(qkv), q, k, v, place, causal, scale)
    D = q.shape[-1]
    new = np.s_[:, :, start:start + T, :D]
    k[new] = new_k
    v[new] = new_v
    seen = np.s_[:, :, :start + T, :D]
    y = attention(q, k[seen], v[seen], causal=causal, scale=scale, **options)
    return side_by_side(y)


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
    G, start = out_k.shape[1], place[0]
    for b in range(B):
        for t in range(T):
            for g in range(G):
                first_k = (H + g) * D
                first_v = (H + G + g) * D
                for j in range(D):
                    out_k[b, g, start + t, j] = qkv[b, t, first_k + j]
                    out_v[b, g, start + t, j] = qkv[b, t, first_v + j]
    layout[N_KEY] = start + T
    for b in range(B):
        layout[LENGTHS + b] = start + T


def rows_at(table, place, T):
    """Return rows place to place + T of a table, (N, n), which may differ in a replay."""
    out = empty((T, table.shape[1]), table.dtype)
    jit.run(_copy_rows, plain(table), place, out)
    return out


@jit.kernel
def _copy_rows(table, place, out):
    for t in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[t, j] = table[place[0] + t, j]
