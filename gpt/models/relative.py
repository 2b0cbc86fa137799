"""Positions as T5 has them: a number for each head and each kind of distance, added to scores."""
import numpy as np

from minigrad import embedding, transpose
from minigrad.nn import Module, normal


class RelativeBias(Module):
    """A table, (kinds of distances, H), that all layers share."""

    def __init__(self, config, rng, dtype):
        self.config = config
        self.table = normal(rng, (config.relative_buckets, config.n_head), 0.02, dtype)

    def __call__(self, queries, S):
        """Return what is added to the scores of S keys for queries at (B, T): (B, H, T, S)."""
        keys = np.arange(S)
        kinds = buckets(keys - queries[:, :, None], self.config)                # (B, T, S)
        bias = embedding(kinds, self.table)                                     # (B, T, S, H)
        return transpose(bias, (0, 3, 1, 2))


def buckets(distance, config):
    """Sort distances from queries to keys: near ones one by one, farther ones by their logarithm.

    Raffel et al. 2020, arXiv:1910.10683, section 2.1: half of the kinds are for one by one, and
    where keys behind the query are seen, half of all for those.

    Parameters
    ----------
    distance : (...) int
        Negative before the query; where that is all that is seen, no other counts.

    Returns
    -------
    (...) int64, from 0 to relative_buckets - 1
    """
    first = 0
    n = config.relative_buckets
    if not config.causal:
        n //= 2
        first = np.where(distance > 0, n, 0)
    far = np.abs(distance)
    one_by_one = n // 2
    ratio = np.maximum(far, 1).astype(np.float32) / one_by_one     # float32, as weights learnt it
    widest = float(np.log(config.relative_distance / one_by_one))
    steps = np.log(ratio) / widest * (n - one_by_one)
    by_logarithm = np.minimum(one_by_one + steps.astype(np.int64), n - 1)
    return first + np.where(far < one_by_one, far, by_logarithm)
