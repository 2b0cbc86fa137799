"""Reuse the memory of large arrays: `empty` is `np.empty` without the page faults.

A training step makes the same hundreds of arrays every time. The system's allocator gives large
ones back and takes fresh pages, which the processor must zero: that costs more than the
arithmetic. Here the memory of an array returns to a pool when the last array or view on it is
gone, never before, so an array that somebody kept is never overwritten. Contents are undefined,
as with `np.empty`, so results cannot depend on the pool.

The pool never holds more than what was in use at the peak: before it grows beyond that, it gives
back the idle blocks that were used longest ago.
"""
import ctypes
import math
import os
import threading
import weakref
from collections import deque

import numpy as np

LARGE = 8_192       # bytes; smaller arrays are NumPy's own, which caches those itself
ALIGNMENT = 64      # bytes: a cache line and the widest vector register


class _Lease(weakref.ref):
    """A watch on an array that was handed out: calls back when it and all views on it are gone.

    A view keeps the array alive that owns its memory. NumPy takes ours for the owner, since what
    is underneath is not an array but a bare buffer.
    """
    __slots__ = ("memory",)


class Pool:
    """Blocks of memory by size, the idle ones ready to be handed out again."""

    def __init__(self):
        self.enabled = os.environ.get("MINIGRAD_POOL", "1") != "0"
        self.lock = threading.Lock()
        self.leases = {}                           # id -> lease of an array that is alive
        self.returned = deque()                    # leases of those that are gone
        self.idle = {}                             # size in bytes -> [memory]; last used size last
        self.in_use_bytes = self.idle_bytes = self.peak_bytes = 0

    def take(self, shape, dtype, size):
        """Return an array in memory of at least `size` bytes."""
        size = _rounded(size)
        with self.lock:
            self.collect()
            memory = self.idle_block(size)
            self.in_use_bytes += size
            self.peak_bytes = max(self.peak_bytes, self.in_use_bytes)
            if memory is None:
                self.shrink(self.peak_bytes - self.in_use_bytes)
        if memory is None:
            memory = _aligned(size)
        array = np.ndarray(shape, dtype, memory)
        lease = _Lease(array, self.give_back)
        lease.memory = memory
        self.leases[id(lease)] = lease
        return array

    def give_back(self, lease):
        """Note that an array is gone. This may run in the midst of anything, so it only notes."""
        self.returned.append(lease)

    def idle_block(self, size):
        """Return an idle block of this size, or None. The caller holds the lock."""
        blocks = self.idle.pop(size, None)
        if not blocks:
            return None
        if len(blocks) > 1:
            self.idle[size] = blocks               # last in the dictionary: used last
        self.idle_bytes -= size
        return blocks.pop()

    def collect(self):
        """Make what came back idle. The caller holds the lock."""
        while self.returned:
            lease = self.returned.popleft()
            del self.leases[id(lease)]
            size = len(lease.memory)
            self.in_use_bytes -= size
            self.idle_bytes += size
            self.idle.setdefault(size, []).append(lease.memory)

    def shrink(self, size):
        """Free idle blocks until at most `size` bytes are idle. The caller holds the lock."""
        while self.idle_bytes > size:
            oldest = next(iter(self.idle))
            self.idle_bytes -= len(self.idle[oldest].pop())
            if not self.idle[oldest]:
                del self.idle[oldest]


def _rounded(size):
    """Round up by at most an eighth, so that similar sizes share blocks."""
    step = max(ALIGNMENT, 1 << max(size.bit_length() - 4, 0))
    return -(-size // step) * step


def _aligned(size):
    """Return `size` fresh bytes on a 64-byte boundary, as a buffer that is not an array."""
    memory = np.empty(size + ALIGNMENT, np.uint8)  # NumPy asks for huge pages where they exist
    return (ctypes.c_char * size).from_buffer(memory, -memory.ctypes.data % ALIGNMENT)


_pool = Pool()


# ---- public ----------------------------------------------------------------------------------

def empty(shape, dtype):
    """Return an uninitialised C-contiguous array, 64-byte aligned if large.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype

    Returns
    -------
    ndarray
        Its memory is reused once it and all views on it are gone.
    """
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < LARGE:
        return np.empty(shape, dtype)
    if _pool.enabled:
        return _pool.take(shape, dtype, size)
    return np.ndarray(shape, dtype, _aligned(size))


def empty_like(x):
    """Return an uninitialised C-contiguous array of the shape and dtype of x."""
    return empty(x.shape, x.dtype)


def reuse(enabled):
    """Switch the reuse of memory on or off (at the start: MINIGRAD_POOL, on unless it is 0)."""
    _pool.enabled = bool(enabled)
    if not enabled:
        trim()


def trim(keep_bytes=0):
    """Give idle memory back to the system, but for `keep_bytes`."""
    with _pool.lock:
        _pool.collect()
        _pool.shrink(keep_bytes)


def usage(reset_peak=False):
    """Report the memory of large arrays, in bytes.

    Returns
    -------
    dict
        `in_use`: of live arrays; `idle`: kept for reuse; `peak`: the most that was in use at
        once since the start or the last `reset_peak`. Sizes are rounded up by at most an eighth.
    """
    with _pool.lock:
        _pool.collect()
        report = dict(in_use=_pool.in_use_bytes, idle=_pool.idle_bytes, peak=_pool.peak_bytes)
        if reset_peak:
            _pool.peak_bytes = _pool.in_use_bytes
    return report
