"""Matrix products in bfloat16 on tiles: C = A B for float32 in memory, of any size and strides.

Both operands are rounded while they are packed into tiles (`pairs`); what is missing of a tile is
zeros. Sums are float32. Registers of AMX multiply whole tiles, where there are some, else vectors
their rows. Where the work is cut does not depend on the number of threads, so neither do the bits.
"""
import functools
import threading

import numpy as np
from numba import types

from minigrad.kernels import amx, cache, jit, memory, pairs, threads
from minigrad.kernels.blocks import even, parts, put_corner, steps
from minigrad.kernels.jit import helper, kernel
from minigrad.kernels.llvm import at
from minigrad.kernels.pairs import ROWS, STEP, STRIP, TILE
from minigrad.kernels.spread import call_rows, spread

DEPTH = 1536                    # steps of k in a block, at most, where k is contiguous in A
DEPTH_ACROSS = 1024             # and where it is not
MOST_ROWS = 128                 # of A that are packed at once in the latter case
CACHED_STEPS = 16               # of a strip of A: 32 KiB of a first-level cache
# Where what lies in a workspace, in float32: packed B takes 1.5 MiB of a second-level cache.
PACKED_B = MOST_ROWS * DEPTH_ACROSS // 2
CORNER = PACKED_B + (3 << 17)
EDGE = CORNER + STRIP * STRIP
OF_SHAPES = EDGE + 2 * TILE
WORK = OF_SHAPES + amx.SHAPES
PACKING = 160                   # multiplications in whose time a number is packed
HAS_AMX = "amx-bf16" in cache.cpu_features()
_multiply = amx.multiply if HAS_AMX else pairs.multiply


# ---- packing ----

@helper
def _pack(x, i0, m, k0, kc, of_b, work, o):
    """Pack m rows of x and kc of its columns, strip by strip: steps of 2 tiles, begun at work[o].

    For B, x is its transpose: the second axis is k in both operands.
    """
    _, csx = steps(x)
    n_steps, tiles = parts(kc, STRIP), parts(m, ROWS)
    group = 2 if csx == 1 else tiles                 # tiles that are packed step by step together
    for first in range(0, tiles, group):
        for step in range(n_steps):
            for tile in range(first, min(first + group, tiles)):
                i, k = tile * ROWS, step * STRIP
                box = i0 + i, min(ROWS, m - i), k0 + k, min(STRIP, kc - k)
                strip, half = tile // 2, tile % 2
                place = o + (strip * n_steps + step) * STEP + half * TILE
                _pack_tile(x, box, of_b, work, place)


@helper
def _pack_tile(x, box, of_b, work, place):
    """Round the numbers of a box of x to a tile."""
    i, m, k, n = box
    rsx, csx = steps(x)
    along_k, out = csx == 1, at(work, place)
    source = at(x, i * rsx + k * csx)
    stride = rsx if along_k else csx
    if m < ROWS or n < STRIP or (rsx != 1 and not along_k):
        edge = work[EDGE:EDGE + 2 * TILE]
        stride = _copy_edge(x, box, along_k, edge)
        source = at(edge, 0)
    if along_k and of_b:
        pairs.b_along_k(source, stride, out)
    elif along_k:
        pairs.a_along_k(source, stride, out)
    elif of_b:
        pairs.b_across_k(source, stride, out)
    else:
        pairs.a_across_k(source, stride, out)


@helper
def _copy_edge(x, box, along_k, edge):
    """Copy a box of x to `edge`, with zeros behind it; return how far its lines are apart there."""
    i0, m, k0, n = box
    edge[:] = 0
    for i in range(m):
        for k in range(n):
            place = i * STRIP + k if along_k else k * ROWS + i
            edge[place] = x[i0 + i, k0 + k]
    return STRIP if along_k else ROWS


# ---- one rectangle of C ----

@helper
def _rectangle(a, bt, c, bias, box, add, work):
    """C[m0:m1, n0:n1] (+)= A B + bias, on one thread; bt is B transposed.

    A block of B stays packed in the second-level cache, while the rows of A pass by.
    """
    m0, m1, n0, n1 = box
    depth = a.shape[1]
    along_k = a.strides[1] == a.itemsize
    kb = even(depth, DEPTH if along_k else DEPTH_ACROSS, STRIP)
    mc = STRIP if along_k else even(m1 - m0, MOST_ROWS, STRIP)
    most = (CORNER - PACKED_B) * 2 // kb // STRIP * STRIP
    nc = even(n1 - n0, most, STRIP)
    if HAS_AMX:
        amx.configure(at(work, OF_SHAPES))
    for j in range(n0, n1, nc):
        j1 = min(j + nc, n1)
        for k in range(0, depth, kb):
            kc = min(kb, depth - k)
            at_last = bias if k + kb >= depth else bias[:0]
            _pack(bt, j, j1 - j, k, kc, True, work, PACKED_B)
            for i in range(m0, m1, mc):
                i1 = min(i + mc, m1)
                block = i, i1, j, j1, k, kc
                adds = add or k > 0
                _multiply_block(a, c, at_last, block, adds, work)
    if HAS_AMX:
        amx.release()


