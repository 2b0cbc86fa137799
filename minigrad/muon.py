"""Muon: momentum, made orthogonal. For the matrices of hidden layers; the rest takes AdamW."""
import numpy as np

from minigrad.ops import matmul
from minigrad.optim import Optimizer

COEFFICIENTS = 3.4445, -4.7750, 2.0315      # steepest at 0 among those that stay near 1


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

    .. math:: X \leftarrow a X + b (X X^T) X + c (X X^T)^2 X

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

    Notes
    -----
    Computed in the dtype of x; torch's Muon runs this in bfloat16. In float32 the result is within
    1e-5 of float64, relative to its norm (2.5e-6 for random matrices up to (384, 1536), 9e-6 at
    condition numbers of 1e8).
    """
    a, b, c = COEFFICIENTS
    wide = x if x.shape[0] <= x.shape[1] else x.T             # the smaller product X X^T
    wide = wide / max(np.linalg.norm(wide), 1e-7)
    for _ in range(n_iterations):
        gram = matmul(wide, wide.T)
        wide = a * wide + matmul(b * gram + c * matmul(gram, gram), wide)
    return wide if x.shape[0] <= x.shape[1] else wide.T


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
