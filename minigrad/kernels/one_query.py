"""Attention of one query of each head to all that was read before: memory is what bounds it.

Keys and values are read once, for all query heads that share them, and hardly computed with. They
may be kept as bytes (`byte_rows`), (B, G, S, bytes of a row), about a quarter of those of numbers,
(B, G, S, W). What was read is cut into pieces, each a task, by its length alone: the same bits for
any number of threads.
"""
import numpy as np

from minigrad.kernels import jit, threads, vmath
from minigrad.kernels.byte_rows import (
    AHEAD, BYTES, COLUMNS, LINE, SCALE, prefetch, put_bytes, round_query, round_weights,
    scores_of_bytes, sums_of_bytes)
from minigrad.kernels.llvm import (
    REGISTERS, VECTOR_BYTES, at, copy, lanes_of, pointers_of, widest_vectors, zeros_of)
from minigrad.kernels.memory import empty
from minigrad.kernels.packed import BLOCK, add_blocks_of, put_in_rows
from minigrad.kernels.rows import SMALL, made_from, row_kernel
from minigrad.kernels.softmax import softmax_row
from minigrad.kernels.tiles import small_tile_of
from minigrad.kernels.twins import lanes

PIECES = 8                       # tasks of one head of keys: as many parts of what was read
KEYS = 64                        # whose values are in the nearest cache while columns are added up
TILE = 3 if REGISTERS == 16 else 4       # queries at a time; of one fewer there is a tile, too
VECTORS = 4                      # of values
BEHIND = 16                      # numbers that may be written behind the scores


