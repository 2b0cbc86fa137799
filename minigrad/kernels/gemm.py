"""Matrix multiplication in Numba: blocked for the caches, packed, with a tile of C in registers.

C = A B is cut three times. Threads own rectangles of C, so that the result does not depend on
their number. In a rectangle, K is cut into blocks of at most `DEPTH` steps, always at the same
places. In such a block one operand stays in the second-level cache while the other one passes
by, and `microkernel` multiplies `ROWS` rows of A by a panel of columns of B.

B is packed into panels. A is read where it lies if its rows are contiguous, and packed if its
columns are (X^T dY). Strides do the rest: a transpose, a slice or a stack of matrices is never
copied as a whole. docs/kernels.md builds all this step by step.
"""
import functools
import threading
from math import prod

import numpy as np
from numba import types

from minigrad.kernels import jit, memory, threads
from minigrad.kernels.jit import helper, kernel
from minigrad.kernels.llvm import VECTOR_BYTES as VECTOR
from minigrad.kernels.llvm import at, copy, load, store, transpose
from minigrad.kernels.rows import is_float
from minigrad.kernels.spread import spread
from minigrad.kernels.tiles import RUN, tile_of
from minigrad.kernels.tiles import TILE_ROWS as ROWS
from minigrad.kernels.tiles import TILE_VECTORS as VECTORS
from minigrad.kernels.twins import lanes

DEPTH = 384                                          # steps of k in a block, at most
PACKED_DEPTH = 128                                   # where A is packed: two blocks must fit
# Bytes of the resident block: of a second-level cache of 1 MiB and more (AVX-512) or 256 KiB.
BLOCK = (768 if VECTOR == 64 else 192) * 1024
READ_TILES = 32                                      # row tiles for which B is not worth packing
SERIAL = 500_000                                     # multiplications that one thread does alone


# ---- packing ----

@helper
def _pack_panel(b, k0, kc, j0, n, width, out, o):
    """out[o + k width + j] = b[k0 + k, j0 + j] for j < n; the rest of the width is 0."""
    step = VECTOR // out.itemsize
    rsb, csb = b.strides[0] // b.itemsize, b.strides[1] // b.itemsize
    first = k0 * rsb + j0 * csb
    if csb == 1 and n == VECTORS * step:
        for k in range(kc):
            for v in range(VECTORS):
                x = load(at(b, first + k * rsb), v * step)
                store(x, at(out, o + k * width), v * step)
        return
    ks = js = 0                                      # what whole square blocks cover
    if rsb == 1:
        ks, js = kc // step * step, n // step * step
        for k in range(0, ks, step):
            for j in range(0, js, step):
                transpose(step, at(b, first + k + j * csb), csb, at(out, o + k * width + j), width)
    for k in range(kc):
        for j in range(js if k < ks else 0, n):
            out[o + k * width + j] = b[k0 + k, j0 + j]
        for j in range(n, width):
            out[o + k * width + j] = 0


@helper
def _pack_rows(a, i0, m, k0, kc, out, o):
    """out[o + t ROWS kc + k ROWS + r] = a[i0 + t ROWS + r, k0 + k], tile by tile, for m rows.

    If columns are contiguous, a step is copied with two numbers too many, one vector in place of
    two; the next step overwrites them. Rows beyond m are junk.
    """
    rsa, csa = a.strides[0] // a.itemsize, a.strides[1] // a.itemsize
    tiles = (m + ROWS - 1) // ROWS
    roomy = min(kc - 1, a.shape[1] - 1 - k0) if rsa == 1 and csa >= ROWS + 2 else 0
    for k in range(roomy):
        for t in range(tiles):
            copy(at(out, o + (t * kc + k) * ROWS), at(a, i0 + t * ROWS + (k0 + k) * csa), ROWS + 2)
    for t in range(tiles):
        for k in range(roomy, kc):
            for r in range(ROWS):
                i = t * ROWS + r
                out[o + (t * kc + k) * ROWS + r] = a[i0 + i, k0 + k] if i < m else 0


