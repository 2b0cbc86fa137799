"""A head that tells classes apart: what a text left in the stream, pooled, and a linear layer."""
import numpy as np

from minigrad import concatenate, where
from minigrad.nn import Linear, Module

# ---- pooling: from the stream x, (B, T, C), and the lengths of the texts, (B, 1), to (B, C) ----

def last(x, lengths):
    """Return the stream at the last real token."""
    is_last = places(x) == lengths - 1                                          # (B, T)
    return weighed(x, is_last)


def mean(x, lengths):
    """Return the mean over the real tokens."""
    is_real = places(x) < lengths                                               # (B, T)
    share = is_real / lengths
    return weighed(x, share)


def largest(x, lengths):
    """Return the largest of each channel over the real tokens."""
    is_real = places(x) < lengths                                               # (B, T)
    lowest = np.asarray(-np.inf, x.dtype)
    kept = where(is_real[..., None], x, lowest)                                 # (B, T, C)
    return kept.max(axis=1)


def places(x):
    T = x.shape[1]
    return np.arange(T)


def weighed(x, share):
    """Add up the stream, each place as often as its share, (B, T), says."""
    share = share[..., None].astype(x.dtype)                                    # (B, T, 1)
    weighted = x * share
    return weighted.sum(axis=1)


# Concatenated as in Howard & Ruder 2018, arXiv:1801.06146, 3.3.
POOLING = {"last": [last], "mean": [mean], "max": [largest],
           "concat": [last, largest, mean]}


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
        self.labels = tuple(labels)
        self.pooling = pooling
        width, n = C * len(POOLING[pooling]), len(labels)
        self.linear = Linear(width, n, rng=rng, std=0.0, dtype=dtype)

    def __call__(self, x, lengths):
        """Score the classes; the lengths, (B,), tell what is no padding."""
        return self.linear(self.pooled(x, lengths))                             # (B, n)

    def pooled(self, x, lengths):
        """Return what the scores are made of: the features of a text, (B, width)."""
        lengths = lengths[:, None]                                              # (B, 1)
        pools = POOLING[self.pooling]
        parts = [pool(x, lengths) for pool in pools]                            # each (B, C)
        return concatenate(parts, axis=-1)
