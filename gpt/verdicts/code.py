"""Is the code right for this very net? What must hold for any weights, asked by forward passes.

No net is known by name: each is asked through `stream`, `head`, `start` and the loss of its task.
"""
import numpy as np

from gpt.batch import Batch
from gpt.models.quantising import blocks_in
from gpt.settings import ConfigError
from gpt.verdicts.case import Unfit, judged, scored, streamed
from minigrad import no_grad

ROUNDING = 1e-5                    # of the largest number, in float32
OF_BYTES = 0.2                     # where keys and values are kept as integers of 8 bits: up to
                                   # 0.07 in SmolLM2, with one of the first tokens lost 0.4 to 0.7
CUT = 16                           # tokens where a text was cut off, which may be others


def apart(one, other):
    """Return the largest difference between the numbers of two arrays."""
    return np.abs(one - other).max()


def repeats(case, seconds):
    """The same text gets the same scores twice: nothing is dropped, nothing is kept."""
    batch = case.batch()
    one, two = (streamed(case.model, batch) for _ in range(2))              # each (B, T, C)
    change = apart(one, two)
    return judged(change == 0, f"a second pass over a text differs by {change:.2g}")


def is_causal(case, seconds):
    """A changed token changes nothing before it, to the bit, and something from it on."""
    if case.sees == "both":
        raise Unfit("each place of this net sees both sides, as it should")
    batch = case.batch()
    place = batch.ids.shape[1] // 2
    ids = batch.ids.copy()
    ids[:, place] += 1
    ids[:, place] %= case.tokenizer.vocab_size
    one = streamed(case.model, batch)                                       # (B, T, C)
    two = streamed(case.model, batch._replace(ids=ids))
    before = apart(one[:, :place], two[:, :place])
    after = apart(one[:, place:], two[:, place:])
    return judged(before == 0 < after, f"a changed token changes what stands before it by "
                  f"{before:.2g}, what stands from it on by {after:.2g}")


def knows_the_order(case, seconds):
    """Two tokens that change places change what is made of the token behind them."""
    if case.step == 0:
        raise Unfit("it has no steps, and its layers may write nothing yet")
    batch = case.batch(B=8)
    ids, T = batch.ids, batch.ids.shape[1]
    if T < 3:
        raise Unfit(f"its context of {T} tokens is too short to have an order")
    two = [T - 3, T - 2]
    swapped = ids.copy()
    swapped[:, two] = ids[:, two[::-1]]
    differ = (swapped != ids).any(axis=1)
    if not differ.any():
        raise Unfit("no two tokens beside each other differ in the text that was looked at")
    one = streamed(case.model, batch)[differ, -1]                           # (B, C)
    batch = batch._replace(ids=swapped)
    other = streamed(case.model, batch)[differ, -1]
    change = apart(one, other) / np.abs(one).max()
    return judged(change > ROUNDING, f"with two tokens exchanged, what is made of the token behind "
                  f"them changes by {change:.2g} of its size")


def cache_is_inert(case, seconds):
    """Token by token, with a state of what came before, it makes the same as of all at once."""
    batch = case.batch()
    try:
        state = case.model.start(batch)
    except ConfigError as error:
        raise Unfit(f"it has no state to go on from ({error})") from None
    whole, parts = streamed(case.model, batch), []                          # (B, T, C)
    for column in batch.ids.T:
        one = Batch(column[:, None])
        parts.append(streamed(case.model, one, state))                      # (B, 1, C)
        state.advance(one.ids)
    again = np.concatenate(parts, axis=1)
    largest = np.abs(whole).max() or 1                # all are 0 where no head has learnt
    error = apart(again, whole) / largest
    most = OF_BYTES if blocks_in(case.model) else ROUNDING
    return judged(error < most, f"read token by token, what is made of the text differs by "
                  f"{error:.1e} of the largest number")


