"""Reuse the memory of large arrays: `empty` is `np.empty` without the page faults.

A training step makes the same hundreds of arrays every time. The system's allocator gives large
ones back and takes fresh pages, which the processor must zero: that costs more than the
arithmetic. Here the memory of an array returns to a pool when the last array or view on it is
gone, never before, so an array that somebody kept is never overwritten. Contents are undefined,
as with `np.empty`, so results cannot depend on the pool.

The pool gives idle blocks back to the system before it grows a quarter beyond what was once in use.
"""
import ctypes
import mmap
import os
import threading
import weakref
from contextlib import contextmanager
from math import prod

import numpy as np

LARGE = 8_192       # bytes; smaller arrays are NumPy's own, which caches those itself
ALIGNMENT = 64      # bytes: a cache line and the widest vector register
PAGE = 4_096        # bytes; sizes are rounded up to whole pages
SLACK = 1.25        # times the peak may be held: steps need other sizes at other moments


class Lease(weakref.ref):
    """A watch on an array that was handed out: calls back when it and all views on it are gone.

    A view keeps the array alive that owns its memory. NumPy takes ours for the owner, since what
    is underneath is not an array but a bare buffer.
    """
    __slots__ = ("memory", "blocks")


class Pool:
    """Blocks of memory by size, the idle ones ready to be handed out again.

    A lease may end in any thread and in the midst of anything. So the way out and the way back
    use single operations on lists and dictionaries, which are atomic, and no lock.
    """

    def __init__(self, enabled, smallest):
        self.enabled, self.smallest = enabled, smallest   # in bytes, of what is taken from here
        self.idle = {}                                    # size in bytes -> [memory]
        self.leases = {}                                  # id -> Lease of a live array
        self.lock = threading.Lock()                      # for the two numbers
        self.held_bytes = self.peak_bytes = 0             # all blocks; the most ever in use

    def take(self, shape, dtype, size):
        """Return an array in memory of at least `size` bytes."""
        if self.smallest == 1:                            # recordings of nearly one shape share
            step = max(PAGE, 1 << size.bit_length() - 4)      # an eighth of the power of 2 below
            size = self.nearest((size + step - 1) & -step)
        blocks = self.idle.get(size)
        try:
            memory = blocks.pop()
        except (AttributeError, IndexError):
            memory, blocks = self.grow(size), self.idle.setdefault(size, [])
        array = np.ndarray(shape, dtype, memory)
        lease = Lease(array, self.give_back)
        lease.memory, lease.blocks = memory, blocks
        self.leases[id(lease)] = lease
        return array

    def nearest(self, size):
        """Return the size of the idle block that fits best, at most twice as large; or `size`."""
        fitting = (n for n, blocks in self.idle.items() if blocks and size <= n <= 2 * size)
        return min(fitting, default=size)

    def give_back(self, lease):
        """Make the memory of an array that is gone idle."""
        del self.leases[id(lease)]
        lease.blocks.append(lease.memory)

    def grow(self, size):
        """Return a new block, and free idle ones beyond the peak."""
        with self.lock:
            self.held_bytes += size
            self.peak_bytes = max(self.peak_bytes, self.held_bytes - self.idle_bytes())
            if self.smallest > 1:                         # else somebody may go on writing there
                self.shrink(self.held_bytes - SLACK * self.peak_bytes)
        return aligned(size)

    def shrink(self, size):
        """Free idle blocks, the largest first, of together at least `size` bytes if there are."""
        for each in sorted(self.idle, reverse=True):
            while size > 0 and self.idle[each]:
                try:
                    self.idle[each].pop()
                except IndexError:                        # another thread took it
                    break
                self.held_bytes -= each
                size -= each

    def clear(self):
        """Write zeros into all idle blocks."""
        for blocks in list(self.idle.values()):
            for memory in blocks:
                ctypes.memset(memory, 0, len(memory))

    def idle_bytes(self):
        return sum(size * len(blocks) for size, blocks in list(self.idle.items()))


def aligned(size):
    """Return `size` fresh bytes on a 64-byte boundary, as a buffer that is not an array."""
    memory = np.empty(size + ALIGNMENT, np.uint8)         # NumPy asks for huge pages
    return (ctypes.c_char * size).from_buffer(memory, -memory.ctypes.data % ALIGNMENT)


class Taken(threading.local):
    """From which pool a thread takes memory: from the common one, unless it is kept apart."""

    pool = Pool(os.environ.get("MINIGRAD_POOL", "1") != "0", LARGE)


_taken = Taken()
_apart = weakref.WeakSet()          # pools of those who keep their memory to themselves


@contextmanager
def apart(pool=None):
    """Take all memory, of small arrays too, from a new pool inside `with apart() as pool:`.

    Other threads go on with the common one.

    What returns to it is used again inside the block only. So whoever holds the pool may go on
    writing into what was once handed out, but for what is in use at the end, `pool.leases`.

    Parameters
    ----------
    pool : Pool, optional
        One from an earlier block, to be used once more.
    """
    before, _taken.pool = _taken.pool, pool or Pool(True, 1)
    _apart.add(_taken.pool)
    try:
        yield _taken.pool
    finally:
        _taken.pool = before


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
    size = dtype.itemsize
    for n in shape:
        size *= n
    pool = _taken.pool
    if size < pool.smallest:
        return np.empty(shape, dtype)
    size = (size + PAGE - 1) & -PAGE
    if pool.enabled:
        return pool.take(shape, dtype, size)
    return np.ndarray(shape, dtype, aligned(size))


def zeros_by_page(shape, dtype):
    """Return zeros of which memory is taken for those pages alone that are touched.

    Of NumPy's on Linux each touch takes 2 MiB: gigabytes, where a little is used at many places.
    """
    dtype = np.dtype(dtype)
    size_bytes = dtype.itemsize * prod(shape)
    memory = mmap.mmap(-1, max(1, size_bytes), access=mmap.ACCESS_COPY)
    return np.ndarray(shape, dtype, memory)


def empty_like(x):
    """Return an uninitialised C-contiguous array of the shape and dtype of x."""
    return empty(x.shape, x.dtype)


def reuse(enabled):
    """Switch the reuse of memory on or off (at the start: MINIGRAD_POOL, on unless it is 0)."""
    _taken.pool.enabled = bool(enabled)
    if not enabled:
        trim()


def trim():
    """Give all idle memory back to the system, and count anew what is in use at most."""
    pool = _taken.pool
    with pool.lock:
        pool.shrink(pool.held_bytes)
        pool.peak_bytes = pool.held_bytes


def usage():
    """Report the memory of large arrays in bytes, rounded up to pages.

    Returns
    -------
    dict
        `in_use`: of live arrays, and what is kept apart; `idle`: kept for reuse; `peak`: the most
        that was in use when this pool had to grow, or what is in use now.
    """
    kept = sum(pool.held_bytes for pool in _apart)
    pool = _taken.pool
    with pool.lock:
        idle = pool.idle_bytes()
        in_use = pool.held_bytes - idle + kept
        return dict(in_use=in_use, idle=idle, peak=max(pool.peak_bytes, in_use))