def padded_width(D, dtype):
    """Return the width of cached heads of D features: whole vectors, or bytes of whole blocks."""
    step, more = (BLOCK, SCALE) if dtype == BYTES else (lanes(dtype), 0)
    return -(-D // step) * step + more


def reads(k, x):
    """Whether there are kernels for keys of this dtype beside numbers."""
    of_bytes = k.dtype == BYTES and x.dtype == np.float32
    return of_bytes or k.dtype == x.dtype


def attend(qkv, k, v, place, n_head, scale):
    """Store one new key and value of each sequence, and let its queries see all so far.

    Parameters
    ----------
    qkv : (B, 1, (H + 2 G) D) array
    k, v : (B or more, G, S, W) arrays
        Of the dtype of qkv, or BYTES beside float32.
    place : (B,) int64
    n_head : int
    scale : float

    Returns
    -------
    (B, 1, H D)
    """
    B, _, C = qkv.shape
    _, G, S, _ = k.shape
    H, D = n_head, C // (n_head + 2 * G)
    heads = stored(qkv, k, v, place, n_head, scale)
    room = lambda *sides: empty((B, *sides), qkv.dtype)
    width, scores = heads.shape[2], room(H, S + BEHIND)
    parts, sums = room(H, PIECES, width), room(H, PIECES, 2)
    out = room(1, H * D)
    threaded = threads.n_threads() > 1 and k.size >= 4 * SMALL
    threads.enter_pool()
    tasks = B * G * PIECES
    _, attend_to_pieces = KERNELS[k.dtype == BYTES]
    jit.run(attend_to_pieces.driver, threaded, tasks, k, v, place, heads, scores, parts, sums)
    jit.run(_join, place, parts, sums, out)
    return out


def stored(qkv, k, v, place, n_head, scale=1):
    """Store new keys and values, and return all new heads, the queries times a scale.

    They are (B T, H + 2 G, width), with zeros behind each; the queries as kernels take them.
    """
    B, T, C = qkv.shape
    n, in_bytes = n_head + 2 * k.shape[1], k.dtype == BYTES
    width = k.shape[3] - (SCALE if in_bytes else 0)
    heads = empty((B * T, n, width), qkv.dtype)
    rows = qkv.reshape(B * T, C)
    jit.run(_aligned, rows, n_head, C // n, qkv.dtype.type(scale), heads)
    store, _ = KERNELS[in_bytes]
    jit.run(store, place, heads, k, v)
    return heads


@jit.kernel
def _aligned(rows, H, D, scale, out):
    """Copy heads side by side, the queries times a scale, with zeros behind each: (N, n, W)."""
    N, n, width = out.shape
    for i in range(N):
        for h in range(n):
            factor = scale if h < H else out.dtype.type(1)
            for j in range(D):
                out[i, h, j] = rows[i, h * D + j] * factor
            for j in range(D, width):
                out[i, h, j] = 0


@jit.helper
def piece_of(n, piece):
    """Return which of n keys a piece has: cut by n alone, not by the number of threads."""
    least = 16 * PIECES
    size = (n + least - 1) // least * 16
    first, last = piece * size, (piece + 1) * size
    return min(n, first), min(n, last)


@jit.kernel
def _join(place, parts, sums, out):
    """Weight the pieces by what they have of all sums."""
    B, H, _, width = parts.shape
    D = out.shape[2] // H
    zero = out.dtype.type(0)
    for b in range(B):
        for h in range(H):
            peak, total = sums[b, h, 0, 0], zero
            for j in range(D):
                out[b, 0, h * D + j] = 0
            for piece in range(PIECES):
                first, last = piece_of(place[b] + 1, piece)
                if first < last:
                    peak = max(peak, sums[b, h, piece, 0])
            for piece in range(PIECES):
                first, last = piece_of(place[b] + 1, piece)
                if first < last:
                    share = vmath.exp(sums[b, h, piece, 0] - peak)
                    total += share
                    share *= sums[b, h, piece, 1]
                    for j in range(D):
                        out[b, 0, h * D + j] += share * parts[b, h, piece, j]
            for j in range(D):
                out[b, 0, h * D + j] /= total


# ---- numbers, or bytes: templates, whose free names are filled in below -------------------------

def store(place, out_heads, out_k, out_v):
    """Write the new keys and values behind those that are there, and prepare the queries."""
    N, n, width = out_heads.shape
    _, G, S, row_size = out_k.shape
    T, H = N // place.size, n - 2 * G
    for i in range(N):
        b, t = i // T, i % T
        for h in range(H):
            prepare(at(out_heads, (i * n + h) * width), width)                # noqa: F821
        for g in range(G):
            row = ((b * G + g) * S + place[b] + t) * row_size
            key = (i * n + H + g) * width
            value = key + G * width
            put_row(at(out_heads, key), width, at(out_k, row))                # noqa: F821
            put_row(at(out_heads, value), width, at(out_v, row))              # noqa: F821


def attend_to_pieces(start, stop, k, v, place, heads, out_scores, out_parts, out_sums):
    """Attend to a piece of the keys, for all query heads that share them.

    Left are the mean of its values, weighted, and log sum exp of its scores, with the scale of
    that mean.
    """
    widest_vectors()
    _, G, S, row_size = k.shape
    n_heads, width = heads.shape[1:]
    ldo = out_scores.shape[2]
    H = n_heads - 2 * G
    shared = H // G
    for task in range(start, stop):
        group, piece = task // PIECES, task % PIECES
        b, h0 = group // G, group % G * shared            # the sequence and its first query head
        first, last = piece_of(place[b] + 1, piece)
        n = last - first
        if n == 0:
            continue
        here = (group * S + first) * row_size
        row = b * H + h0
        of_scores = at(out_scores, row * ldo + first)
        right = at(k, here), row_size, n
        for h in range(0, shared, TILE):
            m = min(TILE, shared - h)
            left = at(heads, (b * n_heads + h0 + h) * width), width, m
            target = at(of_scores, h * ldo), ldo
            if m == 1:
                score(left, right, target)                                    # noqa: F821
            elif m < TILE:
                fewer_scores(left, right, target)                             # noqa: F821
            else:
                scores(left, right, target)                                   # noqa: F821
        for h in range(shared):
            z = at(of_scores, h * ldo)
            m, s = softmax_row(z, z, n, heads.dtype.type(1))
            d = weigh(z, n, at(v, here), row_size)                            # noqa: F821
            out_sums[b, h0 + h, piece, 0] = m + vmath.log(s)
            out_sums[b, h0 + h, piece, 1] = d
        for j in range(0, n, KEYS):
            right = at(v, here + j * row_size), row_size, min(KEYS, n - j)
            for h in range(0, shared, TILE):
                m = min(TILE, shared - h)
                left = at(of_scores, h * ldo), ldo, m
                part = (row + h) * PIECES + piece
                target = at(out_parts, part * width), PIECES * width
                if m == 1:
                    add_value(width, j, left, right, target)                  # noqa: F821
                elif m < TILE:
                    add_fewer(width, j, left, right, target)                  # noqa: F821
                else:
                    add_values(width, j, left, right, target)                 # noqa: F821


# ---- numbers ----

@jit.helper
def put_numbers(row, width, out):
    copy(out, row, width)

@jit.helper
def as_it_is(row, width):
    pass

@jit.helper
def weights_as_they_are(z, n, values, ldv):
    return 1


def scores_of_numbers(n_rows):
    """Make put_scores((x, width, m), (keys, ldk, n), (out, ldo)): x . key, m rows of n.

    m is at most n_rows. Up to three numbers behind each row are written, too.
    """
    add_blocks, zeros = add_blocks_of(None), zeros_of(n_rows * COLUMNS)
    point_to_rows, point_to_keys = pointers_of(n_rows), pointers_of(COLUMNS)
    per_line, later = LINE // VECTOR_BYTES, AHEAD // VECTOR_BYTES       # vectors

    @jit.helper
    def put_scores(left, right, target):
        (x, width, m), (keys, ldk, n) = left, right
        out, ldo = target
        lane = lanes_of(x)
        rows = point_to_rows(x, width, m)
        to = point_to_rows(out, ldo, m)
        for j in range(0, n, COLUMNS):
            here = at(keys, j * ldk)
            for asked in range(0, COLUMNS * ldk, per_line * lane):
                prefetch(at(here, later * lane + asked))
            some = point_to_keys(here, ldk, min(COLUMNS, n - j))
            sums = zeros(x)
            for b in range(width // lane):
                sums = add_blocks(sums, rows, some, b)
            put_in_rows(sums, to, j)
    return put_scores


def sums_of_numbers(n_rows):
    """Make add_values(width, j, (weights, ldw, m), (values, ldv, n), (out, ldo)).

    That sets out (m, width), or adds to it unless j is 0, to weights j to j + n of each of m rows
    times values (n, width), m being at most n_rows.
    """
    wide, narrow = small_tile_of(n_rows, VECTORS), small_tile_of(n_rows, 1)

    @jit.helper
    def add_values(width, j, left, right, target):
        (weights, ldw, m), (values, ldv, n) = left, right
        out, ldo = target
        lane, add = lanes_of(out), j > 0
        rows = at(weights, j), ldw, 1
        whole = width // (VECTORS * lane) * VECTORS * lane
        for c in range(0, whole, VECTORS * lane):
            wide(m, n, rows, at(values, c), ldv, at(out, c), ldo, add)
        for c in range(whole, width, lane):
            narrow(m, n, rows, at(values, c), ldv, at(out, c), ldo, add)
    return add_values


# ---- the kernels ----

def kernels_of(name, scores_of, sums_of, put_row, prepare, weigh):
    """Return the two kernels for a way to keep keys and values."""
    parts = dict(score=scores_of(1), fewer_scores=scores_of(TILE - 1), scores=scores_of(TILE),
                 add_value=sums_of(1), add_fewer=sums_of(TILE - 1), add_values=sums_of(TILE),
                 weigh=weigh)
    stored = made_from(store, name, put_row=put_row, prepare=prepare)
    attended = made_from(attend_to_pieces, name, **parts)
    return jit.kernel(stored), row_kernel(attended)

KERNELS = {False: kernels_of("numbers", scores_of_numbers, sums_of_numbers, put_numbers,
                             as_it_is, weights_as_they_are),
           True: kernels_of("bytes", scores_of_bytes, sums_of_bytes, put_bytes, round_query,
                            round_weights)}
