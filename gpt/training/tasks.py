"""What can be learnt: each task is three functions, a row of the table at the end."""
import math
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gpt.batch import IGNORE, Batch
from gpt.data.windows import random_windows, spread_windows
from gpt.models.heads import surprise
from minigrad import no_grad

WINDOWS_TOKENS = 2048      # of one forward pass that measures


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
                           # divided by n, the targets of the whole step
    measure: Callable      # (model, data, ids) -> Measures, to be read until there are enough


# ---- to predict the next token ---------------------------------------------------------------

def causal_batch(data, shape, rng, model):
    """Take windows of the text at random places; the targets are one place later."""
    windows = random_windows(data.train, *shape, rng)                           # (B, T + 1)
    return Batch(windows[:, :-1], windows[:, 1:])


def causal_loss(model, batch, n, rng=None):
    """Return the surprise at the targets, in nats, summed and divided by n."""
    x = model.stream(batch, rng=rng)                                            # (B, T, C)
    return surprise(x, model.head, batch.targets, n)


def causal_measure(model, data, ids):
    """Yield the surprise at every token of `ids`, (N,), but the first, some windows at a time.

    The windows are of the context length, one behind the other, so a token sees from none to all
    of the context before it (the usual way, and a little pessimistic). They come in an order that
    is spread evenly over the text wherever one stops.
    """
    T = min(model.config.context_length, max(1, len(ids) - 1))
    token_bytes = np.asarray(data.tokenizer.token_bytes)
    for windows, counts in spread_windows(ids, T, max(1, WINDOWS_TOKENS // T)):
        targets = np.where(counts, windows[:, 1:], IGNORE)                      # (B, T)
        with no_grad():
            loss = causal_loss(model, Batch(windows[:, :-1], targets), 1.0)
        counted = windows[:, 1:][counts]
        yield Measure(loss.item(), len(counted), int(token_bytes[counted].sum()))


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


TASKS = {"causal": Task(causal_batch, causal_loss, causal_measure)}
