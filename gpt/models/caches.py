"""What a net remembers of what it has read, so that a new token costs one position."""
import numpy as np

from minigrad.kernels.byte_rows import BYTES
from minigrad.kernels.memory import zeros_by_page
from minigrad.kernels.one_query import padded_width
from minigrad.kernels.quantised import Quantised
from minigrad.ops.cached import cached_attention


def kept_dtype(weight):
    """Return in what keys and values are kept, by a matrix of the model.

    Beside weights that are held in blocks they are integers of 8 bits: a quarter of the memory,
    and less of the time late in a text.
    """
    return BYTES if isinstance(weight.data, Quantised) else weight.dtype


class KVCache:
    """The keys and values of all positions so far.

    Sequences may be of different lengths; more than one position at once is read by those that
    are as long. What reads fewer sequences reads the first ones.

    Parameters
    ----------
    config : ModelConfig
    batch : int
    dtype : float dtype
        See `kept_dtype`.

    Attributes
    ----------
    place : (B,) int64
        How many positions of each are stored: where the next one goes.
    recent : (B, n) int64
        The last ids: two, or as many as are looked back on.
    memory : Memory or None
        What an encoder has read before all positions.
    """

    memory = None

    def __init__(self, config, batch=1, dtype=np.float32):
        width = padded_width(config.head_width, dtype)
        self.capacity, self.document_end = config.context_length, config.document_end
        shape = batch, config.kv_heads, self.capacity, width
        self.place = np.zeros(batch, np.int64)                                  # (B,)
        n_recent = max(2, config.look_back)
        self.recent = np.zeros((batch, n_recent), np.int64)
        memory = zeros_by_page((config.n_layer, 2, *shape), dtype)
        self.layers = [tuple(pair) for pair in memory]         # k and v: each (B, G, context, D)

    @property
    def length(self):
        """How many positions of the longest are stored."""
        return int(self.place.max())

    @property
    def inputs(self):
        """What differs from call to call, as arrays; the first says where it is written."""
        return self.place, self.recent

    def at(self, place, recent):
        """Return the same cache with other inputs."""
        other = object.__new__(KVCache)
        vars(other).update(vars(self), place=place, recent=recent)
        return other

    def layer(self, i):
        return LayerCache(*self.layers[i], self.place)

    def check_room(self, n):
        """Refuse n positions more than there is room for."""
        position = self.length + n
        if position > self.capacity:
            raise ValueError(f"context_length is {self.capacity}, but this is position "
                             f"{position}: begin again with the last ones")

    def advance(self, ids):
        """Count the positions that all layers have stored, of ids (B, T).

        Behind the end of a document, where the net sees nothing of it, a sequence begins anew.
        """
        B, T = ids.shape
        self.place[:B] += T
        ended = (ids[:, -1:] == self.document_end).any(axis=1)                  # (B,); T may be 0
        self.place[:B][ended] = 0
        before = self.recent[:B]                                                # (B, n)
        known = np.concatenate([before, ids], axis=1)                           # (B, n + T)
        self.recent[:B] = known[:, T:]

    def keep(self, ids):
        """Go back to where only ids, (B, T), had been read; return T, how many are kept."""
        self.clear()
        self.advance(ids)
        return ids.shape[1]

    def begin_as(self, other):
        """Begin each sequence with what another cache, of one sequence, has read."""
        for b in range(len(self.place)):
            self.adopt(b, other)

    def adopt(self, b, other, row=0):
        """Let sequence b go on from what a sequence of another cache, or of this, has read."""
        n = other.place[row]
        for mine, theirs in zip(self.layers, other.layers):
            for x, known in zip(mine, theirs):
                x[b, :, :n] = known[row, :, :n]                                 # (G, n, D)
        self.place[b] = n
        self.recent[b] = other.recent[row]

    def take(self, rows):
        """Let each sequence go on from what that of a row, (B,), has read."""
        n = self.length
        for pair in self.layers:
            for x in pair:
                taken = x[rows, :, :n]                                          # (B, G, n, D)
                x[:, :, :n] = taken
        self.recent = self.recent[rows]

    def clear(self):
        """Forget everything."""
        self.place[:] = 0
        self.recent[:] = 0


class LayerCache:
    """The keys and values of one layer, each (B, G, context, D)."""

    def __init__(self, k, v, place):
        self.k, self.v, self.place = k, v, place

    def attend(self, qkv, n_head, seen):
        """Store what is new and let it see all so far: (B, T, (H + 2 G) D) to (B, T, H D)."""
        hidden = {"bias": seen.bias, "mask": seen.mask}
        options = {name: x for name, x in hidden.items() if x is not None}
        return cached_attention(qkv, self.k, self.v, self.place, n_head, seen.causal, seen.scale,
                                **options)
