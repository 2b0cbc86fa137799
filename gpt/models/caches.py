"""What a net remembers of what it has read, so that a new token costs one position."""
import numpy as np

from minigrad.ops.cached import cached_attention, padded_width


class KVCache:
    """The keys and values of all positions so far.

    Parameters
    ----------
    config : ModelConfig
    batch : int
    dtype : float dtype

    Attributes
    ----------
    place : (1,) int64
        How many positions are stored: where the next one goes.
    recent : (B, 2) int64
        The last two ids.
    memory : Memory or None
        What an encoder has read before all positions.
    """

    memory = None

    def __init__(self, config, batch=1, dtype=np.float32):
        width = padded_width(config.head_width, dtype)
        self.capacity = config.context_length
        shape = batch, config.kv_heads, self.capacity, width
        self.place = np.zeros(1, np.int64)
        self.recent = np.zeros((batch, 2), np.int64)
        self.layers = []               # of (k, v), each (B, G, context, D)
        for _ in range(config.n_layer):
            k, v = np.zeros(shape, dtype), np.zeros(shape, dtype)
            self.layers.append((k, v))

    @property
    def length(self):
        return int(self.place[0])

    @property
    def inputs(self):
        """What differs from call to call, as arrays."""
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
        """Count the positions that all layers have stored, of ids (B, T)."""
        self.place = self.place + ids.shape[1]
        known = np.concatenate([self.recent, ids], axis=1)                      # (B, 2 + T)
        self.recent = known[:, -2:]                                             # (B, 2)

    def keep(self, ids):
        """Go back to where only ids, (B, T), had been read; return T, how many are kept."""
        self.clear()
        self.advance(ids)
        return ids.shape[1]

    def begin_as(self, other):
        """Begin each sequence with what another cache, of one sequence, has read."""
        n = other.length
        for mine, theirs in zip(self.layers, other.layers):
            for x, known in zip(mine, theirs):
                x[:, :, :n] = known[:, :, :n]                                   # (B, G, n, D)
        self.place = other.place
        self.recent = np.repeat(other.recent, len(self.recent), axis=0)         # (B, 2)

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
        self.place = np.zeros_like(self.place)
        self.recent = np.zeros_like(self.recent)


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
