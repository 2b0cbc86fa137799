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
        _, n, arrays = values
        data = cgutils.pack_struct(builder, [n, n_threads, arrays])
        args = BYTES(None), n_threads, INT(1), data
        args = [cgutils.alloca_once_value(builder, x) for x in args]
        kind = args[-1].type
        share = share_of(context, builder.module, compiled, signature, kind)
        context.active_code_library.add_linking_library(compiled.library)
        addresses = share, *args
        addresses = [builder.bitcast(x, BYTES) for x in addresses]
        loop = INT(0), INT(1), n_threads
        call(builder, "numba_parallel_for", VOID, *addresses, *loop)
        return context.get_dummy_value()
    return types.void(function, n, arrays), emit


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
    args = start, stop, *cgutils.unpack_tuple(builder, arrays)
    callee = context.declare_function(module, compiled.fndesc)
    convention = context.call_conv
    convention.call_function(builder, callee, types.none, signature.args, args)
    builder.ret_void()
    return share
