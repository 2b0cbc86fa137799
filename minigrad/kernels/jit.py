"""Compile kernels: every option of Numba is chosen here.

A kernel that was compiled once is found in the cache by later processes.
"""
import functools
import gc
import sys
import threading

import numba
from numba import config, prange  # noqa: F401  (kernels import prange from here)
from numba.core import event
from numba.extending import intrinsic as numba_intrinsic

from minigrad.kernels.cache import Cache, cache_directory, cache_root
from minigrad.kernels.threads import enter_pool

# Reassociation lets LLVM vectorise sums. nnan and ninf are left out: masks are -inf.
FAST_MATH = {"reassoc", "contract", "arcp", "nsz"}
# For polynomials, whose order of operations is their accuracy.
EXACT_MATH = {"contract", "arcp", "nsz"}
COMPILED = not config.DISABLE_JIT  # False under NUMBA_DISABLE_JIT=1: kernels are plain Python


def kernel(function=None, *, parallel=False, inline=False, cache=True, fastmath=FAST_MATH):
    """Compile a loop over arrays that writes only to its `out*` and `d*` arguments.

    Parameters
    ----------
    parallel : bool
        Whether `prange` runs on several threads. Such a kernel is called from Python only.
    inline : bool
        Whether LLVM copies the body into each caller (for helpers of one element).
    cache : bool
        Whether to keep the machine code on disk.
    fastmath : set of str
        LLVM's fast-math flags: `FAST_MATH`, or `EXACT_MATH` without reassociation.
    """
    if function is None:
        return functools.partial(kernel, parallel=parallel, inline=inline, cache=cache,
                                 fastmath=fastmath)
    if not COMPILED:
        return function
    importable = function.__module__ in sys.modules       # Numba imports it to load what it kept
    directory = cache_directory(function.__code__.co_filename) if cache and importable else None
    dispatcher = numba.njit(function, nogil=True, error_model="numpy", fastmath=fastmath,
                            parallel=parallel, forceinline=inline,
                            no_cfunc_wrapper=True)    # up to a tenth of the time; none needs it
    if directory:
        dispatcher._cache = Cache(function, directory)
    return _launcher(dispatcher) if parallel else dispatcher


# For what only kernels call: it becomes part of their machine code, and needs none of its own.
helper = functools.partial(kernel, cache=False)


def intrinsic(plain):
    """Make a decorator like Numba's `intrinsic`; without compilation `plain` stands in for it."""
    return numba_intrinsic if COMPILED else lambda codegen: plain


def _launcher(dispatcher):
    """Wrap a parallel kernel so that it runs on `n_threads()` threads."""
    @functools.wraps(dispatcher.py_func)
    def launch(*args):
        enter_pool()
        return dispatcher(*args)
    launch.dispatcher = dispatcher
    return launch


# ---- the one call ----

recorder = None             # what is told of every call of `run` (minigrad.kernels.replay)


def run(function, *args):
    """Call a kernel, or a function of NumPy that writes into its arguments.

    All that a fast path does with the values of arrays goes through here: so a list of these
    calls can stand for it.
    """
    if recorder and not _own.calls:
        recorder(function, args)
    function(*args)


def run_as_one(function, *args):
    """Do `run` with a function that itself calls `run`, as often as the values of arrays say."""
    run(_with_its_calls, function, *args)


class _Own(threading.local):
    calls = False            # whether what runs is part of a call that the recorder was told of


_own = _Own()


def _with_its_calls(function, *args):
    _own.calls = True
    try:
        function(*args)
    finally:
        _own.calls = False


# ---- progress ----

class _Progress(event.Listener):
    """Say on stderr that kernels are being compiled, once per process (live on a terminal).

    Meanwhile nothing looks for garbage: a compiler makes millions of small objects, and keeps them.
    """

    said = depth = 0
    collects, often = False, ""

    def on_start(self, e):
        if not self._ours(e):
            return
        function = e.data["dispatcher"].py_func
        if not self.depth:
            self.collects, self.often = gc.isenabled(), how_often(function)
            gc.disable()
        self.depth += 1
        text = f"compiling kernels ({self.often})..."
        if sys.stderr.isatty():
            print(f"\r\x1b[K{text} {function.__name__}", end="", file=sys.stderr, flush=True)
        elif not self.said:
            print(text, file=sys.stderr, flush=True)
        self.said += 1

    def on_end(self, e):
        if self._ours(e):
            self.depth -= 1
            if not self.depth and self.collects:
                gc.enable()
            if not self.depth and sys.stderr.isatty():
                print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    @staticmethod
    def _ours(e):
        function = getattr(e.data["dispatcher"], "py_func", None)
        return str(getattr(function, "__module__", None)).startswith(("minigrad.", "gpt."))


def how_often(function):
    """Say when a kernel is compiled, and how it could be less often."""
    if cache_directory(function.__code__.co_filename):
        return "once per installation"
    return (f"at every start, as {cache_root()} cannot be written: name another folder in "
            "MINIGRAD_CACHE_DIR")


event.register("numba:compile", _Progress())
