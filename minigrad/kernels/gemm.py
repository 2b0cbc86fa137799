"""Matrix multiplication in Numba: `np.matmul` without a BLAS.

Threads own rectangles of C = A B (`blocks` computes one), so that the result does not depend on
their number. A transpose, a slice or a stack of matrices is never copied as a whole: strides do
the rest. docs/kernels.md builds all this step by step.
"""
import functools
import threading
from math import prod

import numpy as np
from numba import types

from minigrad.kernels import bfloat16, by_numpy, jit, memory, on_tiles, threads
from minigrad.kernels.blocks import BLOCK, DEPTH, rectangle
from minigrad.kernels.jit import helper, kernel
from minigrad.kernels.rows import is_float
from minigrad.kernels.spread import call_rows, spread
from minigrad.kernels.tiles import TILE_ROWS, TILE_VECTORS
from minigrad.kernels.twins import lanes
from minigrad.mode import mode

SERIAL = 500_000          # multiplications that one thread does alone


# ---- all rectangles ----

@helper
def _shares(start, stop, a, b, c, bias, cuts, add, work):
    """Compute the shares [start, stop) of a stack of products (x, y, m, k) @ (x, y, k, n).

    `cuts` holds into how many parts the stack, the rows and the columns are cut, and how many
    rows and columns a part has.
    """
    outer, inner, m, n = c.shape
    parts, column_parts, stack = cuts[0], cuts[2], outer * inner
    rows, columns = cuts[3], cuts[4]
    for share in range(start, stop):
        rest, column = share // column_parts, share % column_parts
        part, row = rest // cuts[1], rest % cuts[1]
        m0, n0 = row * rows, column * columns
        m1, n1 = min(m0 + rows, m), min(n0 + columns, n)
        if m0 >= m1 or n0 >= n1:
            continue
        first, end = part * stack // parts, (part + 1) * stack // parts
        for s in range(first, end):
            at = s // inner, s % inner
            box = m0, m1, n0, n1
            rectangle(a[at], b[at], c[at], bias, box, add, work[share])


@kernel
def _products(n, a, b, c, bias, cuts, add, work):
    """Compute all n shares, each on a thread of its own."""
    if n == 1:
        call_rows(_shares, n, (a, b, c, bias, cuts, add, work))
    else:
        spread(_shares, n, (a, b, c, bias, cuts, add, work))


# ---- from NumPy ----

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
    shape = *stack, a.shape[-2], b.shape[-1]
    c = memory.empty(shape, a.dtype) if out is None else out
    if out is not None and (c.shape != shape or c.dtype != a.dtype):
        raise ValueError(f"out is {c.dtype}{c.shape}, but the product is {a.dtype}{shape}")
    if b.ndim == 2 and a.ndim > 2 and c.flags.c_contiguous:  # one tall matrix, not a stack
        rows = prod(a.shape[:-1])
        a = a.reshape(rows, a.shape[-1])
        tall = c.reshape(rows, c.shape[-1])
        _multiply(a, b, tall, accumulate, bias)
    else:
        _multiply(a, b, c, accumulate, bias)
    return c


def _with_vectors(a, b, out, accumulate, bias):
    """Multiply where a is a row or b is a column of one axis."""
    row, column = a.ndim == 1, b.ndim == 1
    if out is not None:
        out = out[..., None] if column else out
        out = out[..., None, :] if row else out
    a = a[None] if row else a
    b = b[:, None] if column else b
    c = matmul(a, b, out, accumulate=accumulate, bias=bias)
    c = c[..., 0, :] if row else c
    return c[..., 0] if column else c


def _check(a, b, bias):
    if not is_float(a.dtype) or b.dtype != a.dtype:
        raise TypeError(f"matmul takes two arrays of float32 or two of float64, not {a.dtype} "
                        f"and {b.dtype}")
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"a has {a.shape[-1]} columns but b has {b.shape[-2]} rows: "
                         f"{a.shape} @ {b.shape}")
    if bias is None:
        return
    if bias.shape != b.shape[-1:] or bias.dtype != a.dtype:
        raise ValueError(f"bias is {bias.dtype}{bias.shape}, but b has {b.shape[-1]} columns of "
                         f"{b.dtype}")


