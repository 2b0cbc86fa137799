"""The loss as a surface over parameters and tokens: L = E + A / N^alpha + B / D^beta.

The five numbers are fitted as Hoffmann et al. 2022 (arXiv:2203.15556, section 3.3) do: the Huber
loss of the difference of logarithms, from a grid of starts. All starts, or all samples of a
bootstrap, are fitted at once by Levenberg and Marquardt's method, to where the gradient is
nothing: stopping before makes the exponents wrong (Besiroglu et al. 2024, arXiv:2404.10102).
"""
import itertools
from typing import NamedTuple

import numpy as np

HUBER = 1e-3                       # of a difference of logarithms: beyond it counts in proportion,
TUNED = 1.345                      # or beyond so many deviations, where there is more noise (Huber)
DEVIATION = 1.4826                 # of a normal distribution, in medians of the absolute value
N_NUMBERS = 5
GRADIENT = 1e-9                    # in units of the steepest Huber loss: where it is nothing
FEW_ROUNDS, ROUNDS = 30, 300       # for all starts, and for the best of them
REFIT_ROUNDS = 40                  # from the best fit, for each sample of a bootstrap
CONTINUED = 12                     # starts, to the end
# Of (log A, log B, log E, alpha, beta).
STARTS = [(0, 10, 20), (0, 10, 20), (-1, 0, 1), (0.2, 0.5, 1), (0.2, 0.5, 1)]


class Surface(NamedTuple):
    """The numbers of a law."""

    E: float                       # nats: what stays with any model and any text
    A: float
    B: float
    alpha: float
    beta: float

    def loss(self, N, D):
        """Return the loss of a model of N parameters after D tokens."""
        return self.E + self.A / N ** self.alpha + self.B / D ** self.beta

    @property
    def exponent(self):
        """Of the budget, in the best number of parameters."""
        return self.beta / (self.alpha + self.beta)

    def best_size(self, C):
        """Return the N of the least loss among those with 6 N D = C; D is C / (6 N)."""
        a, b = self.alpha, self.beta
        G = (a * self.A / (b * self.B)) ** (1 / (a + b))
        return G * (C / 6) ** self.exponent

    def best_loss(self, C):
        N = self.best_size(C)
        return self.loss(N, C / (6 * N))

    @classmethod
    def of(cls, theta):
        """Make it from (log A, log B, log E, alpha, beta)."""
        a, b, e, alpha, beta = map(float, theta)
        return cls(np.exp(e), np.exp(a), np.exp(b), alpha, beta)

    @property
    def theta(self):
        a, b, e = np.log([self.A, self.B, self.E])
        return np.array([a, b, e, self.alpha, self.beta])


class Fit(NamedTuple):
    """What a fit has come to."""

    surface: Surface
    objective: float               # mean Huber loss
    gradient: float                # its norm, as a share of the steepest Huber loss
    n_alike: int                   # of the best starts, that came to the same objective
    bend: float                    # from which difference on it counts in proportion
    residuals: np.ndarray          # (n,) log of the loss measured, less that of the fit


def fit_surface(N, D, losses):
    """Fit the law to runs, from a grid of starts.

    Parameters
    ----------
    N, D, losses : (n,) array
        Parameters, tokens, and nats a token.

    Returns
    -------
    Fit
    """
    starts = np.array([*itertools.product(*STARTS)], float)                # (S, 5)
    y = np.broadcast_to(np.log(losses), (len(starts), len(losses)))        # (S, n)
    theta, objective, _ = minimise(starts, N, D, y, HUBER, FEW_ROUNDS)
    some = np.argsort(objective)[:CONTINUED]
    near = np.log(losses) - np.log(Surface.of(theta[some[0]]).loss(N, D))
    bend = max(HUBER, TUNED * deviation(near))
    theta, objective, gradient = minimise(theta[some], N, D, y[some], bend)
    best = int(np.argmin(objective))
    alike = int((objective < objective[best] * 1.001 + 1e-15).sum())
    found = Surface.of(theta[best])
    return Fit(found, float(objective[best]), float(gradient[best]), alike, bend,
               np.log(losses) - np.log(found.loss(N, D)))


