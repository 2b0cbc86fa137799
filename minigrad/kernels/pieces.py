"""Work on many arrays in one kernel call, cut into pieces.

One call works through a table of all pieces: a model of many small parameters costs no more than
one large array. What stays where it is, is looked up once, since asking 100 arrays for their
addresses takes as long as 0.8 million updates.
"""
import ctypes
import functools
import itertools
import operator
import weakref

import numpy as np
from numba import carray

from minigrad.kernels import jit
from minigrad.kernels.llvm import pointer_at
from minigrad.kernels.rows import is_float

PIECE = 4_096      # elements


class Places:
    """A table of where the arrays of jobs lie: a row of size and addresses for each.

    A job is (p, g, *memory). Addresses are looked up again only when one of the arrays is another
    object than last time; gradients, which are not to be kept alive here, are known by weak
    references. What is known is set last: an error on the way leaves nothing half done.
    """

    def __init__(self):
        self.arrays, self.gradients = [], []
        self.kept, self.ready = [], []
        self.table = self.dtype = None

    def __reduce__(self):                                 # a copy's arrays lie elsewhere
        return Places, ()

    def update(self, jobs):
        """Bring the table up to date; return whether a kernel can do it, for each job."""
        parameters, gradients, *memory = zip(*jobs)
        arrays = [*parameters, *itertools.chain(*memory)]
        if others(arrays, self.arrays):
            self.look_up(jobs)
            self.arrays = arrays
        known = [g() for g in self.gradients]
        if not known or others(gradients, known):
            self.look_up_gradients(jobs, gradients)
            self.gradients = [weakref.ref(g) for g in gradients]
        return self.ready

    def look_up(self, jobs):
        """Note where parameters and memory lie: (size, address, 0, addresses of the memory)."""
        self.arrays, self.gradients = [], []
        self.dtype = jobs[0][0].dtype
        self.kept, table = [], []
        for p, _, *memory in jobs:
            fine = [suitable(x, self.dtype, p.shape) for x in (p, *memory)]
            self.kept.append((all(fine), p.shape))
            places = [x.ctypes.data for x in memory]
            table.append([p.size, p.ctypes.data, 0, *places])
        self.table = np.array(table)

    def look_up_gradients(self, jobs, gradients):
        self.gradients, self.ready = [], []
        for g, (fine, shape) in zip(gradients, self.kept):
            fine = fine and type(g) is np.ndarray
            self.ready.append(fine and suitable(g, self.dtype, shape))
        for ready, (p, g, *_) in zip(self.ready, jobs):
            if not ready:
                check_gradient(p, g)
        for row, ready, g in zip(self.table, self.ready, gradients):
            row[2] = address(g) if ready else 0


def others(arrays, before):
    """Whether these are other objects than before."""
    return len(arrays) != len(before) or any(map(operator.is_not, arrays, before))

def suitable(x, dtype, shape):
    """Whether a kernel takes an array: of the float type and shape, not empty, contiguous."""
    return (x.dtype == dtype and x.shape == shape and x.flags.carray
            and is_float(dtype) and x.size > 0)

def check_gradient(p, g):
    """Refuse a gradient that is not of the shape and dtype of its parameter."""
    if not isinstance(g, np.ndarray):
        raise TypeError(f"the gradient of a parameter of shape {p.shape} is a {type(g).__name__}: "
                        "give an array, or None")
    if (g.shape, g.dtype) != (p.shape, p.dtype):
        raise ValueError(f"a gradient is {g.dtype} of shape {g.shape}, but its parameter is "
                         f"{p.dtype} of shape {p.shape}: give both one shape and dtype")

def address(x):
    """Return x.ctypes.data of a contiguous array, in a third of the time."""
    return ctypes.addressof(ctypes.c_char.from_buffer(x))

def in_pieces(kernel, dtype, table, ready, numbers):
    """Run kernel(pieces, table, numbers, like, out) on the jobs that are ready; return `out`.

    A job is a row of the table and a tuple of numbers. `out` has one float64 for each piece.
    """
    if not all(ready):
        table = table[np.array(ready)]
        numbers = [row for row, ok in zip(numbers, ready) if ok]
    pieces = cut(tuple(table[:, 0].tolist()))
    out = np.zeros(len(pieces))
    if len(pieces):
        numbers, like = np.array(numbers, dtype), np.empty(0, dtype)
        kernel(len(pieces), pieces, table, numbers, like, out)
    return out

@functools.lru_cache(maxsize=8)
def cut(sizes):
    """Return the pieces of arrays: each is (job, where it begins, where it ends)."""
    pieces = []
    for job, size in enumerate(sizes):
        for begin in range(0, size, PIECE):
            pieces.append((job, begin, min(begin + PIECE, size)))
    return np.array(pieces, np.int64).reshape(-1, 3)

@jit.helper(inline=True)
def array_at(address, n, like):
    """View n elements at an address as an array of the type of `like`; nothing keeps it alive."""
    return carray(pointer_at(address, like), (n,))

@jit.helper
def piece_of(piece, addresses, place, like):
    """View a piece of one of the arrays of its job."""
    begin, end = piece[1], piece[2]
    address = addresses[piece[0], place] + begin * like.itemsize
    return array_at(address, end - begin, like)
