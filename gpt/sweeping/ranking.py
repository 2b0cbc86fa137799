"""What a sweep says so far: trials in order, which settings matter, where the best one lies."""
import math
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from gpt.sweeping.desk import Ledger
from gpt.sweeping.table import DONE, FAILED, RUNNING, WAITING
from gpt.sweeping.worker import folder_of

GROUPS = 4                         # of trials, by the values of a range
GIVEN_UP = "given up"
FEWEST = 8                         # trials, from which on it is said what matters


class Row(NamedTuple):
    """A trial, at the highest rung that it has reached."""

    trial: int
    settings: dict
    rung: int
    value: float
    step: int
    folder: str

    @property
    def order(self):
        return -self.rung, self.value, self.trial


def ranking(jobs):
    """Return the trials that have a value, best first; who rose higher stands before."""
    rows = map(row_of, Ledger.of(jobs).reached())
    return sorted(rows, key=attrgetter("order"))


def row_of(job):
    folder = folder_of("", job.settings, job.generation).name
    return Row(job.trial, job.settings, job.rung, job.value, job.step, folder)


def rungs(jobs):
    """Return for each rung how many trials are done, at work, waiting, and given up."""
    found, ledger = {}, Ledger.of(jobs)
    for (_, rung), job in ledger.current.items():
        counts = found.setdefault(rung, dict.fromkeys((DONE, RUNNING, WAITING, GIVEN_UP), 0))
        state = WAITING if job.state == FAILED else job.state
        counts[GIVEN_UP if ledger.given_up(job) else state] += 1
    return dict(sorted(found.items()))


def importance(jobs):
    """Return what share of the variance of the first rung each setting explains.

    It is that between the groups of trials that have one value, or a quarter of a range, less
    what chance alone would give (omega squared). Settings that act together share nothing here.

    Returns
    -------
    dict of str to float
        Nothing for few trials.
    """
    done = Ledger.of(jobs).in_state(DONE)
    found = [job for job in done if job.rung == 0 and math.isfinite(job.value)]
    if len(found) < FEWEST:
        return {}
    values = np.array([job.value for job in found])
    shares = []
    for name in found[0].settings:
        groups = grouped([job.settings[name] for job in found])
        shares.append((explained(groups, values), name))
    return {name: share for share, name in sorted(shares, reverse=True)}


def grouped(xs):
    """Return the group of each value: itself, or its quarter where there are many."""
    kinds, places = np.unique(xs, return_inverse=True)
    if len(kinds) <= 2 * GROUPS:
        return places
    return places * GROUPS // len(kinds)


def explained(groups, values):
    """Return omega squared of groups."""
    parts = [values[groups == group] for group in np.unique(groups)]
    total = len(values) * values.var()
    within = sum(len(part) * part.var() for part in parts)
    spare = len(values) - len(parts)
    if total == 0 or spare <= 0 or len(parts) < 2:
        return 0.0
    noise = within / spare
    between = total - within - (len(parts) - 1) * noise
    return float(max(0.0, between / (total + noise)))
