"""What is to be done in a sweep, read from its table: repairs, new jobs, and which to take."""
import math
import time
from typing import NamedTuple

from gpt.sweeping.halving import wanted
from gpt.sweeping.table import DONE, FAILED, RUNNING, WAITING

ATTEMPTS = 3                       # of a job that fails for a reason of its own


class Ledger(NamedTuple):
    """The jobs of a table in order."""

    current: dict                  # (trial, rung) -> its job of the latest generation
    twice: list                    # jobs that were made by two machines at once, but for the first
    failures: dict                 # (trial, rung) -> its jobs that failed for a reason

    @classmethod
    def of(cls, jobs):
        """Sort the jobs of a table."""
        first, twice, failures = {}, [], {}
        for job in jobs:                              # in the order of their numbers
            known = first.setdefault(job.key, job)
            if known is not job and job.state == WAITING:
                twice.append(job)
        current = {}
        for (trial, rung, generation), job in first.items():
            known = current.get((trial, rung))
            if known is None or known.generation < generation:
                current[trial, rung] = job
            if job.state == FAILED and "why" in job.facts:
                failures.setdefault((trial, rung), []).append(job)
        return cls(current, twice, failures)

    def given_up(self, job):
        """Whether a job has failed for good."""
        failures = self.failures.get((job.trial, job.rung), [])
        for_good = len(failures) >= ATTEMPTS or "impossible" in job.facts
        return job.state == FAILED and for_good

    def results(self):
        """Return the value of each (trial, rung) that is decided; infinity where it was given up.
        """
        found = {}
        for key, job in self.current.items():
            if job.state == DONE:
                found[key] = job.value
            elif self.given_up(job):
                found[key] = math.inf
        return found

    def lost(self):
        """Yield the jobs that have failed and are to be done again."""
        for job in self.current.values():
            if job.state == FAILED and not self.given_up(job):
                yield job

    def reached(self):
        """Return the job of the highest rung that each trial has done."""
        found = {}                                    # trial -> its job
        for job in self.in_state(DONE):
            before = found.setdefault(job.trial, job)
            if job.rung > before.rung:
                found[job.trial] = job
        return [*found.values()]

    def in_state(self, state):
        return [job for job in self.current.values() if job.state == state]

    def missing(self, halving, total):
        """Return (trial, rung) of the jobs of higher rungs that nobody has made yet.

        Parameters
        ----------
        halving : Halving
        total : int or None
            How many trials there will be; None where that is open.
        """
        n = self.n_trials if total is None else total
        due = wanted(self.results(), n, halving, total is not None) - self.current.keys()
        return sorted((trial, rung) for trial, rung in due if rung)

    @property
    def n_trials(self):
        numbers = [trial for trial, _ in self.current]
        return 1 + max(numbers, default=-1)

    def in_order(self, here):
        """Return what waits, in the order in which to take it.

        Higher rungs come first, then those whose runs lie on this machine, then lower numbers.
        """
        def rank(job):
            return -job.rung, not here(job), job.trial
        return sorted(self.in_state(WAITING), key=rank)

    def flops(self):
        """Return how many FLOPs have been handed out and done, as the owners said."""
        said = [job.facts.get("flops", 0) for job in self.current.values()]
        return sum(said)


class Watch:
    """Tell which running jobs nobody is at any more.

    Clocks of machines differ, so none is compared: what counts is how long an owner has said
    nothing new, by this machine's clock; and while this machine itself did not look, since it was
    stopped or the database was gone, nothing is held against anyone.
    """

    def __init__(self, grace_s):
        self.grace_s = grace_s
        self.silent_s = {}                            # (job, its last word) -> seconds since
        self.looked_s = time.monotonic()

    def silent(self, jobs, own=()):
        """Return the running jobs of others that have been silent for too long."""
        now = time.monotonic()
        passed_s = min(now - self.looked_s, self.grace_s / 4)
        self.looked_s = now
        before, self.silent_s = self.silent_s, {}
        for job in jobs:
            if job.state == RUNNING and job.id not in own:
                said = job.id, job.facts.get("beat")
                self.silent_s[said] = before[said] + passed_s if said in before else 0.0
        late = {said[0] for said in self.silent_s if self.silent_s[said] > self.grace_s}
        return [job for job in jobs if job.id in late]
