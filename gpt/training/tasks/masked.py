"""To fill in what is masked (Devlin et al. 2018, arXiv:1810.04805): the net sees both sides."""
import numpy as np

from gpt.batch import IGNORE, Batch
from gpt.data.windows import random_windows, spread_windows
from gpt.models.masking import hidden, mask_id
from gpt.training.measures import MEASURED_TOKENS, answered, token_loss
from gpt.training.task import Measure, Task

SHARE = 0.15                       # of the places that are asked
MASKED, RANDOM = 0.8, 0.1          # of those: [MASK] stands there, any token; else what was there


def masked_batch(data, shape, rng, model):
    """Take windows of the text at random, and ask some of their places, drawn anew."""
    windows = random_windows(data.train, *shape, rng, data.sources)             # (B, T + 1)
    return asked(windows[:, :-1], data.tokenizer, rng)


def asked(ids, tokenizer, rng, counts=True):
    """Ask a share of the places of (B, T) ids, where it counts: Batch."""
    shape = ids.shape
    chosen = rng.random(shape) < SHARE
    chosen &= counts
    how = rng.random(shape)
    changed = chosen & (how < MASKED + RANDOM)
    masked = chosen & (how < MASKED)
    anything = rng.integers(0, tokenizer.vocab_size, shape)
    read = np.where(changed, anything, ids)
    read[masked] = mask_id(tokenizer)
    targets = np.where(chosen, ids, IGNORE)
    return Batch(read, targets)


def masked_measure(model, data, ids):
    """Yield the surprise at some places of `ids`, (N,), and how many are found right.

    It asks the same places each time.
    """
    T = min(model.config.context_length, max(1, len(ids) - 1))
    B = max(1, MEASURED_TOKENS // T)
    rng = np.random.default_rng(0)
    for windows, counts in spread_windows(ids, T, B):
        batch = asked(windows[:, 1:], data.tokenizer, rng, counts)
        if not counts.all():                          # the end of the text
            lengths = counts.sum(axis=1)
            batch = batch._replace(lengths=lengths)
        nats, n_bytes, right = answered(model, batch, data.tokenizer)
        n = batch.n_targets
        yield Measure(nats, n, n_bytes, int(right.sum()), n)


def show_filled(model, data, seed, max_tokens):
    """Yield a passage of the validation part, in brackets what the net puts where it is asked.

    Where that is wrong, what stood there follows it.
    """
    T = min(max_tokens, model.config.context_length, len(data.val) - 1)
    rng, tokenizer = np.random.default_rng(seed), data.tokenizer
    show = lambda i: tokenizer.decode([int(i)])
    true = random_windows(data.val, 1, T, rng)[:, 1:]                           # (1, T)
    places = rng.random(true.shape) < SHARE
    ids = np.where(places, mask_id(tokenizer), true)
    p = hidden(model, tokenizer, ids)                                           # (1, T, V)
    for here, guess, token in zip(places[0], p.argmax(axis=-1)[0], true[0]):
        if not here:
            yield show(token)
        elif guess == token:
            yield f"[{show(token)}]"
        else:
            yield f"[{show(guess)}|{show(token)}]"


def with_mask(tokenizer):
    """Return how many tokens a net knows: one of its own, where the tokenizer has no [MASK]."""
    return max(tokenizer.vocab_size, mask_id(tokenizer) + 1)


MASKED_LM = Task(masked_batch, token_loss, masked_measure, sees=("both",), vocab_size=with_mask,
                 show=show_filled, command="fill", whole_text=False)
