"""The options of every kernel of this package, and where its compiled code is kept.

Numba's cache on disk does not notice a change in another file or in an option. So the directory's
name carries a hash of everything compiled code depends on: nothing in it can be stale.
"""
import hashlib
import os
import shutil
import sys
from functools import lru_cache
from pathlib import Path

import llvmlite.binding
import numba
import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic

OPTIONS = dict(nogil=True, boundscheck=False, error_model="numpy", _nrt=False)
KEPT = 4  # cache directories, of this and other versions


def kernel(function=None, **options):
    """Compile a function on first call: no interpreter lock, no bounds checks, no allocation.

    Compiled code is cached on disk, or kept in this process alone where no directory is writable.
    """
    if function is None:
        return lambda f: kernel(f, **options)
    directory = cache_directory()
    if directory is None:
        return numba.njit(**OPTIONS, **options)(function)
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = directory
    try:
        return numba.njit(cache=True, **OPTIONS, **options)(function)
    except RuntimeError:  # numba: "no locator available"
        return numba.njit(**OPTIONS, **options)(function)
    finally:
        numba.config.CACHE_DIR = before


@lru_cache(maxsize=1)
def cache_directory():
    """Make this version's cache directory and prune old ones; None where that is impossible."""
    try:
        base = _base() / "bpe-kernels"
        mine = base / _fingerprint()
        mine.mkdir(parents=True, exist_ok=True)
        os.utime(mine)
        for old in sorted(base.iterdir(), key=lambda d: -d.stat().st_mtime)[KEPT:]:
            shutil.rmtree(old, ignore_errors=True)
        return str(mine)
    except (OSError, RuntimeError):  # RuntimeError: there is no home directory
        return None


def _base():
    """The user's cache folder, by the custom of the platform; `BPE_CACHE_DIR` overrides it."""
    if "BPE_CACHE_DIR" in os.environ:
        return Path(os.environ["BPE_CACHE_DIR"])
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local")
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _fingerprint():
    """Hash the sources of this package, the options, the versions and the processor."""
    parts = [p.read_bytes() for p in sorted(Path(__file__).parent.glob("*.py"))]
    facts = (OPTIONS, numba.__version__, np.__version__, llvmlite.__version__, sys.version,
             llvmlite.binding.get_host_cpu_name())
    parts.append(repr(facts).encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


# ---- words as 64-bit values ----

@intrinsic
def load64(typing_context, array, index):
    """Load the 8 bytes at `array[index:]` as one uint64; the array must reach that far."""
    def generate(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        pointer = builder.bitcast(builder.gep(data, [args[1]]), cgutils.ir.IntType(64).as_pointer())
        return builder.load(pointer, align=1)
    return types.uint64(array, types.int64), generate


@kernel(inline="always")
def low_bytes(length):
    """A mask of the lowest `length` <= 8 bytes."""
    if length >= 8:
        return np.uint64(0xFFFFFFFFFFFFFFFF)
    return (np.uint64(1) << np.uint64(8 * length)) - np.uint64(1)


@kernel(inline="always")
def word_key(data, start, length):
    """Its bytes if a word has at most 8 (then equal keys mean equal words), else a hash."""
    if length <= 8:
        return load64(data, start) & low_bytes(length)
    h = np.uint64(length)
    stop = start + length - 8
    while start < stop:
        h = (h ^ load64(data, start)) * np.uint64(0x9E3779B97F4A7C15)
        h ^= h >> np.uint64(29)
        start += 8
    h = (h ^ load64(data, stop)) * np.uint64(0x9E3779B97F4A7C15)
    return h ^ (h >> np.uint64(32))


@kernel(inline="always")
def first_slot(key, length, mask):
    """Where to look first for a word in a table of mask + 1 slots, a power of two."""
    h = (key ^ np.uint64(length)) * np.uint64(0x9E3779B97F4A7C15)
    h ^= h >> np.uint64(32)
    h *= np.uint64(0xD6E8FEB86659FD93)
    return np.int64(h >> np.uint64(20)) & mask


@kernel(inline="always")
def same_bytes(a, i, b, j, length):
    """Whether a[i:i+length] equals b[j:j+length], for length > 8."""
    stop = i + length - 8
    while i < stop:
        if load64(a, i) != load64(b, j):
            return False
        i += 8
        j += 8
    back = i - stop
    return load64(a, i - back) == load64(b, j - back)
