"""All that is written in LLVM's own instructions, so that other kernels are loops and arithmetic.

Numba has numbers and arrays. Here it learns pointers (`at`), vectors (a `Vector` is a register
full of numbers: `load` fills one, + - * / < == work on it, `store` writes it), tiles (a tuple of
vectors, row by row), and some instructions on numbers. Pointers are not checked. `twins` has the
same in NumPy.
"""
import functools
import operator
import platform

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model

from minigrad.kernels import cache, jit, twins

VECTOR_BYTES = cache.vector_bytes()
ARM = platform.machine() in ("arm64", "aarch64")
REGISTERS = 32 if VECTOR_BYTES == 64 or ARM else 16       # 32 with AVX-512, 16 with AVX2 and SSE
FLOAT, VOID = ir.FloatType(), ir.VoidType()
INT, I32 = ir.IntType(64), ir.IntType(32)
BYTES = ir.IntType(8).as_pointer()
DATA = 4          # which member of Numba's arrays points to their elements


def instruction(twin, result=lambda first, *_: first):
    """Let kernels call build(builder, *values); without a compiler they call its twin.

    `build` gets LLVM values and returns one, or None; `result` gets Numba's types of the values
    and returns that of the result: the type of the first unless given.
    """
    def decorate(build):
        def emit(context, builder, signature, values):
            value = build(builder, *values)
            return context.get_dummy_value() if value is None else value

        @functools.wraps(build)
        def typed(typing, *kinds):
            return result(*kinds)(*kinds), emit
        return jit.intrinsic(twin)(typed)
    return decorate

def nothing(*kinds):
    return types.void

def call(builder, name, result, *args, flags=()):
    """Call a function by its name, LLVM's own or the thread pool's."""
    kind = ir.FunctionType(result, [x.type for x in args])
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(function, args, fastmath=flags)

def size_of(number):
    """Return the bytes of a float, or of a pair of bfloat16."""
    return 4 if number in (FLOAT, I32) else 8

def name_of(kind):
    """Return how LLVM calls a type of vectors in names of functions."""
    return f"v{kind.count}f{8 * size_of(kind.element)}"


# ---- pointers --------------------------------------------------------------------------------

def pointer_to(x, *_):
    return types.CPointer(x.dtype)

@instruction(twins.at, pointer_to)
def at(builder, x, n):
    """Point to element n of an array, or n elements beyond a pointer."""
    if not isinstance(x.type, ir.PointerType):
        x = builder.extract_value(x, DATA)
    return builder.gep(x, [n])

@instruction(twins.pointer_at, lambda address, like: pointer_to(like))
def pointer_at(builder, address, like):
    """Point to an address, as to an element of the array `like`."""
    return builder.inttoptr(address, builder.extract_value(like, DATA).type)

@instruction(twins.copy, nothing)
def copy(builder, target, source, n):
    """Copy n elements: through registers, if n is a constant."""
    size = size_of(target.type.pointee)
    cgutils.raw_memcpy(builder, target, source, n, size)

def prefetch_of(write, level):
    """Make prefetch(pointer): ask the memory for what will soon be read there, or written."""
    @instruction(lambda pointer: None, nothing)
    def prefetch(builder, pointer):
        hints = [I32(x) for x in (write, level, 1)]
        place = builder.bitcast(pointer, BYTES)
        call(builder, "llvm.prefetch.p0i8", VOID, place, *hints)
    return prefetch


# ---- vectors ---------------------------------------------------------------------------------

class Vector(types.Type):
    """As many numbers as a register holds, or a mask: as many truths about them."""

    def __init__(self, dtype, count):
        super().__init__(f"Vector({dtype}, {count})")
        self.dtype, self.count = dtype, count

@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        number = manager.lookup(kind.dtype).get_value_type()
        vector = ir.VectorType(number, kind.count)
        super().__init__(manager, kind, vector)

