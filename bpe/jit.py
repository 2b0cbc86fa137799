"""The options of every kernel of this package, and where its compiled code is kept.

Numba's cache on disk does not notice a change in another file or in an option. So the directory's
name carries a hash of everything compiled code depends on: nothing in it can be stale.
"""
import hashlib
import os
import pickle
import shutil
import sys
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.runtime import rtsys
from numba.extending import intrinsic

OPTIONS = dict(nogil=True, boundscheck=False, error_model="numpy", _nrt=False,
               no_cfunc_wrapper=True)
COMPILED = not numba.config.DISABLE_JIT  # else kernels cannot run, and the plain paths do all
KEPT = 4  # cache directories, of this and other versions


def kernel(function=None, **options):
    """Compile a function on first call: no interpreter lock, no bounds checks, no allocation.

    Compiled code is cached on disk, or kept in this process alone where no directory is writable.
    """
    if function is None:
        return lambda f: kernel(f, **options)
    dispatcher = numba.njit(**OPTIONS, **options)(function)
    directory = cache_directory()
    if directory is not None:
        dispatcher._cache = Cache(function, directory)
    return dispatcher


class Cache(FunctionCache):
    """Numba's cache of one function, in a directory of ours; what goes wrong costs compilation."""

    def __init__(self, function, directory):
        before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, directory
        try:
            super().__init__(function)
        finally:
            numba.config.CACHE_DIR = before
        self._cache_file.__class__ = Sealed

    def load_overload(self, signature, target):
        """Load machine code without what Numba knows for compiling: that takes a quarter second."""
        with suppress(Exception):  # there is no end to what damaged bytes may raise
            rtsys.initialize(target)
            return self._load_overload(signature, target)
        with suppress(OSError):
            self.flush()  # or the damaged index would be read again, to save
        return None

    def save_overload(self, signature, result):
        with suppress(Exception):  # the disk may be full
            super().save_overload(signature, result)


class Sealed(IndexDataCacheFile):
    """Files of machine code that end in their SHA256: one changed bit of it could do anything."""

    def _dump(self, entry):
        data = super()._dump(entry)
        return data + hashlib.sha256(data).digest()

    def _load_data(self, name):
        data = Path(self._data_path(name)).read_bytes()
        if hashlib.sha256(data[:-32]).digest() != data[-32:]:
            raise ValueError("damaged")
        return pickle.loads(data)  # which stops before the digest


@lru_cache(maxsize=1)
def cache_directory():
    """Make this version's cache directory and prune old ones; None where none can be written."""
    try:
        base = _base() / "bpe-kernels"
        mine = base / _fingerprint()
        mine.mkdir(parents=True, exist_ok=True)
        os.utime(mine)
        age = lambda directory: -directory.stat().st_mtime
        for old in sorted(base.iterdir(), key=age)[KEPT:]:
            shutil.rmtree(old, ignore_errors=True)
    except (OSError, RuntimeError):  # RuntimeError: there is no home directory
        return None
    return str(mine) if os.access(mine, os.W_OK) else None


def _base():
    """The user's cache folder, by the custom of the platform; `BPE_CACHE_DIR` overrides it."""
    if given := os.environ.get("BPE_CACHE_DIR"):
        return Path(given)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local")
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _fingerprint():
    """Hash the sources of this package, the options, the versions and the processor."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    parts = [path.read_bytes() for path in sources]
    facts = (OPTIONS, numba.__version__, np.__version__, llvmlite.__version__, sys.version,
             llvmlite.binding.get_host_cpu_name())
    parts.append(repr(facts).encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


# ---- 64 bits at a time ----

_I1, _I8, _I32, _I64 = (ir.IntType(width) for width in (1, 8, 32, 64))
LANES = ir.VectorType(_I8, 64)


def pointer_to(context, builder, array_type, array, index, target):
    """The address of array[index] as a pointer to `target`."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), target.as_pointer())


@intrinsic
def load64(typing_context, array, index):
    """Load the 8 bytes at `array[index:]` as one uint64; the array must reach that far."""
    def generate(context, builder, signature, args):
        pointer = pointer_to(context, builder, signature.args[0], *args, _I64)
        return builder.load(pointer, align=1)
    return types.uint64(array, types.int64), generate


@intrinsic
def prefetch(typing_context, array, index):
    """Ask for the cache line of array[index], which will be read and perhaps written."""
    def generate(context, builder, signature, args):
        byte, hint = ir.PointerType(_I8), _I32
        pointer = pointer_to(context, builder, signature.args[0], *args, _I8)
        kind = ir.FunctionType(ir.VoidType(), [byte, hint, hint, hint])
        function = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        read, near, data = hint(0), hint(3), hint(1)
        builder.call(function, [pointer, read, near, data])
        return context.get_dummy_value()
    return types.void(array, types.uint64), generate


@intrinsic
def _bits64(typing_context, array, index, mask):
    """Do `bits64` where the array has 64 bytes from `index` on."""
    def generate(context, builder, signature, args):
        pointer = pointer_to(context, builder, signature.args[0], *args[:2], LANES)
        mask = builder.insert_element(ir.Constant(LANES, ir.Undefined),
                                      builder.trunc(args[2], _I8), _I32(0))
        mask = builder.shuffle_vector(mask, mask, ir.Constant(ir.VectorType(_I32, 64), [0] * 64))
        chosen = builder.and_(builder.load(pointer, align=1), mask)
        chosen = builder.icmp_unsigned("!=", chosen, ir.Constant(LANES, [0] * 64))
        return builder.bitcast(chosen, _I64)
    return types.uint64(array, types.int64, types.int64), generate


@intrinsic
def trailing_zeros(typing_context, bits):
    """The position of the lowest bit that is set in a uint64 other than 0."""
    def generate(context, builder, signature, args):
        return builder.cttz(args[0], _I1(1))
    return types.int64(types.uint64), generate


@intrinsic
def leading_zeros(typing_context, bits):
    """How many bits of a uint64 other than 0 stand above its highest one."""
    def generate(context, builder, signature, args):
        return builder.ctlz(args[0], _I1(1))
    return types.int64(types.uint64), generate


@intrinsic
def bit_count(typing_context, bits):
    """How many bits of a uint64 are set."""
    def generate(context, builder, signature, args):
        return builder.ctpop(args[0])
    return types.int64(types.uint64), generate


@kernel(inline="always")
def bits64(array, index, mask):
    """For each of 64 bytes from `index` on, a bit that is set where array & mask is not 0.

    Behind the end of the array all bits are 0.
    """
    if index + 64 <= len(array):
        return _bits64(array, index, mask)
    return _last_bits(array, index, mask)


@kernel
def _last_bits(array, index, mask):
    """Do `bits64` where the array has fewer."""
    bits = np.uint64(0)
    for k in range(index, len(array)):
        if array[k] & mask:
            bits |= np.uint64(1) << np.uint64(k - index)
    return bits


@kernel(inline="always")
def first_bits(n):
    """The lowest n bits, for any n."""
    if n >= 64:
        return np.uint64(0xFFFFFFFFFFFFFFFF)
    return (np.uint64(1) << np.uint64(max(n, 0))) - np.uint64(1)
