"""Steps and norms of many arrays in one kernel call.

All parameters are cut into pieces, and one kernel call works through a table of them: a model
of many small parameters costs no more than one large array. What stays where it is, is looked
up once, since asking 100 arrays for their addresses takes as long as 0.8 million updates.
"""
import ctypes
import functools
import itertools
import operator
import weakref

import numpy as np

from minigrad import jit
from minigrad.parallel import array_at, is_float, row_kernel, widest_vectors

PIECE = 4_096      # elements


def sgd_fast(jobs, places):
    """Take the steps of `sgd` whose arrays suit a kernel; return the other jobs."""
    def numbers(t, learning_rate, momentum, dampening, nesterov, weight_decay):
        share = 1 - dampening if t > 1 else 1
        return learning_rate, momentum, share, nesterov, weight_decay
    return step_in_pieces(_sgd, numbers, jobs, places)

def adamw_fast(jobs, places):
    """Take the steps of `adamw` whose arrays suit a kernel; return the other jobs."""
    def numbers(t, learning_rate, betas, eps, weight_decay):
        return of_adam(t, learning_rate, betas, eps, 1 - learning_rate * weight_decay, 0)
    return step_in_pieces(_adam, numbers, jobs, places)

def adam_fast(jobs, places):
    """Take the steps of `adam` whose arrays suit a kernel; return the other jobs."""
    def numbers(t, learning_rate, betas, eps, weight_decay):
        return of_adam(t, learning_rate, betas, eps, 1, weight_decay)
    return step_in_pieces(_adam, numbers, jobs, places)

def of_adam(t, rate, betas, eps, keep, decay):
    """Return the numbers of `_adam`; what float32 would round badly is subtracted here."""
    beta1, beta2 = betas
    return (beta1, 1 - beta1, beta2, 1 - beta2, eps, keep, decay, rate / (1 - beta1 ** t),
            (1 - beta2 ** t) ** 0.5)

def step_in_pieces(kernel, numbers, jobs, places):
    """Count the step and run a kernel on the jobs that suit it; return the others.

    The last array of a job counts its steps; `numbers(t, **settings)` are what the kernel is told.
    """
    ready = places.update([job[1:-1] for job in jobs])
    rows, known = [], {}
    for job, ok in zip(jobs, ready):
        settings, t = job[0], job[-1]
        n = t.item() + 1
        if ok:
            t[()] = n
        row = known.get((id(settings), n))
        if row is None:
            row = known[id(settings), n] = numbers(n, **settings)
        rows.append(row)
    in_pieces(kernel, places.dtype, places.table, ready, rows)
    return [job for job, ok in zip(jobs, ready) if not ok]

def sum_of_squares_fast(arrays):
    dtype = arrays[0].dtype
    ready = [suitable(x, dtype, x.shape) for x in arrays]
    table = np.array([[x.size, address(x) if ok else 0] for x, ok in zip(arrays, ready)])
    rest = sum(np.square(x, dtype=np.float64).sum() for x, ok in zip(arrays, ready) if not ok)
    return rest + in_pieces(_sum_of_squares, dtype, table, ready, [()] * len(arrays)).sum()


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

@jit.helper
def piece_of(piece, addresses, place, like):
    """View a piece of one of the arrays of its job."""
    return array_at(addresses[piece[0], place] + piece[1] * like.itemsize, piece[2] - piece[1],
                    like)


# Both in the order of their rules: reassociated, g * g would be infinite sooner.

@row_kernel(fastmath=jit.EXACT_MATH, small=0)
def _adam(start, stop, pieces, table, numbers, like, out):
    widest_vectors()
    for i in range(start, stop):
        piece, row = pieces[i], numbers[pieces[i, 0]]
        beta1, share1, beta2, share2, eps = row[0], row[1], row[2], row[3], row[4]
        keep, decay, rate, root = row[5], row[6], row[7], row[8]
        p, g = piece_of(piece, table, 1, like), piece_of(piece, table, 2, like)
        m, v = piece_of(piece, table, 3, like), piece_of(piece, table, 4, like)
        for j in range(p.size):
            slope = g[j] + decay * p[j] if decay != 0 else g[j]
            m[j] = beta1 * m[j] + share1 * slope
            v[j] = beta2 * v[j] + share2 * slope * slope
            p[j] = keep * p[j] - rate * m[j] / (np.sqrt(v[j]) / root + eps)

@row_kernel(fastmath=jit.EXACT_MATH, small=0)
def _sgd(start, stop, pieces, table, numbers, like, out):
    widest_vectors()
    for i in range(start, stop):
        piece, row = pieces[i], numbers[pieces[i, 0]]
        rate, momentum, share, nesterov, decay = row[0], row[1], row[2], row[3] != 0, row[4]
        p, g = piece_of(piece, table, 1, like), piece_of(piece, table, 2, like)
        velocity = piece_of(piece, table, 3, like)
        for j in range(p.size):
            slope = g[j] + decay * p[j] if decay != 0 else g[j]
            velocity[j] = momentum * velocity[j] + share * slope
            p[j] -= rate * (slope + momentum * velocity[j] if nesterov else velocity[j])

@row_kernel(small=0)
def _sum_of_squares(start, stop, pieces, table, numbers, like, out):
    for i in range(start, stop):
        x, total = piece_of(pieces[i], table, 1, like), 0.0
        for j in range(x.size):
            total += np.float64(x[j]) * np.float64(x[j])
        out[i] = total
