"""A head that tells classes apart: what a text left in the stream, pooled, and a linear layer."""
import numpy as np

from minigrad import pool
from minigrad.nn import Linear, Module

# Of what vectors the head is made; concatenated as in Howard & Ruder 2018, arXiv:1801.06146, 3.3.
POOLING = {
    "last": ["last"],
    "mean": ["mean"],
    "max": ["max"],
    "concat": ["last", "max", "mean"],
}


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
        return pool(x, lengths, POOLING[self.pooling])
