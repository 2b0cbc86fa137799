"""Muon: momentum, made orthogonal. For the matrices of hidden layers; the rest takes AdamW."""
import numpy as np

from minigrad.kernels import gemm, memory
from minigrad.kernels.llvm import widest_vectors
from minigrad.kernels.pieces import cut, in_pieces, piece_of
from minigrad.kernels.rows import element_kernel, row_kernel
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
    rows, columns = x.shape
    wide = divided_by_norm(x if rows <= columns else x.T)     # the smaller product X X^T
    unit = np.eye(len(wide), dtype=x.dtype)
    for _ in range(n_iterations):
        gram = matmul(wide, wide.T)                           # (n, n), the smaller side
        quintic = a * unit + b * gram + c * matmul(gram, gram)
        wide = matmul(quintic, wide)
    return wide if rows <= columns else wide.T


def divided_by_norm(x):
    """Divide by the Frobenius norm, or TINY if that is more; the squares cannot overflow."""
    peak = max(np.abs(x).max(initial=0), TINY)
    x = x / peak
    return x / max(np.linalg.norm(x), TINY / peak)


class Muon(Optimizer):
    """Muon for matrices: see `muon` for the rule (torch: lr for learning_rate).

    Raises
    ------
    ValueError
        If a parameter is no matrix, or as every Optimizer does.
    """

    rule = staticmethod(muon)

    def __init__(self, parameters, learning_rate: float = 0.02, momentum: float = 0.95,
                 nesterov: bool = True, weight_decay: float = 0.0):
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
    jobs = [job[:2] for job, ok in zip(jobs, ready) if ok]
    updates = [memory.empty(p.shape, p.dtype) for _, p in jobs]
    squares = move(places, ready, jobs, updates)
    alike = {}                                            # smaller side -> jobs
    for (settings, p), update, square in zip(jobs, updates, squares):
        if square < np.finfo(p.dtype).max / 4:
            same = alike.setdefault(min(p.shape), [])
            same.append((settings, p, update, square))
        else:                                             # G would be infinite
            p -= rate_of(settings, p) * orthogonalize(update)
    for side, same in alike.items():
        descend(side, same)
    return rest


def move(places, ready, jobs, updates):
    """Decay the parameters, update the velocities, and write what is to be made orthogonal.

    Returns
    -------
    list of float
        The sum of squares of each update.
    """
    addresses = [x.ctypes.data for x in updates]
    table = np.column_stack([places.table[np.array(ready, bool)], addresses])
    rows = [numbers_of(settings) for settings, _ in jobs]
    sums = in_pieces(_move, places.dtype, table, [True] * len(jobs), rows)
    pieces = cut(tuple(table[:, 0].tolist()))             # (n, ...), first whose piece it is
    return np.bincount(pieces[:, 0], sums, len(jobs)).tolist()


def numbers_of(settings):
    """Return the numbers of `_move`."""
    momentum = settings["momentum"]
    keep = 1 - settings["learning_rate"] * settings["weight_decay"]
    return momentum, 1 - momentum, settings["nesterov"], keep


def descend(side, jobs):
    """Step along the orthogonalized updates of parameters whose smaller side is `side`."""
    settings, parameters, updates, squares = zip(*jobs)
    dtype = parameters[0].dtype
    norms = np.array([max(square ** 0.5, TINY) for square in squares], dtype)     # (N,)
    rates = np.array(list(map(rate_of, settings, parameters)), dtype)
    grams = memory.empty((len(jobs), side, side), dtype)
    for gram, u in zip(grams, updates):
        wide = u if side == len(u) else u.T
        gemm.matmul(wide, wide.T, gram)
    grams /= (norms * norms)[:, None, None]
    factors = newton_schulz(grams) * (rates / -norms)[:, None, None]
    for q, p, u in zip(factors, parameters, updates):
        pair = (q, u) if side == len(u) else (u, q)
        gemm.matmul(*pair, p, accumulate=True)


def rate_of(settings, p):
    """Return what the orthogonalized update of p is multiplied with."""
    rows, columns = p.shape
    return settings["learning_rate"] * max(1, rows / columns) ** 0.5


def newton_schulz(g, n_iterations=5):
    """Return the Q that `orthogonalize` multiplies X with, for X X^T = g (N, n, n)."""
    n, q = g.shape[-1], None
    for i in range(n_iterations):
        p = _quintic(g, gemm.matmul(g, g))
        diagonal = p.reshape(-1, n * n)[:, ::n + 1]               # (N, n), a view
        diagonal += COEFFICIENTS[0]
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
        piece = pieces[i]
        row = numbers[piece[0]]
        momentum, share = row[0], row[1]
        nesterov, keep = row[2] != 0, row[3]
        again, fresh = (momentum, share) if nesterov else (one, one - one)
        p = piece_of(piece, table, 1, like)
        g = piece_of(piece, table, 2, like)
        v = piece_of(piece, table, 3, like)
        update = piece_of(piece, table, 4, like)
        total = 0.0                                               # in float64
        for j in range(p.size):
            p[j] *= keep
            v[j] = momentum * v[j] + share * g[j]
            u = again * v[j] + fresh * g[j]
            update[j] = u
            total += np.float64(u) * np.float64(u)
        out[i] = total
