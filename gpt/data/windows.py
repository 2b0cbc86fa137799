"""Windows of a text: at random, or one behind the other, each token counted once."""
import numpy as np


def random_windows(ids, B, T, rng):
    """Take B windows of T + 1 tokens at random places: (B, T + 1) int64."""
    starts = rng.integers(0, len(ids) - T, B)
    return np.asarray(ids)[starts[:, None] + np.arange(T + 1)].astype(np.int64)


def spread_windows(ids, T, B):
    """Cut ids into windows of T + 1 tokens that share one with the next, and yield B at a time.

    Wherever one stops, what has come is spread evenly over the text.

    Yields
    ------
    windows : (<= B, T + 1) int64
    counts : (<= B, T) bool
        Which of the targets, windows[:, 1:], are of the text: past its end there is none.
    """
    n = -(-(len(ids) - 1) // T)
    order = evenly_spread(n)
    for i in range(0, n, B):
        places = np.sort(order[i:i + B])[:, None] * T + np.arange(T + 1)        # (B, T + 1)
        inside = np.minimum(places, len(ids) - 1)
        yield np.asarray(ids)[inside].astype(np.int64), places[:, 1:] < len(ids)


def evenly_spread(n):
    """Return 0 to n - 1 in an order whose every beginning is spread evenly (van der Corput).

    >>> evenly_spread(8).tolist()
    [0, 4, 2, 6, 1, 5, 3, 7]
    """
    bits = max(1, (n - 1).bit_length())
    number, reversed_bits = np.arange(1 << bits), np.zeros(1 << bits, np.int64)
    for i in range(bits):
        reversed_bits |= (number >> i & 1) << bits - 1 - i
    return reversed_bits[reversed_bits < n]
