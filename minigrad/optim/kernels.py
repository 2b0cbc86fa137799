"""Steps and norms of many arrays in one kernel call.

The rules themselves, for arrays of any kind, stand in `minigrad.optim.rules`.
"""
import numpy as np

from minigrad.kernels import jit
from minigrad.kernels.llvm import widest_vectors
from minigrad.kernels.pieces import address, in_pieces, piece_of, suitable
from minigrad.kernels.rows import row_kernel


def sgd_fast(jobs, places):
    """Take the steps of `sgd` whose arrays suit a kernel; return the other jobs."""
    def numbers(t, learning_rate, momentum, dampening, nesterov, weight_decay):
        share = 1 - dampening if t > 1 else 1
        return learning_rate, momentum, share, nesterov, weight_decay
    return step_in_pieces(_sgd, numbers, jobs, places)

def adamw_fast(jobs, places):
    """Take the steps of `adamw` whose arrays suit a kernel; return the other jobs."""
    def numbers(t, weight_decay, **settings):
        keep = 1 - settings["learning_rate"] * weight_decay
        return of_adam(t, keep, 0, **settings)
    return step_in_pieces(_adam, numbers, jobs, places)

def adam_fast(jobs, places):
    """Take the steps of `adam` whose arrays suit a kernel; return the other jobs."""
    def numbers(t, weight_decay, **settings):
        return of_adam(t, 1, weight_decay, **settings)
    return step_in_pieces(_adam, numbers, jobs, places)

def of_adam(t, keep, decay, learning_rate, betas, eps):
    """Return the numbers of `_adam`; what float32 would round badly is subtracted here."""
    beta1, beta2 = betas
    rate = learning_rate / (1 - beta1 ** t)            # for m, not m hat
    root = (1 - beta2 ** t) ** 0.5                     # for v, not v hat
    return beta1, 1 - beta1, beta2, 1 - beta2, eps, keep, decay, rate, root

def step_in_pieces(kernel, numbers, jobs, places):
    """Count the step and run a kernel on the jobs that suit it; return the others.

    The last array of a job counts its steps; `numbers(t, **settings)` are what the kernel is told.
    """
    ready = places.update([job[1:-1] for job in jobs])
    rows, known = [], {}                               # (id(settings), n) -> row
    for (settings, *_, t), ok in zip(jobs, ready):
        n = t.item() + 1
        if ok:
            t[()] = n
        key = id(settings), n
        if key not in known:
            known[key] = numbers(n, **settings)
        rows.append(known[key])
    in_pieces(kernel, places.dtype, places.table, ready, rows)
    return [job for job, ok in zip(jobs, ready) if not ok]

def squares_fast(arrays):
    """Return the sums of squares of all pieces in order, and of what suits no kernel."""
    dtype = arrays[0].dtype
    ready = [suitable(x, dtype, x.shape) for x in arrays]
    table, rest = [], 0.0
    for x, ok in zip(arrays, ready):
        table.append([x.size, address(x) if ok else 0])
        if not ok:
            rest += np.square(x, dtype=np.float64).sum()
    rows = [()] * len(arrays)
    sums = in_pieces(_sum_of_squares, dtype, np.array(table), ready, rows)
    return [*sums, rest] if rest else sums


# Both in the order of their rules: reassociated, g * g would be infinite sooner.

@row_kernel(fastmath=jit.EXACT_MATH, small=0)
def _adam(start, stop, pieces, table, numbers, like, out):
    widest_vectors()
    for i in range(start, stop):
        piece = pieces[i]
        row = numbers[piece[0]]
        beta1, share1 = row[0], row[1]
        beta2, share2 = row[2], row[3]
        eps, keep, decay = row[4], row[5], row[6]
        rate, root = row[7], row[8]
        p = piece_of(piece, table, 1, like)
        g = piece_of(piece, table, 2, like)
        m = piece_of(piece, table, 3, like)
        v = piece_of(piece, table, 4, like)
        for j in range(p.size):
            slope = g[j] + decay * p[j] if decay != 0 else g[j]
            m[j] = beta1 * m[j] + share1 * slope
            v[j] = beta2 * v[j] + share2 * slope * slope
            below = np.sqrt(v[j]) / root + eps
            p[j] = keep * p[j] - rate * m[j] / below

@row_kernel(fastmath=jit.EXACT_MATH, small=0)
def _sgd(start, stop, pieces, table, numbers, like, out):
    widest_vectors()
    for i in range(start, stop):
        piece = pieces[i]
        row = numbers[piece[0]]
        rate, momentum, share = row[0], row[1], row[2]
        nesterov, decay = row[3] != 0, row[4]
        p = piece_of(piece, table, 1, like)
        g = piece_of(piece, table, 2, like)
        velocity = piece_of(piece, table, 3, like)
        for j in range(p.size):
            slope = g[j] + decay * p[j] if decay != 0 else g[j]
            velocity[j] = momentum * velocity[j] + share * slope
            step = slope + momentum * velocity[j] if nesterov else velocity[j]
            p[j] -= rate * step

@row_kernel(small=0)
def _sum_of_squares(start, stop, pieces, table, numbers, like, out):
    for i in range(start, stop):
        x = piece_of(pieces[i], table, 1, like)
        total = 0.0                                    # in float64
        for j in range(x.size):
            wide = np.float64(x[j])
            total += wide * wide
        out[i] = total
