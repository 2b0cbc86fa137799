"""Few rows by a whole matrix, out[i, j] = x[i] . weight[j]: each weight is read once.

That is what generation needs, and attention to what was read before. The matrix may be numbers or
blocks of weights (`packed`). A tile of some rows of x by some rows of weights stays in registers
while k runs, in one order for every row: the same bits in whatever company, on however many
threads.
"""
import numpy as np

from minigrad.kernels.jit import helper, kernel
from minigrad.kernels.llvm import (
    REGISTERS, VECTOR_BYTES, at, lanes_of, pointers_of, prefetch_of, widest_vectors, zeros_of)
from minigrad.kernels.packed import (
    BLOCK, KINDS, LANES, add_blocks_of, add_rounded_of, put_totals, unpack_of)
from minigrad.kernels.rows import made_from, row_kernel

FEW_ROWS = 32                     # for which to pack the weights, or to unpack them, would not pay
ROWS = 4                          # of x in a tile
AHEAD = 2048                      # bytes: memory is asked for weights so much before they are read
AT_ONCE = 4                       # rows of weights by a single row of x
prefetch = prefetch_of(write=0, level=3)


def tile_of(kind, n_rows, n_columns):
    """Make tile(blocks, (x, ldx, m), (weight, ldw, n), (out, ldo, step)) for at most so many."""
    add_blocks, zeros = add_blocks_of(kind), zeros_of(n_rows * n_columns)
    size = kind.n_bytes if kind else 0
    asked, later = (n_columns if n_rows > 1 else 0), AHEAD // (size or VECTOR_BYTES)
    point_to_rows, point_to_weights = pointers_of(n_rows), pointers_of(n_columns)

    @helper(inline=True)
    def tile(blocks, left, right, target):
        (x, ldx, m), (weight, ldw, n) = left, right
        out, ldo, step = target
        rows = point_to_rows(x, ldx, m)
        weights = point_to_weights(weight, ldw, n)
        sums = zeros(x)
        width = size or lanes_of(x)
        for b in range(blocks):
            for i in range(asked):
                prefetch(at(weight, i * ldw + (b + later) * width))
            sums = add_blocks(sums, rows, weights, b)
        put_totals(sums, point_to_rows(out, ldo, m), n, step)
    return tile


@helper(inline=True)
def streams(n):
    """Cut n rows into `AT_ONCE` equal parts, a row of each of which is taken at a time.

    As memory delivers: four long streams reach 25 GB/s where four short ones, of neighbouring
    rows, reach 17.
    """
    return (n + AT_ONCE - 1) // AT_ONCE


@helper(inline=True)
def there(n, j, length):
    """How many parts have a row j."""
    return (n - j + length - 1) // length


def products_of(kind):
    """Make products(blocks, left, right, (out, ldo)), which are those of a tile, of any size."""
    columns = 4 if REGISTERS == 32 else 2 if kind else 3
    one = tile_of(kind, 1, AT_ONCE)
    some = tile_of(kind, ROWS, columns)

    @helper
    def products(blocks, left, right, target):
        (x, ldx, m), (weight, ldw, n) = left, right
        out, ldo = target
        if m == 1:
            length = streams(n)
            for j in range(length):
                parts = there(n, j, length)
                of_weights = at(weight, j * ldw), length * ldw, parts
                place = at(out, j), ldo, length
                one(blocks, left, of_weights, place)
            return
        length = (n + columns - 1) // columns
        for j in range(length):
            parts = there(n, j, length)
            of_weights = at(weight, j * ldw), length * ldw, parts
            for i in range(0, m, ROWS):
                height = min(ROWS, m - i)
                of_x = at(x, i * ldx), ldx, height
                place = at(out, i * ldo + j), ldo, length
                if height == 1:                           # a row that is left over
                    one(blocks, of_x, of_weights, place)
                else:
                    some(blocks, of_x, of_weights, place)
    return products


# ---- weights that are numbers ------------------------------------------------------------------

products_of_numbers = products_of(None)


@row_kernel
def few_rows(start, stop, weight, x, out):
    """Set out (m, n) to x (m, k) times the rows of weight (n, k)."""
    widest_vectors()
    (m, k), width = x.shape, lanes_of(x)
    blocks = k // width
    left = at(x, 0), k, m
    right = at(weight, start * k), k, stop - start
    target = at(out, start), out.shape[1]
    products_of_numbers(blocks, left, right, target)
    for j in range(start, stop):
        for i in range(m):
            for rest in range(blocks * width, k):
                out[i, j] += x[i, rest] * weight[j, rest]


