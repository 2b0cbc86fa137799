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

from minigrad.kernels import twins
from minigrad.kernels.llvm import (
    FLOAT, I32, INT, VECTOR_BYTES, call, fused, instruction, name_of, nothing, read, repeated,
    shuffle, vector_type, write)

BLOCK = 32                                               # weights that share a scale
LANES = VECTOR_BYTES // 4
BYTE, I16, HALF = ir.IntType(8), ir.IntType(16), ir.HalfType()


@dataclass(frozen=True)
class Kind:
    """How 32 weights lie: scales, two bytes each, and then codes, which may be floats."""

    n_scales: int
    bits: int
    widened: bool = False                                # 16 bits become 32 by zeros behind them

    @property
    def n_bytes(self):
        return 2 * self.n_scales + self.bits * BLOCK // 8


KINDS = {"Q8_0": Kind(1, 8), "Q4_0": Kind(1, 4), "Q4_1": Kind(2, 4), "F16": Kind(0, 16),
         "BF16": Kind(0, 16, widened=True)}


# ---- a block -----------------------------------------------------------------------------------

def vector_from(builder, pointer, element, count):
    """Read numbers of any type, wherever they lie."""
    kind = ir.VectorType(element, count)
    x = builder.load(builder.bitcast(pointer, kind.as_pointer()))
    x.align = 1
    return x

def scales_of(builder, kind, block):
    """Return d and what is added, a minimum or None, of w = d q + minimum."""
    halves = vector_from(builder, block, HALF, kind.n_scales)
    floats = builder.fpext(halves, ir.VectorType(FLOAT, kind.n_scales))
    d = builder.extract_element(floats, I32(0))
    if kind.n_scales == 2:
        return d, builder.extract_element(floats, I32(1))
    return d, builder.fmul(d, FLOAT(-8.0)) if kind.bits == 4 else None

