"""How well a text is predicted, token by token; and intervals by blocks of text.

Neighbouring tokens are alike, so a token more is not a measurement more: what varies independently
is about a block of text. All intervals here are of means over blocks.
"""
import math
import time
from typing import NamedTuple

import numpy as np

from gpt.batch import Batch
from gpt.data.windows import spread_windows, stream_windows
from gpt.training.intervals import Interval, half_width
from gpt.training.measures import MEASURED_TOKENS
from gpt.training.tasks.causal import has_no_end
from gpt.verdicts.case import Unfit, in_bits, scores_of, streamed

BLOCKS = 100                       # of a text, at most
LEAST_BYTES = 512                  # of a block


class Reading(NamedTuple):
    """What a net said to the tokens of a text that were asked, (n,) each, in order."""

    places: np.ndarray             # in the text: which token it is
    nats: np.ndarray               # the surprise at it
    right: np.ndarray              # whether it was the likeliest
    confidence: np.ndarray         # how likely the likeliest was
    guess: np.ndarray              # which that was
    behind: np.ndarray             # how many tokens of context were before it

    def only(self, chosen):
        return Reading(*(x[chosen] for x in self))


def reading(case, part, seconds, n_tokens=math.inf):
    """Read the tokens of a part, "val" or "train", spread over it: `Reading`, made once.

    As the evaluation does: windows of the context length, or for a net whose state has no end
    streams. It stops when the time is over, or at so many tokens.
    """
    case.writes()
    if part not in case.known:
        ids = getattr(case.text(), part)
        case.known[part] = read_tokens(case.model, ids, seconds, n_tokens)
    return case.known[part]


def read_tokens(model, ids, seconds=math.inf, n_tokens=math.inf):
    """Read tokens, (N,), until the time is over or so many are read: `Reading`."""
    ids = np.asarray(ids)
    T = min(model.config.context_length, max(1, len(ids) - 1))
    endless, state, found, n = has_no_end(model), None, [], 0
    cut = stream_windows if endless else spread_windows
    everywhere, B = np.arange(len(ids)), max(1, MEASURED_TOKENS // T)
    stop = time.monotonic() + seconds
    for places, counts in cut(everywhere, T, B):
        windows = ids[places].astype(np.int64)                              # (B, T + 1)
        batch = Batch(windows[:, :-1])
        if endless:
            state = state or model.start(batch)
        scores = scores_of(model, streamed(model, batch, state)[counts])    # (n, V)
        if endless:
            state.advance(batch.ids)
        behind = np.cumsum(np.ones_like(places), axis=1)                    # (B, T + 1)
        asked = [x[:, 1:][counts] for x in (windows, places, behind - 1)]
        found.append(answers(scores, *asked))
        n += len(found[-1].nats)
        if n >= n_tokens or time.monotonic() > stop:
            break
    if not found:
        raise Unfit("there is no second token to predict")
    joined = Reading(*map(np.concatenate, zip(*found)))
    return joined.only(np.argsort(joined.places, kind="stable"))


def answers(scores, targets, places, behind):
    """Return what scores, (n, V), say to targets, (n,): `Reading`."""
    guess = scores.argmax(axis=1)
    at = np.arange(len(scores))
    highest = scores[at, guess]
    shifted = (scores - highest[:, None]).astype(np.float64)                # (n, V)
    total = np.exp(shifted).sum(axis=1)
    nats = np.log(total) - shifted[at, targets]
    return Reading(places, nats, guess == targets, 1 / total, guess, behind)


# ---- blocks ----

class Blocks(NamedTuple):
    """A text in blocks: the surprise in each in bits, and its bytes."""

    bits: np.ndarray               # (n,)
    n_bytes: np.ndarray            # (n,)


def edges_of(n_bytes):
    """Return how many bytes the blocks of a text have."""
    return max(LEAST_BYTES, -(-n_bytes // BLOCKS))


def byte_places(ids, token_bytes):
    """Return in which byte of a text each token begins: (N + 1,), with the end."""
    lengths = np.asarray(token_bytes)[ids]
    return np.concatenate([[0], np.cumsum(lengths)])


def bits_of_bytes(found, ids, token_bytes):
    """Spread the surprise at the tokens of a Reading of ids over their bytes.

    Whatever the tokens are, texts are compared by their bytes then.

    Returns
    -------
    bits : (n_bytes,)
        nan where no token was asked.
    """
    starts = byte_places(ids, token_bytes)
    first, after = starts[found.places], starts[found.places + 1]
    lengths = after - first
    bits = np.full(starts[-1], np.nan)
    begun = np.cumsum(lengths) - lengths               # bytes of the tokens before, of those asked
    within = np.arange(lengths.sum())
    place = within + np.repeat(first - begun, lengths)
    share = in_bits(found.nats) / np.maximum(lengths, 1)
    bits[place] = np.repeat(share, lengths)
    empty = lengths == 0                               # what a token without text costs counts, too
    before = np.maximum(first[empty] - 1, 0)
    np.add.at(bits, before, share[empty])
    return bits


def blocks_of(bits):
    """Cut the surprise at each byte into blocks of text, of those bytes that are no nan."""
    asked = np.flatnonzero(~np.isnan(bits))
    block = asked // edges_of(len(bits))
    return added(block, bits[asked], np.ones_like(block))


def added(block, bits, lengths):
    n = int(block.max()) + 1 if len(block) else 0
    sums = np.bincount(block, bits, n)
    sizes = np.bincount(block, lengths, n)
    there = sizes > 0
    return Blocks(sums[there], sizes[there])


# ---- intervals ----

def bits_per_byte(blocks):
    """Return the bits a byte of all blocks together: `Interval`.

    Of a ratio of sums, by the residuals of each block (Cochran 1977, Sampling Techniques, 6.3).
    """
    total = blocks.n_bytes.sum()
    mean = float(blocks.bits.sum() / total)
    residuals = blocks.bits - mean * blocks.n_bytes
    return Interval(mean, half_width(residuals, float(total)))


def difference(one, other):
    """Return how many bits a byte one has more than the other on the same blocks: `Interval`."""
    return bits_per_byte(Blocks(one.bits - other.bits, one.n_bytes))
