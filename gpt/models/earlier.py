"""What the tokens before each one say: rows of tables, added to its embedding.

A transformer has to find earlier tokens by attention, which it learns late; here they are given.
"""
import numpy as np

from minigrad import embedding
from minigrad.kernels import jit
from minigrad.nn import Module, normal


class EarlierEmbedding(Module):
    """What each of the last tokens says by its distance: the first MLP then knows all of them.

    So does the net of Bengio et al. 2003, JMLR 3.
    """

    def __init__(self, config, rng, dtype):
        self.document_end, shape = config.document_end, (config.vocab_size, config.d_model)
        # At zero: the net begins as one that is not given them.
        table = lambda: normal(rng, shape, 0.0, dtype)
        self.tables = [table() for _ in range(config.look_back)]

    def __call__(self, ids, recent=None):
        n = len(self.tables)
        earlier = np.empty((n, *ids.shape), np.int64)
        before = known_before(ids, recent, n)
        jit.run(look_back, before, ids, self.document_end, earlier)
        total, *others = map(embedding, earlier, self.tables)
        for x in others:
            total = total + x
        return total                                                            # (B, T, C)


class NgramEmbedding(Module):
    """What the last two and the last three tokens say together: a row each of two hashed tables."""

    def __init__(self, config, rng, dtype):
        self.config, shape = config, (config.ngram_rows, config.d_model)
        table = lambda: normal(rng, shape, 0.0, dtype)
        self.tables = [table(), table()]

    def __call__(self, ids, recent=None):
        rows = np.empty((2, *ids.shape), np.int64)
        before = known_before(ids, recent, 2)
        jit.run(number, before, ids, self.config, rows)
        pairs, triples = map(embedding, rows, self.tables)
        return pairs + triples                                                  # (B, T, C)


def known_before(ids, recent, n):
    """Return at least n ids before those of (B, T): the last that a state has read, or zeros."""
    if recent is not None:
        return recent
    return np.zeros((len(ids), n), np.int64)


def look_back(before, ids, end, out):
    """Write the ids that stand 1 to n places before each of (B, T) ids: (n, B, T).

    They are 0 where the end of a document lies between, or is one of them.
    """
    T = ids.shape[1]
    known = np.concatenate([before, ids], axis=1)
    seen = np.ones(ids.shape, bool)
    for distance, earlier in enumerate(out, 1):
        stop = known.shape[1] - distance
        there = known[:, stop - T:stop]                                         # (B, T)
        seen &= there != end
        earlier[...] = there * seen


def number(before, ids, config, out):
    """Write the rows (2, B, T) of the last two and of the last three tokens at each place."""
    V, n_rows = config.vocab_size, config.ngram_rows
    earlier = np.empty_like(out)
    look_back(before, ids, config.document_end, earlier)
    pairs = earlier[0] * V + ids                                                # (B, T)
    triples = earlier[1] * V ** 2 + pairs
    out[0] = hashed(pairs, n_rows)
    out[1] = hashed(triples, n_rows)


def hashed(keys, rows):
    """Spread keys over rows (Knuth 6.4: multiply by 2**64 over the golden ratio)."""
    mixed = keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return (mixed >> np.uint64(33)) % np.uint64(rows)
