"""Tiles of 16 by 16 pairs of bfloat16, and their products by AVX512-BF16.

A tile of A holds 16 rows of 32 numbers of bfloat16. One of B holds 16 pairs of k by 16 columns, the
two numbers of a pair side by side. An instruction multiplies 16 pairs by 16 and adds both products
of each to a number of float32: twice the work of one in float32. It stands here in assembly, as
llvmlite has no type for its operands. `amx` multiplies whole tiles.
"""
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils

from minigrad.kernels import cache, twins
from minigrad.kernels.jit import helper
from minigrad.kernels.llvm import (
    DATA, FLOAT, I32, INT, at, fused, instruction, nothing, number_of, outer_added, pointers_of,
    prefetch_of, put, read, repeated, transposed, zeros_of)
from minigrad.kernels.packed import each

ROWS = 16                       # of a tile
TILE = 256                      # float32 that are as large as a tile
STRIP = 2 * ROWS                # rows of A, or columns of B, that are multiplied at a time
STEP = 2 * TILE                 # of a strip: 32 numbers of each of its rows, two tiles

HAS_PAIRS = {"avx512f", "avx512bf16"} <= cache.cpu_features()
I16 = ir.IntType(16)
WORDS = ir.VectorType(I32, 16)                       # 16 pairs of bfloat16
HALVES = ir.VectorType(I16, 32)
FLOATS = ir.VectorType(FLOAT, 16)


def no_twin(*_):
    raise NotImplementedError("tiles are there for compiled kernels alone")

def assembly(builder, text, constraints, result, *args, pure=False):
    """Put instructions in their place; $0, $1 and so on stand for the results, then the args."""
    kind = ir.FunctionType(result, [x.type for x in args])
    return builder.asm(kind, text, constraints, args, not pure)

def read_assembly():
    """Let LLVM understand assembly; to be called before the first compilation."""
    binding.initialize_native_asmparser()

def point(builder, pointer, n):
    """Point n numbers further; n may be a constant."""
    n = n if isinstance(n, ir.Value) else INT(n)
    return builder.gep(pointer, [n])


# ---- tiles of float32, rounded ----

def rounded(builder, x, y):
    """Round two vectors to bfloat16, to nearest even: those of x, then those of y."""
    return assembly(builder, "vcvtne2ps2bf16 $1, $2, $0", "=v,v,v", WORDS, x, y, pure=True)

