"""Keys and values as rows of bytes, and attention of some queries to them in integers.

    a row       d, a float32, then q of 8 bits with a sign, whole blocks of them: x = d q
    a query     integers of 16 bits in the first half of its numbers, their scale in the last one
    weights     of values, the same: times d of each, then integers of 16 bits

Where a float of 16 bits would have to be widened, and multiplied in lanes of 32, two bytes at a
time are multiplied and added up by one instruction.
"""
import numpy as np
from llvmlite import ir
from numba.core import cgutils

from minigrad.kernels.jit import helper
from minigrad.kernels.llvm import (
    BYTES as POINTER, FLOAT, I32, INT, at, call, instruction, lanes_before, lanes_of, largest,
    like, load, name_of, nothing, pointers_of, prefetch_of, put, read, repeated, shuffle, splat,
    store, total, where, zeros_of)
from minigrad.kernels.memory import empty
from minigrad.kernels.packed import (
    BLOCK, BYTE, FLOATS, I16, INTEGERS, LANES, WORDS, added_up, ahead, behind, in_words, pair_sums,
    sum_of_products, unpacked)

BYTES = np.dtype(np.uint8)       # what a cache is an array of
SCALE = 4                        # bytes of a row before its integers
MOST_OF_8 = np.float32(127)
MOST_OF_16 = np.float32(32767)
LEAST = np.float32(1e-30)        # of a row that is not taken for zeros
COLUMNS = 4                      # keys at a time
LINE, AHEAD = 64, 2048           # bytes: memory is asked for what comes so much later
prefetch = prefetch_of(write=0, level=3)


