"""The best size for each budget, and the power law through these (IsoFLOP profiles)."""
from typing import NamedTuple

import numpy as np


class PowerLaw(NamedTuple):
    """The best number of parameters as a function of the budget: N = factor C^exponent."""

    factor: float
    exponent: float
    budgets: tuple                 # (m,) FLOPs
    sizes: tuple                   # (m,) the best N of each
    losses: tuple                  # (m,) there

    def best_size(self, C):
        return self.factor * C ** self.exponent


def lowest_runs(C, N, losses):
    """Take for each budget the size of its lowest run."""
    return through(C, lambda of: (N[of][losses[of].argmin()], losses[of].min()))


def parabolas(C, N, losses):
    """Take for each budget the lowest point of a parabola over the logarithm of the size.

    A budget counts that has three sizes and whose parabola opens upwards.
    """
    return through(C, lambda of: lowest_point(np.log(N[of]), losses[of]))


def lowest_point(x, losses):
    """Return exp(x) and the loss at the bottom of the parabola through points; None without one."""
    if len({*x}) < 3:
        return None
    middle = x.mean()
    bend, slope, height = np.polyfit(x - middle, losses, 2)
    if bend <= 0:
        return None
    lowest = -slope / (2 * bend)
    return np.exp(middle + lowest), height - slope ** 2 / (4 * bend)


def through(C, best):
    """Fit a power law through what `best`, of a mask of the runs, finds in each budget.

    Returns
    -------
    PowerLaw or None
        None where fewer than two budgets have a best size.
    """
    found = [(budget, best(C == budget)) for budget in np.unique(C)]
    found = [(budget, *point) for budget, point in found if point]
    if len(found) < 2:
        return None
    budgets, sizes, losses = zip(*found)
    exponent, constant = np.polyfit(np.log(budgets), np.log(sizes), 1)
    return PowerLaw(float(np.exp(constant)), float(exponent), budgets, sizes, losses)
