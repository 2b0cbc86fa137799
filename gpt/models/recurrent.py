"""Recurrent nets: a state that is carried from token to token, in the place of attention."""
from dataclasses import dataclass

import numpy as np

from gpt.models.heads import mean_loss, scores
from gpt.models.states import States
from gpt.settings import check_limits, setting
from minigrad import dropout, embedding, gru, lstm, mingru, rnn
from minigrad.nn import Embedding, Linear, Module, full, normal
from minigrad.tensor import detach


@dataclass(frozen=True)
class RecurrentConfig:
    """The shape of a recurrent net."""

    vocab_size: int = setting(256, "number of tokens", at_least=1)               # V
    context_length: int = setting(128, "tokens of a window: so far back gradients go",
                                  at_least=1)                                    # T
    n_layer: int = setting(1, "recurrent layers", at_least=1)                    # L
    d_model: int = setting(256, "width of the state", at_least=1)                # C
    d_embedding: int = setting(0, "width of the token embedding; 0 for d_model", at_least=0)
    dropout: float = setting(0.0, "rate of dropout in training", at_least=0, below=1)

    __post_init__ = check_limits


class Recurrent(Module):
    """Layers that scan the sequence, each with a state; what the last one shows is scored.

    Parameters
    ----------
    config : RecurrentConfig
    rng : numpy.random.Generator
        Of the initial weights.
    dtype : float dtype
    cell : RNN, LSTM, GRU or MinGRU
        What a layer is.
    """

    __call__, loss = scores, mean_loss

    def __init__(self, config, rng, dtype=np.float32, *, cell):
        self.config = config
        V, C = config.vocab_size, config.d_model
        E = config.d_embedding or C
        self.token_embedding = Embedding(V, E, rng=rng, std=1.0, dtype=dtype)
        widths = [E] + [C] * (config.n_layer - 1)
        self.blocks = [cell(n, C, rng, dtype) for n in widths]
        # Not zero, as in a decoder: the layers would learn nothing from the first steps, and a
        # hundred later the loss is 2.27, not 2.02.
        self.unembedding = Linear(C, V, bias=False, rng=rng, std=(3 * C) ** -0.5, dtype=dtype)

    def stream(self, batch, state=None, rng=None):
        """Run all but the unembedding: (B, T, C).

        Parameters
        ----------
        batch : Batch
            Its ids, (B, T), are read.
        state : States, optional
            Of what came before; what comes after is written there, and whoever calls makes it
            count with `state.advance(ids)`.
        rng : numpy.random.Generator, optional
            Of the dropout; without one nothing is dropped.
        """
        state = state or self.start(batch)
        rate, place, x = self.config.dropout, 0, None
        for block in self.blocks:
            given = self.first_inputs(batch.ids) if x is None else block.reader(x)
            before = [state.read(place + i) for i in range(block.n_states)]
            y, after = block.scan(given, *before)                               # (B, T, C)
            for each in after:
                state.write(place, detach(each)[:, -1])
                place += 1
            x = dropout(y if x is None else x + y, rate, rng)
        return x

    def first_inputs(self, ids):
        """Return what the first layer is given, (B, T, gates C).

        The product with its weights is made for every token there is, or for every place: for
        whichever are fewer.
        """
        reader, table = self.blocks[0].reader, self.token_embedding.weight
        if len(table) <= ids.size:
            return embedding(ids, reader(table))
        return reader(self.token_embedding(ids))

    def start(self, batch):
        """Return the state of sequences of which nothing has been read: `States`."""
        n_states = sum(block.n_states for block in self.blocks)
        widths = [self.config.d_model] * n_states
        return States(widths, len(batch.ids), self.head.dtype)

    @property
    def head(self):
        """The (V, C) matrix of the unembedding."""
        return self.unembedding.weight


# ---- layers: `reader` makes of the input what `scan` takes ----

class RNN(Module):
    """h[t] = tanh(U x[t] + b + W h[t - 1])."""

    n_gates, n_states = 1, 1

    def __init__(self, d_in, C, rng, dtype):
        std = (3 * C) ** -0.5                         # of torch's uniform numbers
        gates = self.n_gates * C
        self.reader = Linear(d_in, gates, rng=rng, std=(3 * d_in) ** -0.5, dtype=dtype)
        self.weight = normal(rng, (gates, C), std, dtype)

    def scan(self, x, h0):
        """Return the states, (B, T, C), and those arrays of which the last is to be carried."""
        h = rnn(x, self.weight, h0)
        return h, (h,)


class LSTM(Module):
    """A state behind gates, and what they show of it."""

    n_gates, n_states = 4, 2
    __init__ = RNN.__init__

    def scan(self, x, h0, c0):
        h, c = lstm(x, self.weight, h0, c0)
        return h, (h, c)


class GRU(Module):
    """A gate mixes the state with what is new."""

    n_gates, n_states = 3, 1

    def __init__(self, d_in, C, rng, dtype):
        RNN.__init__(self, d_in, C, rng, dtype)
        self.bias = full(C, 0, dtype)

    def scan(self, x, h0):
        h = gru(x, self.weight, self.bias, h0)
        return h, (h,)


class MinGRU(Module):
    """A gate that sees the input alone mixes the state with what is new."""

    n_states = 1

    def __init__(self, d_in, C, rng, dtype):
        self.reader = Linear(d_in, 2 * C, rng=rng, std=(3 * d_in) ** -0.5, dtype=dtype)

    def scan(self, x, h0):
        h = mingru(x, h0)
        return h, (h,)
