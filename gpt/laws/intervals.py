"""How sure a law is: 90 % intervals by a bootstrap of residuals, and the bias of parabolas."""
import math

import numpy as np

from gpt.laws.parabolas import parabolas
from gpt.laws.surface import N_NUMBERS, fit_surface, refit
from gpt.training.intervals import t_quantile

SAMPLES = 300
Z = 1.644854                       # of a normal distribution: 90 % lie nearer to its middle
MIDDLE = 0.158655, 0.841345        # shares of it below one deviation to either side


class Law:
    """A surface fitted to runs, with the surfaces that other runs of the kind might have given.

    The residuals are drawn anew with replacement, each enlarged for the numbers that the fit has
    used up (Efron & Tibshirani 1993, chapter 9): so the runs stay where they were planned.

    Parameters
    ----------
    N, D, losses : (n,) array
    seed : int
    """

    def __init__(self, N, D, losses, seed=0):
        self.N, self.D, self.losses = N, D, losses
        self.fit = fit_surface(N, D, losses)
        self.surface = self.fit.surface
        n = len(N)
        rng = np.random.default_rng(seed)
        residuals = self.fit.residuals
        enlarged = np.sqrt(n / max(1, n - N_NUMBERS))
        self.noise = enlarged * (residuals - residuals.mean())             # (n,)
        drawn = rng.choice(self.noise, (SAMPLES, n))
        samples = self.surface.loss(N, D) * np.exp(drawn)
        self.others = refit(self.fit, N, D, samples)
        self.of_a_run = rng.choice(self.noise, SAMPLES)

    def interval(self, f):
        """Return between which numbers f(surface), which is above 0, lies."""
        with np.errstate(all="ignore"):
            values = np.array([f(one) for one in self.others])
        return self.around(f(self.surface), values)

    def predicted(self, N, D):
        """Return the loss of a run that is not made yet, and between which numbers it will lie."""
        losses = np.array([one.loss(N, D) for one in self.others])
        loss = self.surface.loss(N, D)
        return loss, self.around(loss, losses * np.exp(self.of_a_run))

    def around(self, best, values):
        """Return the interval around an estimate, by how far other samples lie from each other.

        It is Student's, of logarithms; the spread is that of the middle two thirds, which a fit
        that went astray does not change.
        """
        good = np.isfinite(values) & (values > 0)
        low, high = np.quantile(np.log(values[good]), MIDDLE)
        spare = max(1, len(self.N) - N_NUMBERS)
        half = t_quantile(spare, Z) * (high - low) / 2
        factor = math.exp(half)
        return best / factor, best * factor


def bias_of_parabolas(surface, C, N):
    """Return by what factor parabolas err on a surface without noise, at runs planned like these.

    Returns
    -------
    exponent : float
        What parabolas find, less what is true.
    sizes : callable of C to float
        What they find at a budget, divided by what is true.
    """
    D = C / (6 * N)
    found = parabolas(C, N, surface.loss(N, D))
    if found is None:
        return np.nan, lambda budget: np.nan

    def sizes(budget):
        return found.best_size(budget) / surface.best_size(budget)
    return found.exponent - surface.exponent, sizes