def _multiply(a, b, c, accumulate, bias):
    """Compute c (+)= a @ b + bias for shapes that fit."""
    stack = c.shape[:-2]
    m, k = a.shape[-2:]
    n = b.shape[-1]
    if k == 0 or c.size == 0:
        base = 0 if bias is None else bias
        c[...] = c + base if accumulate else base
        return
    contiguous = c.strides[-1] == c.itemsize or n == 1
    reshapes = len(stack) <= 2 or c.flags.c_contiguous
    if not (contiguous and reshapes and c.flags.aligned):
        product = memory.empty(c.shape, c.dtype)
        _multiply(a, b, product, False, bias)
        c[...] = c + product if accumulate else product
        return
    bias = np.empty(0, c.dtype) if bias is None else np.ascontiguousarray(bias)
    if mode.precision == "bfloat16" and bfloat16.suits(a, b, c):
        if not bfloat16.obstacle():
            return on_tiles.multiply(a, b, c, accumulate, bias)
        a, b = bfloat16.rounded(a), bfloat16.rounded(b)
    if by_numpy.asked() and c.size * k >= bfloat16.LARGE:
        jit.run(by_numpy.multiply, a, b, c, accumulate, bias)
        return
    packed = a.strides[-1] != a.itemsize
    sizes = prod(stack), m, k, n
    shares, cuts = best_cuts(sizes, packed, threads.n_threads(), c.dtype)
    work = _workspace(c.dtype, shares)
    matrices = [_four(x, stack) for x in (a, b, c)]
    threads.enter_pool()                                     # even for one: the code refers to it
    jit.run(_products_for(c.dtype), shares, *matrices, bias, cuts, accumulate, work)


def _four(x, stack):
    """View a stack of matrices with exactly two leading axes."""
    if not x.flags.aligned:
        x = x.copy()
    if not stack:
        return x[None, None]
    matrix = x.shape[-2:]
    if x.shape[:-2] != stack:
        x = np.broadcast_to(x, (*stack, *matrix))
    if len(stack) == 1:
        return x[None]
    return x if len(stack) == 2 else x.reshape(-1, stack[-1], *matrix)


@functools.lru_cache(maxsize=4096)
def best_cuts(sizes, packed, threads, dtype):
    """Choose how many shares to make, and the cuts of `_shares`, by the time of the largest one.

    Rows of A cost as if they were packed, too, if they are so few that they stay in the threads'
    caches: the kernels between two products share rows, so with cuts by rows each thread finds in
    its own cache what it has written (8 % of a step).
    """
    stack, m, k, n = sizes
    step = lanes(dtype)
    if prod(sizes) < SERIAL:
        threads = 1
    fetched = packed or m * k * dtype.itemsize <= threads * BLOCK
    best = None
    for parts in range(1, threads + 1):
        for row_parts in range(1, threads // parts + 1):
            column_parts = threads // (parts * row_parts)
            rows = -(-m // (row_parts * TILE_ROWS)) * TILE_ROWS
            columns = -(-n // (column_parts * step)) * step
            cuts = parts, row_parts, column_parts, rows, columns
            cost = share_cost(stack, cuts, fetched)
            if best is None or cost < best[0]:
                best = cost, parts * row_parts * column_parts, cuts
    return best[1], np.array(best[2], np.intp)


def share_cost(stack, cuts, packed):
    """Return what the largest share costs, in multiplications per step of k.

    It multiplies rows x columns in tiles and packs its columns of B, which costs as much as
    multiplying them by about 48 rows; the same for rows of A if they are packed.
    """
    parts, _, _, rows, columns = cuts
    packing = 48 * (columns + packed * rows)
    return -(-stack // parts) * (rows * columns + packing)


def _workspace(dtype, shares):
    """Return this thread's buffers, a row on cache lines for each share."""
    found = getattr(_local, dtype.char, ())
    if len(found) >= shares:
        return found
    wide = TILE_VECTORS * lanes(dtype)
    size = BLOCK // dtype.itemsize + DEPTH * wide + TILE_ROWS * wide
    size = -(-size // 64) * 64 + 64                    # rows do not share a line
    memory = np.empty(shares * size + 64, dtype)
    start = -memory.ctypes.data % 64 // dtype.itemsize
    work = memory[start:start + shares * size].reshape(shares, size)
    setattr(_local, dtype.char, work)
    return work


def _signature(dtype):
    """List the types of `_shares`: any strides, so that one compilation serves every form."""
    number = types.float32 if dtype == np.float32 else types.float64
    operand = types.Array(number, 4, "A", readonly=True)
    result = types.Array(number, 4, "A")
    bias = types.Array(number, 1, "C", readonly=True)
    cuts = types.Array(types.intp, 1, "C")
    work = types.Array(number, 2, "C")
    return operand, operand, result, bias, cuts, types.boolean, work


@functools.cache
def _products_for(dtype):
    """Compile for one dtype and no other: arrays of any layout are then converted to it."""
    if jit.COMPILED:
        _products.disable_compile(False)
        _products.compile((types.intp, *_signature(dtype)))
        _products.disable_compile()
    return _products
