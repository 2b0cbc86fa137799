"""Steps and norms of many arrays in one kernel call.

The rules themselves, for arrays of any kind, stand in `minigrad.optim.rules`.
"""
import numpy as np

from minigrad.kernels import jit
from minigrad.kernels.pieces import address, in_pieces, piece_of, suitable
from minigrad.kernels.rows import row_kernel, widest_vectors


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
