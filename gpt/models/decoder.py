"""The model, read top to bottom: embeddings, blocks of attention and MLP, scores of what is next.

Shapes: B batch, T time (position), S keys seen, C model width, H query heads, G key heads,
D head width, F MLP width, V vocabulary, L layers.
"""
import numpy as np

from gpt.models.config import ModelConfig
from minigrad import (
    add_layer_norm, add_rms_norm, attention, concatenate, cross_entropy, dropout, embedding, erf,
    gelu, layer_norm, linear, linear_cross_entropy, placed_embedding, qk_rotary, relu_squared,
    rms_norm, rotary, rotary_angles, self_attention, silu, split, swiglu)
from minigrad.kernels import jit
from minigrad.nn import Embedding, Linear, Module, full, normal

SMALL_VOCABULARY = 4096            # whose scores are stored, not made a second time on the way back


class GPT(Module):
    """A decoder-only transformer (Radford et al. 2019), with the variants of `ModelConfig`.

    Parameters
    ----------
    config : ModelConfig
    rng : numpy.random.Generator
        Of the initial weights.
    dtype : float dtype
    """

    def __init__(self, config: ModelConfig, rng, dtype=np.float32):
        V, C, T = config.vocab_size, config.d_model, config.context_length
        self.config, std = config, embedding_std(config)
        self.token_embedding = Embedding(V, C, rng=rng, std=std, dtype=dtype)
        if config.position == "learned":
            self.position_embedding = Embedding(T, C, rng=rng, std=std, dtype=dtype)
        if config.position == "sinusoidal":
            self.position_table = sinusoids(T, C, dtype)                        # (T, C)
        if config.ngram_rows:
            self.ngram_embedding = NgramEmbedding(config, rng, dtype)
        self.blocks = [Block(config, rng, dtype) for _ in range(config.n_layer)]
        if config.norm_position != "post":            # there, every block ends in one
            self.final_norm = Norm(config, dtype)
        if not config.tie_weights:
            head_std = 0.0 if config.init == "zero" else 0.02
            self.unembedding = Linear(C, V, bias=False, rng=rng, std=head_std, dtype=dtype)

    def __call__(self, ids, kv_cache=None):
        """Score every token as the next one.

        Parameters
        ----------
        ids : (B, T) int
        kv_cache : KVCache, optional
            Of what came before `ids`; it is extended.

        Returns
        -------
        logits : (B, T, V)
        """
        x = self.stream(ids, kv_cache)
        return linear(x, self.head)

    def loss(self, ids, targets, rng=None):
        """Return the mean surprise at `targets`, in nats per token.

        Parameters
        ----------
        ids, targets : (B, T) int
            A target of -100 does not count.
        rng : numpy.random.Generator, optional
            Of the dropout; without one nothing is dropped.
        """
        x = self.stream(ids, rng=rng)
        if len(self.head) <= SMALL_VOCABULARY:
            return cross_entropy(linear(x, self.head), targets)
        return linear_cross_entropy(x, self.head, targets)

    def stream(self, ids, kv_cache=None, rng=None):
        """Run all but the unembedding: (B, T) ids to (B, T, C)."""
        config, T = self.config, ids.shape[1]
        start = kv_cache.length if kv_cache else 0
        if start + T > config.context_length:
            raise ValueError(f"context_length is {config.context_length}, but there are "
                             f"{start + T} tokens: pass the last ones only")
        x = self.embedded(ids, start, kv_cache.recent if kv_cache else None)
        x = x0 = dropout(x, config.dropout, rng)
        branch = None                                 # what is still to be added to x
        for i, block in enumerate(self.blocks):
            x, branch = block(x, branch, x0, start, kv_cache.layers[i] if kv_cache else None, rng)
        if kv_cache:
            kv_cache.advance(ids)
        return x if config.norm_position == "post" else self.final_norm.of_sum(branch, x)[1]

    def embedded(self, ids, start=0, recent=None):
        """Embed (B, T) ids at places from `start` on, after two `recent` ones: (B, T, C)."""
        config, stop = self.config, start + ids.shape[1]
        if config.position == "learned":
            x = placed_embedding(ids, self.token_embedding.weight,
                                 self.position_embedding.weight, start=start)   # (B, T, C)
        else:
            x = self.token_embedding(ids)                                       # (B, T, C)
        if config.position == "sinusoidal":
            x = x + self.position_table[start:stop]
        if config.ngram_rows:
            x = x + self.ngram_embedding(ids, recent)
        return rms_norm(x) if config.embedding_norm else x

    @property
    def head(self):
        """The (V, C) matrix of the unembedding."""
        return (self.token_embedding if self.config.tie_weights else self.unembedding).weight


