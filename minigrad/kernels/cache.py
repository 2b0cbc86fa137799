"""Where compiled kernels are kept, so that a later process compiles nothing.

Numba's own cache notices neither a change in another file nor a changed option. A kernel calls
helpers of its own file or of this folder alone; so what is compiled from a source file lives in a
directory whose name is a hash of that file, of this folder, of the options and of the machine:
nothing in it can be stale.
"""
import functools
import hashlib
import os
import pickle
import platform
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path

import llvmlite
import numba
import numpy as np
from llvmlite.binding import get_host_cpu_name
from numba import config
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.codegen import JITCodeLibrary, get_host_cpu_features
from numba.core.runtime import nrtdynmod, rtsys

KEPT = 8              # directories kept for each source file, the last used ones
GRACE_S = 24 * 3600   # none is removed within a day of its last use


@functools.cache
def cpu_features():
    """Return the set of instruction-set features that kernels are compiled for."""
    text = config.CPU_FEATURES
    text = get_host_cpu_features() if text is None else text
    return frozenset(name[1:] for name in text.split(",") if name.startswith("+"))


@functools.cache
def cpu_name():
    """Return LLVM's name of the processor that kernels are compiled for, as in "znver5"."""
    return config.CPU_NAME or get_host_cpu_name()


def vector_bytes():
    """Return the width of a vector register: 64 (AVX-512), 32 (AVX2) or 16 (NEON, SSE)."""
    return 64 if "avx512f" in cpu_features() else 32 if "avx2" in cpu_features() else 16


# ---- directories ----

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


@functools.cache
def _fingerprint_of_all():
    """Hash what every kernel depends on."""
    digest = hashlib.sha256(repr(_settings()).encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes() + b"\0")
    return digest


def fingerprint(source):
    """Hash a kernel's source file, this folder, the options and the machine."""
    digest = _fingerprint_of_all().copy()
    digest.update(Path(source).read_bytes())
    return digest.hexdigest()[:16]


def _settings():
    cpu = cpu_name()
    options = [(name, str(getattr(config, name, None))) for name in
               ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "ENABLE_AVX")]
    versions = numba.__version__, llvmlite.__version__, np.__version__, sys.version
    return versions, options, platform.machine(), cpu, sorted(cpu_features())


def prune(newest):
    """Remove the directories that older versions of the same source file left."""
    stem = newest.name.rpartition("-")[0]
    older = [d for d in newest.parent.glob(f"{stem}-*")
             if d != newest and d.name.rpartition("-")[0] == stem]
    older.sort(key=lambda d: d.stat().st_mtime, reverse=True)
    for directory in older[KEPT - 1:]:
        if time.time() - directory.stat().st_mtime > GRACE_S:
            shutil.rmtree(directory, ignore_errors=True)


# ---- entries ----

class Cache(FunctionCache):
    """Numba's cache of one function, in a directory of ours; a damaged entry is not there."""

    def __init__(self, function, directory):
        before, config.CACHE_DIR = config.CACHE_DIR, str(directory)
        try:
            super().__init__(function)
        finally:
            config.CACHE_DIR = before
        # Numba would have a folder for each checkout, and look at the time of its files.
        self._cache_file = Sealed(str(directory), self._impl.filename_base, source_stamp=None)

    def load_overload(self, signature, target):
        """Load machine code without what Numba knows for compiling: that takes a quarter second."""
        codegen = target.codegen()
        codegen._library_class = Loaded
        try:
            start_runtime(target)
            return self._load_overload(signature, target)
        except Exception:             # there is no end to what damaged bytes may raise
            with suppress(OSError):
                self.flush()          # or the damaged index would be read again, to save
            return None
        finally:
            vars(codegen).pop("_library_class", None)

    def save_overload(self, signature, data):
        with suppress(OSError):       # the disk may be full: it is compiled again next time
            super().save_overload(signature, data)


class Sealed(IndexDataCacheFile):
    """Files of machine code that end in their SHA256: one changed bit of it could do anything."""

    def save(self, key, data):
        """Save as Numba does, who counts files: two processes at once could take one number."""
        overloads = self._load_index()
        name = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
        overloads[key] = f"{self._index_name.removesuffix('.nbi')}.{name}.nbc"
        self._save_index(overloads)
        self._save_data(overloads[key], data)

    def _dump(self, entry):
        data = super()._dump(entry)
        return data + hashlib.sha256(data).digest()

    def _load_data(self, name):
        data = Path(self._data_path(name)).read_bytes()
        if hashlib.sha256(data[:-32]).digest() != data[-32:]:
            raise ValueError("damaged")
        return pickle.loads(data)     # which stops before the digest


class Loaded(JITCodeLibrary):
    """Machine code from the cache.

    What a caller links of it comes as bitcode, which Numba parses at once: 10 MB in a model that
    writes. Here it waits until a caller is compiled.
    """

    bitcode = None                # of what was not loaded but compiled

    @classmethod
    def _unserialize(cls, codegen, state):
        name, _, (machine_code, bitcode) = state
        library = codegen.create_library(name)
        library.enable_object_caching()
        library._set_compiled_object(machine_code)
        library._finalize_final_module()
        library.bitcode = bitcode
        return library

    def get_pointer_to_function(self, name):
        return self.codegen._engine.get_function_address(name)

    def _get_module_for_linking(self):
        if self.bitcode and not self._shared_module:
            self._shared_module = llvmlite.binding.parse_bitcode(self.bitcode)
        return super()._get_module_for_linking()


# ---- Numba's runtime ----

def start_runtime(target):
    """Do `rtsys.initialize`, which compiles a few functions, with their machine code kept as well.

    To compile them takes 30 ms, and 27 MB of LLVM that are read for nothing else where all kernels
    come from the cache.
    """
    before, nrtdynmod.compile_nrt_functions = nrtdynmod.compile_nrt_functions, runtime_of
    try:
        rtsys.initialize(target)
    finally:
        nrtdynmod.compile_nrt_functions = before


def runtime_of(target):
    """Return the library of these functions, kept or compiled."""
    kept = Sealed(str(cache_directory(__file__)), "runtime", source_stamp=None)
    with suppress(Exception):     # it is not there, or damaged
        return target.codegen().unserialize_library(kept.load("library"))
    module, library = nrtdynmod.create_nrt_module(target)
    library.enable_object_caching()
    library.add_ir_module(module)
    library.finalize()
    with suppress(OSError):
        kept.flush()              # a damaged index would be read again
        kept.save("library", library.serialize_using_object_code())
    return library
