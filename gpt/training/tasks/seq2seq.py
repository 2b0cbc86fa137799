"""To answer a source with its target: translate, reverse, write a date another way."""
import numpy as np

from gpt.batch import IGNORE, Batch
from gpt.data.pairs import Pairs, load_pairs, rounded
from gpt.data.windows import evenly_spread
from gpt.models.sampling import Sampling, write
from gpt.settings import ConfigError
from gpt.training.measures import MEASURED_TOKENS, answered, token_loss
from gpt.training.task import Measure, Task

SHOWN = 4                          # pairs of a sample


def seq2seq_batch(data, shape, rng, model):
    """Take pairs of about one length at random, as many as have the tokens of the shape."""
    pairs, (group, widths) = data.pairs
    check_room(pairs, model)
    any_pair = rng.integers(len(group))               # each is as likely as any other
    one = group[any_pair]
    B, T = shape
    n_rows = max(1, B * T // widths[one].max())
    alike = np.flatnonzero(group == one)
    chosen = rng.choice(alike, n_rows)
    return batch_of(pairs, chosen, np.minimum(widths[one], model.config.context_length))


def check_room(pairs, model):
    """Refuse pairs that are longer than what the net takes."""
    longest, room = pairs.lengths.max(), model.config.context_length
    if longest > room:
        raise ConfigError(f"context_length is {room}, but with its end the longest source or "
                          f"target has {longest} tokens: use --context_length {longest}")


def batch_of(pairs, chosen, widths):
    """Return pairs as a Batch: a target is read one place late, behind the end token."""
    S, T = widths
    source, source_lengths = pairs.rows(chosen, 0, S)
    targets, lengths = pairs.rows(chosen, 1, T)
    ids = np.full_like(targets, pairs.end)
    ids[:, 1:] = targets[:, :-1]
    asked = np.arange(T) < lengths[:, None]
    ids = np.where(asked, ids, 0)
    targets = np.where(asked, targets, IGNORE)
    return Batch(ids, targets, source=source, source_lengths=source_lengths)


def seq2seq_measure(model, data, ids):
    """Yield the surprise at the targets of `ids`, and how many of them are right as a whole.

    A target is right if each of its tokens is the likeliest behind those before: then, and only
    then, what the net writes by itself, always the likeliest, is that target.
    """
    pairs = Pairs.of(ids, data.tokenizer)
    check_room(pairs, model)
    order, room = evenly_spread(len(pairs.starts)), model.config.context_length
    B = max(1, MEASURED_TOKENS // room)
    for i in range(0, len(order), B):
        chosen = order[i:i + B]
        widths = rounded(pairs.lengths[chosen]).max(axis=0)
        batch = batch_of(pairs, chosen, np.minimum(widths, room))
        nats, n_bytes, right = answered(model, batch, data.tokenizer)
        right |= batch.targets == IGNORE
        whole = right.all(axis=1)                                               # (B,)
        yield Measure(nats, batch.n_targets, n_bytes, int(whole.sum()), len(whole))


def show_answers(model, data, seed, max_tokens):
    """Yield sources of the validation part with what the net makes of them."""
    tokenizer, rng = data.tokenizer, np.random.default_rng(seed)
    pairs, likeliest = Pairs.of(data.val, tokenizer), Sampling(temperature=0)
    for place in rng.choice(len(pairs.starts), SHOWN):
        source, target = pairs.texts(place, tokenizer)
        pieces = write(model, tokenizer, source, likeliest, max_tokens=max_tokens)
        made = "".join(pieces)
        wrong = "" if made == target else f"   (not {target})"
        yield f"{source} -> {made}{wrong}\n"


def one_answer(data, most):
    """Return the first pair of the validation part that is no longer than `most`, as a Batch."""
    pairs = Pairs.of(data.val, data.tokenizer)
    longest = pairs.lengths.max(axis=1)
    chosen = (longest <= max(most, longest.min())).argmax()
    return batch_of(pairs, [chosen], pairs.lengths[chosen])


SEQ2SEQ = Task(seq2seq_batch, token_loss, seq2seq_measure, sees=("source",), corpus=load_pairs,
               show=show_answers, answer=one_answer, whole_text=False)
