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
from dataclasses import dataclass

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
WORDS = ir.VectorType(I16, 16)


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

def two_of_16(builder, pointer, element):
    """Read a block of numbers as two vectors."""
    places = pointer, behind(builder, pointer, 16)
    return [take(builder, place, element, 16) for place in places]

def each(kind, n):
    return kind([n] * kind.count)

def scales_of(builder, kind, block):
    """Return d, or d and m, as a vector."""
    return widened(builder, block, kind.n_scales)

def widened(builder, place, count):
    """Read floats of 16 bits as float32."""
    floats = ir.VectorType(FLOAT, count)
    if HAS_HALVES:
        return builder.fpext(take(builder, place, HALF, count), floats)
    kind = ir.VectorType(I32, count)
    bits = builder.zext(take(builder, place, I16, count), kind)
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
        if kind.widened:
            bits = take(builder, place, I16, LANES)
            bits = builder.zext(bits, INTEGERS)
            bits = builder.shl(bits, each(INTEGERS, 16))
            yield n, builder.bitcast(bits, FLOATS)
        else:
            yield n, widened(builder, place, LANES)

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

# Which weight of a block is where in `words_of`: nothing has to cross the lanes of a register.
IN_ORDER = [*range(BLOCK)]
BY_PARITY = [*range(0, 16, 2), *range(16, 32, 2), *range(1, 16, 2), *range(17, 32, 2)]
ORDERS = {8: IN_ORDER, 4: BY_PARITY}

def words_of(builder, kind, block):
    """Return the 32 q of a block as two vectors of 16 bits, in the order of `ORDERS`."""
    codes = behind(builder, block, 2 * kind.n_scales)
    if kind.bits == 8:
        halves = two_of_16(builder, codes, BYTE)
        return [builder.sext(half, WORDS) for half in halves]
    four = take(builder, codes, I32, 4)                        # numbers of eight q each
    twice = shuffle(builder, four, four, [0, 1, 2, 3] * 2)
    return [every_fourth(builder, twice, shift) for shift in (0, 8)]

def every_fourth(builder, twice, shift):
    """Take two q out of eight, and of the upper half the two behind them."""
    shifts = twice.type([shift] * 4 + [shift + 4] * 4)
    q = builder.lshr(twice, shifts)
    q = builder.and_(q, each(twice.type, 0x000F000F))
    return builder.bitcast(q, WORDS)

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

def in_lanes(builder, low, high):
    """Add up two vectors of 8 until there is one number for each lane of a register."""
    if LANES == 16:
        return shuffle(builder, low, high, [*range(16)])
    x = builder.add(low, high)
    if LANES == 8:
        return x
    lower = shuffle(builder, x, x, [0, 1, 2, 3])
    upper = shuffle(builder, x, x, [4, 5, 6, 7])
    return builder.add(lower, upper)

def in_first_lanes(builder, x):
    """Widen a vector by zeros."""
    n = x.type.count
    places = [*range(n), *[n] * (LANES - n)]
    return shuffle(builder, x, x.type(None), places)

def add_rounded_of(kind):
    """Make add_rounded(sums, weights, b, x, scales, minima): as add_blocks, for one rounded row.

    x is scales[b] times integers; minima, (blocks, lanes), are what the scales of a block of
    weights, as the first lanes of a register, are multiplied by besides.
    """
    @instruction(lambda *_: None)
    def add_rounded(builder, sums, weights, b, x, scales, minima):
        sums, weights = unpacked(builder, sums, weights)
        x = ahead(builder, x, b, BLOCK)
        minima = ahead(builder, minima, b, LANES)
        rounded = two_of_16(builder, x, I16)
        minimum = read(builder, minima, INT(0))
        scale = builder.load(builder.gep(scales, [b]))
        for i, w in enumerate(weights):
            block = ahead(builder, w, b, kind.n_bytes)
            floats = scales_of(builder, kind, block)
            if kind.bits == 4:
                first = in_first_lanes(builder, floats)
                sums[i] = fused(builder, first, minimum, sums[i])
            words = words_of(builder, kind, block)
            products = [pair_sums(builder, *pair) for pair in zip(words, rounded)]
            whole = builder.sitofp(in_lanes(builder, *products), FLOATS)
            factor = builder.extract_element(floats, I32(0))
            factor = builder.fmul(factor, scale)
            factor = repeated(builder, factor, LANES)
            sums[i] = fused(builder, whole, factor, sums[i])
        return cgutils.pack_array(builder, sums)
    return add_rounded
