"""A head that tells classes apart: what a text left in the stream, pooled, and a layer or two."""
import numpy as np

from minigrad import gelu, pool
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
    hidden : int
        Width of a layer between; 0 for none.
    """

    def __init__(self, C, labels, pooling, rng, dtype=np.float32, hidden=0):
        self.labels = tuple(labels)
        self.pooling = pooling
        width, n = C * len(POOLING[pooling]), len(labels)
        self.between, made = None, dict(rng=rng, dtype=dtype)
        if hidden:
            self.between = Linear(width, hidden, **made)
        self.linear = Linear(hidden or width, n, std=0.0, **made)

    def __call__(self, x, lengths):
        """Score the classes; the lengths, (B,), tell what is no padding."""
        x = self.pooled(x, lengths)                                             # (B, width)
        if self.between:
            x = gelu(self.between(x))                                           # (B, hidden)
        return self.linear(x)                                                   # (B, n)

    def pooled(self, x, lengths):
        """Return what the head reads: the features of a text, (B, width)."""
        return pool(x, lengths, POOLING[self.pooling])
