"""Muon: momentum, made orthogonal. For the matrices of hidden layers; the rest takes AdamW."""
import numpy as np

from minigrad.kernels import gemm, memory
from minigrad.kernels.pieces import cut, in_pieces, piece_of
from minigrad.kernels.rows import element_kernel, row_kernel, widest_vectors
from minigrad.ops.linear import matmul
from minigrad.optim.optimizers import Optimizer

COEFFICIENTS = 3.4445, -4.7750, 2.0315      # steepest at 0 among those that stay near 1
TINY = 1e-7                                 # the least norm that a gradient is divided by


def muon(p, g, velocity, *, learning_rate, momentum, nesterov, weight_decay):
    r"""Take one step of Muon, in place.

    .. math:: v \leftarrow \mu v + (1 - \mu) g, \quad
              u = \mu v + (1 - \mu) g \text{ if nesterov else } v

    .. math:: p \leftarrow p - \eta \lambda p
              - \eta \sqrt{\max(1, \text{rows} / \text{columns})} \; \text{orthogonalize}(u)

    The root makes the step of a matrix that widens as large, per output, as that of a square one:
    the scale rule of the first reference, and torch's adjust_lr_fn="original".

    Parameters
    ----------
    p, g, velocity : (rows, columns)

    References
    ----------
    Jordan et al. 2024, Muon: an optimizer for hidden layers in neural networks,
    kellerjordan.github.io/posts/muon.
    """
    rows, columns = p.shape
    velocity *= momentum
    velocity += (1 - momentum) * g
    update = momentum * velocity + (1 - momentum) * g if nesterov else velocity
    scale = max(1, rows / columns) ** 0.5
    p *= 1 - learning_rate * weight_decay
    p -= learning_rate * scale * orthogonalize(update)


def orthogonalize(x, n_iterations=5):
    r"""Bring all singular values of a matrix near 1, by the quintic Newton-Schulz iteration.

    .. math:: X \leftarrow (a I + b G + c G^2) X, \quad G = X X^T

    maps each singular value s to a s + b s**3 + c s**5 and leaves the singular vectors alone. The
    coefficients do not converge to 1: after five iterations singular values from 0.01 to 1 lie
    between 0.68 and 1.14, which serves as well and is reached sooner.

    Parameters
    ----------
    x : (rows, columns)
        Of any scale: it is divided by its Frobenius norm first.
    n_iterations : int

    Returns
    -------
    (rows, columns) in the dtype of x
    """
    a, b, c = COEFFICIENTS
    wide = x if x.shape[0] <= x.shape[1] else x.T             # the smaller product X X^T
    wide = divided_by_norm(wide)
    for _ in range(n_iterations):
        gram = matmul(wide, wide.T)
        wide = matmul(a * np.eye(len(gram), dtype=x.dtype) + b * gram + c * matmul(gram, gram),
                      wide)
    return wide if x.shape[0] <= x.shape[1] else wide.T


def divided_by_norm(x):
    """Divide by the Frobenius norm, or TINY if that is more; the squares cannot overflow."""
    peak = max(np.abs(x).max(initial=0), TINY)
    x = x / peak
    return x / max(np.linalg.norm(x), TINY / peak)


class Muon(Optimizer):
    """Muon for matrices: see `muon` for the rule (torch: lr for learning_rate)."""

    rule = staticmethod(muon)

    def __init__(self, parameters, learning_rate=0.02, momentum=0.95, nesterov=True,
                 weight_decay=0.0):
        super().__init__(parameters, learning_rate=learning_rate, momentum=momentum,
                         nesterov=nesterov, weight_decay=weight_decay)

    def memory(self, p):
        if p.ndim != 2:
            raise ValueError(f"Muon needs matrices, but a parameter has shape {p.shape}: give it "
                             "to AdamW")
        return {"velocity": np.zeros_like(p)}

    def fast_rule(self, jobs):
        return muon_fast(jobs, self.places)


# ---- fast path -------------------------------------------------------------------------------
# The same iteration on small symmetric matrices alone, all of one size at once: with
# P = a I + b G + c G^2, X <- P X makes G <- P G P, so the product Q of all P is found without X,
# and one product Q X is left. G squares the condition number: in float32 the result is within 1e-6
# of float64 where that is 1, relative to the norm, and within 1e-3 at any (measured 5e-4; the
# iteration on X 2e-5). The singular values are only brought to 0.68 to 1.14 in any case.

