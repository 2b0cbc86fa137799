"""What a task is, and how well it is done."""
import math
import time
from collections.abc import Callable
from operator import attrgetter
from typing import NamedTuple

from gpt.data.corpora import load_corpus
from gpt.data.documents import load_dataset, prepare
from gpt.models.sampling import Sampling, write


class Measure(NamedTuple):
    """The surprise over some targets, each counted once."""

    nats: float = 0.0              # in all
    n_targets: int = 0
    n_bytes: int = 0               # of text that the targets stand for; 0 where they are no text
    right: int = 0                 # answers that are right, where a task has such,
    n_asked: int = 0               # of so many
    more: dict = {}                # sums over the targets of what else is told, by name

    def __add__(self, other):
        numbers = map(sum, zip(self[:-1], other[:-1]))
        names = self.more | other.more
        more = {name: self.more.get(name, 0) + other.more.get(name, 0) for name in names}
        return Measure(*numbers, more)

    @property
    def means(self):
        """What else is told, for each target."""
        return {name: float(x) / max(1, self.n_targets) for name, x in self.more.items()}

    @property
    def nats_per_token(self):
        return self.nats / max(1, self.n_targets)

    @property
    def bits_per_byte(self):
        return self.nats / math.log(2) / max(1, self.n_bytes)

    @property
    def share_right(self):
        return self.right / max(1, self.n_asked)

    @property
    def shown(self):
        """What is told of it in one number: (number, unit)."""
        if self.n_bytes:
            return self.bits_per_byte, "bits/byte"
        return 100 * self.share_right, "% right"

    @property
    def perplexity(self):
        return math.exp(min(self.nats_per_token, 700))


def as_it_is(net, settings, rng, dtype):
    return net


def as_it_came(base, corpus, settings, say):
    return corpus


def once(settings):
    return 1


def no_notes(batch):
    return {}


def never(settings):
    return False


def nothing(run, found):
    return ""


def no_more(run, result):
    return {}, ()


def written(model, data, seed, max_tokens):
    """Yield what a model writes from a line break, piece by piece."""
    return write(model, data.tokenizer, "", Sampling(), seed, max_tokens)


class Task(NamedTuple):
    """What a run needs to know of what it learns; the loop, the plan and the files serve all."""

    batch: Callable        # (data, (B, T), rng, model) -> Batch, which follows from the rng alone
    loss: Callable         # (model, batch, n, rng) -> Tensor: the sum over the batch's targets,
                           # divided by n, the targets of the whole step; `state=` to carry on
    measure: Callable      # (model, data, part) -> Measures, to be read until there are enough
    sees: tuple = ("before",)         # what a net must see to learn it: of `models.nets.Net`
    options: tuple = ()               # settings that its batches depend on, passed by name,
    asks: bool = False                # whether these ask nets: `by_rows`, so that ranks share that
    weighs: tuple = ()                # settings that its loss depends on,
    measured: tuple = ()              # that its measure does,
    own: tuple = ()                   # and others that no other task has
    based: bool = False               # whether it goes on from a base
    made: Callable = as_it_came       # (base, corpus, settings, say) -> the corpus to learn from
    beside: str = ""                  # the setting that names a frozen model, `run.beside`,
    stays: Callable = never           # and whether, by the settings, its batches ask that
    again: Callable = once            # (settings) -> the steps that learn from one batch
    notes: Callable = no_notes        # (batch) -> numbers by name, told of a step
    carried: Callable | None = None   # (data, (B, T), step) -> Batch that goes on with a state
    # What it learns from.
    corpus: Callable = load_corpus    # (names, binary) -> Corpus
    prepare: Callable = prepare       # (corpus, DataConfig, folder, tokenizer, load, say)
    load: Callable = load_dataset     # (folder, sealed) -> the same data
    encode: Callable | None = None    # (corpus, tokenizer, template) -> what of another text is
                                      # measured, where that is no row of ids
    vocab_size: Callable = attrgetter("vocab_size")    # (tokenizer) -> the tokens of the net
    # A head of its own.
    fit: Callable = as_it_is          # (net, TrainConfig, rng, dtype) -> net: puts a head on it
    puts: str = ""                    # how the names of the head's parameters begin
    head: tuple = ()                  # settings that the head is made from
    prepared: Callable | None = None  # (run, folder of the data) -> None: done with a new run from
                                      # a base
    begins: dict = {}                 # settings of a run from a base, where none are given
    # What is told of it.
    show: Callable = written          # (model, data, seed, max_tokens) -> text for the user
    answer: Callable | None = None    # (data, most) -> Batch of a source and its target, to be
                                      # looked at; None: it has no sources
    command: str = "generate"         # by which it is used
    in_turn: Callable | None = None   # (model, data, ids) -> nats: each token where it is hidden
    whole_text: bool = True           # whether it measures every token, as simpler means do
    surprises: bool = True            # whether its loss is the surprise at targets
    conclude: Callable | None = None  # (run) -> (result, baselines, lines); None: it writes
    conclude_bytes: Callable | None = None     # (data) -> the memory that this takes
    remark: Callable = nothing        # (run, Measure) -> what is to be said of an evaluation, once
    adds: Callable = no_more          # (run, result) -> (more of the result, lines)

    @property
    def writes(self):
        """Whether a net that learnt it continues texts."""
        return self.sees == ("before",)

    @property
    def settings(self):
        """All that is its own."""
        return {*self.options, *self.weighs, *self.measured, *self.own, *self.head}


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