class Block(Module):
    """Attention, which moves information between positions, and an MLP, which works on each.

    The residual stream comes and goes as x and a branch that is still to be added to it (or None):
    so the norm that follows adds and normalises in one pass.
    """

    def __init__(self, config, rng, dtype):
        self.norm_position, self.dropout = config.norm_position, config.dropout
        self.attention = Attention(config, rng, dtype)
        self.mlp = MLP(config, rng, dtype)
        if config.norm_position != "none":
            self.norm1, self.norm2 = Norm(config, dtype), Norm(config, dtype)
        if config.stream_scalars:
            self.keep, self.again = full((), 1, dtype), full((), 0, dtype)

    def __call__(self, x, branch, x0, start=0, layer_cache=None, rng=None):
        attend = lambda y: dropout(self.attention(y, start, layer_cache), self.dropout, rng)
        think = lambda y: dropout(self.mlp(y), self.dropout, rng)
        if "keep" in vars(self):
            x, branch = added(branch, x) * self.keep + x0 * self.again, None    # (B, T, C)
        if self.norm_position == "pre":
            x, y = self.norm1.of_sum(branch, x)
            x, y = self.norm2.of_sum(attend(y), x)
            return x, think(y)
        x = added(branch, x)
        if self.norm_position == "post":
            _, x = self.norm1.of_sum(attend(x), x)
            return self.norm2.of_sum(think(x), x)[1], None
        x = x + attend(x)
        return x, think(x)


def added(branch, x):
    return x if branch is None else x + branch


class Attention(Module):
    """Causal self-attention with H heads, or fewer for the keys and values."""

    def __init__(self, config, rng, dtype):
        C, D, H, G = config.d_model, config.d_head, config.n_head, config.kv_heads
        self.config = config
        self.query_key_value = Linear(C, (H + 2 * G) * D, bias=config.bias, rng=rng,
                                      std=matrix_std(config, C), dtype=dtype)
        self.projection = Linear(C, C, bias=config.bias, rng=rng, std=output_std(config),
                                 dtype=dtype)
        if config.position.startswith("rotary"):
            self.cos, self.sin = rotary_angles(config.context_length, D, dtype=dtype)   # (T, D / 2)

    def __call__(self, x, start=0, layer_cache=None):
        config, H, G = self.config, self.config.n_head, self.config.kv_heads
        qkv = self.turned(self.query_key_value(x), start)              # (B, T, (H + 2 G) D)
        if layer_cache:
            y = layer_cache.attend(qkv.data, start, H, config.causal)           # (B, T, C)
        else:
            y = self_attention(qkv, H, G, causal=config.causal)
        return self.projection(y)

    def turned(self, qkv, start):
        """Normalise the queries and keys of (B, T, (H + 2 G) D), and turn them by their places."""
        config, (B, T, _) = self.config, qkv.shape
        if config.position.startswith("rotary"):
            cos, sin = self.cos[start:start + T], self.sin[start:start + T]
        if config.position == "rotary":
            return qk_rotary(qkv, cos, sin, config.kv_heads, norm=config.qk_norm)
        if not config.qk_norm and config.position != "rotary_interleaved":
            return qkv
        q_k, v = split(qkv.reshape(B, T, -1, config.d_head), [config.n_head + config.kv_heads], 2)
        if config.qk_norm:
            q_k = rms_norm(q_k)                                                 # (B, T, H + G, D)
        if config.position == "rotary_interleaved":
            q_k = rotary(q_k, cos[:, None], sin[:, None], interleaved=True)
        return concatenate([q_k, v], axis=2).reshape(qkv.shape)


class MLP(Module):
    """Two linear layers with a nonlinearity between, at each position by itself."""

    def __init__(self, config, rng, dtype):
        C, F, self.kind = config.d_model, config.mlp_width, config.mlp
        wide = 2 * F if self.kind == "swiglu" else F
        self.expand = Linear(C, wide, bias=config.bias, rng=rng, std=matrix_std(config, C),
                             dtype=dtype)
        self.projection = Linear(F, C, bias=config.bias, rng=rng, std=output_std(config),
                                 dtype=dtype)

    def __call__(self, x):
        x = self.expand(x)                                       # (B, T, F), with swiglu 2 F
        return self.projection(ACTIVATIONS[self.kind](x))


def exact_gelu(x):
    """x times the normal distribution function."""
    return x * 0.5 * (1 + erf(x * 2 ** -0.5))


ACTIVATIONS = {"gelu": exact_gelu, "gelu_tanh": gelu, "relu_squared": relu_squared, "silu": silu,
               "swiglu": swiglu}


class Norm(Module):
    """Layer norm, or RMS norm with or without a gain."""

    def __init__(self, config, dtype):
        self.kind, self.gain, self.bias = config.norm, None, None
        if config.norm != "rms_gainless":
            self.gain = full(config.d_model, 1, dtype)
        if config.norm == "layer" and config.bias:
            self.bias = full(config.d_model, 0, dtype)

    def __call__(self, x):
        if self.kind == "layer":
            return layer_norm(x, self.gain, self.bias)
        return rms_norm(x, self.gain)

    def of_sum(self, branch, x):
        """Return x + branch and its norm; without a branch x and its norm."""
        if branch is None:
            return x, self(x)
        if self.kind == "layer":
            return add_layer_norm(branch, x, self.gain, self.bias)
        return add_rms_norm(branch, x, self.gain)


