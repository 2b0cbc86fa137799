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
    return through(C, N, losses, lowest_run)


def parabolas(C, N, losses):
    """Take for each budget the lowest point of a parabola over the logarithm of the size.

    A budget counts that has three sizes and whose parabola opens upwards.
    """
    return through(C, N, losses, lowest_point)


def lowest_run(N, losses):
    best = losses.argmin()
    return N[best], losses[best]


def lowest_point(N, losses):
    """Return N and the loss at the bottom of the parabola through runs; None without one."""
    if len({*N}) < 3:
        return None
    middle = np.log(N).mean()
    bend, slope, height = np.polyfit(np.log(N) - middle, losses, 2)
    if bend <= 0:
        return None
    x = -slope / (2 * bend)
    return np.exp(middle + x), height + slope * x / 2


def through(C, N, losses, best):
    """Fit a power law through the size and loss that `best` finds among the runs of each budget.

    Returns
    -------
    PowerLaw or None
        None where fewer than two budgets have a best size.
    """
    found = []
    for budget in np.unique(C):
        runs = C == budget
        point = best(N[runs], losses[runs])
        if point:
            found.append((budget, *point))
    if len(found) < 2:
        return None
    budgets, sizes, lowest = zip(*found)
    log_C, log_N = np.log(budgets), np.log(sizes)
    exponent, constant = np.polyfit(log_C, log_N, 1)
    factor = np.exp(constant)
    return PowerLaw(float(factor), float(exponent), budgets, sizes, lowest)
