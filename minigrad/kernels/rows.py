"""Share the rows of a kernel among threads, without paying for a compiled parallel loop.

Numba's `prange` compiles a loop's body twice and analyses it for longer than LLVM takes to
compile it (0.6 to 10 s a kernel). A row kernel here is an ordinary serial function of a range of
rows; one intrinsic hands it to the entry point of the thread pool that `prange` itself calls.
It compiles in half the time or less, starts sooner (1.4 us, not 2.0), and small work takes the
same machine code on one thread.
"""
import functools
import os
import threading
import types as python_types
from contextlib import contextmanager

import numpy as np

from minigrad.kernels import jit, threads, vmath
from minigrad.kernels.llvm import widest_vectors
from minigrad.kernels.memory import empty_like
from minigrad.kernels.spread import call_rows, spread

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
    driver = made_from(_driver, "driver", function, rows=rows)
    driver = jit.kernel(driver, fastmath=fastmath)

    @functools.wraps(function)
    def launch(n, *arrays):
        threads.enter_pool()
        threaded = threads.n_threads() > 1 and arrays[0].size >= small
        jit.run(driver, threaded, n, *arrays)
    launch.driver = driver                                # for other kernels
    return launch


def _driver(threaded, n, *arrays):
    if threaded and n > 1:
        spread(rows, n, arrays)                           # noqa: F821  (set by row_kernel)
    else:
        call_rows(rows, n, arrays)                        # noqa: F821


def made_from(template, suffix, function=None, **names):
    """Copy a template, with its free names filled in, to where `function` stands in the source.

    Without one it stays where it is. Numba caches by file, name and line. It does not cache
    closures, so the names are globals.
    """
    function = function or template
    code = template.__code__.replace(co_filename=function.__code__.co_filename,
                                     co_firstlineno=function.__code__.co_firstlineno)
    name = f"{function.__qualname__}_{suffix}"
    made = python_types.FunctionType(code, {**template.__globals__, **names}, name)
    made.__qualname__, made.__module__ = name, function.__module__
    return made


# ---- elementwise kernels ---------------------------------------------------------------------

BLOCK = 1024              # elements that make one row of an elementwise kernel


def element_kernel(function):
    """Compile `function(*elements) -> element`, to be called as `function(*arrays) -> array`.

    The arrays have one shape and dtype; the result is new.
    """
    template = (_map_1, _map_2, _map_3)[function.__code__.co_argcount - 1]
    body = made_from(template, "map", function, element=vmath.scalar(function))
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
    first, end = start * BLOCK, stop * BLOCK
    x, out = x[first:end], out[first:end]
    for i in range(out.size):
        out[i] = element(x[i])                            # noqa: F821  (set by element_kernel)


def _map_2(start, stop, x, y, out):
    widest_vectors()
    first, end = start * BLOCK, stop * BLOCK
    x, y, out = x[first:end], y[first:end], out[first:end]
    for i in range(out.size):
        out[i] = element(x[i], y[i])                      # noqa: F821


def _map_3(start, stop, x, y, z, out):
    widest_vectors()
    first, end = start * BLOCK, stop * BLOCK
    x, y = x[first:end], y[first:end]
    z, out = z[first:end], out[first:end]
    for i in range(out.size):
        out[i] = element(x[i], y[i], z[i])                # noqa: F821


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
