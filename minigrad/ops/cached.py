"""Attention to what came before, for nets that write: without gradients."""
import numpy as np

from minigrad.kernels import jit, threads, tiles, vmath
from minigrad.kernels.attention import (
    LENGTHS, N_KEY, attention_kernel, layout_of, padded, room_for, scratch)
from minigrad.kernels.few import products_of_numbers
from minigrad.kernels.llvm import at, lanes_of, widest_vectors
from minigrad.kernels.memory import empty
from minigrad.kernels.rows import SMALL, is_float, plain, row_kernel
from minigrad.kernels.softmax import softmax_row
from minigrad.kernels.tiles import ROWS, strip
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
    k, v : (B or more, G, S, W) array, W = `padded_width(D)`
        They are written to, at T positions from `place` on.
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
    if fast and is_float(qkv.dtype) and not options:
        forward = cached_attention_fast if T > 1 else one_more_attention
        return forward(plain(qkv), q, k, v, place, **how)
    D = q.shape[-1]
    for b, start in enumerate(place):
        new = np.s_[b, :, start:start + T, :D]
        k[new] = new_k[b]
        v[new] = new_v[b]
    seen = np.s_[:B, :, :S, :D]
    y = attention(q, k[seen], v[seen], key_lengths=place + T, **how, **options)
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


# ---- one position more: everything that was read is read once, and hardly computed with --------

PIECES = 8                       # tasks of one head of keys: as many parts of what was read

def one_more_attention(qkv, q, k, v, place, causal, scale):
    """Let one query of each head see all that was read: of T = 1 position it is the last."""
    B, H, _, D = q.shape
    _, G, S, width = k.shape
    room = lambda *sides: empty((B, H, *sides), q.dtype)
    queries, scores = room(width), room(S)
    parts, sums = room(PIECES, width), room(PIECES)
    out = empty((B, 1, H * D), q.dtype)
    scale = q.dtype.type(scale)
    jit.run(_begin, qkv, place, D, scale, k, v, queries)
    threaded = threads.n_threads() > 1 and k.size >= 4 * SMALL
    threads.enter_pool()
    tasks = B * G * PIECES
    jit.run(_attend.driver, threaded, tasks, k, v, place, queries, scores, parts, sums)
    jit.run(_join, place, parts, sums, out)
    return out


@jit.kernel
def _begin(qkv, place, D, scale, out_k, out_v, out_q):
    """Write the new key and value behind those that are there, and the queries, scaled."""
    B, H, width = out_q.shape
    G = out_k.shape[1]
    for b in range(B):
        last = place[b]
        for h in range(H):
            new = qkv[b, 0, h * D:]
            for j in range(D):
                out_q[b, h, j] = new[j] * scale
            for j in range(D, width):
                out_q[b, h, j] = 0
        for g in range(G):
            first = (H + g) * D
            new_k, new_v = qkv[b, 0, first:], qkv[b, 0, first + G * D:]
            for j in range(D):
                out_k[b, g, last, j] = new_k[j]
                out_v[b, g, last, j] = new_v[j]


@jit.helper
def piece_of(n, piece):
    """Return which of n keys a piece has: cut by n alone, not by the number of threads."""
    least = 16 * PIECES
    size = (n + least - 1) // least * 16
    first, last = piece * size, (piece + 1) * size
    return min(n, first), min(n, last)


@row_kernel
def _attend(start, stop, k, v, place, queries, out_scores, out_parts, out_sums):
    """Attend to a piece of the keys, for all query heads that share them.

    Left are the mean of its values, weighted, and log sum exp of its scores.
    """
    widest_vectors()
    _, G, S, width = k.shape
    H, lanes = queries.shape[1], lanes_of(k)
    shared = H // G
    for task in range(start, stop):
        group, piece = task // PIECES, task % PIECES
        b, h0 = group // G, group % G * shared            # the sequence and its first query head
        first, last = piece_of(place[b] + 1, piece)
        n = last - first
        if n == 0:
            continue
        here = (group * S + first) * width
        row = b * H + h0
        of_scores = at(out_scores, row * S + first)
        left = at(queries, row * width), width, shared
        right = at(k, here), width, n
        products_of_numbers(width // lanes, left, right, (of_scores, S))
        for h in range(shared):
            z = at(of_scores, h * S)
            m, s = softmax_row(z, z, n, k.dtype.type(1))
            out_sums[b, h0 + h, piece] = m + vmath.log(s)
        for h in range(0, shared, ROWS):
            m, weights = min(ROWS, shared - h), at(of_scores, h * S)
            place_of_part = (row + h) * PIECES + piece
            target = at(out_parts, place_of_part * width)
            strip(m, width, n, weights, S, 1,
                  at(v, here), width, target, PIECES * width, 0, lanes)


@jit.kernel
def _join(place, parts, sums, out):
    """Weight the pieces by what they have of all sums."""
    B, H, _, width = parts.shape
    D = out.shape[2] // H
    zero = out.dtype.type(0)
    for b in range(B):
        for h in range(H):
            peak, total = sums[b, h, 0], zero
            for j in range(D):
                out[b, 0, h * D + j] = 0
            for piece in range(PIECES):
                first, last = piece_of(place[b] + 1, piece)
                if first < last:
                    peak = max(peak, sums[b, h, piece])
            for piece in range(PIECES):
                first, last = piece_of(place[b] + 1, piece)
                if first < last:
                    share = vmath.exp(sums[b, h, piece] - peak)
                    total += share
                    for j in range(D):
                        out[b, 0, h * D + j] += share * parts[b, h, piece, j]
            for j in range(D):
                out[b, 0, h * D + j] /= total


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