class NgramEmbedding(Module):
    """What the last two and the last three tokens say together: a row each of two hashed tables."""

    def __init__(self, config, rng, dtype):
        self.vocab_size, self.rows = config.vocab_size, config.ngram_rows
        self.tables = [normal(rng, (self.rows, config.d_model), 0.0, dtype) for _ in range(2)]

    def __call__(self, ids, recent=None):
        before = np.zeros((len(ids), 2), np.int64) if recent is None else recent
        rows = np.empty((2, *ids.shape), np.int64)
        jit.run(look_back, before, ids, self.vocab_size, self.rows, rows)
        pairs, triples = (embedding(x, table) for x, table in zip(rows, self.tables))
        return pairs + triples


def look_back(before, ids, vocab_size, n_rows, out):
    """Write the rows (2, B, T) of the last two and of the last three tokens at each place."""
    ids = np.concatenate([before, ids], axis=1)                                 # (B, 2 + T)
    pairs = ids[:, 1:-1] * vocab_size + ids[:, 2:]                              # (B, T)
    triples = ids[:, :-2] * vocab_size ** 2 + pairs
    out[:] = hashed(pairs, n_rows), hashed(triples, n_rows)


def hashed(keys, rows):
    """Spread keys over rows (Knuth 6.4: multiply by 2**64 over the golden ratio)."""
    mixed = keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return (mixed >> np.uint64(33)) % np.uint64(rows)


# ---- memory for generation ----

class KVCache:
    """The keys and values of all positions so far, so that a new token costs one position.

    Parameters
    ----------
    config : ModelConfig
    batch : int
    """

    def __init__(self, config, batch=1, dtype=np.float32):
        shape = (batch, config.kv_heads, config.context_length, config.d_head)
        self.layers = [LayerCache(shape, dtype) for _ in range(config.n_layer)]
        self.ids = np.zeros((batch, 2 + config.context_length), np.int64)       # after two of none
        self.length = 0

    @property
    def recent(self):
        """The last two ids, (B, 2)."""
        return self.ids[:, self.length:self.length + 2]

    def advance(self, ids):
        """Count the positions that all layers have stored."""
        start, self.length = self.length, self.length + ids.shape[1]
        self.ids[:, 2 + start:2 + self.length] = ids


class LayerCache:
    """The keys and values of one layer, each (B, G, context, D)."""

    def __init__(self, shape, dtype):
        self.k, self.v = np.empty(shape, dtype), np.empty(shape, dtype)

    def attend(self, qkv, start, H, causal):
        """Let positions from `start` on see all so far: (B, T, (H + 2 G) D) arrays to (B, T, H D).
        """
        (B, T, _), (_, G, _, D) = qkv.shape, self.k.shape
        heads = qkv.reshape(B, T, H + 2 * G, D).transpose(0, 2, 1, 3)           # (B, H + 2 G, T, D)
        stop = start + T
        self.k[:, :, start:stop], self.v[:, :, start:stop] = heads[:, H:H + G], heads[:, H + G:]
        y = attention(heads[:, :H], self.k[:, :, :stop], self.v[:, :, :stop], causal=causal)
        return y.transpose(0, 2, 1, 3).reshape(B, T, H * D)


# ---- initial sizes ----

def embedding_std(config):
    """Return 0.02 as in GPT-2, or 1 where the embedding is normalized (its scale is free then)."""
    return 1.0 if config.embedding_norm else 0.02


def matrix_std(config, d_in):
    """Return 0.02 as in GPT-2, or half of what keeps the variance."""
    return 0.5 * d_in ** -0.5 if config.init == "zero" else 0.02


def output_std(config):
    """Return the standard deviation of what writes into the residual stream."""
    return 0.0 if config.init == "zero" else 0.02 / (2 * config.n_layer) ** 0.5


def sinusoids(T, C, dtype):
    """Return sines and cosines of position / 10000**(2i/C), (T, C): Vaswani et al. 2017, 3.5."""
    cos, sin = rotary_angles(T, C + C % 2, dtype=dtype)
    return np.stack([sin, cos], axis=-1).reshape(T, -1)[:, :C]


# ---- arithmetic ----

def flops_per_token(config: ModelConfig):
    """Count the floating-point operations of training on one token: forward, and twice backward.

    Two per weight of a matrix, and the causal half of the attention scores and sums.
    """
    C, D, L = config.d_model, config.d_head, config.n_layer
    attention_weights = C * (config.n_head + 2 * config.kv_heads) * D + C * C
    mlp_weights = C * config.mlp_width * (3 if config.mlp == "swiglu" else 2)
    weights = L * (attention_weights + mlp_weights) + C * config.vocab_size
    return 6 * weights + 6 * L * C * config.context_length
