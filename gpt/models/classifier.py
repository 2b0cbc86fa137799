"""A head that tells classes apart: what a text left in the stream, pooled, and a linear layer."""
import numpy as np

from minigrad import concatenate, where
from minigrad.nn import Linear, Module


def last(x, lengths):
    """Return the stream at the last real token: (B, T, C) to (B, C)."""
    at_last = np.arange(x.shape[1]) == lengths[:, None] - 1                     # (B, T)
    return (x * at_last[..., None].astype(x.dtype)).sum(axis=1)


def mean(x, lengths):
    """Return the mean over the real tokens: (B, T, C) to (B, C)."""
    share = real(x, lengths) / lengths[:, None, None]                           # (B, T, 1)
    return (x * share.astype(x.dtype)).sum(axis=1)


def largest(x, lengths):
    """Return the largest of each channel over the real tokens: (B, T, C) to (B, C)."""
    lowest = np.asarray(-np.inf, x.dtype)
    return where(real(x, lengths), x, lowest).max(axis=1)


def real(x, lengths):
    """Tell which tokens are no padding: (B, T, 1) bool."""
    return (np.arange(x.shape[1]) < lengths[:, None])[..., None]


# Concatenated as in Howard & Ruder 2018, arXiv:1801.06146, 3.3.
POOLING = {"last": (last,), "mean": (mean,), "max": (largest,), "concat": (last, largest, mean)}


class Classifier(Module):
    """Scores of classes, (B, n), from the stream, (B, T, C); at first all are 0.

    Parameters
    ----------
    C : int
    labels : sequence of str
    pooling : str
        A key of POOLING.
    rng : numpy.random.Generator
    dtype : float dtype
    """

    def __init__(self, C, labels, pooling, rng, dtype=np.float32):
        self.labels, self.pooling = tuple(labels), pooling
        width = C * len(POOLING[pooling])
        self.linear = Linear(width, len(labels), rng=rng, std=0.0, dtype=dtype)

    def __call__(self, x, lengths):
        parts = [pool(x, lengths) for pool in POOLING[self.pooling]]            # each (B, C)
        pooled = concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]
        return self.linear(pooled)                                              # (B, n)
