"""Matrix products in registers, on memory where it lies.

C[i, j] (+)= sum_k A[i, k] B[k, j]: rows of B and C are contiguous, A has any strides. A tile of C,
some rows of a few vectors, stays in registers while k runs: every step loads one row of B and
multiplies it by one number from each row of A.

`gemm` packs its operands first, which pays for large ones. Kernels that multiply as one step of
many take a `strip`.
"""
from minigrad.kernels.jit import helper
from minigrad.kernels.llvm import (  # noqa: F401 (VECTOR_BYTES, transpose: for attention)
    REGISTERS, VECTOR_BYTES, add_outer, at, lanes_of, pointers_of, prefetch_of, put, transpose,
    zeros_of)
from minigrad.kernels.twins import lanes  # noqa: F401 (for attention)

TILE_ROWS = 6
TILE_VECTORS = 4 if REGISTERS == 32 else 2
# Rows of a strip, two vectors wide: as many as the registers hold, and a power of two.
ROWS = 8 if REGISTERS == 32 else 4
RUN = 16          # steps of k between two requests for a row of C


prefetch = prefetch_of(write=0, level=2)
prefetch_to_write = prefetch_of(write=1, level=3)


def tile_of(rows, vectors):
    """Make tile(kc, (a, rsa, csa), (b, ldb), c, ldc, add, ahead, stride) for whole tiles of C.

    On the way it asks the memory for what the caller will need next: `TILE_VECTORS` cache lines
    at each of ahead, ahead + stride, ... Spread out, these misses cost nothing, nor do those of
    the rows of C; in a burst they held up the loads of B (8 % of the time).
    """
    point, zeros = pointers_of(rows), zeros_of(rows * vectors)

    @helper(inline=True)
    def tile(kc, left, right, c, ldc, add, ahead, stride):
        (a, rsa, csa), (b, ldb) = left, right
        rows_a, column = point(a, rsa, rows), 0
        row_c, sums = c, zeros(c)
        for start in range(0, kc, RUN):
            for v in range(vectors):
                prefetch_to_write(at(row_c, v * lanes_of(c)))
            for v in range(TILE_VECTORS):
                prefetch(at(ahead, v * lanes_of(c)))
            row_c, ahead = at(row_c, ldc), at(ahead, stride)
            for _ in range(start, min(start + RUN, kc)):
                sums = add_outer(sums, rows_a, column, b)
                column, b = column + csa, at(b, ldb)
        put(sums, point(c, ldc, rows), add)
    return tile


def small_tile_of(rows, vectors, add_outer=add_outer):
    """Make tile(m, kc, (a, rsa, csa), b, ldb, c, ldc, add) for tiles of which m rows are there."""
    point, zeros = pointers_of(rows), zeros_of(rows * vectors)

    @helper(inline=True)
    def tile(m, kc, left, b, ldb, c, ldc, add):
        a, rsa, csa = left
        rows_a, column = point(a, rsa, m), 0
        sums = zeros(c)
        for _ in range(kc):
            sums = add_outer(sums, rows_a, column, b)
            column, b = column + csa, at(b, ldb)
        put(sums, point(c, ldc, m), add)
    return tile


_tile_1, _tile_2 = (small_tile_of(ROWS, vectors) for vectors in (1, 2))


@helper
def strip(m, n, kc, a, rsa, csa, b, ldb, c, ldc, add, width):
    """Set (or add to) m <= ROWS rows of C, n columns wide; n a multiple of width, the lanes."""
    left = a, rsa, csa
    for j in range(0, n - width, 2 * width):
        _tile_2(m, kc, left, at(b, j), ldb, at(c, j), ldc, add)
    if n // width % 2:
        last = n - width
        _tile_1(m, kc, left, at(b, last), ldb, at(c, last), ldc, add)