@helper
def _multiply_block(a, c, bias, block, add, work):
    """Multiply rows of A by what is packed of B: piece by piece of k, packed just before its use.

    It goes row by row of C, as columns would touch a page for each line.
    """
    i0, i1, j0, j1, k0, kc = block
    n_steps = parts(kc, STRIP)
    pieces = parts(n_steps, CACHED_STEPS)
    for piece in range(pieces):
        first = n_steps * piece // pieces
        last = n_steps * (piece + 1) // pieces
        adds = add or piece > 0
        at_last = bias if last == n_steps else bias[:0]
        begin = first * STRIP
        _pack(a, i0, i1 - i0, k0 + begin, min(kc, last * STRIP) - begin, False, work, 0)
        n = 0
        for i in range(i0, i1, STRIP):
            rows = at(work, _place(i - i0, last - first, 0))
            for j in range(j0, j1, STRIP):
                columns = at(work, PACKED_B + _place(j - j0, n_steps, first))
                strips = rows, columns, last - first
                box = i, min(STRIP, i1 - i), j, min(STRIP, j1 - j)
                ahead = _ahead(a, (i0, i1, k0, k0 + kc), k0 + last * STRIP, n)
                _multiply_strips(strips, c, box, adds, at_last, ahead, work)
                n += 1


@helper
def _ahead(a, rows, k, n):
    """Where to ask the memory for what is packed next, and how far apart (`pairs.multiply`).

    That is the next k of the same rows or, at the end of a block, the next rows. The n-th product
    of strips asks for the n-th part of it.
    """
    rsa, csa = steps(a)
    i, i1, k0, end = rows
    if k >= end:
        i, k = i1, k0
    if csa == 1:
        return at(a, (i + n % 8 * 4) * rsa + k), rsa, STRIP
    return at(a, i * rsa + (k + n % 32 * ROWS) * csa), STRIP, csa


@helper(inline=True)
def _place(i, n_steps, first):
    """Where a step of the strip that begins with row i lies behind the first strip."""
    return (i // STRIP * n_steps + first) * STEP


@helper
def _multiply_strips(strips, c, box, add, bias, ahead, work):
    """Set C[i:i + m, j:j + n], 32 x 32 at most, to the product (+ what is there) (+ bias)."""
    a, b, n_steps = strips
    i, m, j, n = box
    ldc, _ = steps(c)
    target = at(c, i * ldc + j)
    if m < STRIP or n < STRIP:
        corner = work[CORNER:CORNER + STRIP * STRIP]
        _multiply(a, b, n_steps, at(corner, 0), STRIP, False, ahead)
        put_corner(c, i, m, j, n, add, corner, STRIP)
    else:
        _multiply(a, b, n_steps, target, ldc, add, ahead)
    if bias.size:
        for r in range(m):
            for s in range(n):
                c[i + r, j + s] += bias[j + s]


# ---- all rectangles ----

@helper
def _shares(start, stop, a, bt, c, bias, cuts, add, work):
    """Compute the shares [start, stop); `cuts` are the shares in a row, and a share's size."""
    across, rows, columns = cuts
    m, n = c.shape
    for share in range(start, stop):
        m0, n0 = share // across * rows, share % across * columns
        m1, n1 = min(m0 + rows, m), min(n0 + columns, n)
        if m0 < m1 and n0 < n1:
            box = m0, m1, n0, n1
            _rectangle(a, bt, c, bias, box, add, work[share])


@kernel
def _products(n, a, bt, c, bias, cuts, add, work):
    """Compute all n shares, each on a thread of its own."""
    arrays = a, bt, c, bias, cuts, add, work
    if n == 1:
        call_rows(_shares, n, arrays)
    else:
        spread(_shares, n, arrays)


OPERAND = types.Array(types.float32, 2, "A", readonly=True)
RESULT, WORKSPACE = (types.Array(types.float32, 2, layout) for layout in "AC")
BIAS = types.Array(types.float32, 1, "C", readonly=True)
CUTS = types.UniTuple(types.intp, 3)
SIGNATURE = types.intp, OPERAND, OPERAND, RESULT, BIAS, CUTS, types.boolean, WORKSPACE


# ---- from NumPy ----

def multiply(a, b, c, accumulate, bias):
    """Compute c (+)= a @ b + bias for aligned float32 matrices that fit, rows of c contiguous."""
    shares, cuts = best_cuts(*c.shape, threads.n_threads())
    threads.enter_pool()                             # before anything that spreads is compiled
    operands, work = (a, b.T), _workspace(shares)
    jit.run(_compiled(), shares, *operands, c, bias, cuts, accumulate, work)


@functools.lru_cache(maxsize=4096)
def best_cuts(m, n, n_threads):
    """Choose how many shares to make, and the cuts of `_shares`, by the time of the largest one."""
    best = None
    for down in range(1, n_threads + 1):
        across = n_threads // down
        rows = -(-m // (down * STRIP)) * STRIP
        columns = -(-n // (across * STRIP)) * STRIP
        cuts = across, rows, columns
        cost = share_cost(cuts)
        if best is None or cost < best[0]:
            best = cost, down * across, cuts
    return best[1:]


def share_cost(cuts):
    """Return what a share costs, which packs its rows of A and its columns of B itself."""
    _, rows, columns = cuts
    return rows * columns + PACKING * (rows + columns)


_local = threading.local()                           # each thread of Python has its own


def _workspace(shares):
    """Return this thread's buffers, a row on cache lines for each share."""
    if len(getattr(_local, "work", ())) < shares:
        buffer = memory.aligned(4 * shares * WORK)
        _local.work = np.ndarray((shares, WORK), np.float32, buffer)
        for work in _local.work:
            of_shapes = work[OF_SHAPES:].view(np.uint8)
            amx.write_shapes(of_shapes)
    return _local.work


@functools.cache
def _compiled():
    pairs.read_assembly()
    _products.compile(SIGNATURE)
    _products.disable_compile()
    return _products
