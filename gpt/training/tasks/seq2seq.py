"""To answer a source with its target: translate, reverse, write a date another way."""
import numpy as np

from gpt.batch import IGNORE, Batch
from gpt.data.pairs import Pairs, load_pairs, rounded
from gpt.data.windows import evenly_spread
from gpt.models.heads import surprise
from gpt.models.sampling import Sampling, write
from gpt.settings import ConfigError
from gpt.training.task import Measure, Task
from minigrad import cross_entropy, linear, no_grad

MEASURED_TOKENS = 2048             # of one forward pass that measures
SHOWN = 4                          # pairs of a sample


def seq2seq_batch(data, shape, rng, model):
    """Take pairs of about one length at random, as many as have the tokens of the shape."""
    pairs, (group, widths) = data.pairs
    check_room(pairs, model)
    one = group[rng.integers(len(group))]             # each pair is as likely as any other
    most = widths[one].max()
    B = max(1, shape[0] * shape[1] // most)
    alike = np.flatnonzero(group == one)
    chosen = rng.choice(alike, B)
    return batch_of(pairs, chosen, widths[one], model)


def check_room(pairs, model):
    """Refuse pairs that are longer than what the net takes."""
    longest, room = pairs.lengths.max(), model.config.context_length
    if longest > room:
        raise ConfigError(f"context_length is {room}, but with its end the longest source or "
                          f"target has {longest} tokens: use --context_length {longest}")


def batch_of(pairs, chosen, widths, model):
    """Return pairs as a Batch: a target is read one place late, behind the end token."""
    S, T = np.minimum(widths, model.config.context_length)
    source, source_lengths = pairs.rows(chosen, 0, S)
    targets, lengths = pairs.rows(chosen, 1, T)
    ids = np.empty_like(targets)
    ids[:, 0], ids[:, 1:] = pairs.end, targets[:, :-1]
    asked = np.arange(T) < lengths[:, None]
    return Batch(np.where(asked, ids, 0), np.where(asked, targets, IGNORE),
                 source=source, source_lengths=source_lengths)


def seq2seq_loss(model, batch, n, rng=None):
    """Return the surprise at the targets, in nats, summed and divided by n."""
    return surprise(model.stream(batch, rng=rng), model.head, batch.targets, n)


def seq2seq_measure(model, data, ids):
    """Yield the surprise at the targets of `ids`, and how many of them are right as a whole.

    A target is right if each of its tokens is the likeliest behind those before: then, and only
    then, what the net writes by itself, always the likeliest, is that target.
    """
    pairs = Pairs.of(ids, data.tokenizer)
    check_room(pairs, model)
    token_bytes = np.asarray(data.tokenizer.token_bytes)
    order = evenly_spread(len(pairs.starts))
    B = max(1, MEASURED_TOKENS // model.config.context_length)
    for i in range(0, len(order), B):
        chosen = order[i:i + B]
        widths = rounded(pairs.lengths[chosen]).max(axis=0)
        batch = batch_of(pairs, chosen, widths, model)
        with no_grad():
            logits = linear(model.stream(batch), model.head)                    # (B, T, V)
            nats = cross_entropy(logits, batch.targets, n=1.0).item()
        asked = batch.targets != IGNORE
        right = (logits.data.argmax(axis=-1) == batch.targets) | ~asked
        n_bytes = int(token_bytes[batch.targets[asked]].sum())
        yield Measure(nats, batch.n_targets, n_bytes, int(right.all(axis=1).sum()), len(chosen))


def show_answers(model, data, seed, max_tokens):
    """Yield sources of the validation part with what the net makes of them."""
    pairs, rng = Pairs.of(data.val, data.tokenizer), np.random.default_rng(seed)
    for place in rng.choice(len(pairs.starts), SHOWN):
        source, target = (data.tokenizer.decode(pairs.rows([place], side, n)[0][0, :n - 1])
                          for side, n in enumerate(pairs.lengths[place]))
        made = "".join(write(model, data.tokenizer, source, Sampling(temperature=0),
                             max_tokens=max_tokens))
        yield f"{source} -> {made}" + (f"   (not {target})\n" if made != target else "\n")


SEQ2SEQ = Task(seq2seq_batch, seq2seq_loss, seq2seq_measure, sees=("source",), corpus=load_pairs,
               show=show_answers, whole_text=False)
