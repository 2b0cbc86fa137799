"""Encoder-decoders: one stack of blocks reads a source, another writes and looks back at it."""
from dataclasses import replace

import numpy as np

from gpt.batch import Batch
from gpt.models.caches import KVCache, kept_dtype
from gpt.models.decoder import GPT
from gpt.models.heads import surprise
from gpt.models.trunk import Memory
from gpt.settings import ConfigError
from minigrad import linear, no_grad
from minigrad.nn import Module


class EncoderDecoder(Module):
    """The transformer of Vaswani et al. 2017, arXiv:1706.03762, with the variants of the config.

    Parameters
    ----------
    config : ModelConfig
        Of the decoder; the encoder differs in `n_encoder_layer` and sees both ways. They share
        the token embedding.
    rng : numpy.random.Generator
    dtype : float dtype
    """

    # With what a published one begins an answer, and ends it: ids; else its tokenizer's first
    # special token, and any.
    begins = ends = ()

    def __init__(self, config, rng, dtype=np.float32):
        self.config = config
        n_layer = config.n_encoder_layer or config.n_layer
        reading = replace(config, n_layer=n_layer, causal=False, tie_weights=True,
                          logit_scale=False)
        self.encoder = GPT(reading, rng, dtype)
        self.decoder = GPT(config, rng, dtype, crosses=True)
        self.decoder.token_embedding = self.encoder.token_embedding

    def __call__(self, batch):
        """Score every token as the next one: (B, T, V) logits."""
        return linear(self.stream(batch), self.head)                            # (B, T, V)

    def loss(self, batch):
        """Return the mean surprise at the targets, in nats; one of -100 does not count."""
        return surprise(self.stream(batch), self.head, batch.targets)

    def stream(self, batch, state=None, rng=None):
        """Run all but the unembedding.

        Parameters
        ----------
        batch : Batch
            Its ids, (B, T), are what is written so far; its source, (B, S), is read unless there
            is a state, which remembers what has been read.
        state, rng
            As for `GPT`.

        Returns
        -------
        (B, T, C)
        """
        memory = state.memory if state else self.read(batch, rng)               # of (B, S, C)
        return self.decoder.stream(batch, state, rng, memory)                   # (B, T, C)

    def read(self, batch, rng=None):
        """Encode the source of a batch: Memory; a ConfigError says that it has none."""
        if batch.source is None:
            raise ConfigError("an encoder-decoder answers to a source, but the batch has none")
        source = Batch(batch.source, lengths=batch.source_lengths)
        states = self.encoder.stream(source, rng=rng)                           # (B, S, C)
        return Memory(states, batch.source_lengths)

    def start(self, batch):
        """Read the sources of a batch; return the state in which nothing has been written."""
        with no_grad():
            memory = self.read(batch)
        state = KVCache(self.config, len(batch.source), kept_dtype(self.head))
        state.memory = memory
        return state

    @property
    def token_embedding(self):
        return self.encoder.token_embedding

    @property
    def head(self):
        """The (V, C) matrix of the unembedding."""
        return self.decoder.head
