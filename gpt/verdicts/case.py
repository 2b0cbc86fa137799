"""What is asked about, and what an answer is."""
import functools
import math
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gpt.batch import Batch
from gpt.models.nets import NETS, net_named
from gpt.training.config import Config, TrainConfig
from gpt.training.intervals import wilson
from gpt.training.measures import token_loss
from gpt.training.tasks import TASKS
from minigrad import linear, no_grad

MOST_TOKENS = 1 << 23              # of a text, that are looked at
OK, WARNS, FAILS, TOLD, NONE = "ok", "warning", "FAIL", "told", "not asked"


class Line(NamedTuple):
    """An answer: one sentence with its numbers, and what is drawn beside it."""

    said: str
    verdict: str = TOLD            # NONE where the question makes no sense, and `said` why
    figures: tuple = ()            # of Figure


class Figure(NamedTuple):
    """Numbers to be drawn, and the table that holds them."""

    title: str
    columns: tuple                 # their names; the first is what the rows are called by
    rows: list                     # of tuples
    kind: str = "table"            # bars, reliability, or a table alone
    note: str = ""                 # what is to be seen in it


class Unfit(Exception):
    """A question that makes no sense for this net; the message says why."""


def judged(holds, said):
    """Return a line that holds or fails."""
    return Line(said, OK if holds else FAILS)


def row_of(name, *numbers):
    """Return a row of a figure, its numbers to four digits; None where there is none."""
    short = [None if math.isnan(x) else float(f"{x:.4g}") for x in numbers]
    return (name, *short)


def row_of_share(name, k, n):
    """Return a row of a share in percent, k of n, with half its interval."""
    low, high = wilson(k, n)
    return row_of(name, 100 * k / n, 50 * (high - low))


@dataclass
class Case:
    """A net, and what is known of how it came to be what it is."""

    model: object
    tokenizer: object
    config: Config                 # its shape, its net and its task; of a run all settings
    data: object = None            # what it learnt from and was validated on, if that is there
    step: int | None = None        # of its training, if that is known
    facts: dict = field(default_factory=dict)    # the manifest of its run
    folder: Path | None = None
    pairs: list | None = None      # minimal pairs, of verdicts.pairs.read_pairs
    known: dict = field(default_factory=dict)    # what several questions read, measured once

    @classmethod
    def of_run(cls, run):
        """Ask about a run that is in memory."""
        return cls(run.model, run.data.tokenizer, run.config, run.data, run.step)

    @classmethod
    def of_opened(cls, opened, **more):
        """Ask about what `opening.open_model` has opened; a run tells all its settings."""
        learnt = TrainConfig(net=net_of(opened), task=opened.task, **opened.head)
        config = opened.config or Config(opened.model.config, train=learnt)
        data = opened.data() if opened.text else None
        return cls(opened.model, opened.tokenizer, config, data, opened.step, **more)

    @property
    def task(self):
        return TASKS[self.config.train.task]

    @property
    def sees(self):
        """Who is seen from a place: before, both, or source."""
        net = net_named(self.config.train.net)
        causal = getattr(self.config.model, "causal", True)
        return net.sees if causal or net.sees == "source" else "both"

    @property
    def n_classes(self):
        """Between how many answers the net chooses."""
        labels = self.config.train.labels
        return len(labels.split(",")) if labels else self.config.model.vocab_size

    @functools.cached_property
    def exact(self):
        """The same net in float64."""
        copy = self.config.new_net(np.random.default_rng(0), np.float64)
        copy.load_state_dict(self.model.state_dict())
        return copy

    def fresh(self, dtype=np.float32, seed=None):
        """Make a net of the same settings with new weights: those it began with, unless seeded."""
        seed = self.config.train.seed if seed is None else seed
        return self.config.new_net(np.random.default_rng(seed), dtype)

    def batch(self, seed=0, B=4, T=24):
        """Draw a batch as training does; of a net without its text, ids at random."""
        rng = np.random.default_rng(seed)
        shape = B, min(T, self.config.model.context_length)
        if self.data is not None and self.task.surprises:
            return self.task.batch(self.data, shape, rng, self.model)
        if self.config.train.labels or self.sees == "source":
            raise Unfit("this model came without the text it learnt from")
        ids = rng.integers(0, self.tokenizer.vocab_size, shape)
        return Batch(ids, np.roll(ids, -1, axis=1))

    def loss(self, model, batch):
        """Return the mean loss over the targets of a batch: a Tensor."""
        loss = self.task.loss if self.task.surprises else token_loss
        return loss(model, batch, max(1, batch.n_targets), None)

    def text(self):
        """Return the data, or say that it is not there."""
        if self.data is None:
            raise Unfit("this model came without the text it learnt from")
        return self.data

    def tokens(self, part):
        """Return the tokens of a part, "train" or "val": of a very long one the first."""
        data = self.text()
        return np.asarray(data.ids(getattr(data, part))[:MOST_TOKENS])

    def writes(self):
        """Refuse to go on where the net does not predict each token of a text from those before."""
        if self.config.train.task != "causal":
            raise Unfit(f"this is asked of a net that predicts the next token, and this one learnt "
                        f"the task {self.config.train.task}")


def net_of(opened):
    """Name the row of NETS that a model is of; a published one does not say."""
    for name, row in NETS.items():
        if row.module is type(opened.model):
            return name
    return opened.net


@contextmanager
def all_learning(model):
    """Let all parameters have gradients, and leave them without, and learning as before."""
    parameters = model.parameters()
    learnt = [x.requires_grad for x in parameters]
    for x in parameters:
        x.requires_grad, x.grad = True, None
    try:
        yield
    finally:
        for x, requires_grad in zip(parameters, learnt):
            x.requires_grad, x.grad = requires_grad, None


def streamed(model, batch, state=None):
    """Return what a net makes of a batch before the scores: (B, T, C) array."""
    with no_grad():
        return model.stream(batch, state).data


def scored(model, batch):
    """Return the scores of every token at each place: (B, T, V) array."""
    return scores_of(model, streamed(model, batch))


def scores_of(model, x):
    """Return the scores that the head gives to what was made of places: (..., C) to (..., V)."""
    with no_grad():
        return linear(x, model.head.data)


def in_bits(nats):
    return nats / math.log(2)
