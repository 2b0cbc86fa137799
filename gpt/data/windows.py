"""Windows of a text: at random, or one behind the other."""
import numpy as np


def random_windows(ids, B, T, rng, sources=()):
    """Take B windows of T + 1 tokens at random places: (B, T + 1) int64.

    Where the text is of several `token_files.Source`s, each window is of one, as the weights say.
    """
    first, stop = 0, len(ids)
    if sources:
        weights = [source.weight for source in sources]
        chosen = rng.choice(len(sources), B, p=weights)
        first = np.array([source.first for source in sources])[chosen]          # (B,)
        stop = np.array([source.stop for source in sources])[chosen]
    starts = rng.integers(first, stop - T, B)
    return rows_from(ids, starts, T + 1)


def alike(widths, n_tokens, rng):
    """Choose rows of one width at random, as many as have so many tokens; return width and rows.

    Each of the rows, whose widths are (n,), is as likely as another, and none comes twice while
    there are others.
    """
    width = rng.choice(widths)
    rows = np.flatnonzero(widths == width)
    n = max(1, n_tokens // width)
    return int(width), rng.choice(rows, n, replace=n > len(rows))


def following_windows(ids, B, T, step):
    """Take the windows of a step, (B, T + 1) int64, each behind that of the step before.

    B streams go through the text, an equal way apart, and around its end.
    """
    N = len(ids)
    starts = (N // B) * np.arange(B) + step * T
    rows = np.empty((B, T + 1), np.int64)
    for row, start in zip(rows, starts % N):
        n = 0
        while n < len(row):                           # once, or again from the beginning
            found = ids[start:start + len(row) - n]
            row[n:n + len(found)] = found
            start, n = 0, n + len(found)
    return rows


def rows_from(ids, starts, width):
    """Take what stands from each start on: (B, width) int64, past the end the last id again."""
    rows = np.empty((len(starts), width), np.int64)
    for row, start in zip(rows, starts):
        found = ids[start:start + width]              # a slice: no more is read from a file
        row[:len(found)] = found
        if len(found) < width:
            row[len(found):] = ids[len(ids) - 1:]
    return rows


def stream_windows(ids, T, B):
    """Cut ids into at most B streams, and yield the windows of all, one behind the other.

    Yields
    ------
    windows : (B, T + 1) int64
    counts : (B, T) bool
        Which of the targets, windows[:, 1:], are of their stream: each token counts once.
    """
    last = len(ids) - 1
    B = max(1, min(B, last // T))
    longest = -(-last // B)
    starts = longest * np.arange(B)
    for first in range(0, longest, T):
        way = first + np.arange(1, T + 1)                                       # (T,)
        places = starts[:, None] + way                                          # (B, T)
        counts = (places <= last) & (way <= longest)
        yield rows_from(ids, starts + first, T + 1), counts


def spread_windows(ids, T, B):
    """Cut ids into windows of T + 1 tokens that share one with the next, and yield B at a time.

    Wherever one stops, what has come is spread evenly over the text.

    Yields
    ------
    windows : (<= B, T + 1) int64
    counts : (<= B, T) bool
        Which of the targets, windows[:, 1:], are of the text: past its end there is none.
    """
    last = len(ids) - 1
    n = -(-last // T)
    starts = T * evenly_spread(n)
    for i in range(0, n, B):
        rows = np.sort(starts[i:i + B])
        places = rows[:, None] + np.arange(1, T + 1)                            # (B, T)
        yield rows_from(ids, rows, T + 1), places <= last


def evenly_spread(n):
    """Return 0 to n - 1 in an order whose every beginning is spread evenly (van der Corput).

    >>> evenly_spread(8).tolist()
    [0, 4, 2, 6, 1, 5, 3, 7]
    """
    bits = max(1, (n - 1).bit_length())
    number = np.arange(1 << bits)
    reversed_bits = np.zeros_like(number)
    for i in range(bits):
        reversed_bits |= (number >> i & 1) << bits - 1 - i
    return reversed_bits[reversed_bits < n]
