"""Products of rows by rows in registers, where those of one side may be blocks of weights.

Published models store a matrix in blocks: 32 weights of a row share a scale d, a float of 16 bits.

    Q8_0    d, then 32 bytes            w = d q, q of 8 bits with a sign
    Q4_0    d, then 16 bytes            w = d (q - 8), q of 4 bits: 16 low halves, 16 high ones
    Q4_1    d and m, then 16 bytes      w = d q + m
    F16     32 floats of 16 bits
    BF16    the high halves of 32 float32

A block becomes numbers in registers, exactly those that it stands for. By a single row there is a
way with half of the instructions: the row is rounded to 16 bits, and integers are multiplied.
"""
import functools
from dataclasses import dataclass

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from minigrad.kernels import cache, twins
from minigrad.kernels.llvm import (
    ARM, FLOAT, I32, INT, VECTOR_BYTES, fused, instruction, nothing, read, repeated, shuffle,
    size_of, write)

BLOCK = 32                                               # weights that share a scale
LANES = VECTOR_BYTES // 4
BYTE, I16 = ir.IntType(8), ir.IntType(16)
HALF = ir.HalfType()
HAS_HALVES = ARM or "f16c" in cache.cpu_features()       # whether it converts them by itself
FLOATS = ir.VectorType(FLOAT, LANES)
INTEGERS = ir.VectorType(I32, LANES)
WORDS = ir.VectorType(I16, 2 * LANES)


@dataclass(frozen=True)
class Kind:
    """How 32 weights lie: scales, two bytes each, and then codes, which may be floats."""

    n_scales: int
    bits: int
    widened: bool = False                                # 16 bits become 32 by zeros behind them

    @property
    def n_bytes(self):
        return 2 * self.n_scales + self.bits * BLOCK // 8

    @property
    def planes(self):
        """How many codes of 4 bits make one, where they are integers."""
        return self.bits // 4 if self.n_scales else 0

    @property
    def at_once(self):
        """How many blocks of a row are multiplied at once: one by each 128 bits of a register."""
        return LANES // 4 if self.bits == 4 else 1


KINDS = {"Q8_0": Kind(1, 8),
         "Q4_0": Kind(1, 4),
         "Q4_1": Kind(2, 4),
         "F16": Kind(0, 16),
         "BF16": Kind(0, 16, widened=True)}


# ---- a block -----------------------------------------------------------------------------------

def ahead(builder, pointer, b, size):
    """Point to where b times so many numbers, or bytes, are over."""
    n = builder.mul(b, INT(size))
    return builder.gep(pointer, [n])

def behind(builder, pointer, n):
    """Point n elements further, a constant."""
    return builder.gep(pointer, [INT(n)])

def take(builder, pointer, element, count):
    """Read numbers of any type, wherever they lie."""
    kind = ir.VectorType(element, count)
    place = builder.bitcast(pointer, kind.as_pointer())
    x = builder.load(place)
    x.align = 1
    return x

def in_words(builder, pointer, element, size=BLOCK):
    """Read a block of numbers as vectors of as many as `WORDS` has."""
    count = WORDS.count
    places = [behind(builder, pointer, n) for n in range(0, size, count)]
    return [take(builder, place, element, count) for place in places]

def each(kind, n):
    return kind([n] * kind.count)

def scales_of(builder, kind, block):
    """Return d, or d and m, as a vector."""
    bits = take(builder, block, I16, kind.n_scales)
    return widened(builder, bits)

def widened(builder, bits):
    """Turn floats of 16 bits into float32."""
    count = bits.type.count
    floats, kind = ir.VectorType(FLOAT, count), ir.VectorType(I32, count)
    if HAS_HALVES:
        halves = builder.bitcast(bits, ir.VectorType(HALF, count))
        return builder.fpext(halves, floats)
    bits = builder.zext(bits, kind)
    sign = builder.shl(builder.and_(bits, each(kind, 0x8000)), each(kind, 16))
    rest = builder.shl(builder.and_(bits, each(kind, 0x7FFF)), each(kind, 13))
    whole = builder.bitcast(rest, floats)
    whole = builder.fmul(whole, each(floats, 2.0 ** 112))    # as the exponents begin elsewhere
    endless = builder.icmp_signed(">=", rest, each(kind, 0x7C00 << 13))
    rest = builder.or_(rest, each(kind, 0x7F800000))         # of inf and NaN
    rest = builder.select(endless, rest, builder.bitcast(whole, kind))
    return builder.bitcast(builder.or_(rest, sign), floats)

def weights_of(builder, kind, block):
    """Yield (place, vector of weights) for all of a block: without a kind, one vector."""
    if kind is None:
        yield 0, read(builder, block, INT(0))
    elif kind.bits == 16:
        yield from floats_of(builder, kind, block)
    else:
        yield from scaled_of(builder, kind, block)

