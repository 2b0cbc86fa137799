"""Choose Numba's options, the threads and the cache directory; every kernel is made here.

Numba's own cache notices neither a change in another file nor a changed option. So the compiled
kernels of a source file live in a directory whose name is a hash of that file, of every file of
this package that it imports, of the options and of the machine: nothing in it can be stale.
"""
import functools
import gc
import hashlib
import os
import platform
import re
import shutil
import sys
import threading
import time
from pathlib import Path

import llvmlite
import numba
import numpy as np
from numba import config, prange  # noqa: F401  (kernels import prange from here)
from numba.core import event
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic as numba_intrinsic

__all__ = ["kernel", "helper", "intrinsic", "prange", "run", "enter_pool", "set_threads", "threads",
           "threading_layer", "vector_bytes", "cpu_features", "FAST_MATH", "EXACT_MATH", "COMPILED"]

# Reassociation lets LLVM vectorise sums. nnan and ninf are left out: masks are -inf.
FAST_MATH = {"reassoc", "contract", "arcp", "nsz"}
# For polynomials, whose order of operations is their accuracy.
EXACT_MATH = {"contract", "arcp", "nsz"}
COMPILED = not config.DISABLE_JIT  # False under NUMBA_DISABLE_JIT=1: kernels are plain Python

# omp starts a region in 2 us, workqueue in 23; the first that can be loaded is used.
LAYERS = ["omp", "tbb", "workqueue"]
if "NUMBA_THREADING_LAYER_PRIORITY" not in os.environ:
    config.THREADING_LAYER_PRIORITY = LAYERS
# Between two kernels a thread of GNU OpenMP looks for work this often, some 2 ms, before it
# sleeps: waking it for each of a step's 100 kernels took 15 % of the step, and to wait no longer
# than 0.4 ms still 4 to 10 %. Waiting longer would take the core from other programs. (Two
# trainings on the same cores wait for each other: set MINIGRAD_THREADS to a share for each.)
os.environ.setdefault("GOMP_SPINCOUNT", "100000")


# ---- kernels ----

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
    before, config.CACHE_DIR = config.CACHE_DIR, str(directory or "")
    try:
        dispatcher = numba.njit(function, cache=directory is not None, nogil=True,
                                error_model="numpy", fastmath=fastmath, parallel=parallel,
                                forceinline=inline,
                                no_cfunc_wrapper=True)  # up to a tenth of the time; none needs it
    finally:
        config.CACHE_DIR = before
    return _launcher(dispatcher) if parallel else dispatcher


# For what only kernels call: it becomes part of their machine code, and needs none of its own.
helper = functools.partial(kernel, cache=False)


def intrinsic(plain):
    """Make a decorator like Numba's `intrinsic`; without compilation `plain` stands in for it."""
    return numba_intrinsic if COMPILED else lambda codegen: plain


def _launcher(dispatcher):
    """Wrap a parallel kernel so that it runs on `threads()` threads."""
    @functools.wraps(dispatcher.py_func)
    def launch(*args):
        enter_pool()
        return dispatcher(*args)
    launch.dispatcher = dispatcher
    return launch


# ---- the one call ----

recorder = None             # what is told of every call of `run` (minigrad.replay)


def run(function, *args):
    """Call a kernel, or a function of NumPy that writes into its arguments.

    All that a fast path does with the values of arrays goes through here: so a list of these
    calls can stand for it.
    """
    if recorder:
        recorder(function, args)
    function(*args)


# ---- threads ----

_threads = None             # until somebody asks
_local = threading.local()  # Numba's thread count belongs to the calling thread
_forked = False             # whether this process is a fork of one that had started the pool


def available_cores(root="/", cpus=None):
    """Count the physical cores that affinity and cgroups leave to this process.

    Hyperthreads of one core count once on Linux; elsewhere the system's own count is taken.
    """
    if cpus is None and not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    cpus = os.sched_getaffinity(0) if cpus is None else cpus
    topology = Path(root, "sys/devices/system/cpu")
    cores = {_read(topology / f"cpu{cpu}/topology/thread_siblings_list") or cpu for cpu in cpus}
    return int(min(len(cores), _cgroup_limit(Path(root))))


