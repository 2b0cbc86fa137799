"""Successive halving as a function of the results alone: which trial trains how far.

Every trial trains to the first rung; the best of a rung, one of `factor`, rise to the next, which
is `factor` times as far. Together, a rung is decided when it is complete (Jamieson & Talwalkar
2016, arXiv:1502.07943); otherwise by those that have come in, again with each that does (Li et al.
2020, arXiv:1810.05934): nobody waits, and who has not risen may rise later.
"""
import math
from typing import NamedTuple


class Halving(NamedTuple):
    """How a sweep halves; one rung is a sweep that does not."""

    factor: int = 3
    n_rungs: int = 1
    together: bool = True

    def share(self, rung):
        """Return how far a rung is, as a share of the whole run.

        >>> [Halving(3, 4).share(rung) for rung in (0, 3)]
        [0.037037037037037035, 1.0]
        """
        return 1 / self.factor ** (self.n_rungs - 1 - rung)

    def steps(self, rung, steps):
        """Return how many steps a trial has at a rung, of those of the whole run."""
        return max(rung + 1, round(self.share(rung) * steps))


def wanted(results, n, halving, final=True):
    """Say which trial should be trained to which rung.

    Parameters
    ----------
    results : dict of (trial, rung) to float
        What came of it, less being better; infinity for what diverged or was given up.
    n : int
        How many trials there are, from 0 on.
    halving : Halving
    final : bool
        Whether no more trials will come.

    Returns
    -------
    set of (trial, rung)
        Those in `results`, too.
    """
    found = {(k, 0) for k in range(n)}
    expected, complete = set(range(n)), final
    for rung in range(halving.n_rungs - 1):
        come = [k for k in expected if (k, rung) in results]
        values = {k: results[k, rung] for k in come}
        complete = complete and len(values) == len(expected)
        if halving.together and not complete:
            break
        expected = {*risers(values, halving.factor, complete)}
        found |= {(k, rung + 1) for k in expected}
    return found


def risers(values, factor, complete):
    """Return the best trials of a rung, one of `factor`; of a complete rung at least one.

    >>> risers({0: 3.0, 1: 1.0, 2: math.inf}, 3, True)
    [1]
    """
    room = max(len(values) // factor, int(complete))
    ranked = sorted((value, k) for k, value in values.items())
    return [k for value, k in ranked[:room] if math.isfinite(value)]


def cost(results, halving):
    """Return the share of the work of all trials, trained to their end, that the results took."""
    reached = {}                                      # trial -> its highest rung
    for k, rung in results:
        reached[k] = max(rung, reached.get(k, 0))
    shares = [*map(halving.share, reached.values())]
    return sum(shares) / max(1, len(shares))
