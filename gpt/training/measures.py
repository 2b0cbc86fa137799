"""How surprised a model is: at the targets of a batch, and at each token of a passage."""
import numpy as np

from gpt.batch import IGNORE, Batch
from gpt.models.heads import surprise
from minigrad import cross_entropy, linear, log_softmax, no_grad

MEASURED_TOKENS = 2048             # of one forward pass that measures


def token_loss(model, batch, n, rng=None, state=None):
    """Return the surprise at the targets of a batch, in nats, summed and divided by n: a Tensor."""
    x = model.stream(batch, state, rng)                                         # (B, T, C)
    return surprise(x, model.head, batch.targets, n)


def token_surprise(model, ids):
    """Return the surprise at each token but the first of a passage, in nats.

    Parameters
    ----------
    ids : (T + 1,) int, at most context_length + 1

    Returns
    -------
    nats : (T,)
    """
    ids = np.asarray(ids, np.int64)
    batch = Batch(ids[None, :-1], ids[None, 1:])
    return answer_surprise(model, batch)


def answer_surprise(model, batch):
    """Return the surprise at each target of a batch of one text, in nats: (T,)."""
    with no_grad():
        x = model.stream(batch)                                                 # (1, T, C)
        log_p = log_softmax(linear(x, model.head).data[0])                      # (T, V)
    targets, = batch.targets
    return -log_p[np.arange(len(targets)), targets]


def answered(model, batch, tokenizer):
    """Return the surprise at the targets of a batch, in nats, and which are the likeliest.

    Returns
    -------
    nats : float
    n_bytes : int
        Of the text that the targets stand for.
    right : (B, T) bool
    """
    targets = batch.targets
    with no_grad():
        x = model.stream(batch)                                                 # (B, T, C)
        logits = linear(x, model.head)                                          # (B, T, V)
        nats = cross_entropy(logits, targets, n=1.0)
    token_bytes = np.asarray(tokenizer.token_bytes)
    asked = targets[targets != IGNORE]
    right = logits.data.argmax(axis=-1) == targets
    return nats.item(), int(token_bytes[asked].sum()), right
