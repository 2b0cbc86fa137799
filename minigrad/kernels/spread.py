"""Call one function on every thread of the pool that Numba's `prange` uses."""
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
    kinds = types.intp, types.intp, *arrays.types
    signature = function.get_call_type(typing, kinds, {})
    compiled = function.dispatcher.overloads[tuple(signature.args)]

    def emit(context, builder, _, values):
        n_threads = call(builder, "get_num_threads", INT)
        data = cgutils.pack_struct(builder, [values[1], n_threads, values[2]])
        args = BYTES(None), n_threads, INT(1), data
        args = [cgutils.alloca_once_value(builder, x) for x in args]
        share = share_of(context, builder.module, compiled, signature, args[-1].type)
        context.active_code_library.add_linking_library(compiled.library)
        args = [builder.bitcast(x, BYTES) for x in (share, *args)]
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
    products = [builder.mul(k, n) for k in (first, last)]
    args = [builder.sdiv(x, n_threads) for x in products]          # start and stop
    args += cgutils.unpack_tuple(builder, arrays)
    callee = context.declare_function(module, compiled.fndesc)
    context.call_conv.call_function(builder, callee, types.none, signature.args, args)
    builder.ret_void()
    return share
