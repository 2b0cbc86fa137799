"""The transformer, read top to bottom: embeddings, blocks, scores of what is next."""
import numpy as np

from gpt.models.caches import KVCache, kept_dtype
from gpt.models.config import ModelConfig
from gpt.models.earlier import EarlierEmbedding, NgramEmbedding
from gpt.models.heads import mean_loss, scores
from gpt.models.looking import begin_looking
from gpt.models.relative import RelativeBias
from gpt.models.rope import frequencies
from gpt.models.trunk import Block, Norm, Residual, Seen, recomputed
from minigrad import dropout, placed_embedding, rms_norm, rotary_angles
from minigrad.kernels import jit
from minigrad.mode import mode
from minigrad.nn import Embedding, Linear, Module
from minigrad.ops.cached import rows_at


class GPT(Module):
    """A decoder-only transformer (Radford et al. 2019), with the variants of `ModelConfig`.

    One that is not causal encodes, and one that crosses decodes what another has encoded.

    Parameters
    ----------
    config : ModelConfig
    rng : numpy.random.Generator
        Of the initial weights.
    dtype : float dtype
    crosses : bool
        Whether its blocks take from the memory of an encoder.
    """

    __call__, loss = scores, mean_loss

    def __init__(self, config: ModelConfig, rng, dtype=np.float32, crosses=False):
        self.config = config
        V, C, T = config.vocab_size, config.d_model, config.context_length
        initial = dict(rng=rng, std=embedding_std(config), dtype=dtype)
        self.token_embedding = Embedding(V, C, **initial)
        if config.position == "learned":
            self.position_embedding = Embedding(config.position_offset + T, C, **initial)
        if config.position == "sinusoidal":
            self.position_table = sinusoids(T, C, dtype)                        # (T, C)
        if config.position == "rotary" or config.qk_norm:
            self.cos, self.sin = turns(config, dtype)                           # (T, D / 2)
        if config.position == "relative":
            self.relative_bias = RelativeBias(config, rng, dtype)
        if config.n_segment:
            self.segment_embedding = Embedding(config.n_segment, C, **initial)
        if config.embedding_gain:
            self.embedding_norm = Norm(config, dtype)
        if config.look_back:
            self.earlier_embedding = EarlierEmbedding(config, rng, dtype)
        if config.ngram_rows:
            self.ngram_embedding = NgramEmbedding(config, rng, dtype)
        self.blocks = [Block(config, rng, dtype, crosses) for _ in range(config.n_layer)]
        if config.init == "looking":
            begin_looking(self.blocks[0].attention, config)
        if config.norm_position == "pre":             # else, every block ends in one
            self.final_norm = Norm(config, dtype)
        if not config.tie_weights:
            initial["std"] = 0.02 if config.init == "scaled" else 0.0
            self.unembedding = Linear(C, V, bias=False, **initial)

    def stream(self, batch, state=None, rng=None, memory=None):
        """Run all but the unembedding.

        Parameters
        ----------
        batch : Batch
            Its ids, (B, T), are read; segments where they have embeddings, and lengths where
            what is behind a text could be seen.
        state : KVCache, optional
            Of what came before; keys and values are stored in it, and whoever calls counts them
            with `state.advance(ids)`.
        rng : numpy.random.Generator, optional
            Of the dropout; without one nothing is dropped.
        memory : Memory, optional
            What blocks that cross take from.

        Returns
        -------
        (B, T, C)

        Raises
        ------
        ValueError
            If there are more tokens than the context, or the state, has room for.
        """
        T, config = batch.ids.shape[1], self.config
        if state:
            state.check_room(T)
        elif T > config.context_length:
            raise ValueError(f"context_length is {config.context_length}, but there are "
                             f"{T} tokens: pass the last ones only")
        x = self.begin(batch, state, rng)                                       # of (B, T, C)
        seen = self.seen(batch.ids, state, batch.lengths)
        for i, block in enumerate(self.blocks):
            if mode.recomputing:
                x = recomputed(block, x, seen, rng, memory)
            else:
                x = block(x, seen, state and state.layer(i), rng, memory)
        return self.end(x)

    def begin(self, batch, state=None, rng=None):
        """Return what the first block reads: Residual, of (B, T, C)."""
        x = self.embedded(batch.ids, state, batch.segments)                     # (B, T, C)
        return Residual(dropout(x, self.config.dropout, rng))

    def end(self, x):
        """Return what is scored of what the last block has written: (B, T, C)."""
        post = self.config.norm_position == "post"
        x = x.value if post else self.final_norm(x)                             # (B, T, C)
        return x * self.config.d_model ** -0.5 if self.config.logit_scale else x

    def embedded(self, ids, state=None, segments=None):
        """Embed (B, T) ids: (B, T, C)."""
        config = self.config
        places = self.places(ids.shape[1], state)
        if places is None:
            x = self.token_embedding(ids)                                       # (B, T, C)
        else:
            in_a_row = ids.reshape(-1, len(places)) if state else ids
            x = placed_embedding(in_a_row, self.token_embedding.weight, places)
            x = x.reshape(*ids.shape, -1) if state else x
        if config.n_segment:
            segments = np.zeros_like(ids) if segments is None else segments
            x = x + self.segment_embedding(segments)
        if config.look_back:
            x = x + self.earlier_embedding(ids, state and state.recent)
        if config.ngram_rows:
            x = x + self.ngram_embedding(ids, state and state.recent)
        if config.embedding_norm:
            x = rms_norm(x, eps=config.norm_eps)
        if config.embedding_gain:
            x = self.embedding_norm(Residual(x))
        return x * config.d_model ** 0.5 if config.embedding_scale else x

    def places(self, T, state):
        """Return what is added to an embedding for its place, (T, C) or more; None for nothing.

        Behind a state the rows of one sequence come after those of another: (B T, C).
        """
        if self.config.position == "learned":
            table, offset = self.position_embedding.weight, self.config.position_offset
            if state:
                return rows_at(table.data[offset:], state.place, T)
            return table[offset:] if offset else table
        if self.config.position == "sinusoidal":
            table = self.position_table
            return table[:T] if state is None else rows_at(table, state.place, T)
        return None

    def seen(self, ids, state, lengths=None):
        """Say who sees whom: `Seen` for (B, T) ids behind those of the state."""
        T, config = ids.shape[1], self.config
        queries, S = behind(state, T)
        seen = Seen(config.causal, lengths=None if config.causal else lengths,
                    scale=None if config.score_scale else 1.0)
        if state is None:
            seen = seen._replace(first=self.first_seen(ids))
        else:
            mask = self.near(queries, S, state.capacity)
            seen = seen._replace(mask=mask)
        if config.position == "relative":
            seen = seen._replace(bias=self.relative_bias(queries, S))           # (1 or B, H, T, S)
        if not hasattr(self, "cos"):
            return seen
        if state is None:
            return seen._replace(cos=self.cos[:T], sin=self.sin[:T])
        cos = rows_at(self.cos, state.place, T)                                 # (B T, D / 2)
        sin = rows_at(self.sin, state.place, T)
        return seen._replace(cos=cos, sin=sin)

    def first_seen(self, ids):
        """Return the first place that each token sees, (B, T) int64; None for the very first."""
        config, T = self.config, ids.shape[1]
        window = config.window if 0 < config.window < T else T
        if config.document_end < 0 and window == T:
            return None
        first = np.empty(ids.shape, np.int64)
        jit.run(where_it_begins, ids, config.document_end, window, first)
        return first

    def near(self, queries, S, most):
        """Return which of S keys are near enough to queries, (1 or B, T), that have `most` of them.

        (1 or B, 1, T, S); None for all, always.
        """
        window = self.config.window
        if not window or window >= most:
            return None
        distance = queries[:, :, None] - np.arange(S)
        return (distance < window)[:, None]

    def start(self, batch):
        """Return the state of sequences of which nothing has been read: `KVCache`."""
        dtype = kept_dtype(self.head)
        return KVCache(self.config, len(batch.ids), dtype)

    @property
    def head(self):
        """The (V, C) matrix of the unembedding."""
        tied = self.config.tie_weights
        return self.token_embedding.weight if tied else self.unembedding.weight


