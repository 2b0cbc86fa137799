"""What is to be done in a sweep, read from its table: repairs, new jobs, and which to take."""
import math
import time
from typing import NamedTuple

from gpt.sweeping.halving import wanted
from gpt.sweeping.table import DONE, FAILED, RUNNING, WAITING

ATTEMPTS = 3                       # of a job that fails for reasons of its own, before it is given up


class Ledger(NamedTuple):
    """The jobs of a table in order."""

    current: dict                  # (trial, rung) -> its job of the latest generation
    twice: list                    # jobs that were made by two machines at once, but for the first
    failures: dict                 # (trial, rung) -> how often it failed for a reason

    @classmethod
    def of(cls, jobs):
        """Sort the jobs of a table."""
        first, twice, failures = {}, [], {}
        for job in jobs:                              # in the order of their numbers
            if job.key in first:
                twice.append(job)
            else:
                first[job.key] = job
        current = {}
        for (trial, rung, generation), job in first.items():
            known = current.get((trial, rung))
            if known is None or known.generation < generation:
                current[trial, rung] = job
            if job.state == FAILED and "why" in job.facts:
                failures[trial, rung] = failures.get((trial, rung), 0) + 1
        return cls(current, [job for job in twice if job.state == WAITING], failures)

    def given_up(self, job):
        """Whether a job has failed for good."""
        often = self.failures.get((job.trial, job.rung), 0) >= ATTEMPTS
        return job.state == FAILED and (often or "impossible" in job.facts)

    def results(self):
        """Return the value of each (trial, rung) that is decided; infinity where it was given up.
        """
        found = {}
        for key, job in self.current.items():
            if job.state == DONE:
                found[key] = math.inf if job.value is None else job.value
            elif self.given_up(job):
                found[key] = math.inf
        return found

    def lost(self):
        """Yield the jobs that have failed and are to be done again."""
        for job in self.current.values():
            if job.state == FAILED and not self.given_up(job):
                yield job

    def in_state(self, state):
        return [job for job in self.current.values() if job.state == state]

    def missing(self, n, halving):
        """Return (trial, rung) of the jobs of higher rungs that nobody has made yet."""
        due = wanted(self.results(), n, halving)
        return sorted(key for key in due if key[1] > 0 and key not in self.current)

    @property
    def n_trials(self):
        return 1 + max((trial for trial, _ in self.current), default=-1)

    def in_order(self, here):
        """Return what waits, in the order in which to take it.

        Higher rungs come first, then those whose runs lie on this machine, then lower numbers.
        """
        rank = lambda job: (-job.rung, not here(job), job.trial)
        return sorted(self.in_state(WAITING), key=rank)

    def flops(self):
        """Return how many FLOPs have been handed out and done, as the owners said."""
        return sum(job.facts.get("flops", 0) for job in self.current.values())


class Watch:
    """Tell which running jobs nobody is at any more.

    Clocks of machines differ, so none is compared: what counts is how long an owner has said
    nothing new, by this machine's clock; and while this machine itself did not look, since it was
    stopped or the database was gone, nothing is held against anyone.
    """

    def __init__(self, grace_s):
        self.grace_s, self.silent_s, self.looked = grace_s, {}, time.monotonic()

    def silent(self, jobs, own=()):
        """Return the running jobs of others that have been silent for too long."""
        now = time.monotonic()
        passed_s, self.looked = min(now - self.looked, self.grace_s / 4), now
        before, self.silent_s = self.silent_s, {}
        for job in jobs:
            if job.state == RUNNING and job.id not in own:
                said = job.id, job.facts.get("beat")
                self.silent_s[said] = before[said] + passed_s if said in before else 0.0
        late = {id for (id, _), seconds in self.silent_s.items() if seconds > self.grace_s}
        return [job for job in jobs if job.id in late]
