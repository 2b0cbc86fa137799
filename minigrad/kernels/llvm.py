"""All that is written in LLVM's own instructions, so that other kernels are loops and arithmetic.

Numba has numbers and arrays. Here it learns pointers (`at`), vectors (a `Vector` is a register
full of numbers: `load` fills one, + - * / < > == work on it, `store` writes it), tiles (a tuple of
vectors, row by row), a few instructions on numbers, and how to call a function on every thread.

Each instruction has a plain twin that runs under NUMBA_DISABLE_JIT=1: there a vector is an array,
and a pointer a view of one element. Pointers are not checked.
"""
import ctypes
import inspect
import operator
import platform

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model
from numba.np.arrayobj import populate_array

from minigrad.kernels import cache, jit

VECTOR_BYTES = cache.vector_bytes()
# AVX-512 and Arm have 32 vector registers, AVX2 and SSE 16.
REGISTERS = 32 if VECTOR_BYTES == 64 or platform.machine() in ("arm64", "aarch64") else 16
INT, I32, BYTES = ir.IntType(64), ir.IntType(32), ir.IntType(8).as_pointer()


def lanes(dtype):
    """Return how many numbers of a dtype one vector register holds."""
    return VECTOR_BYTES // np.dtype(dtype).itemsize


def instruction(plain, result=lambda first, *_: first):
    """Let kernels call build(builder, *values); without a compiler they call `plain`.

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
        return jit.intrinsic(plain)(typed)
    return decorate


def nothing(*kinds):
    return types.void


def call(builder, name, result, *args, flags=()):
    """Call one of LLVM's own functions."""
    kind = ir.FunctionType(result, [x.type for x in args])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}")
    return builder.call(function, args, fastmath=flags)


# ---- pointers --------------------------------------------------------------------------------

def plain_at(x, n):
    step = x.itemsize if n >= 0 else -x.itemsize
    return np.lib.stride_tricks.as_strided(x, (abs(n) + 1,), (step,))[-1:]


@jit.intrinsic(plain_at)
def at(typing, x, n):
    """Point to element n of an array, or n elements beyond a pointer."""
    def emit(context, builder, signature, args):
        first, n = args
        if isinstance(signature.args[0], types.Array):
            first = context.make_array(signature.args[0])(context, builder, first).data
        return builder.gep(first, [n])
    return types.CPointer(x.dtype)(x, types.intp), emit


def view(pointer, *shape, steps=(1,)):
    """View memory from a plain pointer on, with strides in elements."""
    strides = [s * pointer.itemsize for s in steps]
    return np.lib.stride_tricks.as_strided(pointer, shape, strides)


def plain_copy(target, source, n):
    view(target, n)[:] = view(source, n)


@instruction(plain_copy, nothing)
def copy(builder, target, source, n):
    """Copy n elements; where n is a constant, through registers."""
    cgutils.raw_memcpy(builder, target, source, n, bytes_of(target.type.pointee))


def prefetch_of(n, write, level):
    """Make prefetch(pointer): ask the memory for n vectors that will soon be read, or written."""
    @instruction(lambda pointer: None, nothing)
    def prefetch(builder, pointer):
        hints = [I32(x) for x in (write, level, 1)]
        for v in range(n):
            place = builder.gep(pointer, [INT(v * lanes_of(pointer.type.pointee))])
            place = builder.bitcast(place, BYTES)
            call(builder, "prefetch.p0i8", ir.VoidType(), place, *hints)
    return prefetch


# ---- vectors ---------------------------------------------------------------------------------

class Vector(types.Type):
    """As many numbers as a register holds, or a mask: as many truths about them."""

    def __init__(self, dtype, count):
        super().__init__(f"Vector({dtype}, {count})")
        self.dtype, self.count = dtype, count


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    """How a Vector is kept: as LLVM's own."""

    def __init__(self, manager, kind):
        number = manager.lookup(kind.dtype).get_value_type()
        super().__init__(manager, kind, ir.VectorType(number, kind.count))