def behind(state, T):
    """Return where T positions stand behind a state, (1 or B, T), and how many keys there are."""
    if state is None:
        return np.arange(T)[None], T
    return state.place[:, None] + np.arange(T), state.length + T


def where_it_begins(ids, end, window, out):
    """Write the first place that each token sees, (B, T): of its document, and of its window."""
    T = ids.shape[1]
    places = np.arange(T)
    out[...] = np.maximum(0, places - window + 1)
    ended = ids[:, :-1] == end
    begins = np.where(ended, places[1:], 0)           # behind the end of another
    begins = np.maximum.accumulate(begins, axis=1)
    later = out[:, 1:]
    np.maximum(later, begins, out=later)


# ---- initial values ----

def embedding_std(config):
    """Return 0.02 as in GPT-2, or 1 where the embedding is normalized (its scale is free then)."""
    return 1.0 if config.embedding_norm else 0.02


def turns(config, dtype):
    """Return the cosines and sines that queries and keys are turned by, each (T, D / 2)."""
    T, D = config.context_length, config.head_width
    if config.position == "rotary":
        return rotary_angles(T, D, dtype=dtype, frequency=frequencies(config))
    return np.ones((T, D // 2), dtype), np.zeros((T, D // 2), dtype)            # they stay


def sinusoids(T, C, dtype):
    """Return sines and cosines of position / 10000**(2i/C), (T, C): Vaswani et al. 2017, 3.5."""
    cos, sin = rotary_angles(T, C + C % 2, dtype=dtype)
    pairs = np.stack([sin, cos], axis=-1)                                       # (T, C / 2, 2)
    return pairs.reshape(T, -1)[:, :C]


# ---- arithmetic ----

def flops_per_token(config: ModelConfig):
    """Count the floating-point operations of training on one token: forward, and twice backward.

    Two per weight of a matrix, and the causal half of the attention scores and sums.
    """
    attended = config.n_layer * config.n_head * config.head_width
    weights = config.n_layer * block_weights(config) + config.d_model * config.vocab_size
    return 6 * weights + 6 * attended * config.context_length


def block_weights(config):
    """Count the weights in the matrices of a block."""
    read_and_written = 2 * (config.n_head + config.kv_heads) * config.head_width   # q, k, v and y
    of_mlp = config.mlp_width * (3 if config.gated else 2)
    return config.d_model * (read_and_written + of_mlp)