def numbers_of(rows, D):
    """Return the D numbers, (..., D) float32, that each row stands for."""
    d, q, _ = np.split(rows, [SCALE, SCALE + D], axis=-1)
    step = 1 << max(0, q.size.bit_length() - 4)       # so that a longer prompt takes the same room
    size = -(-q.size // step) * step
    out = empty((size,), np.float32)[:q.size].reshape(q.shape)
    return np.multiply(d.view(np.float32), q.view(np.int8), out=out)


# ---- a row ----

def narrow_of(bits):
    """Make narrow(numbers, c, factor, out, offset): write a vector as integers of so many bits.

    It begins c elements beyond `numbers`, and offset bytes and c integers beyond `out`.
    """
    integers = ir.VectorType(ir.IntType(bits), LANES)

    @instruction(lambda *_: None, nothing)
    def narrow(builder, numbers, c, factor, out, offset):
        x = read(builder, numbers, c)
        x = builder.fmul(x, repeated(builder, factor, LANES))
        x = call(builder, f"llvm.rint.{name_of(FLOATS)}", FLOATS, x)
        whole = builder.fptosi(x, INTEGERS)
        whole = builder.trunc(whole, integers)
        n_bytes = builder.mul(c, INT(bits // 8))
        place = builder.add(offset, n_bytes)
        place = builder.gep(builder.bitcast(out, POINTER), [place])
        place = builder.bitcast(place, integers.as_pointer())
        builder.store(whole, place).align = 1
    return narrow

to_bytes = narrow_of(8)
to_words = narrow_of(16)

@instruction(lambda *_: None, nothing)
def put_scale(builder, d, out):
    """Write the scale of a row."""
    place = builder.bitcast(out, FLOAT.as_pointer())
    builder.store(d, place).align = 1

@instruction(lambda *_: None)
def times_scales(builder, x, values, ldv, j, last):
    """Return a vector times the scales of as many rows, from row j on to the last."""
    scales = []
    for i in range(LANES):
        row = builder.add(j, INT(i))
        there = builder.icmp_signed("<", row, last)
        row = builder.select(there, row, last)
        place = builder.mul(ldv, row)
        scales.append(builder.gep(values, [place]))
    return builder.fmul(x, scales_at(builder, scales))

def scales_at(builder, rows):
    """Return the scales of some rows as a vector."""
    found = ir.VectorType(FLOAT, len(rows))(ir.Undefined)
    for i, row in enumerate(rows):
        place = builder.bitcast(row, FLOAT.as_pointer())
        d = builder.load(place)
        d.align = 1
        found = builder.insert_element(found, d, I32(i))
    return found

@helper
def scale_of(x, n, most):
    """Return the scale with which n numbers are integers up to `most`, and what they are times.

    What is not finite makes the scale not a number.
    """
    nil = like(most, 0)
    zero = peaks = sums = splat(nil)
    for c in range(0, n, lanes_of(zero)):
        some = load(x, c)
        size = where(some < zero, zero - some, some)
        peaks = where(peaks < size, size, peaks)
        sums = sums + some
    peak = largest(peaks)
    inverse = most / peak if peak > LEAST else nil
    d = peak / most + nil * total(sums)
    return d, inverse

@helper
def put_bytes(row, width, out):
    """Write numbers as a row of bytes."""
    d, inverse = scale_of(row, width, MOST_OF_8)
    put_scale(d, out)
    for c in range(0, width, LANES):
        to_bytes(row, c, inverse, out, SCALE)

@helper
def round_query(row, width):
    """Turn the numbers of a query into integers of 16 bits, in their place."""
    d, inverse = scale_of(row, width, MOST_OF_16)
    for c in range(0, width, LANES):
        to_words(row, c, inverse, row, 0)
    put_scale(d, at(row, width - 1))


# ---- scores ----
# Sums are integers in registers of floats, as tiles are.

def added_to(builder, sums, k, whole):
    before = builder.bitcast(sums[k], INTEGERS)
    after = builder.add(before, whole)
    sums[k] = builder.bitcast(after, FLOATS)

def as_numbers(builder, sums):
    """Return the numbers that are in registers as integers."""
    integers = [builder.bitcast(x, INTEGERS) for x in sums]
    return [builder.sitofp(x, FLOATS) for x in integers]

def words_at(builder, row, b):
    """Read block b of the integers of a query."""
    row = builder.bitcast(row, I16.as_pointer())
    block = ahead(builder, row, b, BLOCK)
    return in_words(builder, block, I16)

@instruction(lambda *_: None)
def add_products(builder, sums, queries, keys, b):
    """Add the products of block b of some queries by some keys."""
    sums, queries, keys = unpacked(builder, sums, queries, keys)
    queries = [words_at(builder, query, b) for query in queries]
    for n, key in enumerate(keys):
        block = ahead(builder, key, b, BLOCK)
        codes = in_words(builder, behind(builder, block, SCALE), BYTE)
        words = [builder.sext(half, WORDS) for half in codes]
        for k, query in enumerate(queries):
            whole = sum_of_products(builder, words, query)
            added_to(builder, sums, k * COLUMNS + n, whole)
    return cgutils.pack_array(builder, sums)

@instruction(lambda *_: None, nothing)
def put_four(builder, sums, queries, keys, rows, last, j):
    """Write the scores of four keys from place j of each row on; `last` is where scales are."""
    sums, queries = unpacked(builder, sums, queries)
    keys, rows = unpacked(builder, keys, rows)
    of_keys = scales_at(builder, keys)
    four = of_keys.type.as_pointer()
    sums = as_numbers(builder, sums)
    for query, row in zip(queries, rows):
        some, sums = sums[:COLUMNS], sums[COLUMNS:]
        x = added_up(builder, some, COLUMNS)
        d = builder.load(builder.gep(query, [last]))
        d = builder.fmul(of_keys, repeated(builder, d, COLUMNS))
        place = builder.gep(row, [j])
        place = builder.bitcast(place, four)
        builder.store(builder.fmul(x, d), place).align = 4

def scores_of_bytes(n_rows):
    """Make put_scores as `one_query.scores_of_numbers` does."""
    zeros = zeros_of(n_rows * COLUMNS)
    point_to_rows, point_to_keys = pointers_of(n_rows), pointers_of(COLUMNS)

    @helper
    def put_scores(left, right, target):
        (x, width, m), (keys, ldk, n) = left, right
        out, ldo = target
        rows = point_to_rows(x, width, m)
        to = point_to_rows(out, ldo, m)
        for j in range(0, n, COLUMNS):
            here = at(keys, j * ldk)
            for later in range(0, COLUMNS * ldk, LINE):
                prefetch(at(here, AHEAD + later))
            some = point_to_keys(here, ldk, min(COLUMNS, n - j))
            sums = zeros(x)
            for b in range(width // BLOCK):
                sums = add_products(sums, rows, some, b)
            put_four(sums, rows, some, to, width - 1, j)
    return put_scores


# ---- values ----

@helper
def round_weights(z, n, values, ldv):
    """Turn n weights of values into integers of 16 bits, in their place; return their scale."""
    zero = splat(like(MOST_OF_16, 0))
    for j in range(0, n, LANES):
        x = times_scales(load(z, j), values, ldv, j, n - 1)
        there = lanes_before(n - j, zero)
        store(where(there, x, zero), z, j)
    d, inverse = scale_of(z, n, MOST_OF_16)
    for j in range(0, n, LANES):
        to_words(z, j, inverse, z, 0)
    return d

@instruction(lambda *_: None)
def add_pair(builder, tile, weights, pair, first, second):
    """Add a block of two rows, times a pair of weights of each query."""
    tile, weights = unpacked(builder, tile, weights)
    mixed = [*in_turns(builder, first, second)]
    k = 0
    for row in weights:
        row = builder.bitcast(row, I32.as_pointer())
        both = builder.load(builder.gep(row, [pair]))
        both = builder.bitcast(repeated(builder, both, LANES), WORDS)
        for words in mixed:
            added_to(builder, tile, k, pair_sums(builder, words, both))
            k += 1
    return cgutils.pack_array(builder, tile)

def in_turns(builder, first, second):
    """Yield the bytes of two blocks as words, one of each in turn."""
    for some in zip(*(in_words(builder, block, BYTE) for block in (first, second))):
        for half in (range(LANES), range(LANES, 2 * LANES)):
            order = [n for i in half for n in (i, 2 * LANES + i)]
            both = shuffle(builder, *some, order)
            yield builder.sext(both, WORDS)

@instruction(lambda *_: None)
def numbers_in(builder, tile):
    """Turn the integers of a tile into numbers."""
    tile, = unpacked(builder, tile)
    numbers = as_numbers(builder, tile)
    return cgutils.pack_array(builder, numbers)

def sums_of_bytes(n_rows):
    """Make add_values as `one_query.sums_of_numbers` does."""
    vectors = n_rows * (BLOCK // LANES)
    point, zeros = pointers_of(n_rows), zeros_of(vectors)

    @helper
    def add_values(width, j, left, right, target):
        (weights, ldw, m), (values, ldv, n) = left, right
        out, ldo = target
        rows = point(weights, ldw, m)
        for b in range(0, width, BLOCK):
            tile = zeros(out)
            codes = at(values, b + SCALE)
            for k in range(0, n, 2):
                other = min(k + 1, n - 1)                 # behind an odd one the weight is 0
                first, second = at(codes, k * ldv), at(codes, other * ldv)
                prefetch(at(first, AHEAD))
                prefetch(at(second, AHEAD))
                pair = (j + k) // 2
                tile = add_pair(tile, rows, pair, first, second)
            to = point(at(out, b), ldo, m)
            put(numbers_in(tile), to, j > 0)
    return add_values
