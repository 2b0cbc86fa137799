"""How well a model predicts a text: nats per token, bits per byte, perplexity."""
import math
from dataclasses import dataclass

import numpy as np

from gpt.data.batch import even_windows
from minigrad import log_softmax, no_grad

WINDOWS_TOKENS = 2048              # of one forward pass


@dataclass(frozen=True)
class Evaluation:
    """The surprise over some text, every token counted once."""

    nats: float                    # in all
    n_tokens: int
    n_bytes: int

    @property
    def nats_per_token(self):
        return self.nats / max(1, self.n_tokens)

    @property
    def bits_per_byte(self):
        return self.nats / math.log(2) / max(1, self.n_bytes)

    @property
    def perplexity(self):
        return math.exp(min(self.nats_per_token, 700))


def evaluate(model, ids, token_bytes, n_tokens=None):
    """Measure the surprise at the tokens of a text.

    The text is cut into windows of the context length, so a token sees from none to all of the
    context before it; nothing is skipped (the usual way, and a little pessimistic).

    Parameters
    ----------
    model : GPT
    ids : (N,) int
    token_bytes : (V,) int
        How many bytes each id stands for.
    n_tokens : int, optional
        Take about so many, in windows spread evenly over the text.
    """
    T = model.config.context_length
    inputs, targets = even_windows(ids, T, n_tokens)
    B = max(1, WINDOWS_TOKENS // T)
    nats = 0.0
    with no_grad():
        for i in range(0, len(inputs), B):
            counted = (targets[i:i + B] != -100).sum()
            nats += model.loss(inputs[i:i + B], targets[i:i + B]).item() * float(counted)
    counted = targets[targets != -100]
    return Evaluation(nats, len(counted), int(np.asarray(token_bytes)[counted].sum()))


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
    with no_grad():
        log_p = log_softmax(model(ids[None, :-1]).data[0])
    return -log_p[np.arange(len(ids) - 1), ids[1:]]
