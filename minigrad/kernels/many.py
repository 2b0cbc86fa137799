"""Many rows by a matrix in blocks, out[i, j] = x[i] . weight[j], in integers of 8 bits by 4.

    a block of x     its scale, scale times the sum of its integers, 32 integers of 8 bits: 40 bytes
    a panel          `WIDE` rows of weights, a block of all after the other: codes of 4 bits in a
                     byte each, four of row 0, four of row 1, ...; then the scale and the least of
                     each row: w = scale code + least, a code of 8 bits being two of 4

A lane of a register is a row of weights, so that nothing is added up across lanes. Of x, four
integers are repeated in all lanes; one instruction multiplies all bytes and adds neighbours in 16
bits, which hold the sums of a whole block: 32 x 15 x 127 / 2 < 2 ** 15. Half of the instructions
of float32 are left, or less, at the price that x has 8 bits.
"""
from llvmlite import ir
from numba.core import cgutils

from minigrad.kernels import cache
from minigrad.kernels.byte_rows import MOST_OF_8, scale_of
from minigrad.kernels.llvm import (
    FLOAT, I32, INT, REGISTERS, VECTOR_BYTES, at, call, fused, instruction, name_of, nothing,
    pointers_of, put, read, repeated, shuffle, widest_vectors, zeros_of)
from minigrad.kernels.packed import (
    BLOCK, BYTE, FLOATS, I16, INTEGERS, KINDS, LANES, ahead, behind, each, pair_sums, scales_of,
    take, unpacked)
from minigrad.kernels.rows import made_from, row_kernel