# ---- tiles ----

tile1, tile2, tile3, tile4 = (tile_of(ROWS, vectors) for vectors in (1, 2, 3, 4))


@helper
def _tile(vectors, kc, a, rsa, csa, b, ldb, c, ldc, add, ahead, step):
    if vectors == 4:
        tile4(kc, a, rsa, csa, b, ldb, c, ldc, add, ahead, step)
    elif vectors == 3:
        tile3(kc, a, rsa, csa, b, ldb, c, ldc, add, ahead, step)
    elif vectors == 2:
        tile2(kc, a, rsa, csa, b, ldb, c, ldc, add, ahead, step)
    else:
        tile1(kc, a, rsa, csa, b, ldb, c, ldc, add, ahead, step)


@helper
def _finish(c, i, m, j, n, add, bias, tile, width):
    """Put the valid corner of a tile at its place in C, unless width is 0; add the bias."""
    if width:
        for r in range(m):
            for s in range(n):
                x = tile[r * width + s]
                c[i + r, j + s] = c[i + r, j + s] + x if add else x
    if bias.size:
        for r in range(m):
            for s in range(n):
                c[i + r, j + s] += bias[j + s]


# ---- one rectangle of C ----

@helper
def _rectangle(a, b, c, bias, m0, m1, n0, n1, add, work):
    """C[m0:m1, n0:n1] (+)= A B + bias, on one thread.

    One operand stays in the cache, a block at a time: B, while the row tiles of A pass by; or,
    where A must be packed and is the smaller one, A, while the panels of B pass by.
    """
    size = c.itemsize
    wide = VECTORS * VECTOR // size
    depth = a.shape[1]
    packed = a.strides[1] != size
    a_stays = m1 - m0 <= n1 - n0 if packed else m1 - m0 <= 8 * ROWS
    most = BLOCK // (DEPTH * size)                   # rows or columns of the block that stays
    mc = _even(m1 - m0, most // ROWS * ROWS, ROWS) if a_stays else m1 - m0
    nc = n1 - n0 if a_stays else _even(n1 - n0, most // wide * wide, wide)
    kb = _even(depth, PACKED_DEPTH if packed else DEPTH, RUN)
    for j0 in range(n0, n1, nc):
        for i0 in range(m0, m1, mc):
            for k0 in range(0, max(depth, 1), kb):
                box = (i0, min(i0 + mc, m1), j0, min(j0 + nc, n1), k0, min(k0 + kb, depth))
                _block(a, b, c, bias, box, a_stays, add or k0 > 0, work)


@helper(inline=True)
def _even(n, most, multiple):
    """Return the size of blocks, a multiple of `multiple`, that cut n into equal parts."""
    parts = max(1, (n + most - 1) // most)
    return max(1, (n + parts * multiple - 1) // (parts * multiple)) * multiple


@helper
def _block(a, b, c, bias, box, a_stays, add, work):
    """Add one block of k to a rectangle of C: pack what stays, then pass the other one by."""
    i0, i1, j0, j1, k0, k1 = box
    size = c.itemsize
    step = VECTOR // size
    wide = VECTORS * step
    rsa, csa = a.strides[0] // size, a.strides[1] // size
    rsb, csb = b.strides[0] // size, b.strides[1] // size
    ldc = c.strides[0] // size
    kc = k1 - k0
    runs = (kc + RUN - 1) // RUN
    tiles, panels = (i1 - i0 + ROWS - 1) // ROWS, (j1 - j0 + wide - 1) // wide
    space = BLOCK // size                            # where in `work` what passes by is packed
    scratch = work[work.size - ROWS * wide:]
    last = k1 == a.shape[1]
    group = wide // ROWS                             # row tiles that are packed at once
    read_b = a_stays and csb == 1 and tiles <= READ_TILES and rsb * size % 4096 != 0
    if a_stays:
        first = 0 if csa != 1 else (i1 - i0) // ROWS     # in place but for a last, partial tile
        _pack_rows(a, i0 + first * ROWS, i1 - i0 - first * ROWS, k0, kc, work,
                   first * ROWS * kc)
    else:
        for p in range(panels):
            j = j0 + p * wide
            n = min(wide, j1 - j)
            _pack_panel(b, k0, kc, j, n, (n + step - 1) // step * step, work, p * wide * kc)
    for outer in range(panels if a_stays else tiles):
        for inner in range(tiles if a_stays else panels):
            p, t = (outer, inner) if a_stays else (inner, outer)
            i, j = i0 + t * ROWS, j0 + p * wide
            m, n = min(ROWS, i1 - i), min(wide, j1 - j)
            vectors = (n + step - 1) // step
            width = vectors * step
            whole = m == ROWS and n == width
            in_place = csa == 1 and m == ROWS
            b_in_place = read_b and n == wide
            if inner == 0 and a_stays and not b_in_place:
                _pack_panel(b, k0, kc, j, n, width, work, space)
            if inner == 0 and not a_stays and not in_place and (csa == 1 or t % group == 0):
                _pack_rows(a, i, m if csa == 1 else min(group * ROWS, i1 - i), k0, kc, work, space)
            row_a = (t if a_stays else 0 if csa == 1 else t % group) * ROWS * kc
            row_a += 0 if a_stays else space
            row_b = space if a_stays else p * wide * kc
            # What to ask the memory for: the next panel of B, or the next rows of A.
            if a_stays:
                row = t * runs
                strip = (p * (tiles * runs - kc) + row - kc) // kc
                if row < kc:
                    ahead = (at(b, (k0 + row) * rsb + j + wide) if csb == 1 else
                             at(b, k0 + (j + wide + t % wide) * csb))
                    stride = rsb if csb == 1 else RUN
                else:
                    row = (p * (tiles * runs - kc) + row - kc) % kc
                    ahead = at(a, i0 + strip * wide + (k1 + row) * csa)
                    stride = csa
            else:
                strip = t * ROWS // wide + 1
                ahead = (at(a, (i + ROWS + p % ROWS) * rsa + k0) if csa == 1 else
                         at(a, i0 + strip * wide + (k0 + (t * panels + p) * runs % kc) * csa))
                stride = RUN if csa == 1 else csa
            _tile(vectors, kc,
                  at(a, i * rsa + k0) if in_place else at(work, row_a),
                  rsa if in_place else 1, 1 if in_place else ROWS,
                  at(b, k0 * rsb + j) if b_in_place else at(work, row_b),
                  rsb if b_in_place else width,
                  at(c, i * ldc + j) if whole else at(scratch, 0), ldc if whole else width,
                  add and whole, ahead, stride)
            if not whole or last and bias.size:
                _finish(c, i, m, j, n, add, bias if last else bias[:0], scratch,
                        0 if whole else width)


# ---- all rectangles ----

@helper
def _shares(start, stop, a, b, c, bias, cuts, add, work):
    """Compute the shares [start, stop) of a stack of products (x, y, m, k) @ (x, y, k, n).

    `cuts` holds into how many parts the stack, the rows and the columns are cut, and how many
    rows and columns a part has.
    """
    parts, row_parts, column_parts, rows, columns = cuts[0], cuts[1], cuts[2], cuts[3], cuts[4]
    stack, inner = c.shape[0] * c.shape[1], c.shape[1]
    for share in range(start, stop):
        rest, column = share // column_parts, share % column_parts
        part, row = rest // row_parts, rest % row_parts
        m0, n0 = row * rows, column * columns
        m1, n1 = min(m0 + rows, c.shape[2]), min(n0 + columns, c.shape[3])
        for s in range(part * stack // parts, (part + 1) * stack // parts):
            x, y = s // inner, s % inner
            if m0 < m1 and n0 < n1:
                _rectangle(a[x, y], b[x, y], c[x, y], bias, m0, m1, n0, n1, add, work[share])


@kernel
def _products(n, a, b, c, bias, cuts, add, work):
    """Compute all n shares, each on a thread of its own."""
    if n == 1:
        _shares(n - 1, n, a, b, c, bias, cuts, add, work)   # numbers would be a type of their own
    else:
        spread(_shares, n, (a, b, c, bias, cuts, add, work))


# ---- from NumPy ----

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
_local = threading.local()                           # each thread of Python has its own buffers


def matmul(a, b, out=None, *, accumulate=False, bias=None):
    """Multiply matrices, or stacks of matrices, as `np.matmul` does, without a BLAS.

    Parameters
    ----------
    a : (..., m, k) or (k,), float32 or float64
    b : (..., k, n) or (k,), same dtype
        Leading axes broadcast. Transposes and slices cost nothing extra.
    out : (..., m, n), optional
        Where to put the result; it may not overlap a or b.
    accumulate : bool
        Add to `out` in place of writing it.
    bias : (n,), optional
        Added to every row.

    Returns
    -------
    (..., m, n), without m or n where the input had none
        The same bits for any number of threads.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    TypeError
        If a dtype is neither float32 nor float64, or they differ.
    """
    if a.ndim < 2 or b.ndim < 2:
        return _with_vectors(a, b, out, accumulate, bias)
    _check(a, b, bias)
    stack = a.shape[:-2]
    if b.ndim > 2 and b.shape[:-2] != stack:
        stack = np.broadcast_shapes(stack, b.shape[:-2])
    shape = (*stack, a.shape[-2], b.shape[-1])
    c = memory.empty(shape, a.dtype) if out is None else out
    if out is not None and (c.shape != shape or c.dtype != a.dtype):
        raise ValueError(f"out is {c.dtype}{c.shape}, but the product is {a.dtype}{shape}")
    if b.ndim == 2 and a.ndim > 2 and c.flags.c_contiguous:  # one tall matrix, not a stack
        rows = prod(a.shape[:-1])
        _multiply(a.reshape(rows, a.shape[-1]), b, c.reshape(rows, c.shape[-1]), accumulate, bias)
    else:
        _multiply(a, b, c, accumulate, bias)
    return c


def _with_vectors(a, b, out, accumulate, bias):
    """Multiply where a is a row or b is a column of one axis."""
    row, column = a.ndim == 1, b.ndim == 1
    if out is not None:
        out = out[..., None] if column else out
        out = out[..., None, :] if row else out
    c = matmul(a[None] if row else a, b[:, None] if column else b, out,
               accumulate=accumulate, bias=bias)
    c = c[..., 0, :] if row else c
    return c[..., 0] if column else c


def _check(a, b, bias):
    if not is_float(a.dtype) or b.dtype != a.dtype:
        raise TypeError(f"matmul takes two arrays of float32 or two of float64, not {a.dtype} "
                        f"and {b.dtype}")
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"a has {a.shape[-1]} columns but b has {b.shape[-2]} rows: "
                         f"{a.shape} @ {b.shape}")
    if bias is not None and (bias.shape != b.shape[-1:] or bias.dtype != a.dtype):
        raise ValueError(f"bias is {bias.dtype}{bias.shape}, but b has {b.shape[-1]} columns of "
                         f"{b.dtype}")


def _multiply(a, b, c, accumulate, bias):
    """Compute c (+)= a @ b + bias for shapes that fit."""
    stack = c.shape[:-2]
    (m, k), n = a.shape[-2:], b.shape[-1]
    if k == 0 or c.size == 0:
        base = 0 if bias is None else bias
        c[...] = c + base if accumulate else base
        return
    contiguous = c.strides[-1] == c.itemsize or n == 1
    if not contiguous or not c.flags.aligned or len(stack) > 2 and not c.flags.c_contiguous:
        product = memory.empty(c.shape, c.dtype)
        _multiply(a, b, product, False, bias)
        c[...] = c + product if accumulate else product
        return
    packed = a.strides[-1] != a.itemsize
    shares, cuts = _cuts(prod(stack), m, k, n, packed, threads.n_threads(), VECTOR // c.itemsize)
    work, none = _workspace(c.dtype, shares)
    arguments = (_four(a, stack), _four(b, stack), _four(c, stack),
                 none if bias is None else np.ascontiguousarray(bias), cuts, accumulate, work)
    threads.enter_pool()                                     # even for one: the code refers to it
    jit.run(_products_for(c.dtype), shares, *arguments)


def _four(x, stack):
    """View a stack of matrices with exactly two leading axes."""
    if not x.flags.aligned:
        x = x.copy()
    if not stack:
        return x[None, None]
    if x.shape[:-2] != stack:
        x = np.broadcast_to(x, (*stack, *x.shape[-2:]))
    if len(stack) == 1:
        return x[None]
    return x if len(stack) == 2 else x.reshape(-1, stack[-1], *x.shape[-2:])


@functools.lru_cache(maxsize=4096)
def _cuts(stack, m, k, n, packed, threads, step):
    """Choose how many shares to make, and the cuts of `_shares`, by the time of the largest one.

    Per step of k, a share multiplies rows x columns in tiles and packs its columns of B, which
    costs as much as multiplying them by about 48 rows; the same for rows of A if they are packed,
    or so few that they stay in the threads' caches: the kernels between two products share rows,
    too, so with cuts by rows each thread finds in its own cache what it has written (8 % of a
    step).
    """
    if stack * m * k * n < SERIAL:
        threads = 1
    fetched = packed or m * k * (VECTOR // step) <= threads * BLOCK        # bytes
    best = None
    for parts in range(1, threads + 1):
        for row_parts in range(1, threads // parts + 1):
            column_parts = threads // (parts * row_parts)
            rows = -(-m // (row_parts * ROWS)) * ROWS
            columns = -(-n // (column_parts * step)) * step
            cost = -(-stack // parts) * (rows * columns + 48 * (columns + fetched * rows))
            if best is None or cost < best[0]:
                shares = parts * row_parts * column_parts
                best = cost, shares, (parts, row_parts, column_parts, rows, columns)
    return best[1], np.array(best[2], np.intp)


def _workspace(dtype, shares):
    """Return this thread's buffers, a row on cache lines for each share, and an empty array."""
    found = getattr(_local, dtype.char, None)
    if found and len(found[0]) >= shares:
        return found
    wide = VECTORS * lanes(dtype)
    size = BLOCK // dtype.itemsize + DEPTH * wide + ROWS * wide
    size = -(-size // 64) * 64 + 64                    # rows do not share a line
    memory = np.empty(shares * size + 64, dtype)
    start = -memory.ctypes.data % 64 // dtype.itemsize
    work = memory[start:start + shares * size].reshape(shares, size)
    setattr(_local, dtype.char, (work, np.empty(0, dtype)))
    return getattr(_local, dtype.char)


def _signature(dtype):
    """List the types of `_shares`: any strides, so that one compilation serves every form."""
    number = types.float32 if dtype == np.float32 else types.float64
    operand, result = (types.Array(number, 4, "A", readonly=r) for r in (True, False))
    return (operand, operand, result, types.Array(number, 1, "C", readonly=True),
            types.Array(types.intp, 1, "C"), types.boolean, types.Array(number, 2, "C"))


@functools.cache
def _products_for(dtype):
    """Compile for one dtype and no other: arrays of any layout are then converted to it."""
    if jit.COMPILED:
        _products.disable_compile(False)
        _products.compile((types.intp, *_signature(dtype)))
        _products.disable_compile()
    return _products
