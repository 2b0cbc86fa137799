"""All that is written in LLVM's own instructions, so that other kernels are loops and arithmetic.

Numba has numbers and arrays. Here it learns pointers (`at`), vectors (a `Vector` is a register
full of numbers: `load` fills one, + - * / < == work on it, `store` writes it), tiles (a tuple of
vectors, row by row), some instructions on numbers, and how to call a function on every thread.
Pointers are not checked. `twins` has the same in NumPy.
"""
import inspect
import operator
import platform

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model

from minigrad.kernels import cache, jit, twins

VECTOR_BYTES = cache.vector_bytes()
# AVX-512 and Arm have 32 vector registers, AVX2 and SSE 16.
REGISTERS = 32 if VECTOR_BYTES == 64 or platform.machine() in ("arm64", "aarch64") else 16
FLOAT, INT, I32, VOID = ir.FloatType(), ir.IntType(64), ir.IntType(32), ir.VoidType()
BYTES = ir.IntType(8).as_pointer()
DATA = 4          # which member of Numba's arrays points to their elements


def instruction(twin, result=lambda first, *_: first):
    """Let kernels call build(builder, *values); without a compiler they call its twin.

    `build` gets LLVM values and returns one, or None; `result` gets Numba's types of the values
    (whole numbers are intp) and returns that of the result: the type of the first unless given.
    """
    def decorate(build):
        def typed(typing, *kinds):
            whole = types.Integer, types.Boolean
            kinds = [types.intp if isinstance(kind, whole) else kind for kind in kinds]

            def emit(context, builder, signature, values):
                value = build(builder, *values)
                return context.get_dummy_value() if value is None else value
            return result(*kinds)(*kinds), emit
        typed.__name__, typed.__doc__ = build.__name__, build.__doc__
        typed.__signature__ = inspect.signature(build)
        return jit.intrinsic(twin)(typed)
    return decorate


def nothing(*kinds):
    return types.void

def call(builder, name, result, *args, flags=()):
    """Call a function of LLVM's, or of the thread pool."""
    kind = ir.FunctionType(result, [x.type for x in args])
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(function, args, fastmath=flags)

def size_of(number):
    """Return the bytes of a float."""
    return 4 if number == FLOAT else 8

def name_of(kind):
    """Return how LLVM calls a type of floats, or of vectors of them, in names of functions."""
    if isinstance(kind, ir.VectorType):
        return f"v{kind.count}{name_of(kind.element)}"
    return f"f{8 * size_of(kind)}"


# ---- pointers --------------------------------------------------------------------------------

@instruction(twins.at, lambda x, n: types.CPointer(x.dtype))
def at(builder, x, n):
    """Point to element n of an array, or n elements beyond a pointer."""
    if not isinstance(x.type, ir.PointerType):
        x = builder.extract_value(x, DATA)
    return builder.gep(x, [n])

@instruction(twins.pointer_at, lambda address, like: types.CPointer(like.dtype))
def pointer_at(builder, address, like):
    """Point to an address, as to an element of the array `like`."""
    return builder.inttoptr(address, builder.extract_value(like, DATA).type)

@instruction(twins.copy, nothing)
def copy(builder, target, source, n):
    """Copy n elements; where n is a constant, through registers."""
    cgutils.raw_memcpy(builder, target, source, n, size_of(target.type.pointee))

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
        super().__init__(manager, kind, ir.VectorType(number, kind.count))

