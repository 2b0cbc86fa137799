"""The parts of a transformer: attention, MLP, norms, and the block that is made of them.

Shapes, here and in all nets: B batch, T time (position), S keys seen, C model width, H query
heads, G key heads, D head width, F MLP width, V vocabulary, L layers.
"""
from typing import NamedTuple

import numpy as np

from gpt.models.lora import dropping
from minigrad import (
    Tensor, add_layer_norm, add_rms_norm, attention, concatenate, cross_attention, dropout,
    exact_gelu, gelu, layer_norm, qk_rotary, relu, relu_squared, rms_norm, self_attention, silu,
    split, swiglu)
from minigrad.nn import Linear, Module, full
from minigrad.ops.heads import heads, side_by_side
from minigrad.recompute import recompute


def geglu(x):
    """gelu(gate) * value, each half of the last axis: (..., 2 n) to (..., n)."""
    gate, value = split(x, 2, axis=-1)
    return gelu(gate) * value


ACTIVATIONS = {"gelu": exact_gelu, "gelu_tanh": gelu, "relu": relu, "relu_squared": relu_squared,
               "silu": silu, "swiglu": swiglu, "geglu": geglu}


class Seen(NamedTuple):
    """Who sees whom, and where they stand: the same for all layers, made once, handed down."""

    causal: bool
    cos: np.ndarray | None = None              # (T or B T, D / 2): how queries and keys are turned
    sin: np.ndarray | None = None
    lengths: np.ndarray | None = None          # (B,) how many keys are real
    mask: np.ndarray | None = None             # (1 or B, 1, T, S), True where a key is near enough
    first: np.ndarray | None = None            # (B, T) the first key that each query sees
    bias: Tensor | None = None                 # (1 or B, H, T, S), added to the scores
    scale: float | None = None                 # of the scores; None for 1 / sqrt(D)

    def attend(self, qkv, n_head, n_kv_head):
        """Let queries see keys and values, side by side: (B, T, (H + 2 G) D) to (B, T, H D)."""
        alike = dict(causal=self.causal, scale=self.scale, key_lengths=self.lengths,
                     first=self.first)
        if self.mask is None and self.bias is None:
            return self_attention(qkv, n_head, n_kv_head, **alike)
        q, k, v = heads(qkv, n_head, n_kv_head)
        y = attention(q, k, v, self.bias, mask=self.mask, **alike)              # (B, H, T, D)
        return side_by_side(y)


class Memory:
    """What an encoder has made of a source, (B, S, C), for a decoder to take from."""

    def __init__(self, states, lengths=None):
        self.states, self.lengths = states, lengths
        self.kept = {}                             # CrossAttention -> k and v: made once

    def keys_and_values(self, attention):
        """Return k and v for one layer, side by side: (B, S, 2 G D)."""
        if attention not in self.kept:
            self.kept[attention] = attention.key_value(self.states)
        return self.kept[attention]


class Block(Module):
    """Attention, which moves information between positions, and an MLP, which works on each.

    A block that crosses takes from the memory of an encoder, too.
    """

    def __init__(self, config, rng, dtype, crosses=False):
        self.norm_position, self.dropout = config.norm_position, config.dropout
        self.attention = Attention(config, rng, dtype)
        self.mlp = MLP(config, rng, dtype)
        self.norm1 = Norm(config, dtype)
        self.norm2 = Norm(config, dtype)
        self.cross = CrossAttention(config, rng, dtype) if crosses else None
        self.cross_norm = Norm(config, dtype) if crosses else None

    def __call__(self, x, seen, cache=None, rng=None, memory=None):
        """Take the residual stream one block further.

        Parameters
        ----------
        x : Residual, of (B, T, C)
        seen : Seen
        cache : LayerCache, optional
            Keys and values of what came before.
        rng : numpy.random.Generator, optional
            Of the dropout.
        memory : Memory, optional

        Returns
        -------
        Residual
        """
        drop = lambda y: dropout(y, self.dropout, rng)
        attend = lambda y: drop(self.attention(y, seen, cache))                 # (B, T, C)
        recall = lambda y: drop(self.cross(y, memory, seen.scale))              # (B, T, C)
        think = lambda y: drop(self.mlp(y))                                     # (B, T, C)
        if self.norm_position == "post":               # as in 2017: the norm is behind the sum
            x = Residual(self.norm1(x + attend(x.value)))
            if self.cross:
                x = Residual(self.cross_norm(x + recall(x.value)))
            return Residual(self.norm2(x + think(x.value)))
        x = x + attend(self.norm1(x))
        if self.cross:
            x = x + recall(self.cross_norm(x))
        x = x + think(self.norm2(x))
        return x


def recomputed(block, x, seen, rng=None, memory=None):
    """Take the residual stream one block further, and compute it anew on the way back."""
    def run(x, bias, states, rng):
        theirs = memory and Memory(states, memory.lengths)
        with dropping(block, rng):
            return block(Residual(x), seen._replace(bias=bias), None, rng, theirs).value
    states = memory and memory.states
    inputs = x.value, seen.bias, states                                         # x is (B, T, C)
    return Residual(recompute(run, *inputs, parameters=block.parameters(), rng=rng))


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

    def normalised(self, add_and_norm, norm, *parameters, **eps):
        """Return norm(value); where a branch waits, by `add_and_norm(branch, value)`: (B, T, C)."""
        if self.branch is None:
            return norm(self._value, *parameters, **eps)
        self._value, y = add_and_norm(self.branch, self._value, *parameters, **eps)
        self.branch = None                             # it is in the value now
        return y


