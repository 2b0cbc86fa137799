"""Share the rows of a kernel among threads, without paying for a compiled parallel loop.

Numba's `prange` compiles a loop's body twice and analyses it for longer than LLVM takes to
compile it (0.6 to 10 s a kernel). A row kernel here is an ordinary serial function of a range of
rows; one intrinsic hands it to the entry point of the thread pool that `prange` itself calls.
It compiles in half the time or less, starts sooner (1.4 us, not 2.0), and small work takes the
same machine code on one thread.
"""
import ctypes
import functools
import os
import threading
import types as python_types
from contextlib import contextmanager

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.np.arrayobj import populate_array

from minigrad.kernels import jit, threads, vmath
from minigrad.kernels.memory import empty_like
from minigrad.kernels.vmath import widest_vectors

SMALL = 16_384            # elements of the first array below which one thread is faster


def row_kernel(function=None, *, fastmath=jit.FAST_MATH, small=SMALL):
    """Compile `function(start, stop, *arrays)`, to be called as `function(n, *arrays)`.

    Every n gives the same bits for any number of threads if the function treats each row of
    range(start, stop) by itself: a row is one thread's, and its arithmetic does not depend on
    where the range begins.

    Parameters
    ----------
    fastmath : set of str
        As in `kernel`.
    small : int
        Sizes of the first array below which the calling thread does all rows itself.
    """
    if function is None:
        return functools.partial(row_kernel, fastmath=fastmath, small=small)
    rows = jit.helper(function, fastmath=fastmath)
    driver = jit.kernel(_made_from(_driver, function, "driver", spread=spread, rows=rows),
                        fastmath=fastmath)

    @functools.wraps(function)
    def launch(n, *arrays):
        threads.enter_pool()
        jit.run(driver, threads.n_threads() > 1 and arrays[0].size >= small, n, *arrays)
    launch.driver = driver                                # for other kernels
    return launch


def _driver(threaded, n, *arrays):
    if threaded and n > 1:
        spread(rows, n, arrays)                           # noqa: F821  (set by row_kernel)
    else:
        call_rows(rows, n, arrays)                        # noqa: F821


def _made_from(template, function, suffix, **names):
    """Copy a template, with its free names filled in, to where `function` stands in the source.

    Numba caches by file, name and line. It does not cache closures, so the names are globals.
    """
    code = template.__code__.replace(co_filename=function.__code__.co_filename,
                                     co_firstlineno=function.__code__.co_firstlineno)
    name = f"{function.__qualname__}_{suffix}"
    made = python_types.FunctionType(code, {**globals(), **names}, name)
    made.__qualname__, made.__module__ = name, function.__module__
    return made


# ---- elementwise kernels ---------------------------------------------------------------------

BLOCK = 1024              # elements that make one row of an elementwise kernel


