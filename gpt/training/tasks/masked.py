"""To fill in what is masked (Devlin et al. 2018, arXiv:1810.04805): the net sees both sides."""
import numpy as np

from gpt.batch import IGNORE, Batch
from gpt.data.windows import random_windows, spread_windows
from gpt.models.heads import surprise
from gpt.models.masking import hidden, mask_id
from gpt.training.task import Measure, Task
from minigrad import cross_entropy, linear, no_grad

MEASURED_TOKENS = 2048             # of one forward pass that measures
SHARE = 0.15                       # of the places that are asked
MASKED, RANDOM = 0.8, 0.1          # of those: [MASK] stands there, any token; else what was there


def masked_batch(data, shape, rng, model):
    """Take windows of the text at random, and ask some of their places, drawn anew."""
    ids = random_windows(data.train, *shape, rng)[:, :-1]                       # (B, T)
    return asked(ids, data.tokenizer, rng)


def asked(ids, tokenizer, rng, counts=True):
    """Ask a share of the places of (B, T) ids, where it counts: Batch."""
    chosen = (rng.random(ids.shape) < SHARE) & counts
    how = rng.random(ids.shape)
    anything = rng.integers(0, tokenizer.vocab_size, ids.shape)
    read = np.where(chosen & (how < MASKED + RANDOM), anything, ids)
    read[chosen & (how < MASKED)] = mask_id(tokenizer)
    return Batch(read, np.where(chosen, ids, IGNORE))


def masked_loss(model, batch, n, rng=None):
    """Return the surprise at what is asked, in nats, summed and divided by n."""
    return surprise(model.stream(batch, rng=rng), model.head, batch.targets, n)


def masked_measure(model, data, ids):
    """Yield the surprise at some places of `ids`, (N,), and how many are found right.

    It asks the same places each time.
    """
    T = min(model.config.context_length, max(1, len(ids) - 1))
    token_bytes, rng = np.asarray(data.tokenizer.token_bytes), np.random.default_rng(0)
    for windows, counts in spread_windows(ids, T, max(1, MEASURED_TOKENS // T)):
        batch = asked(windows[:, 1:], data.tokenizer, rng, counts)
        if not counts.all():                          # the end of the text
            batch = batch._replace(lengths=counts.sum(axis=1))
        with no_grad():
            logits = linear(model.stream(batch), model.head)                    # (B, T, V)
            nats = cross_entropy(logits, batch.targets, n=1.0).item()
        right = int((logits.data.argmax(axis=-1) == batch.targets).sum())
        n_bytes = int(token_bytes[batch.targets[batch.targets != IGNORE]].sum())
        yield Measure(nats, batch.n_targets, n_bytes, right, batch.n_targets)


def show_filled(model, data, seed, max_tokens):
    """Yield a passage of the validation part, in brackets what the net puts where it is asked.

    Where that is wrong, what stood there follows it.
    """
    T, rng = min(max_tokens, model.config.context_length), np.random.default_rng(seed)
    tokenizer = data.tokenizer
    true = random_windows(data.val, 1, min(T, len(data.val) - 1), rng)[:, :-1]
    places = rng.random(true.shape) < SHARE
    guesses = hidden(model, np.where(places, mask_id(tokenizer), true)).argmax(axis=-1)
    for here, guess, token in zip(places[0], guesses[0], true[0]):
        texts = [tokenizer.decode([int(i)]) for i in dict.fromkeys([guess, token])]
        yield f"[{'|'.join(texts)}]" if here else texts[-1]


def with_mask(tokenizer):
    """Return how many tokens a net knows: one of its own, where the tokenizer has no [MASK]."""
    return max(tokenizer.vocab_size, mask_id(tokenizer) + 1)


MASKED_LM = Task(masked_batch, masked_loss, masked_measure, sees=("both",), vocab_size=with_mask,
                 show=show_filled, command="fill", whole_text=False)
