"""Encoders: each position sees the whole text, and tells which token stands there."""
import numpy as np

from gpt.batch import Batch
from gpt.models.decoder import GPT
from gpt.models.heads import surprise
from gpt.models.trunk import ACTIVATIONS, Norm, Residual
from gpt.settings import ConfigError
from minigrad import concatenate, linear, pool, sqrt
from minigrad.nn import Linear, Module, full


class Encoder(Module):
    """The encoder of BERT (Devlin et al. 2018, arXiv:1810.04805), with the variants of the config.

    Parameters
    ----------
    config : ModelConfig
        Not causal; with `transform` a layer and a bias stand before the logits, as in BERT.
    rng : numpy.random.Generator
    dtype : float dtype
    """

    def __init__(self, config, rng, dtype=np.float32):
        self.config = config
        self.trunk = GPT(config, rng, dtype)
        if config.transform:
            C = config.d_model
            initial = dict(rng=rng, std=0.02, dtype=dtype)
            self.dense = Linear(C, C, bias=config.bias, **initial)
            self.norm = Norm(config, dtype)
            self.bias = full(config.vocab_size, 0, dtype)

    def __call__(self, ids, lengths=None):
        """Score every token as the one that stands there: (B, T) ids to (B, T, V) logits."""
        batch = Batch(ids, lengths=lengths)
        return linear(self.stream(batch), self.head)

    def loss(self, ids, targets, lengths=None):
        """Return the mean surprise at targets, (B, T), in nats; one of -100 does not count."""
        batch = Batch(ids, lengths=lengths)
        return surprise(self.stream(batch), self.head, targets)

    def stream(self, batch, state=None, rng=None):
        """Run all but the unembedding: (B, T, C), or C + 1 of which the last is always 1."""
        x = self.trunk.stream(batch, state, rng)                                # (B, T, C)
        if not self.config.transform:
            return x
        x = self.dense(x)
        x = ACTIVATIONS[self.config.mlp](x)
        x = self.norm(Residual(x))
        B, T, _ = x.shape
        one = np.ones((B, T, 1), x.dtype)              # whose weight is the bias of a token
        return concatenate([x, one], axis=-1)                                   # (B, T, C + 1)

    @property
    def head(self):
        """The (V, C) matrix of the unembedding, with its bias (V, C + 1)."""
        if not self.config.transform:
            return self.trunk.head
        bias = self.bias[:, None]                                               # (V, 1)
        return concatenate([self.trunk.head, bias], axis=1)

    @property
    def token_embedding(self):
        return self.trunk.token_embedding

    def start(self, batch):
        """Refuse to go on token by token, with a ConfigError that says what else there is."""
        raise ConfigError("an encoder reads whole texts and continues none: `minigrad embed` "
                          "shows what it makes of them, `minigrad fill` fills in [MASK]")


def sentence_vectors(model, batch):
    """Return the mean of what an encoder makes of the real tokens of a text, of length 1: (B, C).

    Reimers & Gurevych 2019, arXiv:1908.10084.
    """
    x = model.trunk.stream(batch)                                               # (B, T, C)
    B, T, _ = x.shape
    lengths = np.full(B, T) if batch.lengths is None else batch.lengths
    y = pool(x, lengths, ["mean"])                                              # (B, C)
    square = (y * y).sum(axis=-1, keepdims=True)
    return y / sqrt(square)