def vector_of(kind, *_):
    """Return the Vector of a number, or of what a pointer points to."""
    number = getattr(kind, "dtype", kind)
    return Vector(number, 8 * VECTOR_BYTES // number.bitwidth)


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
register(operator.gt, mask_of, ir.IRBuilder.fcmp_ordered, ">")
register(operator.eq, mask_of, ir.IRBuilder.fcmp_ordered, "==")


def bytes_of(number):
    """Return the size of one of LLVM's two types of floats."""
    return 4 if number == ir.FloatType() else 8


def lanes_of(number):
    return VECTOR_BYTES // bytes_of(number)


def name_of(kind):
    """Return how the names of LLVM's functions call a type of floats, or of vectors."""
    if isinstance(kind, ir.VectorType):
        return f"v{kind.count}{name_of(kind.element)}"
    return f"f{8 * bytes_of(kind)}"


def vector_at(builder, pointer, n):
    number = pointer.type.pointee
    vector = ir.VectorType(number, lanes_of(number))
    return builder.bitcast(builder.gep(pointer, [n]), vector.as_pointer())


def read(builder, pointer, n):
    """Read the vector that begins n elements beyond a pointer."""
    x = builder.load(vector_at(builder, pointer, n))
    x.align = bytes_of(pointer.type.pointee)
    return x


def write(builder, x, pointer, n):
    """Write a vector to where it begins n elements beyond a pointer."""
    place = vector_at(builder, pointer, n)
    builder.store(x, place).align = bytes_of(x.type.element)


def read_some(builder, pointer, n, mask, default):
    """Read the first numbers of a vector, as many as a mask tells; the others are the default."""
    name, size = name_of(default.type), I32(bytes_of(default.type.element))
    place = vector_at(builder, pointer, n)
    return call(builder, f"masked.load.{name}.p0{name}", default.type, place, size, mask, default)


def write_some(builder, x, pointer, n, mask):
    """Write the first numbers of a vector, as many as a mask tells."""
    name, size = name_of(x.type), I32(bytes_of(x.type.element))
    place = vector_at(builder, pointer, n)
    call(builder, f"masked.store.{name}.p0{name}", ir.VoidType(), x, place, size, mask)


def plain_read(pointer, n):
    return view(plain_at(pointer, n), lanes(pointer.dtype)).copy()


def plain_read_some(pointer, n, mask, default):
    there = view(plain_at(pointer, n), np.count_nonzero(mask))
    return np.append(there, default[len(there):])


def plain_write(x, pointer, n, mask=...):
    x = x[mask]
    view(plain_at(pointer, n), x.size)[:] = x


load, load_some = (instruction(plain, vector_of)(build) for plain, build in
                   ((plain_read, read), (plain_read_some, read_some)))
store, store_some = (instruction(plain_write, nothing)(build) for build in (write, write_some))


def fused(builder, x, y, z):
    """x y + z, rounded once where the processor can."""
    if not isinstance(x.type, ir.VectorType):
        product = builder.fmul(x, y, flags=("contract",))
        return builder.fadd(product, z, flags=("contract",))
    return call(builder, f"fmuladd.{name_of(x.type)}", x.type, x, y, z)


multiply_add = instruction(lambda x, y, z: x * y + z)(fused)


def shuffle(builder, x, y, places):
    return builder.shuffle_vector(x, y, ir.VectorType(I32, len(places))(places))


def repeated(builder, x, count):
    first = builder.insert_element(ir.VectorType(x.type, count)(ir.Undefined), x, I32(0))
    return shuffle(builder, first, first, [0] * count)


@instruction(lambda x: np.full(lanes(x.dtype), x), vector_of)
def splat(builder, x):
    """A vector of one number."""
    return repeated(builder, x, lanes_of(x.type))


def lanes_that(plain, test):
    """Make mask(n, x): which places in a vector like x are before n, or from n on."""
    @instruction(lambda n, x: plain(np.arange(x.size), n), lambda n, x: mask_of(x))
    def mask(builder, n, x):
        count = x.type.count
        places = ir.VectorType(INT, count)([*range(count)])
        return builder.icmp_signed(test, places, repeated(builder, n, count))
    return mask


lanes_before, lanes_from = lanes_that(operator.lt, "<"), lanes_that(operator.ge, ">=")


@instruction(np.size, lambda x: types.intp)
def size(builder, x):
    """How many numbers a vector holds."""
    return INT(x.type.count)


@instruction(np.where, lambda mask, x, y: x)
def where(builder, mask, x, y):
    """The numbers of x where a mask is true, of y elsewhere."""
    return builder.select(mask, x, y)


@instruction(np.max, lambda x: x.dtype)
def largest(builder, x):
    """The largest number of a vector without NaN."""
    name = f"vector.reduce.fmax.{name_of(x.type)}"
    return call(builder, name, x.type.element, x, flags=("nnan",))


@instruction(np.sum, lambda x: x.dtype)
def total(builder, x):
    """The sum of a vector, in any order."""
    name, number = f"vector.reduce.fadd.{name_of(x.type)}", x.type.element
    return call(builder, name, number, number(0.0), x, flags=("reassoc",))


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


def hidden(builder, pointer):
    """Hide where a pointer comes from.

    LLVM would compute the rows of A from one another, dependent additions in every step of k.
    """
    kind = ir.FunctionType(pointer.type, [pointer.type])
    return builder.asm(kind, "", "=r,0", [pointer], side_effect=False)


def pointers_of(n):
    """Make point(pointer, step, m): a tuple of pointers to n rows, of which m are there."""
    @instruction(lambda pointer, step, m: tuple(plain_at(pointer, min(i, m - 1) * step)
                                                for i in range(n)),
                 lambda pointer, *_: types.UniTuple(pointer, n))
    def point(builder, pointer, step, m):
        rows = rows_at(builder, pointer, step, m, n)
        return cgutils.pack_array(builder, [hidden(builder, row) for row in rows])
    return point


def zeros_of(n):
    """Make zeros(pointer): a tuple of n vectors of zeros."""
    @instruction(lambda pointer: (np.zeros(lanes(pointer.dtype), pointer.dtype),) * n,
                 lambda pointer: types.UniTuple(vector_of(pointer), n))
    def zeros(builder, pointer):
        number = pointer.type.pointee
        return ir.ArrayType(ir.VectorType(number, lanes_of(number)), n)(None)
    return zeros


def plain_outer(tile, rows, k, b):
    row_b = view(b, len(tile) // len(rows), tile[0].size, steps=(tile[0].size, 1))
    new = (plain_at(x, k) * y for x in rows for y in row_b)
    return tuple(map(np.add, tile, new))


@instruction(plain_outer)
def add_outer(builder, tile, rows, k, b):
    """Return tile[row, vector] + rows[row][k] * b[vector]: a step of a matrix product."""
    sums, rows = (cgutils.unpack_tuple(builder, x) for x in (tile, rows))
    kind, width = sums[0].type, len(sums) // len(rows)
    row_b = [read(builder, b, INT(v * kind.count)) for v in range(width)]
    new = []
    for row in rows:
        x = repeated(builder, builder.load(builder.gep(row, [k])), kind.count)
        new += [fused(builder, x, y, sums[len(new) + v])
                for v, y in enumerate(row_b)]
    return cgutils.pack_array(builder, new)


def plain_put(tile, rows, add):
    width = len(tile) // len(rows)
    before = [plain_read(row, v * tile[0].size) for row in rows for v in range(width)]
    for i, (x, y) in enumerate(zip(before, tile)):
        plain_write(x + y if add else y, rows[i // width], i % width * y.size)


@instruction(plain_put, nothing)
def put(builder, tile, rows, add):
    """Write a tile to its rows, or add it to what is there."""
    sums, rows = (cgutils.unpack_tuple(builder, x) for x in (tile, rows))
    width, count = len(sums) // len(rows), sums[0].type.count
    places = [(row, INT(v * count)) for row in rows for v in range(width)]
    with builder.if_else(builder.icmp_signed("!=", add, INT(0))) as (then, otherwise):
        with then:
            before = [read(builder, *place) for place in places]    # rows may be the same
            for x, y, place in zip(before, sums, places):
                write(builder, builder.fadd(x, y), *place)
        with otherwise:
            for y, place in zip(sums, places):
                write(builder, y, *place)


def plain_transpose(m, source, lds, out, ldo):
    n = lanes(out.dtype)
    rows = np.minimum(np.arange(n), m - 1)
    view(out, n, n, steps=(ldo, 1))[:] = view(source, m, n, steps=(lds, 1))[rows].T


@instruction(plain_transpose, nothing)
def transpose(builder, m, source, lds, out, ldo):
    """out[i, j] = source[j, i] for a square as wide as a vector, of whose rows m are there.

    log2(n) rounds, each a perfect shuffle of the upper with the lower half of the rows.
    """
    n = lanes_of(source.type.pointee)
    rows = [read(builder, row, INT(0)) for row in rows_at(builder, source, lds, m, n)]
    low = [i // 2 + n * (i % 2) for i in range(n)]
    high = [i + n // 2 for i in low]
    for _ in range(n.bit_length() - 1):
        pairs = list(zip(rows[:n // 2], rows[n // 2:]))
        rows = [shuffle(builder, x, y, half) for x, y in pairs for half in (low, high)]
    for i, row in enumerate(rows):
        write(builder, row, out, builder.mul(ldo, INT(i)))


# ---- numbers ---------------------------------------------------------------------------------

def layout_of(kind):
    """Return (integer type, bits of the mantissa, bias of the exponent) of a float, or a vector."""
    number = getattr(kind, "element", kind)
    integer, mantissa, bias = (I32, 23, 127) if number == ir.FloatType() else (INT, 52, 1023)
    return (ir.VectorType(integer, kind.count) if number != kind else integer), mantissa, bias


def constant(context, builder, value, kind, target):
    """Return a number as one of another type, or as a vector of them."""
    number = getattr(target, "dtype", target)
    x = context.cast(builder, value, kind, number)
    return x if number == target else repeated(builder, x, target.count)


def plain_like(x, c):
    return np.result_type(x).type(c)


@jit.intrinsic(plain_like)
def like(typing, x, c):
    """The constant c in the type of x; a bare literal would turn float32 into float64."""
    def emit(context, builder, signature, args):
        return constant(context, builder, args[1], c, x)
    return x(x, c), emit


def plain_pick(x, c32, c64):
    return plain_like(x, c32 if np.result_type(x) == np.float32 else c64)


@jit.intrinsic(plain_pick)
def pick(typing, x, c32, c64):
    """One of two constants, by the type of x."""
    which = 1 if getattr(x, "dtype", x) == types.float32 else 2

    def emit(context, builder, signature, args):
        return constant(context, builder, args[which], signature.args[which], x)
    return x(x, c32, c64), emit


def plain_polynomial(x, c32, c64):
    *rest, sum = c32 if np.result_type(x) == np.float32 else c64
    for a in reversed(rest):
        sum = sum * x + plain_like(x, a)
    return sum


@jit.intrinsic(plain_polynomial)
def polynomial(typing, x, c32, c64):
    """c[0] + c[1] x + c[2] x**2 + ..., with the coefficients made for the type of x."""
    which, table = (1, c32) if getattr(x, "dtype", x) == types.float32 else (2, c64)

    def emit(context, builder, signature, args):
        numbers = cgutils.unpack_tuple(builder, args[which])
        c = [constant(context, builder, v, kind, x) for v, kind in zip(numbers, table)]
        sum = c[-1]
        for a in c[-2::-1]:
            sum = fused(builder, sum, args[0], a)
        return sum
    return x(x, c32, c64), emit


@instruction(max)
def maximum(builder, x, y):
    """The larger of x and y as one instruction, so that a running maximum vectorises.

    NaN must not occur here. (`max`, `if` and `np.max` stay scalar: 1.2 ns an element, not 0.2.)
    """
    name = f"maxnum.f{8 * bytes_of(x.type)}"
    return call(builder, name, x.type, x, y, flags=("nnan", "nsz"))


def plain_power_of_two(x):
    size, mantissa = (4, 23) if np.result_type(x) == np.float32 else (8, 52)
    return (np.asarray(x).view(f"i{size}") << mantissa).view(f"f{size}")[()]


@instruction(plain_power_of_two)
def power_of_two(builder, x):
    """2**n for a whole n, given n + shifter(x), whose low bits are the exponent of the result."""
    integer, mantissa, _ = layout_of(x.type)
    bits = builder.bitcast(x, integer)
    shift = integer([mantissa] * x.type.count) if hasattr(integer, "count") else integer(mantissa)
    return builder.bitcast(builder.shl(bits, shift), x.type)


@instruction(lambda x: type(x)(np.frexp(x)[1]))
def exponent(builder, x):
    """The n of x = m 2**n with 1/2 <= m < 1, for a normal x > 0."""
    integer, mantissa, bias = layout_of(x.type)
    magic = x.type(2.0**mantissa)                                  # int to float without a cast
    high = builder.lshr(builder.bitcast(x, integer), integer(mantissa))
    n = builder.or_(high, builder.bitcast(magic, integer))
    return builder.fsub(builder.bitcast(n, x.type), x.type(2.0**mantissa + bias - 1))


@instruction(lambda x: np.frexp(x)[0])
def significand(builder, x):
    """The m of x = m 2**n with 1/2 <= m < 1, for a normal x > 0."""
    integer, mantissa, bias = layout_of(x.type)
    digits = builder.and_(builder.bitcast(x, integer), integer(2**mantissa - 1))
    half = integer((bias - 1) << mantissa)
    return builder.bitcast(builder.or_(digits, half), x.type)


@jit.intrinsic(lambda: None)
def widest_vectors(typing):
    """Let the calling kernel use 512-bit registers, which LLVM avoids on its own on Intel.

    Worth it for arithmetic (exp: 0.30 ns an element, not 0.64); no difference elsewhere.
    """
    def emit(context, builder, signature, args):
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()
    return types.void(), emit


# ---- threads ---------------------------------------------------------------------------------

@jit.intrinsic(lambda function, n, arrays: function(0, n, *arrays))
def spread(typing, function, n, arrays):
    """Call function(start, stop, *arrays) on every thread, with its share of range(n).

    The pool calls `share(args, dimensions, steps, data)` as it would the inner loop of a ufunc,
    for one number after the other (25 ns each): so it is given the threads to count, not the rows.
    One pretended array of bytes at address 0 makes args[0] the number of the thread, and data
    points to the packed arguments.
    """
    signature = function.get_call_type(typing, (types.intp, types.intp, *arrays.types), {})
    compiled = function.dispatcher.overloads[tuple(signature.args)]

    def codegen(context, builder, _, values):
        word = context.get_value_type(types.intp)
        pointer = ir.IntType(8).as_pointer()
        n_threads = builder.call(cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(word, []), "get_num_threads"), [])
        packed = cgutils.alloca_once_value(builder, cgutils.pack_struct(
            builder, [values[1], n_threads, values[2]]))
        share = _share(context, builder.module, compiled, signature, packed.type)
        context.active_code_library.add_linking_library(compiled.library)
        first = cgutils.alloca_once_value(builder, ir.Constant(pointer, None))
        count = cgutils.alloca_once_value(builder, n_threads)
        step = cgutils.alloca_once_value(builder, ir.Constant(word, 1))
        parallel_for = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [pointer] * 5 + [word] * 3),
            "numba_parallel_for")
        addresses = [builder.bitcast(p, pointer) for p in (share, first, count, step, packed)]
        builder.call(parallel_for, [*addresses, ir.Constant(word, 0), ir.Constant(word, 1),
                                    n_threads])
        return context.get_dummy_value()
    return types.void(function, n, arrays), codegen


def _share(context, module, compiled, signature, packed):
    """Build the function that does the rows of some threads: k n / n_threads is where k begins."""
    word = context.get_value_type(types.intp)
    pointer = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [pointer.as_pointer(), word.as_pointer(),
                                           word.as_pointer(), pointer])
    share = ir.Function(module, kind, module.get_unique_name("share"))
    share.linkage = "internal"
    builder = ir.IRBuilder(share.append_basic_block())
    n, n_threads, arrays = cgutils.unpack_tuple(
        builder, builder.load(builder.bitcast(share.args[3], packed)))
    first = builder.ptrtoint(builder.load(share.args[0]), word)
    last = builder.add(first, builder.load(share.args[1]))
    start, stop = (builder.sdiv(builder.mul(k, n), n_threads) for k in (first, last))
    callee = context.declare_function(module, compiled.fndesc)
    context.call_conv.call_function(builder, callee, types.none, signature.args,
                                    [start, stop, *cgutils.unpack_tuple(builder, arrays)])
    builder.ret_void()
    return share


# ---- memory by its address -------------------------------------------------------------------

def _plain_array_at(address, n, like):
    memory = (ctypes.c_char * int(n * like.itemsize)).from_address(int(address))
    return np.frombuffer(memory, like.dtype)


@jit.intrinsic(_plain_array_at)
def array_at(typing, address, n, like):
    """View n elements at an address as an array of the type of `like`; nothing keeps it alive."""
    def codegen(context, builder, signature, args):
        kind = signature.return_type
        array = context.make_array(kind)(context, builder)
        size = context.get_constant(types.intp, context.get_abi_sizeof(
            context.get_data_type(kind.dtype)))
        populate_array(array, data=builder.inttoptr(args[0], array.data.type), shape=[args[1]],
                       strides=[size], itemsize=size, meminfo=None)
        return array._getvalue()
    return types.Array(like.dtype, 1, "C")(address, n, like), codegen
