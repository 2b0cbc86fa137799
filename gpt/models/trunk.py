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
        self.norm1, self.norm2 = Norm(config, dtype), Norm(config, dtype)

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
        if self.norm_position == "post":               # as in 2017: the norm is behind the sum
            x = Residual(self.norm1(x + self.attention(x.value, seen, cache, self.drop(rng))))
            return Residual(self.norm2(x + self.mlp(x.value, self.drop(rng))))
        x = x + self.attention(self.norm1(x), seen, cache, self.drop(rng))
        x = x + self.mlp(self.norm2(x), self.drop(rng))
        return x

    def drop(self, rng):
        return lambda x: dropout(x, self.dropout, rng)


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

    def normalised(self, add_and_norm, norm):
        """Return norm(value); where a branch waits, by `add_and_norm(branch, value)`."""
        if self.branch is None:
            return norm(self._value)
        self._value, y = add_and_norm(self.branch, self._value)
        self.branch = None
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
            return x.normalised(lambda branch, x: add_layer_norm(branch, x, self.gain, self.bias),
                                lambda x: layer_norm(x, self.gain, self.bias))
        return x.normalised(lambda branch, x: add_rms_norm(branch, x, self.gain),
                            lambda x: rms_norm(x, self.gain))


class Attention(Module):
    """Self-attention with H heads, or fewer for the keys and values."""

    def __init__(self, config, rng, dtype):
        C, D, H, G = config.d_model, config.d_head, config.n_head, config.kv_heads
        self.n_head, self.n_kv_head, self.qk_norm = H, G, config.qk_norm
        self.query_key_value = Linear(C, (H + 2 * G) * D, bias=config.bias, rng=rng,
                                      std=matrix_std(config, C), dtype=dtype)
        self.projection = Linear(C, C, bias=config.bias, rng=rng, std=output_std(config),
                                 dtype=dtype)

    def __call__(self, x, seen, cache=None, drop=lambda y: y):
        """Let each position of (B, T, C) take from those it sees."""
        qkv = self.placed(self.query_key_value(x), seen)               # (B, T, (H + 2 G) D)
        if cache:
            y = cache.attend(qkv.data, self.n_head, seen.causal)       # (B, T, H D)
        else:
            y = self_attention(qkv, self.n_head, self.n_kv_head, causal=seen.causal)
        return drop(self.projection(y))

    def placed(self, qkv, seen):
        """Normalise the queries and keys of (B, T, (H + 2 G) D), and turn them by their places."""
        if seen.cos is None:
            return qkv
        return qk_rotary(qkv, seen.cos, seen.sin, self.n_kv_head, norm=self.qk_norm)


class MLP(Module):
    """Two linear layers with a nonlinearity between, at each position by itself."""

    def __init__(self, config, rng, dtype):
        C, F, self.kind = config.d_model, config.mlp_width, config.mlp
        wide = 2 * F if self.kind == "swiglu" else F
        self.expand = Linear(C, wide, bias=config.bias, rng=rng, std=matrix_std(config, C),
                             dtype=dtype)
        self.projection = Linear(F, C, bias=config.bias, rng=rng, std=output_std(config),
                                 dtype=dtype)

    def __call__(self, x, drop=lambda y: y):
        x = self.expand(x)                                             # (B, T, F), with swiglu 2 F
        return drop(self.projection(ACTIVATIONS[self.kind](x)))


# ---- initial sizes ----

def matrix_std(config, d_in):
    """Return 0.02 as in GPT-2, or half of what keeps the variance."""
    return 0.5 * d_in ** -0.5 if config.init == "zero" else 0.02


def output_std(config):
    """Return the standard deviation of what writes into the residual stream."""
    return 0.0 if config.init == "zero" else 0.02 / (2 * config.n_layer) ** 0.5
