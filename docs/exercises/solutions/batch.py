"""Drawing training examples from a long text.

x and y are (B, T): x is what the model reads, and y is what it should predict at each position.
"""
import numpy as np


def batch(ids, B, T, rng):
    starts = rng.integers(len(ids) - T, size=B)
    x = np.stack([ids[i:i + T] for i in starts])
    y = np.stack([ids[i + 1:i + T + 1] for i in starts])
    return x, y