# ---- weights in blocks: (n, bytes of a row) ----------------------------------------------------
# Templates: what they call by a name that stands nowhere here is filled in for each kind.

def few(start, stop, blocks, x, out):
    """Set out (m, n) to x (m, k) times the rows of blocks, as `few_rows` does."""
    m, k = x.shape
    ldb = blocks.shape[1]
    left = at(x, 0), k, m
    right = at(blocks, start * ldb), ldb, stop - start
    target = at(out, start), out.shape[1]
    products(k // BLOCK, left, right, target)             # noqa: F821


def one(start, stop, blocks, x, scales, minima, out):
    """Set out (1, n) to a row, which `round_row` has rounded, times the rows of blocks."""
    n, ldb = stop - start, blocks.shape[1]
    length, last = streams(n), ldb // size - at_once                          # noqa: F821
    for j in range(length):
        parts, row = there(n, j, length), start + j
        weights = point_to_weights(at(blocks, row * ldb), length * ldb, parts)
        sums = zeros(at(scales, 0))
        for g in range(scales.shape[0]):
            first = min(g * at_once, last)                                    # noqa: F821
            later = row * ldb + first * size + AHEAD                          # noqa: F821
            for i in range(AT_ONCE):
                prefetch(at(blocks, later + i * length * ldb))
            integers = at(x, g * at_once * BLOCK)                             # noqa: F821
            factors = at(scales, g * LANES), at(minima, g * LANES)
            sums = add_rounded(sums, weights, first, integers, *factors)      # noqa: F821
        target = point_to_row(at(out, row), 1, 1)
        put_totals(sums, target, parts, length)

zeros = zeros_of(AT_ONCE)
point_to_weights, point_to_row = pointers_of(AT_ONCE), pointers_of(1)


def unpacked(start, stop, blocks, rows, out):
    """Set out (m, k) to some rows of blocks, as numbers."""
    n_blocks = out.shape[1] // BLOCK
    for i in range(start, stop):
        row = at(blocks, rows[i] * blocks.shape[1])
        numbers = at(out, i * out.shape[1])
        for b in range(n_blocks):
            unpack(at(row, b * size), at(numbers, b * BLOCK))                 # noqa: F821


def kernels_of(name, kind):
    """Return the kernels for a kind of blocks."""
    made = lambda template, **names: row_kernel(made_from(template, name, **names))
    found = {"few": made(few, products=products_of(kind)),
             "unpacked": made(unpacked, unpack=unpack_of(kind), size=kind.n_bytes)}
    if kind.n_scales:
        found["one"] = made(one, add_rounded=add_rounded_of(kind), size=kind.n_bytes,
                            at_once=kind.at_once)
    return found

KERNELS = {name: kernels_of(name, kind) for name, kind in KINDS.items()}


LEAST = np.float32(1e-30)         # of a block that is not taken for zeros
MOST = np.float32(2 ** 15 - 1)

@kernel
def round_row(x, places, factor, out, out_scales, out_minima):
    """Turn (k,) numbers into integers of 16 bits, with a scale for each block.

    The error is at most 1 / 65,534 of the largest of a block, a 258th of that of 8 bits. Number
    i of block b of those that are taken at once goes to places[b, i]; their scales stand in the
    lanes of each, and so do parts of its sum, times a factor. The last blocks begin where they are
    whole: those that were taken before have zeros for scales.
    """
    zero, at_once = x.dtype.type(0), len(places)
    groups, lanes = out_scales.shape
    width = lanes // at_once
    for g in range(groups):
        first = min(g * at_once, x.size // BLOCK - at_once)
        for b in range(at_once):
            start = (first + b) * BLOCK
            block = x[start:start + BLOCK]
            peak = total = zero
            for i in range(BLOCK):
                peak = max(peak, abs(block[i]))
                total += block[i]
            inverse = MOST / peak if peak > LEAST else zero
            for i in range(BLOCK):
                whole = np.rint(block[i] * inverse)
                out[g * places.size + places[b, i]] = np.int16(whole)
            # What is not finite makes the scale not a number, and with it all products.
            scale, minimum = peak / MOST + zero * total, total * factor
            if first + b < g * at_once:
                scale = minimum = zero
            for lane in range(b * width, (b + 1) * width):
                out_scales[g, lane] = scale
                out_minima[g, lane] = minimum
