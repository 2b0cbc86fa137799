"""Windows of a text, at random or one behind the other."""
import numpy as np


def random_batch(ids, B, T, rng):
    """Take B windows at random places.

    Returns
    -------
    inputs, targets : (B, T) int64
        The targets are the inputs, one place later.
    """
    starts = rng.integers(0, len(ids) - T, B)
    windows = np.asarray(ids)[starts[:, None] + np.arange(T + 1)].astype(np.int64)
    return windows[:, :-1], windows[:, 1:]


def even_windows(ids, T, n_tokens=None):
    """Cut ids into windows, one behind the other: every token but the first is a target once.

    Parameters
    ----------
    n_tokens : int, optional
        Take only about so many, in windows spread evenly.

    Returns
    -------
    inputs, targets : (N, T) int64
        Targets past the end are -100, which does not count.
    """
    n = -(-(len(ids) - 1) // T)
    chosen = np.arange(n)
    if n_tokens is not None and n_tokens < n * T:
        chosen = np.unique(np.linspace(0, n - 1, max(1, n_tokens // T)).astype(np.int64))
    places = chosen[:, None] * T + np.arange(T + 1)
    beyond = places >= len(ids)
    windows = np.asarray(ids)[np.where(beyond, len(ids) - 1, places)].astype(np.int64)
    return windows[:, :-1], np.where(beyond[:, 1:], -100, windows[:, 1:])