def paired(builder, words):
    """Put the i-th number of the lower half and of the upper one side by side."""
    x = builder.bitcast(words, HALVES)
    places = [i // 2 + i % 2 * 16 for i in range(32)]
    mask = ir.VectorType(I32, 32)(places)
    return builder.bitcast(builder.shuffle_vector(x, x, mask), WORDS)

def tile_from(along_k, turned):
    """Make tile(source, stride, out): round 512 numbers to a tile.

    Where k is contiguous they are 16 lines of 32, else 32 lines of 16, two of which make pairs.
    The first is a tile of A, the second one of B, as it is; the other one if it is turned.
    """
    @instruction(no_twin, nothing)
    def tile(builder, source, stride, out):
        rows = []
        for i in range(ROWS):
            line = INT(i if along_k else 2 * i)
            first = point(builder, source, builder.mul(stride, line))
            second = point(builder, first, ROWS if along_k else stride)
            x, y = (read(builder, half, INT(0)) for half in (first, second))
            row = rounded(builder, x, y)
            rows.append(row if along_k else paired(builder, row))
        for i, row in enumerate(transposed(builder, rows) if turned else rows):
            place = builder.bitcast(point(builder, out, i * ROWS), WORDS.as_pointer())
            builder.store(row, place).align = 64
    return tile

a_along_k, b_along_k = tile_from(True, False), tile_from(True, True)
a_across_k, b_across_k = tile_from(False, True), tile_from(False, False)


# ---- products ----

HEIGHT = 8                      # rows whose sums with all columns of a strip registers hold
_rows_at, _zeros = pointers_of(HEIGHT), zeros_of(2 * HEIGHT)
_prefetch = prefetch_of(write=0, level=3)
_prefetch_to_write = prefetch_of(write=1, level=3)

@instruction(no_twin)
def add_pairs(builder, sums, rows, k, b):
    """Add the products of pair k of each row with 32 pairs, half of them in the next tile of B."""
    return outer_of_pairs(builder, sums, rows, k, b, TILE)

@instruction(twins.add_products)
def add_products(builder, sums, rows, k, b):
    """Do `llvm.add_outer` with rows of numbers or, if these are what they hold, of pairs."""
    if rows.type.element.pointee != I32:
        return outer_added(builder, sums, rows, k, b)
    return outer_of_pairs(builder, sums, rows, k, b, sums.type.element.count)

def outer_of_pairs(builder, sums, rows, k, b, apart):
    """Return sums[row, vector] + pair k of a row by the pairs of a vector of b, `apart` ones."""
    sums = cgutils.unpack_tuple(builder, sums)
    rows = cgutils.unpack_tuple(builder, rows)
    places = range(0, len(sums) // len(rows) * apart, apart)
    vectors = [read(builder, b, INT(place)) for place in places]
    sums, new = iter(sums), []
    for row in rows:
        pair = builder.load(builder.gep(row, [k]))
        pair = repeated(builder, pair, vectors[0].type.count)
        for vector in vectors:
            new.append(with_pairs(builder, next(sums), pair, vector))
    return cgutils.pack_array(builder, new)

def with_pairs(builder, total, x, y):
    """Add to a vector the products of pairs, two each."""
    if HAS_PAIRS:
        text, constraints = "vdpbf16ps $1, $2, $0", "=v,v,v,0"
        return assembly(builder, text, constraints, total.type, x, y, total, pure=True)
    for part in lower, upper:
        left, right = part(builder, x), part(builder, y)
        total = fused(builder, left, right, total)
    return total

def lower(builder, pairs):
    shift = each(pairs.type, 16)
    return as_floats(builder, builder.shl(pairs, shift))

def upper(builder, pairs):
    mask = each(pairs.type, 0xFFFF0000)
    return as_floats(builder, builder.and_(pairs, mask))

def as_floats(builder, bits):
    return builder.bitcast(bits, ir.VectorType(FLOAT, bits.type.count))

@instruction(twins.held, lambda like: types.intp)
def held(builder, like):
    """How many numbers an element of an array holds: 2 if it is a pair, else 1."""
    return INT(2 if is_pairs(like) else 1)

@instruction(twins.joined, lambda x, y, like: number_of(like))
def joined(builder, x, y, like):
    """Return x, or both rounded as a pair, as an array of such elements has it."""
    if not is_pairs(like):
        return x
    x, y = (nearest(builder, number) for number in (x, y))
    y = builder.and_(y, I32(0xFFFF0000))
    return builder.or_(builder.lshr(x, I32(16)), y)

@instruction(twins.shortened)
def shortened(builder, x):
    """A float32 rounded to bfloat16, to nearest even."""
    bits = builder.and_(nearest(builder, x), I32(0xFFFF0000))
    return builder.bitcast(bits, FLOAT)

def is_pairs(array):
    return array.type.elements[DATA].pointee == I32

def nearest(builder, x):
    """Return the bits of a float32 rounded to bfloat16, to nearest even, and more bits below."""
    bits = builder.bitcast(x, I32)
    last = builder.lshr(bits, I32(16))
    odd = builder.and_(last, I32(1))
    up = builder.add(builder.add(bits, I32(0x7FFF)), odd)
    quiet = builder.or_(bits, I32(0x400000))
    return builder.select(builder.fcmp_unordered("uno", x, x), quiet, up)

@helper
def multiply(a, b, n_steps, c, ldc, add, ahead):
    """Set 32 x 32 numbers of C to the product of two strips, or add it.

    On the way it asks the memory for what is needed next: the rows of C, and two lines for each
    step, `ahead` = (where, how far apart for some rows and others, and from step to step).
    """
    asked, by_part, by_step = ahead
    for i in range(0, STRIP, HEIGHT):
        first = at(a, i // ROWS * TILE + i % ROWS * ROWS)
        rows, out = _rows_at(first, ROWS, HEIGHT), at(c, i * ldc)
        sums, line = _zeros(c), asked
        for r in range(HEIGHT):
            for half in range(0, STRIP, ROWS):
                _prefetch_to_write(at(out, r * ldc + half))
        for step in range(0, n_steps * STEP, STEP):
            for half in range(0, STRIP, ROWS):
                _prefetch(at(line, half))
            line = at(line, by_step)
            for k in range(ROWS):
                pairs = at(b, step + k * ROWS)
                sums = add_pairs(sums, rows, step + k, pairs)
        asked = at(asked, by_part)
        put(sums, _rows_at(out, ldc, HEIGHT), add)
