"""How sure a law is: intervals by a bootstrap of the residuals, and the bias of parabolas."""
import numpy as np

from gpt.laws.parabolas import parabolas
from gpt.laws.surface import N_NUMBERS, fit_surface, refit

SAMPLES = 300
LEVEL = 0.9


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

    def interval(self, f, level=LEVEL):
        """Return between which numbers f(surface) lies."""
        with np.errstate(all="ignore"):
            values = np.array([f(one) for one in self.others])
        return quantiles(values[np.isfinite(values)], level)

    def predicted(self, N, D, level=LEVEL):
        """Return the loss of a run that is not made yet, and between which numbers it will lie."""
        losses = np.array([one.loss(N, D) for one in self.others])
        losses *= np.exp(self.of_a_run)
        return self.surface.loss(N, D), quantiles(losses, level)


def quantiles(values, level=LEVEL):
    outside = (1 - level) / 2
    low, high = np.quantile(values, [outside, 1 - outside])
    return float(low), float(high)


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
    return (found.exponent - surface.exponent,
            lambda budget: found.best_size(budget) / surface.best_size(budget))