class Norm(Module):
    """Layer norm, or RMS norm with or without a gain, of the residual stream."""

    def __init__(self, config, dtype):
        self.kind, self.eps = config.norm, config.norm_eps
        self.gain, self.bias = None, None
        if config.norm != "rms_gainless":
            self.gain = full(config.d_model, 1, dtype)
        if config.norm == "layer" and config.bias:
            self.bias = full(config.d_model, 0, dtype)

    def __call__(self, x):
        """Normalise a Residual, (B, T, C)."""
        if self.kind == "layer":
            return x.normalised(add_layer_norm, layer_norm, self.gain, self.bias, eps=self.eps)
        return x.normalised(add_rms_norm, rms_norm, self.gain, eps=self.eps)


class Attention(Module):
    """Self-attention with H heads, or fewer for the keys and values."""

    def __init__(self, config, rng, dtype):
        H, G, D = config.n_head, config.kv_heads, config.head_width
        self.n_head, self.n_kv_head = H, G
        self.qk_norm, self.eps = config.qk_norm, config.norm_eps
        wide = (H + 2 * G) * D
        bias = config.bias or config.qkv_bias
        self.query_key_value = reader(config, wide, rng, dtype, bias)
        self.projection = writer(config, H * D, rng, dtype)
        self.query_gain = full(D, 1, dtype) if config.qk_gain else None
        self.key_gain = full(D, 1, dtype) if config.qk_gain else None

    def __call__(self, x, seen, cache=None):
        """Let each position of (B, T, C) take from those it sees."""
        qkv = self.placed(self.query_key_value(x), seen)               # (B, T, (H + 2 G) D)
        if cache:
            y = cache.attend(qkv.data, self.n_head, seen)              # (B, T, H D)
        else:
            y = seen.attend(qkv, self.n_head, self.n_kv_head)
        return self.projection(y)                                      # (B, T, C)

    def placed(self, qkv, seen):
        """Normalise the queries and keys of (B, T, (H + 2 G) D), and turn them by their places."""
        if self.query_gain is not None:
            qkv = self.normalised(qkv)
        if seen.cos is None:
            return qkv
        cos, sin = seen.cos, seen.sin
        norm = self.qk_norm and self.query_gain is None
        turn = lambda x: qk_rotary(x, cos, sin, self.n_kv_head, norm=norm, eps=self.eps)
        if len(cos) == qkv.shape[1]:
            return turn(qkv)
        in_a_row = qkv.reshape(1, len(cos), -1)                        # (1, B T, (H + 2 G) D)
        return turn(in_a_row).reshape(qkv.shape)

    def normalised(self, qkv):
        """Normalise with gains the heads of queries and of keys, (B, T, (H + 2 G) D)."""
        q, k, v = heads(qkv, self.n_head, self.n_kv_head)              # each (B, heads, T, D)
        q = rms_norm(q, self.query_gain, eps=self.eps)
        k = rms_norm(k, self.key_gain, eps=self.eps)
        return concatenate([side_by_side(x) for x in (q, k, v)], axis=-1)


class CrossAttention(Module):
    """Attention whose keys and values are made of what an encoder has read."""

    def __init__(self, config, rng, dtype):
        H, G, D = config.n_head, config.kv_heads, config.head_width
        self.n_head, self.n_kv_head = H, G
        self.query = reader(config, H * D, rng, dtype)
        self.key_value = reader(config, 2 * G * D, rng, dtype)
        self.projection = writer(config, H * D, rng, dtype)

    def __call__(self, x, memory, scale=None):
        """Let each position of (B, T, C) take from all of the source."""
        q, kv = self.query(x), memory.keys_and_values(self)            # (B, S, 2 G D)
        y = cross_attention(q, kv, self.n_head, self.n_kv_head, scale=scale,
                            key_lengths=memory.lengths)
        return self.projection(y)                                      # (B, T, C)


class MLP(Module):
    """Two linear layers with a nonlinearity between, at each position by itself."""

    def __init__(self, config, rng, dtype):
        F, self.kind = config.mlp_width, config.mlp
        wide = 2 * F if config.gated else F
        self.expand = reader(config, wide, rng, dtype)
        self.projection = writer(config, F, rng, dtype)

    def __call__(self, x):
        x = self.expand(x)                                             # (B, T, F), gated 2 F
        x = ACTIVATIONS[self.kind](x)                                  # (B, T, F)
        return self.projection(x)                                      # (B, T, C)


# ---- what reads from the residual stream, and what writes into it ----

def reader(config, d_out, rng, dtype, bias=None):
    """Make a linear layer from C: its std 0.02 as in GPT-2, or half of what keeps the variance."""
    bias = config.bias if bias is None else bias
    C = config.d_model
    std = 0.02 if config.init == "scaled" else 0.5 * C ** -0.5
    return Linear(C, d_out, bias=bias, rng=rng, std=std, dtype=dtype)


def writer(config, d_in, rng, dtype):
    """Make a linear layer to C, whose std keeps the sum of all that 2 L of them write small."""
    C, n_writers = config.d_model, 2 * config.n_layer
    std = 0.02 / n_writers ** 0.5 if config.init == "scaled" else 0.0
    return Linear(d_in, C, bias=config.bias, rng=rng, std=std, dtype=dtype)