ROWS = 4 if REGISTERS == 32 else 3       # of x in a tile
VECTORS = 2                              # of rows of weights in a tile
WIDE = VECTORS * LANES                   # rows of weights in a panel
DEPTH = 24                               # blocks of a panel at a time: it stays in the first cache
X_BYTES = 8 + BLOCK                      # of a block of x
QUADS = BLOCK // 4
LINES = QUADS + 2                        # of a block of a panel
STEP = VECTORS * VECTOR_BYTES            # bytes of a line
CODES = ir.VectorType(BYTE, VECTOR_BYTES)
HALVES = ir.VectorType(I16, VECTOR_BYTES // 2)
# What multiplies bytes and adds neighbours, by the width of registers and what has it.
OF_BYTES = {16: ("ssse3", "llvm.x86.ssse3.pmadd.ub.sw.128"),
            32: ("avx2", "llvm.x86.avx2.pmadd.ub.sw"),
            64: ("avx512bw", "llvm.x86.avx512.pmaddubs.w.512")}
FEATURE, PAIRS = OF_BYTES[VECTOR_BYTES]


def panel_bytes(kind):
    """Return the bytes of a block of a panel."""
    return kind.planes * LINES * STEP


# ---- rows of x ---------------------------------------------------------------------------------

@instruction(lambda *_: None, nothing)
def put_block(builder, x, scale, inverse, out):
    """Write a block of numbers as one of integers."""
    sums, factor = FLOATS(None), repeated(builder, inverse, LANES)
    for n in range(0, BLOCK, LANES):
        some = read(builder, x, INT(n))
        some = builder.fmul(some, factor)
        some = call(builder, f"llvm.rint.{name_of(FLOATS)}", FLOATS, some)
        sums = builder.fadd(sums, some)
        whole = builder.fptosi(some, INTEGERS)
        whole = builder.trunc(whole, ir.VectorType(BYTE, LANES))
        place = behind(builder, out, 8 + n)
        save(builder, whole, place)
    name = f"llvm.vector.reduce.fadd.{name_of(FLOATS)}"
    total = call(builder, name, FLOAT, FLOAT(0.0), sums, flags=["reassoc"])
    total = builder.fmul(total, scale)
    save(builder, scale, out)
    save(builder, total, behind(builder, out, 4))

def save(builder, x, place):
    """Write anything to any place."""
    place = builder.bitcast(place, x.type.as_pointer())
    builder.store(x, place).align = 1

@row_kernel
def round_rows(start, stop, x, out):
    """Turn rows of numbers (m, k) into rows of blocks (m, 40 k / 32) of bytes."""
    for i in range(start, stop):
        for b in range(x.shape[1] // BLOCK):
            block = at(x[i], b * BLOCK)
            scale, inverse = scale_of(block, BLOCK, MOST_OF_8)
            put_block(block, scale, inverse, at(out[i], b * X_BYTES))


# ---- panels ------------------------------------------------------------------------------------

def pack_of(kind):
    """Make pack(block, out): write a block of one row to its place in a panel."""
    @instruction(lambda *_: None, nothing)
    def pack(builder, block, out):
        scales = scales_of(builder, kind, block)
        scale = builder.extract_element(scales, I32(0))
        if kind.n_scales == 2:
            least = builder.extract_element(scales, I32(1))
        else:
            least = builder.fmul(scale, FLOAT(-2.0 ** (kind.bits - 1)))
        for n, quads in enumerate(planes_of(builder, kind, block)):
            of_plane = builder.fmul(scale, FLOAT(16.0 ** n))
            lines = *quads, of_plane, FLOAT(0.0) if n else least
            for k, number in enumerate(lines, n * LINES):
                place = behind(builder, out, k * STEP)
                save(builder, number, place)
    return pack

def planes_of(builder, kind, block):
    """Yield the low halves of codes of 8 bits, and the high ones, or all of 4: four at a time."""
    codes = behind(builder, block, 2 * kind.n_scales)
    words = take(builder, codes, I32, kind.bits)
    if kind.bits == 8:
        words = builder.xor(words, each(words.type, 0x80808080))     # without a sign
    halves = []
    for shift in (0, 4):
        some = builder.lshr(words, each(words.type, shift))
        some = builder.and_(some, each(words.type, 0x0F0F0F0F))
        quads = [builder.extract_element(some, I32(n)) for n in range(kind.bits)]
        halves.append(quads)
    low, high = halves
    yield from (low, high) if kind.bits == 8 else [low + high]


# ---- tiles -------------------------------------------------------------------------------------

def byte_pairs(builder, codes, x):
    """codes[0] x[0] + codes[1] x[1], and so on, in 16 bits, of bytes without and with a sign."""
    if FEATURE in cache.cpu_features():
        return call(builder, PAIRS, HALVES, codes, x)
    sums = []
    for first in (0, 1):
        places = [*range(first, VECTOR_BYTES, 2)]
        some = shuffle(builder, codes, codes, places)
        some = builder.zext(some, HALVES)
        other = shuffle(builder, x, x, places)
        other = builder.sext(other, HALVES)
        sums.append(builder.mul(some, other))
    return builder.add(*sums)

@instruction(lambda *_: None)
def add_codes(builder, sums, rows, b, panel, k):
    """Add the products of block b of rows of x by block k of a panel."""
    sums, rows = unpacked(builder, sums, rows)
    rows = [ahead(builder, row, b, X_BYTES) for row in rows]
    panel = ahead(builder, panel, k, LINES * STEP)
    halves = sums_of_block(builder, rows, panel)
    scales, least = (line(builder, panel, n, FLOAT, LANES) for n in (QUADS, QUADS + 1))
    for i, row in enumerate(rows):
        pair = take(builder, row, FLOAT, 2)
        pair = [builder.extract_element(pair, I32(n)) for n in (0, 1)]
        scale, total = (repeated(builder, x, LANES) for x in pair)
        for v in range(VECTORS):
            k = i * VECTORS + v
            whole = pair_sums(builder, halves[k], each(HALVES, 1))
            x = builder.sitofp(whole, FLOATS)
            x = builder.fmul(x, scales[v])
            sums[k] = fused(builder, x, scale, sums[k])
            sums[k] = fused(builder, least[v], total, sums[k])
    return cgutils.pack_array(builder, sums)

def line(builder, panel, n, element, count):
    """Read the vectors of line n of a block of a panel."""
    first = n * STEP
    places = [behind(builder, panel, first + v * VECTOR_BYTES) for v in range(VECTORS)]
    return [take(builder, place, element, count) for place in places]

def sums_of_block(builder, rows, panel):
    """Return the sums of products of integers in 16 bits, two of each, as a tile."""
    sums = [None] * (len(rows) * VECTORS)
    for n in range(QUADS):
        codes = line(builder, panel, n, BYTE, VECTOR_BYTES)
        for i, row in enumerate(rows):
            place = behind(builder, row, 8 + 4 * n)
            place = builder.bitcast(place, I32.as_pointer())
            four = builder.load(place)
            four.align = 4
            four = repeated(builder, four, LANES)
            x = builder.bitcast(four, CODES)
            for k, some in enumerate(codes, i * VECTORS):
                pairs = byte_pairs(builder, some, x)
                sums[k] = builder.add(sums[k], pairs) if n else pairs
    return sums


# ---- products ----------------------------------------------------------------------------------

point_to_bytes, point_to_numbers = pointers_of(ROWS), pointers_of(ROWS)
zeros = zeros_of(ROWS * VECTORS)

def many(start, stop, blocks, x, work, out):
    """Set out (m, n) to rows that `round_rows` has made times the rows of blocks, of which there
    are `WIDE` at least; of as many shares as `work` has rows.

    A panel more, of what is left, begins where it is whole: the last share has both that it is of.
    """
    widest_vectors()
    (n, ldb), (m, ldx) = blocks.shape, x.shape
    n_blocks, panels = ldb // size, n // WIDE                                 # noqa: F821
    panel, shares = at(work[start], 0), work.shape[0]
    last = stop * panels // shares
    if stop == shares and n % WIDE:
        last += 1
    for p in range(start * panels // shares, last):
        first = min(p * WIDE, n - WIDE)
        for b in range(0, n_blocks, DEPTH):
            depth = min(DEPTH, n_blocks - b)
            for j in range(WIDE):
                row = at(blocks, (first + j) * ldb + b * size)                # noqa: F821
                for k in range(depth):
                    place = k * bytes_of_panel + 4 * j                        # noqa: F821
                    pack(at(row, k * size), at(panel, place))                 # noqa: F821
            for i in range(0, m, ROWS):
                height = min(ROWS, m - i)
                rows = point_to_bytes(at(x, i * ldx + b * X_BYTES), ldx, height)
                to = point_to_numbers(at(out, i * n + first), n, height)
                sums = zeros(at(out, 0))
                for k in range(planes * depth):                               # noqa: F821
                    sums = add_codes(sums, rows, k // planes, panel, k)       # noqa: F821
                put(sums, to, b > 0)


def kernel_of(name, kind):
    return row_kernel(made_from(many, name, size=kind.n_bytes, planes=kind.planes,
                                bytes_of_panel=panel_bytes(kind), pack=pack_of(kind)))

KERNELS = {name: kernel_of(name, kind) for name, kind in KINDS.items() if kind.planes}
