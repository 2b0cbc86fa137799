"""Let a net write: token by token, each chosen from the scores."""
import numbers
from dataclasses import dataclass
from functools import partial
from itertools import takewhile, tee
from operator import itemgetter

import numpy as np

from gpt.batch import Batch
from gpt.models.pieces import pieces_of
from gpt.settings import ConfigError
from minigrad import linear, no_grad
from minigrad.kernels.draw import drawn
from minigrad.kernels.memory import trim
from minigrad.kernels.replay import Replay
from minigrad.kernels.rows import fits, kernels_from
from minigrad.tensor import detach


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen from the scores. The filters apply in the order given here."""

    repetition_penalty: float = 1.0    # weakens the logits of what the text has (1909.05858)
    temperature: float = 0.8           # 0 for always the likeliest
    top_k: int = 0                     # among so many likeliest tokens; 0 for all
    top_p: float = 1.0                 # among the likeliest that together reach this (1904.09751)
    min_p: float = 0.0                 # among those at least so likely as a share of the likeliest

    def __post_init__(self):
        for name, (low, high) in LIMITS.items():
            value, what = getattr(self, name), "a number"
            fits = isinstance(value, numbers.Real) and not isinstance(value, bool)
            if name == "top_k":
                what = "an integer"
                fits = fits and isinstance(value, numbers.Integral)
            if not fits or not low <= value <= high:
                raise ConfigError(f"{name} is {value!r}, but must be {what} from {low:g} "
                                  f"to {high:g}")

    @property
    def is_plain(self):
        """Whether nothing is weakened or left out, at a temperature that float32 holds."""
        shares = self.repetition_penalty, self.top_p
        return shares == (1, 1) and not self.top_k and not self.min_p and self.temperature > 1e-30


AT_ONCE = 256                      # positions of a prompt: what it takes does not grow with it

LIMITS = {"repetition_penalty": (1e-6, 1e6), "temperature": (0, 1e6), "top_k": (0, 2**31),
          "top_p": (1e-9, 1), "min_p": (0, 1)}


def generate(model, prompts, sampling=None, rng=None, max_tokens=None, source=None):
    """Continue prompts of one length, without end.

    When the context is full, the model forgets the older half of it and reads the newer half
    again; then it goes on.

    Parameters
    ----------
    model : Module
        Of `models.nets`, one that writes.
    prompts : (B, T) int
        At least one token; of a prompt longer than the context the last part counts.
    sampling : Sampling, optional
    rng : numpy.random.Generator, or a list with one for each prompt, optional
        Seeded with 0 unless given.
    max_tokens : int, optional
        Stop after so many.
    source : Batch, optional
        Its source is what an encoder-decoder answers to.

    Yields
    ------
    ids : (B,) int
        The next token of each.

    Raises
    ------
    FloatingPointError
        As for `choose`.
    """
    sampling, rng = sampling or Sampling(), rng or np.random.default_rng(0)
    ids, limit = np.asarray(prompts, np.int64), model.config.context_length
    rngs = rng if isinstance(rng, list) else [rng] * len(ids)
    next_scores = NextScores(model, len(ids), source)
    unread = ids[:, -limit:]                                                    # (B, <= limit)
    pick = lambda z, text, rng: choose(z, text, sampling, rng)
    made = 0
    while max_tokens is None or made < max_tokens:
        if next_scores.state.length + unread.shape[1] > limit:
            next_scores.state.clear()
            unread = ids[:, -max(1, limit // 2):]
        begins_alike = not made and source is None and (ids == ids[0]).all()
        read = next_scores.begin if begins_alike else next_scores
        logits = read(unread)                                                   # (B, V)
        chosen = np.array([*map(pick, logits, ids, rngs)])                      # (B,)
        unread = chosen[:, None]
        ids = np.concatenate([ids, unread], axis=1)
        made += 1
        yield chosen


class NextScores:
    """A net and the state of what it has read, to be called with what it reads next.

    One token more is a replayed forward pass, whatever the net is made of; kernels run however
    few the numbers are.
    """

    def __init__(self, model, batch, source=None):
        nothing = Batch(np.zeros((batch, 1), np.int64))
        self.model, self.state = model, model.start(source or nothing)
        where = 1                                      # of what `compute` takes: place, or rows
        # A method of this object would hold it, and 100 MB of state, until garbage is collected.
        self.compute = partial(scores_of_next, model, self.state)
        self.one_more = Replay(self.compute, model.parameters(), backward=False, places=(where,))

    def __call__(self, ids):
        """Read ids, (B, T), and return the scores of what follows, (B, V).

        Fewer than there is a state for are the first ones.
        """
        B, T = ids.shape
        self.state.check_room(T)
        part = AT_ONCE if B == 1 else T       # some of several may begin anew behind a part
        for start in range(0, T, part):
            scores = self.read(ids[:, start:start + part])
        if T >= AT_ONCE:
            trim()                        # what is taken for so many positions is not for a token
        return scores

    def read(self, ids):
        B, T = ids.shape
        with no_grad(), kernels_from(1):
            compute = self.one_more if T == 1 else self.compute
            inputs = [x[:B] for x in self.state.inputs]
            scores = compute(ids, *inputs)                                      # (B, V)
        self.state.advance(ids)
        return detach(scores)

    def begin(self, ids):
        """Read ids that are the same for all, (B, T), but once; return the scores, (B, V)."""
        if len(ids) == 1:
            return self(ids)
        one = NextScores(self.model, 1)
        scores = one(ids[:1])                                                   # (1, V)
        self.state.begin_as(one.state)
        return np.repeat(scores, len(ids), axis=0)


def scores_of_next(model, state, ids, *inputs):
    """Read ids, (B, T), as a state with these inputs; return the scores of what follows, (B, V)."""
    B, T = ids.shape
    x = model.stream(Batch(ids), state.at(*inputs))                             # (B, T, C)
    last = x if T == 1 else x[:, -1:]                                           # (B, 1, C)
    return linear(last.reshape(B, -1), model.head)                              # (B, V)


class Reader:
    """A net and what it has read: of a text that begins the same, the rest alone is read.

    Parameters
    ----------
    model : Module
    """

    def __init__(self, model):
        self.next_scores, self.read = NextScores(model, 1), []

    def __call__(self, ids):
        """Return the scores of what follows ids, a list of at least one int: (V,)."""
        kept = begin_alike(self.read, ids[:-1])   # the last is read in any case: it has the scores
        if kept < len(self.read):
            known = np.array([ids[:kept]], np.int64)
            kept = self.next_scores.state.keep(known)
            self.read = ids[:kept]
        scores = self.next_scores(np.array([ids[kept:]]))                       # (1, V)
        self.read = ids
        return scores[0]


def begin_alike(a, b):
    """Return with how many of the same items two lists begin."""
    n = min(len(a), len(b))
    if a[:n] == b[:n]:
        return n
    return next(i for i in range(n) if a[i] != b[i])


def choose(logits, text, sampling, rng):
    """Draw the next token.

    Parameters
    ----------
    logits : (V,)
    text : (T,) or list of int
        What has been written, for the repetition penalty.
    sampling : Sampling
    rng : numpy.random.Generator

    Returns
    -------
    token : int

    Raises
    ------
    FloatingPointError
        If there is nothing to choose by: a score that is nan or inf, or all of them -inf.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> choose(np.array([0.0, 9.0, 8.0]), np.array([1]), Sampling(temperature=0), rng)
    1
    >>> choose(np.array([0.0, 9.0, 8.0]), np.array([1]), Sampling(3.0, temperature=0), rng)
    2
    """
    check_scores(logits)
    if sampling.temperature == 0:                  # the likeliest passes every filter
        return int(penalized(logits, text, sampling.repetition_penalty).argmax())
    if sampling.is_plain and fits(logits):
        return drawn(logits, sampling.temperature, rng.random())
    p = probabilities(logits, text, sampling)
    reached = np.cumsum(p)                         # (V,)
    at = np.searchsorted(reached, rng.random(), side="right")
    if at == len(p):                               # the sum is a little less than 1
        at = np.flatnonzero(p)[-1]
    return int(at)


def check_scores(logits):
    """Refuse what no token can be chosen by; -inf is the score of what must not be chosen."""
    at = logits.argmax()                           # of the first nan, if one is nan
    if not np.isfinite(logits[at]):
        raise FloatingPointError(f"the score of token {at} is {logits[at]}, so that none can be "
                                 f"chosen: the weights are damaged or their training diverged; "
                                 f"take an earlier checkpoint")


def penalized(logits, text, penalty):
    """Return logits, (V,) float64, with those of tokens that the text has weakened."""
    z = logits.astype(np.float64)
    if penalty != 1:
        seen = np.unique(text)
        known = z[seen]
        z[seen] = np.where(known > 0, known / penalty, known * penalty)
    return z


def probabilities(logits, text, sampling):
    """Return what tokens are drawn with, (V,) float64."""
    z = penalized(logits, text, sampling.repetition_penalty)
    with np.errstate(over="ignore"):               # to -inf, at a temperature close to 0
        z = (z - z.max()) / (sampling.temperature or 1)
    k = sampling.top_k
    if 0 < k < len(z):
        lowest = np.partition(z, -k)[-k]
        z[z < lowest] = -np.inf
    p = np.exp(z)
    p /= p.sum()
    if sampling.top_p < 1:
        rarest = (1 - sampling.top_p) / len(p)     # all below it are too few to be reached
        places = np.flatnonzero(p >= rarest)
        order = places[np.argsort(-p[places], kind="stable")]
        falling = p[order]
        likelier = np.cumsum(falling) - falling    # what those before each have together
        reached = order[likelier < sampling.top_p]
        kept = np.zeros_like(p)
        kept[reached] = p[reached]
        p = kept / kept.sum()
    if sampling.min_p > 0:
        p[p < sampling.min_p * p.max()] = 0
        p /= p.sum()
    return p


def write(model, tokenizer, prompt, sampling=None, seed=0, max_tokens=200, stop=()):
    """Continue a text, yielding pieces of it that hold whole characters only.

    Parameters
    ----------
    model : Module
        Of `models.nets`, one that writes.
    tokenizer : tokenizer
    prompt : str
        See `encode_prompt`.
    sampling : Sampling, optional
    seed : int
    max_tokens : int or None
        None to go on until the text ends.
    stop : sequence of str
        Texts before which to end.

    Yields
    ------
    piece : str

    Raises
    ------
    ConfigError
        If the prompt cannot be encoded.
    FloatingPointError
        As for `choose`.
    """
    ids = encode_prompt(tokenizer, prompt)
    text, = write_each(model, tokenizer, ids, [seed], sampling, max_tokens, stop)
    yield from text


def write_each(model, tokenizer, prompt, seeds, sampling=None, max_tokens=200, stop=(),
               ends=None):
    """Yield the text of each seed, which are written together, as an iterator of its pieces.

    The next token of all is made when one of them is asked for it.

    Parameters
    ----------
    prompt : (T,) int
    seeds : sequence of int
    ends : set of int, optional
        Tokens that end a text, if others than `ends_of` says.
    """
    ids, source = begun(model, tokenizer, [prompt] * len(seeds))
    rngs = [*map(np.random.default_rng, seeds)]
    steps = generate(model, ids, sampling, rngs, max_tokens, source)
    ends = ends or ends_of(model, tokenizer)
    for i, mine in enumerate(tee(steps, len(seeds))):
        written = map(int, map(itemgetter(i), mine))
        tokens = takewhile(lambda token: token not in ends, written)
        yield pieces_of(tokens, tokenizer, stop)


def begun(model, tokenizer, prompts):
    """Return what is to be continued, (B, T), and the source that is answered to, if one is.

    A net that reads a source reads the prompts, (B, T) ids, as such, with the end behind them that
    it learnt, and begins as its publisher says, or with the first special token: that with which
    training begins here.
    """
    ids = np.asarray(prompts, np.int64)
    if not reads_source(model):
        return ids, None
    _, after = tokenizer.frame
    first = next(iter(tokenizer.special_tokens.values()), 0)
    begin = np.array([model.begins or [first]] * len(ids), np.int64)            # (B, n)
    end = np.array([after or [first]] * len(ids), np.int64)
    room = max(1, model.config.context_length - end.shape[1])
    source = np.concatenate([ids[:, -room:], end], axis=1)                      # (B, S)
    return begin, Batch(begin, source=source)


def ends_of(model, tokenizer):
    """Return the tokens that end a text: those that its publisher names, or all special ones."""
    return set(getattr(model, "ends", ()) or tokenizer.special_tokens.values())


def reads_source(model):
    """Whether a net answers to a source, rather than continue a text."""
    return hasattr(model, "read")


def encode_prompt(tokenizer, prompt):
    """Turn a prompt into ids, (T,), behind what a text begins with where the model learnt it.

    An empty one is a line break, or id 0 where the model knows none.

    Raises
    ------
    ConfigError
        If it has characters that the model does not know.
    """
    before, _ = tokenizer.frame
    try:
        ids = tokenizer.encode_array(prompt or "\n", disallowed_special=())
    except ValueError as error:
        if prompt:
            raise ConfigError(f"the prompt {prompt!r:.40} cannot be encoded: {error}") from error
        ids = [0]
    return [*before, *ids]
