"""A net of causal convolutions: each layer sees a few places, further apart the deeper it is."""
from dataclasses import dataclass

import numpy as np

from gpt.models.heads import mean_loss, scores
from gpt.models.states import States
from gpt.settings import check_limits, setting
from minigrad import conv1d, dropout, relu_squared, rms_norm, swiglu
from minigrad.kernels import jit
from minigrad.kernels.memory import empty
from minigrad.nn import Embedding, Linear, Module, normal
from minigrad.tensor import detach


@dataclass(frozen=True)
class ConvConfig:
    """The shape of a convolutional net."""

    vocab_size: int = setting(256, "number of tokens", at_least=1)               # V
    context_length: int = setting(128, "tokens of a window", at_least=1)         # T
    n_layer: int = setting(5, "blocks", at_least=1)                              # L
    d_model: int = setting(128, "width of the residual stream", at_least=1)      # C
    kernel_size: int = setting(4, "places that a convolution sees", at_least=1)  # K
    dilation_growth: int = setting(2, "how many times further apart they are in each next block",
                                   at_least=1)
    dropout: float = setting(0.0, "rate of dropout in training", at_least=0, below=1)

    __post_init__ = check_limits


class ConvNet(Module):
    """Blocks of a gated depthwise convolution and an MLP (Dauphin et al. 2017, arXiv:1612.08083).

    Parameters
    ----------
    config : ConvConfig
    rng : numpy.random.Generator
        Of the initial weights.
    dtype : float dtype
    """

    __call__, loss = scores, mean_loss

    def __init__(self, config, rng, dtype=np.float32):
        self.config = config
        V, C = config.vocab_size, config.d_model
        depths = range(config.n_layer)
        self.token_embedding = Embedding(V, C, rng=rng, std=1.0, dtype=dtype)
        self.blocks = [Block(config, depth, rng, dtype) for depth in depths]
        self.unembedding = matrix(C, V, 0.0, rng, dtype)

    def stream(self, batch, state=None, rng=None):
        """Run all but the unembedding: (B, T, C).

        Parameters
        ----------
        batch : Batch
            Its ids, (B, T), are read.
        state : States, optional
            Of the last places before; the last ones are written there, and whoever calls makes
            them count with `state.advance(ids)`.
        rng : numpy.random.Generator, optional
            Of the dropout; without one nothing is dropped.
        """
        state = state or self.start(batch)
        drop = lambda y: dropout(y, self.config.dropout, rng)
        x = rms_norm(self.token_embedding(batch.ids))                           # (B, T, C)
        for i, block in enumerate(self.blocks):
            x = block(x, state, i, drop)
        return rms_norm(x)

    def start(self, batch):
        """Return the state of sequences of which nothing has been read: `States`."""
        wide = 2 * self.config.d_model
        widths = [block.reach * wide for block in self.blocks]
        return States(widths, len(batch.ids), self.head.dtype)

    @property
    def head(self):
        """The (V, C) matrix of the unembedding."""
        return self.unembedding.weight


class Block(Module):
    """A convolution, which moves information between places, and an MLP, which works on each."""

    def __init__(self, config, depth, rng, dtype):
        C = config.d_model
        K = config.kernel_size
        self.dilation = config.dilation_growth ** depth
        self.reach = (K - 1) * self.dilation          # places before the present one
        std = 0.5 * C ** -0.5
        self.reader = matrix(C, 2 * C, std, rng, dtype)
        self.weight = normal(rng, (K, 2 * C), K ** -0.5, dtype)
        self.projection = matrix(C, C, 0.0, rng, dtype)
        self.expand = matrix(C, 4 * C, std, rng, dtype)
        self.contract = matrix(4 * C, C, 0.0, rng, dtype)

    def __call__(self, x, state, i, drop):
        """Take the residual stream, (B, T, C), one block further."""
        u = self.reader(rms_norm(x))                                            # (B, T, 2 C)
        before = state.read(i)
        before = before.reshape(len(x), -1, u.shape[2])                         # (B, reach, 2 C)
        seen = conv1d(u, self.weight, before, dilation=self.dilation)
        state.write(i, last_places(before, detach(u)))
        x = x + drop(self.projection(swiglu(seen)))                             # (B, T, C)
        y = relu_squared(self.expand(rms_norm(x)))                              # (B, T, 4 C)
        return x + drop(self.contract(y))


def last_places(before, x):
    """Return the last n places of x behind the n before it, (B, n, C), side by side: (B, n C)."""
    n, T = before.shape[1], x.shape[1]
    new = min(n, T)
    kept = n - new
    out = empty(before.shape, x.dtype)
    jit.run(np.copyto, out[:, :kept], before[:, new:])
    jit.run(np.copyto, out[:, kept:], x[:, T - new:])
    return out.reshape(len(x), -1)


def matrix(d_in, d_out, std, rng, dtype):
    """Make a linear layer without a bias."""
    return Linear(d_in, d_out, bias=False, rng=rng, std=std, dtype=dtype)
