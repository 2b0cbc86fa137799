"""What a sweep says so far: trials in order, which settings matter, where the best one lies."""
import math
from typing import NamedTuple

import numpy as np

from gpt.sweeping.desk import Ledger
from gpt.sweeping.table import DONE, RUNNING, WAITING
from gpt.sweeping.worker import folder_of

GROUPS = 4                         # of trials, by the values of a range
FEWEST = 8                         # trials, from which on it is said what matters


class Row(NamedTuple):
    """A trial, at the highest rung that it has reached."""

    trial: int
    settings: dict
    rung: int
    value: float
    step: int
    folder: str


def ranking(jobs):
    """Return the trials that have a value, best first; who rose higher stands before."""
    reached = {}                                      # trial -> its job of the highest rung
    for (trial, _), job in sorted(Ledger.of(jobs).current.items()):
        if job.state == DONE and job.value is not None:
            reached[trial] = job
    rows = [Row(job.trial, job.settings, job.rung, job.value, job.step,
                job.facts.get("folder") or folder_of("", job.settings, job.generation).name)
            for job in reached.values()]
    return sorted(rows, key=lambda row: (-row.rung, row.value, row.trial))


def rungs(jobs):
    """Return for each rung how many trials are done, at work, waiting, and given up."""
    found, ledger = {}, Ledger.of(jobs)
    for (_, rung), job in ledger.current.items():
        counts = found.setdefault(rung, {DONE: 0, RUNNING: 0, WAITING: 0, "given up": 0})
        name = "given up" if ledger.given_up(job) else job.state
        counts[name if name in counts else WAITING] += 1
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
    current = Ledger.of(jobs).current
    found = [job for (_, rung), job in current.items()
             if rung == 0 and job.value is not None and math.isfinite(job.value)]
    if len(found) < FEWEST:
        return {}
    values = np.array([job.value for job in found])
    shares = {name: explained(grouped([job.settings[name] for job in found]), values)
              for name in found[0].settings}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def grouped(xs):
    """Return the group of each value: itself, or its quarter where there are many."""
    kinds = sorted({*xs}, key=lambda x: (isinstance(x, str), x))
    place = {x: i for i, x in enumerate(kinds)}
    of_many = max(1, len(kinds) / GROUPS) if len(kinds) > 2 * GROUPS else 1
    return np.array([int(place[x] / of_many) for x in xs])


def explained(groups, values):
    """Return omega squared of groups."""
    n, names = len(values), np.unique(groups)
    total = ((values - values.mean()) ** 2).sum()
    within = sum(((values[groups == g] - values[groups == g].mean()) ** 2).sum() for g in names)
    spare = n - len(names)
    if total == 0 or spare <= 0 or len(names) < 2:
        return 0.0
    noise = within / spare
    return float(max(0.0, (total - within - (len(names) - 1) * noise) / (total + noise)))