def vector_of(kind, *_):
    """Return the Vector of a number, or of what a pointer points to."""
    number = number_of(kind)
    return Vector(number, 8 * VECTOR_BYTES // number.bitwidth)

def number_of(kind, *_):
    return getattr(kind, "dtype", kind)

def mask_of(vector, *_):
    return Vector(types.boolean, vector.count)


def register(function, result, build, *how):
    """Let an operator of Python work on two vectors."""
    kinds = vector_of(types.float32), vector_of(types.float64)
    cases = [signature(result(kind), kind, kind) for kind in kinds]
    infer_global(function)(type("Cases", (ConcreteTemplate,), {"cases": cases}))

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
    kind, name = default.type, name_of(default.type)
    args = vector_at(builder, pointer, n), I32(size_of(kind.element)), mask, default
    return call(builder, f"llvm.masked.load.{name}.p0{name}", kind, *args)

@instruction(twins.store, nothing)
def store_some(builder, x, pointer, n, mask):
    """Write the first numbers of a vector, as many as a mask tells."""
    name = name_of(x.type)
    args = x, vector_at(builder, pointer, n), I32(size_of(x.type.element)), mask
    call(builder, f"llvm.masked.store.{name}.p0{name}", VOID, *args)


def shuffle(builder, x, y, places):
    return builder.shuffle_vector(x, y, ir.VectorType(I32, len(places))(places))

def repeated(builder, x, count):
    nothing = ir.VectorType(x.type, count)(ir.Undefined)
    first = builder.insert_element(nothing, x, I32(0))
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

@instruction(twins.np.size, lambda x: types.intp)
def size(builder, x):
    """How many numbers a vector holds."""
    return INT(x.type.count)

@instruction(twins.np.where, lambda mask, x, y: x)
def where(builder, mask, x, y):
    """The numbers of x where a mask is true, of y elsewhere."""
    return builder.select(mask, x, y)

@instruction(twins.np.max, number_of)
def largest(builder, x):
    """The largest number of a vector without NaN."""
    name = f"llvm.vector.reduce.fmax.{name_of(x.type)}"
    return call(builder, name, x.type.element, x, flags=("nnan",))

@instruction(twins.np.sum, number_of)
def total(builder, x):
    """The sum of a vector, in any order."""
    name, number = f"llvm.vector.reduce.fadd.{name_of(x.type)}", x.type.element
    return call(builder, name, number, number(0.0), x, flags=("reassoc",))

def fused(builder, x, y, z):
    """x y + z, rounded once where the processor can.

    For numbers these are two instructions: how LLVM orders the sums of a loop hangs on it.
    """
    if isinstance(x.type, ir.VectorType):
        return call(builder, f"llvm.fmuladd.{name_of(x.type)}", x.type, x, y, z)
    product = builder.fmul(x, y, flags=("contract",))
    return builder.fadd(product, z, flags=("contract",))

multiply_add = instruction(twins.multiply_add)(fused)


# ---- tiles -----------------------------------------------------------------------------------
# Of n rows only m may be there. In place of the others the last one is used again, so that no
# other memory is touched and nothing branches.

def rows_at(builder, pointer, step, m, n):
    last, rows = builder.sub(m, INT(1)), []
    for i in range(n):
        there = builder.icmp_signed("<", INT(i), last)
        i = builder.select(there, INT(i), last)
        rows.append(builder.gep(pointer, [builder.mul(step, i)]))
    return rows

def pointers_of(n):
    """Make point(pointer, step, m): a tuple of pointers to n rows, of which m are there."""
    @instruction(lambda *args: twins.point(*args, n), lambda p, *_: types.UniTuple(p, n))
    def point(builder, pointer, step, m):
        # Hide where they come from: LLVM would compute the rows from one another, dependent
        # additions in every step of k.
        kind = ir.FunctionType(pointer.type, [pointer.type])
        rows = rows_at(builder, pointer, step, m, n)
        rows = [builder.asm(kind, "", "=r,0", [row], side_effect=False) for row in rows]
        return cgutils.pack_array(builder, rows)
    return point

def zeros_of(n):
    """Make zeros(pointer): a tuple of n vectors of zeros."""
    @instruction(lambda p: twins.zeros(p, n), lambda p: types.UniTuple(vector_of(p), n))
    def zeros(builder, pointer):
        return ir.ArrayType(vector_type(pointer.type.pointee), n)(None)
    return zeros

def unpacked(builder, tile, rows):
    """Return the vectors of a tile, pointers to its rows, and how many vectors a row has."""
    sums, rows = (cgutils.unpack_tuple(builder, x) for x in (tile, rows))
    return sums, rows, len(sums) // len(rows)

@instruction(twins.add_outer)
def add_outer(builder, tile, rows, k, b):
    """Return tile[row, vector] + rows[row][k] * b[vector]: a step of a matrix product."""
    sums, rows, width = unpacked(builder, tile, rows)
    count, new = sums[0].type.count, []
    row_b = [read(builder, b, INT(v * count)) for v in range(width)]
    for row in rows:
        number = builder.load(builder.gep(row, [k]))
        x = repeated(builder, number, count)
        new += [fused(builder, x, y, sums[len(new) + v]) for v, y in enumerate(row_b)]
    return cgutils.pack_array(builder, new)

@instruction(twins.put, nothing)
def put(builder, tile, rows, add):
    """Write a tile to its rows, or add it to what is there."""
    sums, rows, width = unpacked(builder, tile, rows)
    count = sums[0].type.count
    places = [(row, INT(v * count)) for row in rows for v in range(width)]
    with builder.if_else(builder.icmp_signed("!=", add, INT(0))) as (then, otherwise):
        with then:
            before = [read(builder, *place) for place in places]     # rows may be the same
            for x, y, place in zip(before, sums, places):
                write(builder, builder.fadd(x, y), *place)
        with otherwise:
            for y, place in zip(sums, places):
                write(builder, y, *place)

@instruction(twins.transpose, nothing)
def transpose(builder, m, source, lds, out, ldo):
    """out[i, j] = source[j, i] for a square as wide as a vector, of whose rows m are there.

    log2(n) rounds, each a perfect shuffle of the upper with the lower half of the rows.
    """
    n = vector_type(source.type.pointee).count
    rows = rows_at(builder, source, lds, m, n)
    rows = [read(builder, row, INT(0)) for row in rows]
    low = [i // 2 + n * (i % 2) for i in range(n)]
    high = [i + n // 2 for i in low]
    for _ in range(n.bit_length() - 1):
        pairs = list(zip(rows[:n // 2], rows[n // 2:]))
        rows = [shuffle(builder, x, y, half) for x, y in pairs for half in (low, high)]
    for i, row in enumerate(rows):
        write(builder, row, out, builder.mul(ldo, INT(i)))


# ---- numbers, and vectors of them ------------------------------------------------------------

def converted(builder, c, kind):
    """Return a constant as a float of a type, or as a vector of them."""
    number = getattr(kind, "element", kind)
    if isinstance(c.type, ir.IntType):
        c = builder.sitofp(c, number)
    elif c.type != number:
        c = builder.fptrunc(c, number) if number == FLOAT else builder.fpext(c, number)
    return c if number == kind else repeated(builder, c, kind.count)

def chosen(x, c32, c64):
    return c32 if getattr(x.type, "element", x.type) == FLOAT else c64

@instruction(twins.like)
def like(builder, x, c):
    """The constant c in the type of x; a bare literal would turn float32 into float64."""
    return converted(builder, c, x.type)

@instruction(twins.pick)
def pick(builder, x, c32, c64):
    """One of two constants, by the type of x."""
    return converted(builder, chosen(x, c32, c64), x.type)

@instruction(twins.polynomial)
def polynomial(builder, x, c32, c64):
    """c[0] + c[1] x + c[2] x**2 + ..., with the coefficients made for the type of x."""
    c = cgutils.unpack_tuple(builder, chosen(x, c32, c64))
    *c, y = [converted(builder, a, x.type) for a in c]
    for a in reversed(c):
        y = fused(builder, y, x, a)
    return y

def of_bits(twin, change):
    """Let change(builder, bits, whole, mantissa, bias) work on the bits of a float."""
    @instruction(twin)
    def changed(builder, x):
        integer, mantissa, bias = chosen(x, (I32, 23, 127), (INT, 52, 1023))
        def whole(c):
            count = getattr(x.type, "count", 0)
            return ir.VectorType(integer, count)([c] * count) if count else integer(c)
        bits = builder.bitcast(x, whole(0).type)
        return builder.bitcast(change(builder, bits, whole, mantissa, bias), x.type)
    return changed

# 2**n for a whole n, given n + shifter(x), whose low bits are the exponent of the result.
power_of_two = of_bits(twins.power_of_two, lambda builder, bits, whole, mantissa, bias:
                       builder.shl(bits, whole(mantissa)))
# The m of x = m 2**n with 1/2 <= m < 1, for a normal x > 0; and n + 2**mantissa + bias - 1.
significand = of_bits(twins.significand, lambda builder, bits, whole, mantissa, bias: builder.or_(
    builder.and_(bits, whole(2**mantissa - 1)), whole((bias - 1) << mantissa)))
exponent = of_bits(twins.exponent, lambda builder, bits, whole, mantissa, bias: builder.or_(
    builder.lshr(bits, whole(mantissa)), whole((bias + mantissa) << mantissa)))

@instruction(lambda: None, nothing)
def widest_vectors(builder):
    """Let the calling kernel use 512-bit registers, which LLVM avoids on its own on Intel.

    Worth it for arithmetic (exp: 0.30 ns an element, not 0.64); no difference elsewhere.
    """
    set.add(builder.function.attributes, '"prefer-vector-width"="512"')


# ---- threads ---------------------------------------------------------------------------------

@jit.intrinsic(twins.spread)
def spread(typing, function, n, arrays):
    """Call function(start, stop, *arrays) on every thread, with its share of range(n).

    The pool calls share(args, counts, steps, data) as it would the inner loop of a ufunc, for one
    number after the other (25 ns each): so it counts threads, not rows. One pretended array of
    bytes at address 0 makes args[0] the number of the thread.
    """
    signature = function.get_call_type(typing, (types.intp, types.intp, *arrays.types), {})
    compiled = function.dispatcher.overloads[tuple(signature.args)]

    def emit(context, builder, _, values):
        n_threads = call(builder, "get_num_threads", INT)
        data = cgutils.pack_struct(builder, [values[1], n_threads, values[2]])
        args = BYTES(None), n_threads, INT(1), data
        args = [cgutils.alloca_once_value(builder, x) for x in args]
        share = share_of(context, builder.module, compiled, signature, args[-1].type)
        context.active_code_library.add_linking_library(compiled.library)
        args = [builder.bitcast(p, BYTES) for p in (share, *args)]
        call(builder, "numba_parallel_for", VOID, *args, INT(0), INT(1), n_threads)
        return context.get_dummy_value()
    return types.void(function, n, arrays), emit

def share_of(context, module, compiled, signature, data):
    """Build the function that does the rows of some threads: k n / n_threads is where k begins."""
    words = INT.as_pointer()
    kind = ir.FunctionType(VOID, [BYTES.as_pointer(), words, words, BYTES])
    share = ir.Function(module, kind, module.get_unique_name("share"))
    share.linkage = "internal"
    builder = ir.IRBuilder(share.append_basic_block())
    packed = builder.load(builder.bitcast(share.args[3], data))
    n, n_threads, arrays = cgutils.unpack_tuple(builder, packed)
    first = builder.ptrtoint(builder.load(share.args[0]), INT)
    last = builder.add(first, builder.load(share.args[1]))
    rows = [builder.sdiv(builder.mul(k, n), n_threads) for k in (first, last)]
    callee = context.declare_function(module, compiled.fndesc)
    context.call_conv.call_function(builder, callee, types.none, signature.args,
                                    [*rows, *cgutils.unpack_tuple(builder, arrays)])
    builder.ret_void()
    return share