def element_kernel(function):
    """Compile `function(*elements) -> element`, to be called as `function(*arrays) -> array`.

    The arrays have one shape and dtype; the result is new.
    """
    template = (_map_1, _map_2, _map_3)[function.__code__.co_argcount - 1]
    body = _made_from(template, function, "map", element=vmath.scalar(function))
    kernel = row_kernel(body, fastmath=jit.EXACT_MATH)

    @functools.wraps(function)
    def launch(*arrays):
        out = empty_like(arrays[0])
        flat = [plain(x).reshape(-1) for x in (*arrays, out)]
        kernel(-(-out.size // BLOCK), *flat)
        return out
    launch.driver = kernel.driver
    return launch


def _map_1(start, stop, x, out):
    widest_vectors()
    x, out = x[start * BLOCK:stop * BLOCK], out[start * BLOCK:stop * BLOCK]
    for i in range(out.size):
        out[i] = element(x[i])                            # noqa: F821  (set by element_kernel)


def _map_2(start, stop, x, y, out):
    widest_vectors()
    x, y = x[start * BLOCK:stop * BLOCK], y[start * BLOCK:stop * BLOCK]
    out = out[start * BLOCK:stop * BLOCK]
    for i in range(out.size):
        out[i] = element(x[i], y[i])                      # noqa: F821


def _map_3(start, stop, x, y, z, out):
    widest_vectors()
    x, y = x[start * BLOCK:stop * BLOCK], y[start * BLOCK:stop * BLOCK]
    z, out = z[start * BLOCK:stop * BLOCK], out[start * BLOCK:stop * BLOCK]
    for i in range(out.size):
        out[i] = element(x[i], y[i], z[i])                # noqa: F821


# ---- threads ---------------------------------------------------------------------------------

@jit.intrinsic(lambda function, n, arrays: function(0, n, *arrays))
def spread(typing, function, n, arrays):
    """Call function(start, stop, *arrays) on every thread, with its share of range(n).

    The pool calls `share(args, dimensions, steps, data)` as it would the inner loop of a ufunc,
    for one number after the other (25 ns each): so it is given the threads to count, not the rows.
    One pretended array of bytes at address 0 makes args[0] the number of the thread, and data
    points to the packed arguments.
    """
    signature, compiled = compiled_rows(typing, function, arrays)

    def codegen(context, builder, _, values):
        word = context.get_value_type(types.intp)
        pointer = ir.IntType(8).as_pointer()
        n_threads = builder.call(cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(word, []), "get_num_threads"), [])
        packed = cgutils.alloca_once_value(builder, cgutils.pack_struct(
            builder, [values[1], n_threads, values[2]]))
        share = _share(context, builder.module, compiled, signature, packed.type)
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


@jit.intrinsic(lambda function, n, arrays: function(0, n, *arrays))
def call_rows(typing, function, n, arrays):
    """Call function(0, n, *arrays) on this thread: the same code as `spread` calls."""
    signature, compiled = compiled_rows(typing, function, arrays)

    def codegen(context, builder, _, values):
        callee = own_copy(context, builder.module, compiled)
        numbers = context.get_constant(types.intp, 0), values[1]
        context.call_conv.call_function(builder, callee, types.none, signature.args,
                                        [*numbers, *cgutils.unpack_tuple(builder, values[2])])
        return context.get_dummy_value()
    return types.void(function, n, arrays), codegen


def compiled_rows(typing, function, arrays):
    signature = function.get_call_type(typing, (types.intp, types.intp, *arrays.types), {})
    return signature, function.dispatcher.overloads[tuple(signature.args)]


def own_copy(context, module, compiled):
    """Declare a compiled function as it will be linked into this module, under a name of its own.

    Linked code is optimized once more. Numba's linker would take the earlier code of that name in
    the process where both are, and this one where it comes from the cache: they may round
    differently.
    """
    linked, suffix = compiled.library._get_module_for_linking(), ".copy"
    if not any(f.name.endswith(suffix) for f in linked.functions):
        for f in linked.functions:
            if not f.is_declaration:
                f.name += suffix
    context.active_code_library.add_linking_library(compiled.library)
    kind = context.call_conv.get_function_type(compiled.fndesc.restype, compiled.fndesc.argtypes)
    callee = cgutils.get_or_insert_function(module, kind,
                                            compiled.fndesc.llvm_func_name + suffix)
    context.call_conv.decorate_function(callee, compiled.fndesc.args, compiled.fndesc.argtypes,
                                        noalias=compiled.fndesc.noalias)
    return callee


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
    callee = own_copy(context, module, compiled)
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


# ---- what a fast body does before it calls its kernel ----------------------------------------

class Few(threading.local):
    """From how many elements on kernels run, in one thread."""

    least = max(1, int(os.environ.get("MINIGRAD_FEW", 256)))


few = Few()


def worth_it(n):
    """Whether n elements are enough: below 256 NumPy is as good, and worth no compilation."""
    return n >= few.least


@contextmanager
def kernels_from(n):
    """Let kernels run from n elements on, as tests of them wish: `with kernels_from(1):`."""
    before, few.least = few.least, n
    try:
        yield
    finally:
        few.least = before


def is_float(dtype):
    """Whether kernels are compiled for a dtype: float32 or float64, in the machine's byte order."""
    return dtype.char in "fd" and dtype.isnative


def fits(x, *others):
    """Whether to run a kernel: arrays of one shape and float type, neither small nor empty."""
    if type(x) is not np.ndarray or x.size < few.least or not is_float(x.dtype):
        return False
    for y in others:
        if type(y) is not np.ndarray or y.shape != x.shape or y.dtype != x.dtype:
            return False
    return True


def first_fits(x, *_, **__):
    """`fits` for the first argument; whoever uses it looks at no other."""
    return fits(x)


def plain(x):
    """Return x, or a copy if x is not contiguous, aligned and writable: kernels take no other.

    (Each other kind of array would be compiled once more.)
    """
    if x.flags.carray:
        return x
    copy = empty_like(x)
    jit.run(np.copyto, copy, x)
    return copy
