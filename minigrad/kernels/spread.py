"""Call a function of a range of rows: on this thread, or on every thread of `prange`'s pool."""
from llvmlite import ir
from numba import types
from numba.core import cgutils

from minigrad.kernels import jit, twins
from minigrad.kernels.llvm import BYTES, INT, VOID, call


@jit.intrinsic(twins.spread)
def spread(typing, function, n, arrays):
    """Call function(start, stop, *arrays) on every thread, with its share of range(n).

    The pool calls share(args, counts, steps, data) as it would the inner loop of a ufunc, for one
    number after the other (25 ns each): so it counts threads, not rows. One pretended array of
    bytes at address 0 makes args[0] the number of the thread.
    """
    signature, compiled = compiled_rows(typing, function, arrays)

    def emit(context, builder, _, values):
        n_threads = call(builder, "get_num_threads", INT)
        _, n, arrays = values
        data = cgutils.pack_struct(builder, [n, n_threads, arrays])
        args = BYTES(None), n_threads, INT(1), data
        args = [cgutils.alloca_once_value(builder, x) for x in args]
        share = share_of(context, builder.module, compiled, signature, args[-1].type)
        addresses = [builder.bitcast(x, BYTES) for x in (share, *args)]
        loop = INT(0), INT(1), n_threads
        call(builder, "numba_parallel_for", VOID, *addresses, *loop)
        return context.get_dummy_value()
    return types.void(function, n, arrays), emit


@jit.intrinsic(twins.spread)
def call_rows(typing, function, n, arrays):
    """Call function(0, n, *arrays) on this thread: the same code as `spread` calls."""
    signature, compiled = compiled_rows(typing, function, arrays)

    def emit(context, builder, _, values):
        _, n, arrays = values
        call_copy(context, builder, compiled, signature, INT(0), n, arrays)
        return context.get_dummy_value()
    return types.void(function, n, arrays), emit


def compiled_rows(typing, function, arrays):
    """Return a function's signature and its compiled code, for these kinds of arrays."""
    kinds = types.intp, types.intp, *arrays.types
    signature = function.get_call_type(typing, kinds, {})
    return signature, function.dispatcher.overloads[tuple(signature.args)]


def share_of(context, module, compiled, signature, data):
    """Build the function that does the rows of some threads: k n / n_threads is where k begins."""
    words, addresses = INT.as_pointer(), BYTES.as_pointer()
    kind = ir.FunctionType(VOID, [addresses, words, words, BYTES])
    share = ir.Function(module, kind, module.get_unique_name("share"))
    share.linkage = "internal"
    builder = ir.IRBuilder(share.append_basic_block())
    packed = builder.load(builder.bitcast(share.args[3], data))
    n, n_threads, arrays = cgutils.unpack_tuple(builder, packed)
    address, count = builder.load(share.args[0]), builder.load(share.args[1])
    first = builder.ptrtoint(address, INT)
    last = builder.add(first, count)
    start = builder.sdiv(builder.mul(first, n), n_threads)
    stop = builder.sdiv(builder.mul(last, n), n_threads)
    call_copy(context, builder, compiled, signature, start, stop, arrays)
    builder.ret_void()
    return share


# ---- one machine code, whoever calls it ------------------------------------------------------

def call_copy(context, builder, compiled, signature, start, stop, arrays):
    """Call the copy of a compiled function that belongs to this module."""
    callee = own_copy(context, builder.module, compiled)
    args = start, stop, *cgutils.unpack_tuple(builder, arrays)
    context.call_conv.call_function(builder, callee, types.none, signature.args, args)


def own_copy(context, module, compiled):
    """Declare a compiled function as it will be linked into this module, under a name of its own.

    Linked code is optimized once more. Numba's linker would take the earlier code of that name in
    the process where both are, and this one where it comes from the cache: they may round
    differently.
    """
    suffix = ".copy"
    functions = [*compiled.library._get_module_for_linking().functions]
    if not any(f.name.endswith(suffix) for f in functions):
        for f in functions:
            if not f.is_declaration:
                f.name += suffix
    context.active_code_library.add_linking_library(compiled.library)
    described, convention = compiled.fndesc, context.call_conv
    kind = convention.get_function_type(described.restype, described.argtypes)
    name = described.llvm_func_name + suffix
    callee = cgutils.get_or_insert_function(module, kind, name)
    convention.decorate_function(callee, described.args, described.argtypes,
                                 noalias=described.noalias)
    return callee
