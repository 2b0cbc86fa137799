"""The loss as a surface over parameters and tokens: L = E + A / N^alpha + B / D^beta.

The five numbers are fitted as Hoffmann et al. 2022 (arXiv:2203.15556, section 3.3) do: the Huber
loss of the difference of logarithms, from a grid of starts. All starts, or all samples of a
bootstrap, are fitted at once by Levenberg and Marquardt's method, to where the gradient is
nothing: stopping before makes the exponents wrong (Besiroglu et al. 2024, arXiv:2404.10102).
"""
import itertools
import math
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
FACTORS, LOSSES, EXPONENTS = (0, 10, 20), (-1, 0, 1), (0.2, 0.5, 1)     # of the grid of starts
STARTS = FACTORS, FACTORS, LOSSES, EXPONENTS, EXPONENTS    # of (log A, log B, log E, alpha, beta)


class Surface(NamedTuple):
    """The numbers of a law."""

    E: float                       # nats: what stays with any model and any text
    A: float
    B: float
    alpha: float
    beta: float

    def loss(self, N, D):
        """Return the loss of a model of N parameters after D tokens."""
        of_size = self.A / N ** self.alpha
        of_text = self.B / D ** self.beta
        return self.E + of_size + of_text

    @property
    def exponent(self):
        """Of the budget, in the best number of parameters."""
        return self.beta / (self.alpha + self.beta)

    def best_size(self, C):
        """Return the N of the least loss among those with 6 N D = C; D is C / (6 N)."""
        G = self.alpha * self.A / (self.beta * self.B)
        G **= 1 / (self.alpha + self.beta)
        return G * (C / 6) ** self.exponent

    def best_loss(self, C):
        N = self.best_size(C)
        return self.loss(N, C / (6 * N))

    @classmethod
    def of(cls, theta):
        """Make it from (log A, log B, log E, alpha, beta)."""
        *logs, alpha, beta = map(float, theta)
        A, B, E = map(math.exp, logs)
        return cls(E, A, B, alpha, beta)

    @property
    def theta(self):
        logs = np.log([self.A, self.B, self.E])
        return np.append(logs, [self.alpha, self.beta])


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
    log_losses = np.log(losses)
    y = np.tile(log_losses, (len(starts), 1))                              # (S, n)
    theta, objective, _ = minimise(starts, N, D, y, HUBER, FEW_ROUNDS)
    some = np.argsort(objective)[:CONTINUED]
    near = Surface.of(theta[some[0]]).loss(N, D)
    bend = max(HUBER, TUNED * deviation(log_losses - np.log(near)))
    theta, objective, gradient = minimise(theta[some], N, D, y[some], bend)
    best = int(np.argmin(objective))
    lowest = objective[best]
    alike = np.count_nonzero(objective < 1.001 * lowest + 1e-15)
    found = Surface.of(theta[best])
    residuals = log_losses - np.log(found.loss(N, D))
    return Fit(found, float(lowest), float(gradient[best]), alike, bend, residuals)


def deviation(residuals):
    """Estimate the standard deviation of the noise, whatever a few runs far off say."""
    n = len(residuals)
    enlarged = np.sqrt(n / max(1, n - N_NUMBERS))
    return DEVIATION * enlarged * np.median(np.abs(residuals))


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
    y = np.log(samples)
    starts = np.tile(fit.surface.theta, (len(y), 1))                       # (S, 5)
    theta, _, _ = minimise(starts, N, D, y, fit.bend, REFIT_ROUNDS)
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
    total = np.exp(terms - highest).sum(axis=0)
    predicted = highest + np.log(total)
    of_N, of_D, of_E = np.exp(terms - predicted)                           # shares of the loss
    by_exponent = -of_N * log_N, -of_D * log_D
    return predicted, np.stack([of_N, of_D, of_E, *by_exponent], axis=-1)


def huber(r, bend):
    """Return the Huber loss, and the weight of each difference in a fit of least squares."""
    size = np.abs(r)
    outside = np.maximum(size, bend)
    inside = np.minimum(size, bend)
    return inside * (size - inside / 2), bend / outside


def minimise(theta, N, D, y, bend, rounds=ROUNDS):
    """Find the least mean Huber loss of each row, (S, n), from its start, (S, 5).

    Sizes and tokens are counted from their middle, where what they are multiplied with and their
    exponents hardly depend on each other.

    Returns
    -------
    theta : (S, 5)
    objective, gradient : (S,)
    """
    logs = np.log([N, D])                                                  # (2, n)
    middle = logs.mean(axis=1)
    theta = theta.copy()
    theta[:, :2] -= theta[:, 3:] * middle
    theta, *ends = descend(theta, *(logs - middle[:, None]), y, bend, rounds)
    theta[:, :2] += theta[:, 3:] * middle
    return theta, *ends


def descend(theta, log_N, log_D, y, bend, rounds):
    damping = np.full(len(theta), 1e-2)
    objective, gradient, curvature = around(theta, log_N, log_D, y, bend)
    for _ in range(rounds):
        scale = np.einsum("sii->si", curvature) + 1e-12                    # (S, 5)
        damped = damping[:, None] * scale
        system = curvature + np.einsum("si,ij->sij", damped, np.eye(N_NUMBERS))
        move = np.linalg.solve(system, -gradient[..., None])               # (S, 5, 1)
        tried = theta + np.clip(move[..., 0], -5, 5)
        value, slope, steep = around(tried, log_N, log_D, y, bend)
        better = value < objective
        theta = np.where(better[:, None], tried, theta)
        objective = np.where(better, value, objective)
        gradient = np.where(better[:, None], slope, gradient)
        curvature = np.where(better[:, None, None], steep, curvature)
        damping *= np.where(better, 1 / 3, 4)
        damping = np.clip(damping, 1e-12, 1e12)
        size = np.linalg.norm(gradient, axis=1) / bend
        if np.all((size < GRADIENT) | (damping >= 1e12)):
            break
    return theta, objective, np.linalg.norm(gradient, axis=1) / bend


def around(theta, log_N, log_D, y, bend):
    """Return the objective, (S,), its gradient, (S, 5), and Gauss and Newton's curvature."""
    predicted, slopes = log_loss(theta, log_N, log_D)
    r = predicted - y
    value, weight = huber(r, bend)
    weight = weight / y.shape[1]
    gradient = np.einsum("sn,snk->sk", weight * r, slopes)
    curvature = np.einsum("sn,snk,snl->skl", weight, slopes, slopes)
    return value.mean(axis=1), gradient, curvature