def muon_fast(jobs, places):
    """Take the steps of `muon` whose arrays suit a kernel; return the other jobs."""
    ready = places.update([job[1:] for job in jobs])
    rest = [job for job, ok in zip(jobs, ready) if not ok]
    jobs = [job for job, ok in zip(jobs, ready) if ok]
    updates = [memory.empty(p.shape, p.dtype) for _, p, *_ in jobs]
    squares = move(places, ready, jobs, updates)
    alike = {}
    for i, (settings, p, *_) in enumerate(jobs):
        if squares[i] < np.finfo(p.dtype).max / 4:
            alike.setdefault(min(p.shape), []).append(i)
        else:                                             # G would be infinite
            p -= rate_of(settings, p) * orthogonalize(updates[i])
    for side, members in alike.items():
        descend(side, [(*jobs[i][:2], updates[i], squares[i]) for i in members])
    return rest


def move(places, ready, jobs, updates):
    """Decay the parameters, update the velocities, and write what is to be made orthogonal.

    Returns
    -------
    list of float
        The sum of squares of each update.
    """
    table = np.column_stack([places.table[np.array(ready, bool)],
                             [x.ctypes.data for x in updates]])
    rows = [(s["momentum"], 1 - s["momentum"], s["nesterov"],
             1 - s["learning_rate"] * s["weight_decay"]) for s, *_ in jobs]
    out = in_pieces(_move, places.dtype, table, [True] * len(jobs), rows)
    return np.bincount(cut(tuple(table[:, 0].tolist()))[:, 0], out, len(jobs)).tolist()


def descend(side, jobs):
    """Step along the orthogonalized updates of parameters whose smaller side is `side`."""
    dtype = jobs[0][1].dtype
    grams = memory.empty((len(jobs), side, side), dtype)
    norms = np.array([max(square ** 0.5, TINY) for *_, square in jobs], dtype)[:, None, None]
    for gram, (_, p, u, _) in zip(grams, jobs):
        gemm.matmul(*((u, u.T) if side == len(p) else (u.T, u)), gram)
    grams /= norms * norms
    scales = [rate_of(s, p) for s, p, *_ in jobs]
    factors = newton_schulz(grams) * (np.array(scales, dtype)[:, None, None] / -norms)
    for q, (_, p, u, _) in zip(factors, jobs):
        gemm.matmul(*((q, u) if side == len(p) else (u, q)), p, accumulate=True)


def rate_of(settings, p):
    """Return what the orthogonalized update of p is multiplied with."""
    return settings["learning_rate"] * max(1, p.shape[0] / p.shape[1]) ** 0.5


def newton_schulz(g, n_iterations=5):
    """Return the Q that `orthogonalize` multiplies X with, for X X^T = g (N, n, n)."""
    n, q = g.shape[-1], None
    for i in range(n_iterations):
        p = _quintic(g, gemm.matmul(g, g))
        p.reshape(-1, n * n)[:, ::n + 1] += COEFFICIENTS[0]
        q = p if q is None else gemm.matmul(p, q)
        if i < n_iterations - 1:
            g = gemm.matmul(p, gemm.matmul(g, p))
    return q


@element_kernel
def _quintic(g, square):
    return COEFFICIENTS[1] * g + COEFFICIENTS[2] * square


@row_kernel(small=0)
def _move(start, stop, pieces, table, numbers, like, out):
    widest_vectors()
    one = like.dtype.type(1)
    for i in range(start, stop):
        piece, row = pieces[i], numbers[pieces[i, 0]]
        momentum, share, nesterov, keep, total = row[0], row[1], row[2] != 0, row[3], 0.0
        p, g = piece_of(piece, table, 1, like), piece_of(piece, table, 2, like)
        v, update = piece_of(piece, table, 3, like), piece_of(piece, table, 4, like)
        again, fresh = (momentum, share) if nesterov else (one, one - one)
        for j in range(p.size):
            p[j] *= keep
            v[j] = momentum * v[j] + share * g[j]
            u = again * v[j] + fresh * g[j]
            update[j] = u
            total += np.float64(u) * np.float64(u)
        out[i] = total
