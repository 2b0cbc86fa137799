"""The parts of a transformer: attention, MLP, norms, and the block that is made of them.

Shapes, here and in all nets: B batch, T time (position), S keys seen, C model width, H query
heads, G key heads, D head width, F MLP width, V vocabulary, L layers.
"""
from typing import NamedTuple

import numpy as np

from minigrad import (
    add_layer_norm, add_rms_norm, dropout, exact_gelu, gelu, layer_norm, qk_rotary,
    relu_squared, rms_norm, self_attention, silu, swiglu)
from minigrad.nn import Linear, Module, full

ACTIVATIONS = {"gelu": exact_gelu, "gelu_tanh": gelu, "relu_squared": relu_squared, "silu": silu,
               "swiglu": swiglu}


class Seen(NamedTuple):
    """Who sees whom, and where they stand: the same for all layers, made once, handed down."""

    causal: bool
    cos: np.ndarray | None = None              # (T, D / 2) by which queries and keys are turned
    sin: np.ndarray | None = None


class Block(Module):
    """Attention, which moves information between positions, and an MLP, which works on each."""

    def __init__(self, config, rng, dtype):
        self.norm_position, self.dropout = config.norm_position, config.dropout
        self.attention = Attention(config, rng, dtype)
        self.mlp = MLP(config, rng, dtype)
        self.norm1 = Norm(config, dtype)
        self.norm2 = Norm(config, dtype)

    def __call__(self, x, seen, cache=None, rng=None):
        """Take the residual stream one block further.

        Parameters
        ----------
        x : Residual, of (B, T, C)
        seen : Seen
        cache : LayerCache, optional
            Keys and values of what came before.
        rng : numpy.random.Generator, optional
            Of the dropout.

        Returns
        -------
        Residual
        """
        drop = lambda y: dropout(y, self.dropout, rng)
        attend = lambda y: drop(self.attention(y, seen, cache))                 # (B, T, C)
        think = lambda y: drop(self.mlp(y))                                     # (B, T, C)
        if self.norm_position == "post":               # as in 2017: the norm is behind the sum
            x = Residual(self.norm1(x + attend(x.value)))
            return Residual(self.norm2(x + think(x.value)))
        x = x + attend(self.norm1(x))
        x = x + think(self.norm2(x))
        return x


class Residual:
    """The residual stream: what blocks read and add to, (B, T, C).

    A sum waits until it is read. The reader is a norm, which adds and normalises in one pass over
    memory: 1.4 times as fast as one after the other.
    """

    def __init__(self, value, branch=None):
        self._value, self.branch = value, branch       # the stream is value + branch

    @property
    def value(self):
        if self.branch is not None:
            self._value, self.branch = self._value + self.branch, None
        return self._value

    def __add__(self, branch):
        return Residual(self.value, branch)

    def normalised(self, add_and_norm, norm, *parameters):
        """Return norm(value); where a branch waits, by `add_and_norm(branch, value)`: (B, T, C)."""
        if self.branch is None:
            return norm(self._value, *parameters)
        self._value, y = add_and_norm(self.branch, self._value, *parameters)
        self.branch = None                             # it is in the value now
        return y


class Norm(Module):
    """Layer norm, or RMS norm with or without a gain, of the residual stream."""

    def __init__(self, config, dtype):
        self.kind, self.gain, self.bias = config.norm, None, None
        if config.norm != "rms_gainless":
            self.gain = full(config.d_model, 1, dtype)
        if config.norm == "layer" and config.bias:
            self.bias = full(config.d_model, 0, dtype)

    def __call__(self, x):
        """Normalise a Residual, (B, T, C)."""
        if self.kind == "layer":
            return x.normalised(add_layer_norm, layer_norm, self.gain, self.bias)
        return x.normalised(add_rms_norm, rms_norm, self.gain)


class Attention(Module):
    """Self-attention with H heads, or fewer for the keys and values."""

    def __init__(self, config, rng, dtype):
        H, G, C = config.n_head, config.kv_heads, config.d_model
        self.n_head, self.n_kv_head, self.qk_norm = H, G, config.qk_norm
        wide = (H + 2 * G) * config.d_head
        self.query_key_value = reader(config, wide, rng, dtype)
        self.projection = writer(config, C, rng, dtype)

    def __call__(self, x, seen, cache=None):
        """Let each position of (B, T, C) take from those it sees."""
        qkv = self.placed(self.query_key_value(x), seen)               # (B, T, (H + 2 G) D)
        if cache:
            y = cache.attend(qkv.data, self.n_head, seen.causal)       # (B, T, H D)
        else:
            y = self_attention(qkv, self.n_head, self.n_kv_head, causal=seen.causal)
        return self.projection(y)                                      # (B, T, C)

    def placed(self, qkv, seen):
        """Normalise the queries and keys of (B, T, (H + 2 G) D), and turn them by their places."""
        if seen.cos is None:
            return qkv
        cos, sin = seen.cos, seen.sin
        return qk_rotary(qkv, cos, sin, self.n_kv_head, norm=self.qk_norm)


class MLP(Module):
    """Two linear layers with a nonlinearity between, at each position by itself."""

    def __init__(self, config, rng, dtype):
        F, self.kind = config.mlp_width, config.mlp
        wide = 2 * F if self.kind == "swiglu" else F
        self.expand = reader(config, wide, rng, dtype)
        self.projection = writer(config, F, rng, dtype)

    def __call__(self, x):
        x = self.expand(x)                                             # (B, T, F), with swiglu 2 F
        x = ACTIVATIONS[self.kind](x)                                  # (B, T, F)
        return self.projection(x)                                      # (B, T, C)


# ---- what reads from the residual stream, and what writes into it ----

def reader(config, d_out, rng, dtype):
    """Make a linear layer from C: its std 0.02 as in GPT-2, or half of what keeps the variance."""
    C = config.d_model
    std = 0.5 * C ** -0.5 if config.init == "zero" else 0.02
    return Linear(C, d_out, bias=config.bias, rng=rng, std=std, dtype=dtype)


def writer(config, d_in, rng, dtype):
    """Make a linear layer to C, whose std keeps the sum of all that 2 L of them write small."""
    C, n_writers = config.d_model, 2 * config.n_layer
    std = 0.0 if config.init == "zero" else 0.02 / n_writers ** 0.5
    return Linear(d_in, C, bias=config.bias, rng=rng, std=std, dtype=dtype)
