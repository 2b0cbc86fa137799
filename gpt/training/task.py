"""What a task is, and how well it is done."""
import math
import time
from collections.abc import Callable
from typing import NamedTuple


class Measure(NamedTuple):
    """The surprise over some targets, each counted once."""

    nats: float = 0.0              # in all
    n_targets: int = 0
    n_bytes: int = 0               # of text that the targets stand for

    def __add__(self, other):
        return Measure(*map(sum, zip(self, other)))

    @property
    def nats_per_token(self):
        return self.nats / max(1, self.n_targets)

    @property
    def bits_per_byte(self):
        return self.nats / math.log(2) / max(1, self.n_bytes)

    @property
    def perplexity(self):
        return math.exp(min(self.nats_per_token, 700))


class Task(NamedTuple):
    """What a run needs to know of what it learns; the loop, the plan and the files serve all."""

    batch: Callable        # (data, (B, T), rng, model) -> Batch, which follows from the rng alone
    loss: Callable         # (model, batch, n, rng) -> Tensor: the sum over the batch's targets,
                           # divided by n, the targets of the whole step; `state=` to carry on
    measure: Callable      # (model, data, ids) -> Measures, to be read until there are enough


def read(measures, n_targets=math.inf, seconds=math.inf):
    """Add up measures until so many targets are counted, or the time is over.

    Parameters
    ----------
    measures : iterable of Measure
    n_targets : float
    seconds : float

    Returns
    -------
    Measure
    """
    total, began = Measure(), time.monotonic()
    for each in measures:
        total += each
        if total.n_targets >= n_targets or time.monotonic() - began > seconds:
            break
    return total