def padding_is_inert(case, seconds):
    """What stands behind a text's end, and in the other rows of a batch, changes nothing in it."""
    batch = case.batch()
    B, T = batch.ids.shape
    n = max(1, T // 2)
    lengths = np.full(B, n)
    batch = batch._replace(lengths=lengths)
    changed = changed_behind(case, batch, n)
    before = streamed(case.model, batch)[:, :n]                             # (B, n, C)
    padded = apart(streamed(case.model, changed)[:, :n], before)
    ids = changed.ids[::-1].copy()
    ids[0] = batch.ids[0]
    rows = streamed(case.model, batch._replace(ids=ids))
    beside = apart(rows[0, :n], before[0])
    return judged(padded == 0 == beside, f"other padding changes a text by {padded:.2g}, other "
                  f"rows of its batch by {beside:.2g}")


def changed_behind(case, batch, n):
    """Put other tokens behind the first n of each row, and behind the end of each source."""
    rng = np.random.default_rng(1)
    other = lambda ids: rng.integers(0, case.tokenizer.vocab_size, ids.shape)
    T = batch.ids.shape[1]
    ids = np.where(np.arange(T) < n, batch.ids, other(batch.ids))
    if batch.source is None:
        return batch._replace(ids=ids)
    S, lengths = batch.source.shape[1], batch.source_lengths[:, None]
    source = np.where(np.arange(S) < lengths, batch.source, other(batch.source))
    return batch._replace(ids=ids, source=source)


def next_is_asked(case, seconds):
    """The target at each place is the token behind it."""
    case.writes()
    case.text()
    batch = case.batch(B=8)
    asked, following = batch.targets[:, :-1], batch.ids[:, 1:]
    right = np.mean(asked == following)
    return judged(right == 1, f"{right:.0%} of the targets are the token behind their place")


def loss_is_the_surprise(case, seconds):
    """The loss of training is the surprise at the targets, worked out from the scores."""
    if case.task.conclude:
        raise Unfit("its loss is of classes, not of tokens")
    batch = case.batch()
    if not batch.n_targets:
        raise Unfit("nothing is asked in the texts that were drawn")
    with no_grad():
        told = case.loss(case.model, batch).item()
    found = surprise_by_hand(scored(case.model, batch), batch.targets)
    error = abs(told - found) / found
    return judged(error < 1e-4, f"the loss is {told:.4f} nats, the surprise by the scores "
                  f"{found:.4f}")


def surprise_by_hand(scores, targets):
    """Return the mean of -log p at the targets that count, (B, T), in float64."""
    asked = targets >= 0
    scores = scores[asked].astype(np.float64)                               # (n, V)
    scores -= scores.max(axis=1, keepdims=True)
    chosen = scores[np.arange(len(scores)), targets[asked]]                 # (n,)
    total = np.exp(scores).sum(axis=1)
    return float(np.mean(np.log(total) - chosen))


def text_comes_back(case, seconds):
    """What is encoded is decoded to the same bytes."""
    if case.task.conclude or case.sees == "source":
        raise Unfit("its text is kept as pairs or labels")
    ids = case.tokens("val")[:20_000]
    specials = [*case.tokenizer.special_tokens.values()]
    ends = np.flatnonzero(np.isin(ids, specials))
    if len(ends) and ends[0]:
        ids = ids[:ends[0]]                                    # written out, that is text
    text = case.tokenizer.decode_bytes(ids)
    again = case.tokenizer.encode_array(text, disallowed_special=())
    n = max(1, len(ids) - CUT)
    alike = np.array_equal(ids[:n], again[:n])
    same = alike and case.tokenizer.decode_bytes(again) == text
    return judged(same, f"{n:,} tokens, decoded and encoded once more, are "
                  f"{'the same' if same else 'others'}")


def all_is_finite(case, seconds):
    """No weight and no score is nan or infinite."""
    arrays = case.model.state_dict() | {"scores": scored(case.model, case.batch())}
    wrong = [name for name, x in arrays.items() if not np.isfinite(x).all()]
    return judged(not wrong, f"{len(arrays) - len(wrong)} of {len(arrays)} arrays are finite"
                  + (f", but not {', '.join(wrong)}" if wrong else ""))
