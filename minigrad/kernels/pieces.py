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
        self.arrays, self.gradients, self.kept, self.ready = [], [], [], []
        self.table = self.dtype = None

    def __reduce__(self):                                 # a copy's arrays lie elsewhere
        return Places, ()

    def update(self, jobs):
        """Bring the table up to date; return whether a kernel can do it, for each job."""
        parameters, gradients, *memory = zip(*jobs)
        arrays = [*parameters, *itertools.chain(*memory)]
        if len(arrays) != len(self.arrays) or any(map(operator.is_not, arrays, self.arrays)):
            self.arrays, self.gradients, self.dtype = [], [], arrays[0].dtype
            self.kept = [(all(suitable(x, self.dtype, p.shape) for x in (p, *rest)), p.shape)
                         for p, _, *rest in jobs]
            self.table = np.array([[p.size, p.ctypes.data, 0, *(x.ctypes.data for x in rest)]
                                   for p, _, *rest in jobs])
            self.arrays = arrays
        known = [g() for g in self.gradients]
        if not known or any(map(operator.is_not, gradients, known)):
            self.gradients = []
            self.ready = [ok and type(g) is np.ndarray and suitable(g, self.dtype, shape)
                          for g, (ok, shape) in zip(gradients, self.kept)]
            for ok, (p, g, *_) in zip(self.ready, jobs):
                if not ok:
                    check_gradient(p, g)
            self.table[:, 2] = [address(g) if ok else 0 for g, ok in zip(gradients, self.ready)]
            self.gradients = [weakref.ref(g) for g in gradients]
        return self.ready


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
        kernel(len(pieces), pieces, table, np.array(numbers, dtype), np.empty(0, dtype), out)
    return out

@functools.lru_cache(maxsize=8)
def cut(sizes):
    """Return the pieces of arrays: each is (job, where it begins, where it ends)."""
    return np.array([(job, begin, min(begin + PIECE, size)) for job, size in enumerate(sizes)
                     for begin in range(0, size, PIECE)], np.int64).reshape(-1, 3)

@jit.helper(inline=True)
def array_at(address, n, like):
    """View n elements at an address as an array of the type of `like`; nothing keeps it alive."""
    return carray(pointer_at(address, like), (n,))

@jit.helper
def piece_of(piece, addresses, place, like):
    """View a piece of one of the arrays of its job."""
    return array_at(addresses[piece[0], place] + piece[1] * like.itemsize, piece[2] - piece[1],
                    like)