def floats_of(builder, kind, block):
    """Yield the floats of 16 bits of a block."""
    for n in range(0, BLOCK, LANES):
        place = behind(builder, block, 2 * n)
        bits = take(builder, place, I16, LANES)
        if kind.widened:
            bits = builder.zext(bits, INTEGERS)
            bits = builder.shl(bits, each(INTEGERS, 16))
            yield n, builder.bitcast(bits, FLOATS)
        else:
            yield n, widened(builder, bits)

def scaled_of(builder, kind, block):
    """Yield w = d q + minimum of a block."""
    scales = scales_of(builder, kind, block)
    d = builder.extract_element(scales, I32(0))
    minimum = None
    if kind.n_scales == 2:
        minimum = builder.extract_element(scales, I32(1))
    elif kind.bits == 4:
        minimum = builder.fmul(d, FLOAT(-8.0))
    minimum = minimum and repeated(builder, minimum, LANES)
    d = repeated(builder, d, LANES)
    for n, q in codes_of(builder, kind, block):
        q = builder.sitofp(q, FLOATS)
        w = fused(builder, q, d, minimum) if minimum else builder.fmul(q, d)
        yield n, w

def codes_of(builder, kind, block):
    """Yield (place, vector of q) for all of a block, the places in any order."""
    codes = behind(builder, block, 2 * kind.n_scales)
    for n in range(0, kind.bits * BLOCK // 8, LANES):
        some = take(builder, behind(builder, codes, n), BYTE, LANES)
        if kind.bits == 8:
            yield n, builder.sext(some, INTEGERS)
            continue
        both = builder.zext(some, INTEGERS)
        yield n, builder.and_(both, each(INTEGERS, 15))
        yield n + 16, builder.lshr(both, each(INTEGERS, 4))

def unpack_of(kind):
    """Make unpack(block, out): write the 32 weights of a block."""
    @instruction(lambda *_: None, nothing)
    def unpack(builder, block, out):
        for n, w in weights_of(builder, kind, block):
            write(builder, w, out, INT(n))
    return unpack


# ---- tiles: some rows by some rows -------------------------------------------------------------

def unpacked(builder, *tuples):
    return [cgutils.unpack_tuple(builder, x) for x in tuples]

def add_blocks_of(kind):
    """Make add_blocks(sums, rows, weights, b): add the products of block b of all these rows."""
    @instruction(twins.add_blocks)
    def add_blocks(builder, sums, rows, weights, b):
        sums, rows, weights = unpacked(builder, sums, rows, weights)
        width = BLOCK if kind else sums[0].type.count
        size = kind.n_bytes if kind else width
        rows = [ahead(builder, row, b, width) for row in rows]
        blocks = [ahead(builder, w, b, size) for w in weights]
        blocks = [weights_of(builder, kind, block) for block in blocks]
        for vectors in zip(*blocks):
            place, _ = vectors[0]
            for i, row in enumerate(rows):
                x = read(builder, row, INT(place))
                for k, (_, w) in enumerate(vectors, i * len(weights)):
                    sums[k] = fused(builder, x, w, sums[k])
        return cgutils.pack_array(builder, sums)
    return add_blocks

@instruction(twins.put_totals, nothing)
def put_totals(builder, sums, rows, n, step):
    """Write the total of each vector of a tile, of whose columns, a step apart, n are there."""
    sums, rows = unpacked(builder, sums, rows)
    width = len(sums) // len(rows)
    last = builder.sub(n, INT(1))
    for i, total in enumerate(totals_of(builder, sums)):
        column = INT(i % width)
        there = builder.icmp_signed("<", column, last)
        column = builder.select(there, column, last)
        column = builder.mul(column, step)
        place = builder.gep(rows[i // width], [column])
        builder.store(total, place)

@instruction(lambda *_: None, nothing)
def put_in_rows(builder, sums, rows, j):
    """Write the totals of a tile side by side, from place j of each row on."""
    sums, rows = unpacked(builder, sums, rows)
    width = len(sums) // len(rows)
    for i, total in enumerate(totals_of(builder, sums)):
        place = builder.add(j, INT(i % width))
        builder.store(total, builder.gep(rows[i // width], [place]))

def totals_of(builder, vectors):
    """Yield the total of each of some vectors, as many as fit into 128 bits together.

    That takes half of the instructions that one by one would, and all are added in one order.
    """
    together = 16 // size_of(vectors[0].type.element)
    for n in range(0, len(vectors), together):
        some = vectors[n:n + together]
        count = len(some)
        x = added_up(builder, some + some[-1:] * (together - count), together)
        for i in range(count):
            yield builder.extract_element(x, I32(i))

def added_up(builder, some, together):
    """Return the totals of as many vectors as a vector of 128 bits has lanes."""
    while len(some) > 1:
        pairs = zip(some[::2], some[1::2])
        some = [neighbours_added(builder, x, y, together) for x, y in pairs]
    x = some[0]
    while x.type.count > together:
        half = x.type.count // 2
        low, high = [*range(half)], [*range(half, 2 * half)]
        x = builder.fadd(shuffle(builder, x, x, low), shuffle(builder, x, x, high))
    return x

def neighbours_added(builder, x, y, together):
    """Add neighbours: in each 128 bits first the sums of those of x, then of those of y."""
    even = []
    for first in range(0, x.type.count, together):
        of_x = [*range(first, first + together, 2)]
        even += [*of_x, *(i + x.type.count for i in of_x)]
    odd = [i + 1 for i in even]
    return builder.fadd(shuffle(builder, x, y, even), shuffle(builder, x, y, odd))


# ---- one row, in integers ----------------------------------------------------------------------
# Of codes of 4 bits a register holds one block in each 128 bits, as words that have four codes
# each: by shifts they become four vectors, with nothing that crosses lanes.

def places_of(kind):
    """Return where in the vectors of `words_of` the weights are: (at_once, BLOCK)."""
    b, i = np.indices((kind.at_once, BLOCK))
    if kind.bits == 8:
        return i
    high, odd = i // 16, i % 2
    shift = 2 * odd + high
    return (shift * kind.at_once + b) * 8 + i % 16 // 2

def words_of(builder, kind, block):
    """Return the q of `at_once` blocks as vectors of 16 bits."""
    codes = behind(builder, block, 2 * kind.n_scales)
    if kind.bits == 8:
        some = in_words(builder, codes, BYTE)
        return [builder.sext(x, WORDS) for x in some]
    words = of_blocks(builder, kind, codes, 8)
    shifts = [each(WORDS, n) for n in (0, 4, 8, 12)]
    shifted = [builder.lshr(words, n) for n in shifts]
    return [builder.and_(q, each(WORDS, 15)) for q in shifted]

def of_blocks(builder, kind, place, count):
    """Read words at the same place of `at_once` blocks, side by side."""
    places = [behind(builder, place, n * kind.n_bytes) for n in range(kind.at_once)]
    parts = [take(builder, place, I16, count) for place in places]
    while len(parts) > 1:
        pairs, count = zip(parts[::2], parts[1::2]), 2 * count
        parts = [shuffle(builder, *pair, [*range(count)]) for pair in pairs]
    return parts[0]

def scales_in_lanes(builder, kind, block):
    """Return the first and the last scale of `at_once` blocks, in the lanes of each."""
    count, width = kind.n_scales, LANES // kind.at_once
    scales = of_blocks(builder, kind, block, count)
    scales = widened(builder, scales)
    for first in (0, count - 1):
        places = [first + lane // width * count for lane in range(LANES)]
        yield shuffle(builder, scales, scales, places)

def pair_sums(builder, x, y):
    """x[0] y[0] + x[1] y[1], and so on, of integers of 16 bits: one instruction (pmaddwd)."""
    count = x.type.count
    wide = ir.VectorType(I32, count)
    x = builder.sext(x, wide)
    y = builder.sext(y, wide)
    products = builder.mul(x, y)
    even, odd = [*range(0, count, 2)], [*range(1, count, 2)]
    first = shuffle(builder, products, products, even)
    second = shuffle(builder, products, products, odd)
    return builder.add(first, second)

def sum_of_products(builder, some, others):
    """Add the products of words in each lane."""
    products = [pair_sums(builder, x, y) for x, y in zip(some, others)]
    return functools.reduce(builder.add, products)

def add_rounded_of(kind):
    """Make add_rounded(sums, weights, b, x, scales, minima): as add_blocks, for one rounded row.

    That is for `at_once` blocks, from block b on. x is scales times integers; minima are what the
    last scale of a block of weights is multiplied by besides.
    """
    @instruction(lambda *_: None)
    def add_rounded(builder, sums, weights, b, x, scales, minima):
        sums, weights = unpacked(builder, sums, weights)
        rounded = in_words(builder, x, I16, kind.at_once * BLOCK)
        scale = read(builder, scales, INT(0))
        minimum = read(builder, minima, INT(0))
        for i, w in enumerate(weights):
            block = ahead(builder, w, b, kind.n_bytes)
            d, least = scales_in_lanes(builder, kind, block)
            if kind.bits == 4:
                sums[i] = fused(builder, least, minimum, sums[i])
            words = words_of(builder, kind, block)
            whole = sum_of_products(builder, words, rounded)
            whole = builder.sitofp(whole, FLOATS)
            factor = builder.fmul(d, scale)
            sums[i] = fused(builder, whole, factor, sums[i])
        return cgutils.pack_array(builder, sums)
    return add_rounded