def deviation(residuals):
    """Estimate the standard deviation of the noise, whatever a few runs far off say."""
    n = len(residuals)
    return DEVIATION * np.median(np.abs(residuals)) * np.sqrt(n / max(1, n - N_NUMBERS))


def refit(fit, N, D, samples):
    """Fit the law to many samples of the losses of the same runs, from one start.

    Parameters
    ----------
    fit : Fit
        To the runs themselves.
    N, D : (n,) array
    samples : (S, n) array

    Returns
    -------
    list of Surface
    """
    starts = np.tile(fit.surface.theta, (len(samples), 1))                 # (S, 5)
    theta, _, _ = minimise(starts, N, D, np.log(samples), fit.bend, REFIT_ROUNDS)
    return [*map(Surface.of, theta)]


def log_loss(theta, log_N, log_D):
    """Return the logarithm of the loss, and its derivatives.

    Parameters
    ----------
    theta : (S, 5)
    log_N, log_D : (n,)

    Returns
    -------
    predicted : (S, n)
    slopes : (S, n, 5)
    """
    a, b, e, alpha, beta = theta.T[:, :, None]                             # each (S, 1)
    terms = np.stack([a - alpha * log_N, b - beta * log_D,
                      np.broadcast_to(e, (len(theta), len(log_N)))])       # (3, S, n)
    highest = terms.max(axis=0)
    predicted = highest + np.log(np.exp(terms - highest).sum(axis=0))
    of_N, of_D, of_E = np.exp(terms - predicted)                           # shares of the loss
    slopes = np.stack([of_N, of_D, of_E, -of_N * log_N, -of_D * log_D], axis=-1)
    return predicted, slopes


def huber(r, bend):
    """Return the Huber loss, and the weight of each difference in a fit of least squares."""
    size = np.abs(r)
    inside = size <= bend
    value = np.where(inside, r * r / 2, bend * (size - bend / 2))
    return value, np.where(inside, 1.0, bend / np.maximum(size, bend))


def minimise(theta, N, D, y, bend, rounds=ROUNDS):
    """Find the least mean Huber loss of each row, (S, n), from its start, (S, 5).

    Sizes and tokens are counted from their middle, where what they are multiplied with and their
    exponents hardly depend on each other.

    Returns
    -------
    theta : (S, 5)
    objective, gradient : (S,)
    """
    middle = np.array([np.log(N).mean(), np.log(D).mean()])
    theta = theta.copy()
    theta[:, :2] -= theta[:, 3:] * middle
    theta, *ends = descend(theta, np.log(N) - middle[0], np.log(D) - middle[1], y, bend, rounds)
    theta[:, :2] += theta[:, 3:] * middle
    return theta, *ends


def descend(theta, log_N, log_D, y, bend, rounds):
    damping = np.full(len(theta), 1e-2)
    objective, gradient, curvature = around(theta, log_N, log_D, y, bend)
    for _ in range(rounds):
        scale = np.einsum("sii->si", curvature) + 1e-12                    # (S, 5)
        system = curvature + damping[:, None, None] * scale[:, :, None] * np.eye(5)
        move = -np.linalg.solve(system, gradient[:, :, None])[:, :, 0]
        tried = theta + np.clip(move, -5, 5)
        value, slope, steep = around(tried, log_N, log_D, y, bend)
        better = value < objective
        theta = np.where(better[:, None], tried, theta)
        objective = np.where(better, value, objective)
        gradient = np.where(better[:, None], slope, gradient)
        curvature = np.where(better[:, None, None], steep, curvature)
        damping = np.clip(np.where(better, damping / 3, damping * 4), 1e-12, 1e12)
        size = np.linalg.norm(gradient, axis=1) / bend
        if np.all((size < GRADIENT) | (damping >= 1e12)):
            break
    return theta, objective, np.linalg.norm(gradient, axis=1) / bend


def around(theta, log_N, log_D, y, bend):
    """Return the objective, (S,), its gradient, (S, 5), and Gauss and Newton's curvature."""
    predicted, slopes = log_loss(theta, log_N, log_D)
    r = predicted - y
    value, weight = huber(r, bend)
    gradient = np.einsum("sn,snk->sk", weight * r, slopes) / y.shape[1]
    curvature = np.einsum("sn,snk,snl->skl", weight, slopes, slopes) / y.shape[1]
    return value.mean(axis=1), gradient, curvature