def _cgroup_limit(root):
    """Read the CPU quota of this process's control group, in cores (at least 1)."""
    limit = float("inf")
    for line in _read(root / "proc/self/cgroup").splitlines() or ["0::/"]:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        group = mount / path.lstrip("/")
        for folder in [group, *group.parents]:
            if mount in (folder, *folder.parents):
                limit = min(limit, _quota(folder))
    return max(limit, 1)


def _quota(folder):
    """Read one control group's quota, in cores, version 2 or 1."""
    text = _read(folder / "cpu.max") or (_read(folder / "cpu.cfs_quota_us") + " "
                                         + _read(folder / "cpu.cfs_period_us"))
    quota, _, period = text.strip().partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period else float("inf")


def _read(path):
    try:
        return path.read_text().strip()
    except OSError:
        return ""


class ThreadsError(ValueError):
    """A number of threads that cannot be had; the message says why, and what to do."""


def _default_threads():
    """Read MINIGRAD_THREADS, else take the physical cores, within Numba's own limit."""
    text = os.environ.get("MINIGRAD_THREADS")
    if text is None:
        return min(available_cores(), config.NUMBA_NUM_THREADS)
    if not text.isdigit():
        raise ThreadsError(f"MINIGRAD_THREADS is {text!r}, but must be a number of threads, like 2")
    return _checked(int(text))


def _checked(n):
    if not 1 <= n <= config.NUMBA_NUM_THREADS:
        raise ThreadsError(f"{n} threads asked for, but Numba's pool has 1 to "
                           f"{config.NUMBA_NUM_THREADS}: set NUMBA_NUM_THREADS before the start")
    return n


def threads():
    """Return the number of threads that kernels use.

    Raises
    ------
    ThreadsError
        If MINIGRAD_THREADS is no number, or more than Numba's pool has.
    """
    global _threads
    if _threads is None:
        _threads = _default_threads()
    return _threads


def set_threads(n):
    """Set the number of threads that kernels use; results do not depend on it."""
    global _threads
    _threads = _checked(n)


def enter_pool():
    """Bring the calling thread's count up to date, starting the pool if need be.

    Called before every parallel kernel.
    """
    if getattr(_local, "threads", 0) == _threads:
        return
    if _forked and threading_layer() == "omp":
        raise RuntimeError("this process was forked after kernels had run, and OpenMP threads do "
                           "not survive a fork: start processes with the 'spawn' method, or set "
                           "NUMBA_THREADING_LAYER=workqueue")
    numba.set_num_threads(threads())
    _local.threads = threads()


def _after_fork():
    global _forked
    _forked = _forked or _pool_started()
    _local.__dict__.clear()


def _pool_started():
    try:
        return bool(numba.threading_layer())
    except ValueError:  # Numba's way of saying: not yet
        return False


def threading_layer():
    """Return which of omp, tbb and workqueue carries the threads (starts the pool)."""
    if not _pool_started():
        numba.set_num_threads(threads())
    return numba.threading_layer()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


# ---- the machine ----

@functools.cache
def cpu_features():
    """Return the set of instruction-set features that kernels are compiled for."""
    text = config.CPU_FEATURES
    text = get_host_cpu_features() if text is None else text
    return frozenset(name[1:] for name in text.split(",") if name.startswith("+"))


def vector_bytes():
    """Return the width of a vector register: 64 (AVX-512), 32 (AVX2) or 16 (NEON, SSE)."""
    return 64 if "avx512f" in cpu_features() else 32 if "avx2" in cpu_features() else 16


# ---- the cache ----

KEPT = 8              # directories kept for each source file, the last used ones
GRACE_S = 24 * 3600   # none is removed within a day of its last use