def codes_of(builder, kind, block, element, count):
    """Yield (place, vector of q) for all of a block, the places in any order."""
    wide, first = ir.VectorType(element, count), 2 * kind.n_scales
    for n in range(0, kind.bits * BLOCK // 8, count):
        codes = builder.gep(block, [INT(first + n)])
        codes = vector_from(builder, codes, BYTE, count)
        if kind.bits == 8:
            yield n, builder.sext(codes, wide)
            continue
        both = builder.zext(codes, wide)
        yield n, builder.and_(both, wide([15] * count))
        yield n + BLOCK // 2, builder.lshr(both, wide([4] * count))

def weights_of(builder, kind, block):
    """Yield (place, vector of weights) for all of a block: without a kind, one vector."""
    if kind is None:
        yield 0, read(builder, block, INT(0))
        return
    if kind.bits == 16:
        yield from floats_of(builder, kind, block)
        return
    d, minimum = (x and repeated(builder, x, LANES) for x in scales_of(builder, kind, block))
    for n, q in codes_of(builder, kind, block, I32, LANES):
        q = builder.sitofp(q, vector_type(FLOAT))
        yield n, fused(builder, q, d, minimum) if minimum else builder.fmul(q, d)

def floats_of(builder, kind, block):
    """Yield what `weights_of` does of a kind that is floats of 16 bits."""
    for n in range(0, BLOCK, LANES):
        place = builder.gep(block, [INT(2 * n)])
        if kind.widened:
            bits = builder.zext(vector_from(builder, place, I16, LANES), ir.VectorType(I32, LANES))
            bits = builder.shl(bits, bits.type([16] * LANES))
            yield n, builder.bitcast(bits, vector_type(FLOAT))
        else:
            yield n, builder.fpext(vector_from(builder, place, HALF, LANES), vector_type(FLOAT))

def unpack_of(kind):
    """Make unpack(block, out): write the 32 weights of a block."""
    @instruction(lambda *_: None, nothing)
    def unpack(builder, block, out):
        for n, w in weights_of(builder, kind, block):
            write(builder, w, out, INT(n))
    return unpack


# ---- tiles: some rows by some rows -------------------------------------------------------------

def number_at(builder, row, b, size):
    """Point to where b times so many numbers, or bytes, of a row are over."""
    return builder.gep(row, [builder.mul(b, INT(size))])

def add_blocks_of(kind):
    """Make add_blocks(sums, rows, weights, b): add the products of block b of all these rows."""
    @instruction(twins.add_blocks)
    def add_blocks(builder, sums, rows, weights, b):
        rows, weights = (cgutils.unpack_tuple(builder, x) for x in (rows, weights))
        sums, vector = cgutils.unpack_tuple(builder, sums), vector_type(rows[0].type.pointee)
        width = BLOCK if kind else vector.count
        size = kind.n_bytes if kind else width
        blocks = [weights_of(builder, kind, number_at(builder, w, b, size)) for w in weights]
        rows = [number_at(builder, row, b, width) for row in rows]
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
    sums, rows = (cgutils.unpack_tuple(builder, x) for x in (sums, rows))
    width, last = len(sums) // len(rows), builder.sub(n, INT(1))
    for i, x in enumerate(sums):
        column = INT(i % width)
        there = builder.icmp_signed("<", column, last)
        column = builder.select(there, column, last)
        number, name = x.type.element, f"llvm.vector.reduce.fadd.{name_of(x.type)}"
        total = call(builder, name, number, number(0.0), x, flags=["reassoc"])
        builder.store(total, builder.gep(rows[i // width], [builder.mul(column, step)]))


# ---- one row, in integers ----------------------------------------------------------------------

def pair_sums(builder, x, y):
    """x[0] y[0] + x[1] y[1], and so on, of 16 integers of 16 bits: one instruction (pmaddwd)."""
    wide = ir.VectorType(I32, x.type.count)
    products = builder.mul(builder.sext(x, wide), builder.sext(y, wide))
    even, odd = (shuffle(builder, products, products, [*range(i, x.type.count, 2)])
                 for i in (0, 1))
    return builder.add(even, odd)

def in_lanes(builder, low, high):
    """Add up two vectors of 8 until there is one number for each lane of a register."""
    if LANES == 16:
        return shuffle(builder, low, high, [*range(16)])
    x = builder.add(low, high)
    if LANES == 8:
        return x
    halves = [shuffle(builder, x, x, [*range(i, i + 4)]) for i in (0, 4)]
    return builder.add(*halves)

def add_rounded_of(kind):
    """Make add_rounded(sums, weights, b, x, scales, parts): as add_blocks, for one rounded row.

    x is scales[b] times integers; parts are the sums of its numbers in each lane.
    """
    @instruction(lambda *_: None)
    def add_rounded(builder, sums, weights, b, x, scales, parts):
        sums, weights = (cgutils.unpack_tuple(builder, each) for each in (sums, weights))
        x = number_at(builder, x, b, BLOCK)
        rounded = {n: vector_from(builder, builder.gep(x, [INT(n)]), I16, 16) for n in (0, 16)}
        scale = builder.load(builder.gep(scales, [b]))
        part = read(builder, number_at(builder, parts, b, LANES), INT(0))
        for i, w in enumerate(weights):
            block = number_at(builder, w, b, kind.n_bytes)
            d, minimum = scales_of(builder, kind, block)
            products = [pair_sums(builder, q, rounded[n])
                        for n, q in codes_of(builder, kind, block, I16, 16)]
            whole = builder.sitofp(in_lanes(builder, *products), part.type)
            if minimum:
                sums[i] = fused(builder, repeated(builder, minimum, LANES), part, sums[i])
            factor = repeated(builder, builder.fmul(d, scale), LANES)
            sums[i] = fused(builder, whole, factor, sums[i])
        return cgutils.pack_array(builder, sums)
    return add_rounded