def vector_of(kind, *_):
    """Return the Vector of a number, or of what a pointer points to."""
    number = number_of(kind)
    return Vector(number, 8 * VECTOR_BYTES // number.bitwidth)

def number_of(kind):
    return getattr(kind, "dtype", kind)

def mask_of(vector):
    return Vector(types.boolean, vector.count)


def register(function, result, build, *how):
    """Let an operator of Python work on two vectors."""
    kinds = vector_of(types.float32), vector_of(types.float64)
    cases = [signature(result(kind), kind, kind) for kind in kinds]
    template = type("Cases", (ConcreteTemplate,), {"cases": cases})
    infer_global(function)(template)

    @lower_builtin(function, Vector, Vector)
    def emit(context, builder, signature, args):
        return build(builder, *how, *args)

register(operator.add, vector_of, ir.IRBuilder.fadd)
register(operator.sub, vector_of, ir.IRBuilder.fsub)
register(operator.mul, vector_of, ir.IRBuilder.fmul)
register(operator.truediv, vector_of, ir.IRBuilder.fdiv)
register(operator.lt, mask_of, ir.IRBuilder.fcmp_ordered, "<")
register(operator.eq, mask_of, ir.IRBuilder.fcmp_ordered, "==")


def vector_type(number):
    return ir.VectorType(number, VECTOR_BYTES // size_of(number))

def vector_at(builder, pointer, n):
    kind = vector_type(pointer.type.pointee).as_pointer()
    return builder.bitcast(builder.gep(pointer, [n]), kind)

def read(builder, pointer, n):
    """Read the vector that begins n elements beyond a pointer."""
    x = builder.load(vector_at(builder, pointer, n))
    x.align = size_of(x.type.element)
    return x

def write(builder, x, pointer, n):
    """Write a vector to where it begins n elements beyond a pointer."""
    place = vector_at(builder, pointer, n)
    builder.store(x, place).align = size_of(x.type.element)

load = instruction(twins.load, vector_of)(read)
store = instruction(twins.store, nothing)(write)

@instruction(twins.load_some, vector_of)
def load_some(builder, pointer, n, mask, default):
    """Read the first numbers of a vector, as many as a mask tells; the others are the default."""
    kind = default.type
    align, place = I32(size_of(kind.element)), vector_at(builder, pointer, n)
    name = f"llvm.masked.load.{name_of(kind)}.p0{name_of(kind)}"
    return call(builder, name, kind, place, align, mask, default)

@instruction(twins.store, nothing)
def store_some(builder, x, pointer, n, mask):
    """Write the first numbers of a vector, as many as a mask tells."""
    align, place = I32(size_of(x.type.element)), vector_at(builder, pointer, n)
    name = f"llvm.masked.store.{name_of(x.type)}.p0{name_of(x.type)}"
    call(builder, name, VOID, x, place, align, mask)


def shuffle(builder, x, y, places):
    mask = ir.VectorType(I32, len(places))(places)
    return builder.shuffle_vector(x, y, mask)

def repeated(builder, x, count):
    unset = ir.VectorType(x.type, count)(ir.Undefined)
    first = builder.insert_element(unset, x, I32(0))
    return shuffle(builder, first, first, [0] * count)

@instruction(twins.splat, vector_of)
def splat(builder, x):
    """A vector of one number."""
    return repeated(builder, x, vector_type(x.type).count)

def lanes_that(twin, test):
    """Make mask(n, x): which places in a vector like x are before n, or from n on."""
    @instruction(twin, lambda n, x: mask_of(x))
    def mask(builder, n, x):
        count = x.type.count
        places = ir.VectorType(INT, count)([*range(count)])
        return builder.icmp_signed(test, places, repeated(builder, n, count))
    return mask

lanes_before = lanes_that(twins.lanes_before, "<")
lanes_from = lanes_that(twins.lanes_from, ">=")

@instruction(twins.lanes_of, lambda x: types.intp)
def lanes_of(builder, x):
    """How many numbers like those of an array, a pointer or a vector a register holds."""
    kind = x.type.elements[DATA] if isinstance(x.type, ir.LiteralStructType) else x.type
    number = kind.pointee if isinstance(kind, ir.PointerType) else kind.element
    return INT(vector_type(number).count)

@instruction(twins.where, lambda mask, x, y: x)
def where(builder, mask, x, y):
    """The numbers of x where a mask is true, of y elsewhere."""
    return builder.select(mask, x, y)

@instruction(twins.largest, number_of)
def largest(builder, x):
    """The largest number of a vector without NaN."""
    name, number = f"llvm.vector.reduce.fmax.{name_of(x.type)}", x.type.element
    return call(builder, name, number, x, flags=["nnan"])

@instruction(twins.total, number_of)
def total(builder, x):
    """The sum of a vector, in any order."""
    name, number = f"llvm.vector.reduce.fadd.{name_of(x.type)}", x.type.element
    return call(builder, name, number, number(0.0), x, flags=["reassoc"])

def fused(builder, x, y, z):
    """x y + z, rounded once where the processor can.

    For numbers these are two instructions: how LLVM orders the sums of a loop hangs on it.
    """
    if isinstance(x.type, ir.VectorType):
        return call(builder, f"llvm.fmuladd.{name_of(x.type)}", x.type, x, y, z)
    product = builder.fmul(x, y, flags=["contract"])
    return builder.fadd(product, z, flags=["contract"])

multiply_add = instruction(twins.multiply_add)(fused)


# ---- tiles -----------------------------------------------------------------------------------
# Of n rows only m may be there. In place of the others the last one is used again, so that no
# other memory is touched and nothing branches.

def rows_at(builder, pointer, step, m, n):
    last = builder.sub(m, INT(1))
    for i in map(INT, range(n)):
        there = builder.icmp_signed("<", i, last)
        i = builder.select(there, i, last)
        yield builder.gep(pointer, [builder.mul(step, i)])

def pointers_of(n):
    """Make point(pointer, step, m): a tuple of pointers to n rows, of which m are there."""
    @instruction(twins.pointers_of(n), lambda pointer, *_: types.UniTuple(pointer, n))
    def point(builder, pointer, step, m):
        # Hide where they come from: LLVM would compute the rows from one another, dependent
        # additions in every step of k.
        kind = ir.FunctionType(pointer.type, [pointer.type])
        hide = functools.partial(builder.asm, kind, "", "=r,0", side_effect=False)
        rows = list(rows_at(builder, pointer, step, m, n))
        return cgutils.pack_array(builder, [hide([row]) for row in rows])
    return point

def zeros_of(n):
    """Make zeros(pointer): a tuple of n vectors of zeros."""
    @instruction(twins.zeros_of(n), lambda pointer: types.UniTuple(vector_of(pointer), n))
    def zeros(builder, pointer):
        vector = vector_type(pointer.type.pointee)
        return ir.ArrayType(vector, n)(None)
    return zeros

def places_of(tile, rows):
    """Return where the vectors of a tile begin, as a pointer to a row and an offset."""
    width, count = len(tile) // len(rows), tile[0].type.count
    return [(row, INT(v * count)) for row in rows for v in range(width)]

def outer_added(builder, tile, rows, k, b):
    """Return tile[row, vector] + rows[row][k] * b[vector]: a step of a matrix product."""
    tile = cgutils.unpack_tuple(builder, tile)
    rows = cgutils.unpack_tuple(builder, rows)
    count, sums = tile[0].type.count, iter(tile)
    row_b = [read(builder, *place) for place in places_of(tile[::len(rows)], [b])]
    new = []
    for row in rows:
        number = builder.load(builder.gep(row, [k]))
        x = repeated(builder, number, count)
        new += [fused(builder, x, y, next(sums)) for y in row_b]
    return cgutils.pack_array(builder, new)
add_outer = instruction(twins.add_outer)(outer_added)

@instruction(twins.put, nothing)
def put(builder, tile, rows, add):
    """Write a tile to its rows, or add it to what is there."""
    tile = cgutils.unpack_tuple(builder, tile)
    rows = cgutils.unpack_tuple(builder, rows)
    places = places_of(tile, rows)
    adds = builder.icmp_signed("!=", add, add.type(0))
    with builder.if_else(adds) as (then, otherwise):
        with then:
            before = [read(builder, *place) for place in places]     # rows may be the same
            for x, y, place in zip(before, tile, places):
                write(builder, builder.fadd(x, y), *place)
        with otherwise:
            for y, place in zip(tile, places):
                write(builder, y, *place)

@instruction(twins.transpose, nothing)
def transpose(builder, m, source, lds, out, ldo):
    """out[i, j] = source[j, i] for a square as wide as a vector, of whose rows m are there."""
    n = vector_type(source.type.pointee).count
    rows = [read(builder, row, INT(0)) for row in rows_at(builder, source, lds, m, n)]
    for i, row in enumerate(transposed(builder, rows)):
        write(builder, row, out, builder.mul(ldo, INT(i)))

def transposed(builder, rows):
    """Return the columns of a square: log2(n) rounds, each a perfect shuffle of its halves."""
    n = len(rows)
    low = [i // 2 + i % 2 * n for i in range(n)]
    high = [i + n // 2 for i in low]
    for _ in range(n.bit_length() - 1):
        pairs = list(zip(rows, rows[n // 2:]))
        halves = [(x, y, half) for x, y in pairs for half in (low, high)]
        rows = [shuffle(builder, *each) for each in halves]
    return rows


# ---- numbers, and vectors of them ------------------------------------------------------------

def chosen(x, of_float, of_double):
    """Return one of two things by the type of x."""
    return of_float if getattr(x.type, "element", x.type) == FLOAT else of_double

def converted(builder, c, x):
    """Return a constant in the type of x, or as a vector like x."""
    number = getattr(x.type, "element", x.type)
    if isinstance(c.type, ir.IntType):
        c = builder.sitofp(c, number)
    elif c.type != number:
        c = chosen(x, builder.fptrunc, builder.fpext)(c, number)
    return c if number == x.type else repeated(builder, c, x.type.count)

@instruction(twins.like)
def like(builder, x, c):
    """The constant c in the type of x; a bare literal would turn float32 into float64."""
    return converted(builder, c, x)

@instruction(twins.pick)
def pick(builder, x, c32, c64):
    """One of two constants, by the type of x."""
    return converted(builder, chosen(x, c32, c64), x)

@instruction(twins.polynomial)
def polynomial(builder, x, c32, c64):
    """c[0] + c[1] x + c[2] x**2 + ..., with the coefficients made for the type of x."""
    c = cgutils.unpack_tuple(builder, chosen(x, c32, c64))
    *c, y = [converted(builder, a, x) for a in c]
    for a in reversed(c):
        y = fused(builder, y, x, a)
    return y

def layout_of(x):
    """Return an integer as long as x, how many bits of it are the mantissa, and the bias."""
    return chosen(x, (I32, 23, 127), (INT, 52, 1023))

@instruction(twins.power_of_two)
def power_of_two(builder, x):
    """2**n for a whole n, given n + shifter(x), whose low bits are the exponent of the result."""
    integer, mantissa, _ = layout_of(x)
    shift = integer(mantissa)
    if isinstance(x.type, ir.VectorType):
        shift = repeated(builder, shift, x.type.count)
    bits = builder.bitcast(x, shift.type)
    return builder.bitcast(builder.shl(bits, shift), x.type)

@instruction(twins.exponent)
def exponent(builder, x):
    """n + 2**mantissa + bias - 1 of x = m 2**n with 1/2 <= m < 1, for a normal x > 0."""
    integer, mantissa, bias = layout_of(x)
    n = builder.lshr(builder.bitcast(x, integer), integer(mantissa))
    magic = integer((bias + mantissa) << mantissa)            # 2**mantissa: no cast of n is needed
    return builder.bitcast(builder.or_(n, magic), x.type)

@instruction(twins.significand)
def significand(builder, x):
    """The m of x = m 2**n with 1/2 <= m < 1, for a normal x > 0."""
    integer, mantissa, bias = layout_of(x)
    digits = builder.and_(builder.bitcast(x, integer), integer(2**mantissa - 1))
    half = integer((bias - 1) << mantissa)
    return builder.bitcast(builder.or_(digits, half), x.type)

@instruction(lambda: None, nothing)
def widest_vectors(builder):
    """Let the calling kernel use 512-bit registers, which LLVM avoids on its own on Intel.

    Worth it for arithmetic (exp: 0.30 ns an element, not 0.64); no difference elsewhere.
    """
    set.add(builder.function.attributes, '"prefer-vector-width"="512"')