def cache_root():
    """Return where compiled kernels are kept: MINIGRAD_CACHE_DIR, or the user's cache folder."""
    home = Path.home() if "~" != os.path.expanduser("~") else Path(os.devnull)
    default = {"darwin": home / "Library/Caches",
               "win32": Path(os.environ.get("LOCALAPPDATA", home))}
    base = default.get(sys.platform, Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache"))
    return Path(os.environ.get("MINIGRAD_CACHE_DIR") or base / "minigrad")


@functools.cache
def cache_directory(source):
    """Return the directory for the kernels of one source file; None where none can be written."""
    try:
        name = f"{Path(source).stem}-{fingerprint(source)}"
        directory = cache_root() / name
        if not directory.exists():
            directory.mkdir(parents=True)
            prune(directory)
        os.utime(directory)
    except OSError:
        return None
    return directory if os.access(directory, os.W_OK) else None


def compiled_before(source):
    """Whether the cache holds a kernel of a source file."""
    directory = cache_directory(source)
    return directory is not None and any(directory.rglob("*.nbi"))


def fingerprint(source):
    """Hash a kernel's source file, what it imports from here, the options and the machine."""
    digest = hashlib.sha256(repr(_settings()).encode())
    for path in sorted({Path(__file__).resolve(), *imported_files(Path(source).resolve())}):
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _settings():
    cpu = config.CPU_NAME or llvmlite.binding.get_host_cpu_name()
    options = [(name, str(getattr(config, name, None))) for name in
               ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "ENABLE_AVX")]
    versions = numba.__version__, llvmlite.__version__, np.__version__, sys.version
    return versions, options, platform.machine(), cpu, sorted(cpu_features())


def imported_files(path):
    """Return a file of this package with all that it imports from the package, directly or not."""
    found, waiting = set(), [path]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _direct_imports(path)
    return found


# `from ..a import (b, c as d)` or `import a.b, c`. In a string or a comment it counts, too: then a
# file too many is hashed. (To parse each file took 0.1 s of every start.)
IMPORT = re.compile(r"from[ \t]*(\.*)([\w. \t]*?)(?=import[ \t]*(\((?:#.*|[^)#])*\)|[^;\n]*))"
                    r"|import[ \t]+(?=([^;\n]*))")
EXAMPLE = re.compile(r"\n[ \t]*>>> .*")


@functools.cache
def _direct_imports(path):
    """Return the files of this package that one file names in its import statements.

    A package's own file counts where more than modules is taken from it. Else each kernel would be
    compiled again after a change in any operation, since `minigrad` imports them all.
    """
    files, root = _files()
    text = EXAMPLE.sub("", path.read_text(encoding="utf-8-sig", errors="replace"))
    modules = []  # as the parts of a path: ("/", ..., "minigrad", "ops", "linear")
    for dots, module, names, plain in IMPORT.findall(text.replace("\\\n", " ")):
        base = path.parts[:-len(dots)] if dots else root
        base += _parts(module)
        names = re.sub("#.*", "", names or plain).strip("() \t").split(",")
        named = [base + _parts(re.split(r"\sas\s", name)[0]) for name in names]
        modules += named if all(module in files for module in named) else [base, *named]
        if plain:                                     # `import a.b` is a way to all that is in a
            modules += [module[:len(root) + 1] for module in named]
    return [files[module] for module in modules if module in files]


def _parts(module):
    return tuple("".join(module.split()).split(".")) if module.strip() else ()


@functools.cache
def _files():
    """Return the files there are in this package by the parts of their paths, and the parent's."""
    package = Path(__file__).resolve().parent
    files = {(f.parent if f.stem == "__init__" else f.with_suffix("")).parts: f
             for f in package.rglob("*.py")}
    return files, package.parent.parts


def prune(newest):
    """Remove the directories that older versions of the same source file left."""
    stem = newest.name.rpartition("-")[0]
    older = [d for d in newest.parent.glob(f"{stem}-*")
             if d != newest and d.name.rpartition("-")[0] == stem]
    older.sort(key=lambda d: d.stat().st_mtime, reverse=True)
    for directory in older[KEPT - 1:]:
        if time.time() - directory.stat().st_mtime > GRACE_S:
            shutil.rmtree(directory, ignore_errors=True)


# ---- progress ----

class _Progress(event.Listener):
    """Say on stderr that kernels are being compiled, once per process (live on a terminal).

    Meanwhile nothing looks for garbage: a compiler makes millions of small objects, and keeps them.
    """

    said = depth = 0
    collects = False

    def on_start(self, e):
        if not self._ours(e):
            return
        if not self.depth:
            self.collects = gc.isenabled()
            gc.disable()
        self.depth += 1
        name = e.data["dispatcher"].py_func.__name__
        text = "compiling kernels (once per installation)..."
        if sys.stderr.isatty():
            print(f"\r\x1b[K{text} {name}", end="", file=sys.stderr, flush=True)
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


event.register("numba:compile", _Progress())
