"""Counting what follows what: the best that can be done without a net, in a second or two."""
from typing import NamedTuple

import numpy as np


class KneserNey:
    r"""Interpolated Kneser-Ney with the modified discounts, over symbols of any kind.

    .. math:: p_n(w | h) = \frac{\max(c(hw) - D(c(hw)), 0)}{c(h)} + \gamma(h) \, p_{n-1}(w | h'),
              \quad p_0(w) = 1/V

    h' is the history without its first symbol. The highest order counts how often hw occurs; each
    lower one, behind how many different symbols, because it is asked only where the higher one
    knows little. What the discounts D take from the seen, gamma gives to the lower order: so the
    probabilities add up to 1.

    Parameters
    ----------
    ids : (N,) int, from 0 to V - 1
    order : int
        Symbols in a row that are counted, the last one included; fewer if the text is shorter.
    vocab_size : int, V

    Raises
    ------
    ValueError
        For no text, an order below 1, or one whose runs of symbols have no number of 64 bits.

    References
    ----------
    Chen & Goodman 1998, TR-10-98, Harvard, section 3 (equations 26 and 28).

    Examples
    --------
    >>> model = KneserNey(np.array([0, 1, 0, 1, 0, 2, 0, 1]), order=3, vocab_size=4)
    >>> model.next([1, 0]).round(2).tolist(), float(model.next([1, 0]).sum().round(9))
    ([0.09, 0.48, 0.4, 0.03], 1.0)
    """

    def __init__(self, ids, order, vocab_size):
        self.vocab_size = vocab_size
        self.levels = list(levels(ids, order, vocab_size))

    def surprise(self, ids):
        """Return the surprise at each symbol of a text, in nats: (N,)."""
        return surprise_at(self.levels, ids, self.vocab_size)

    def next(self, history):
        """Return how likely each symbol is behind a history: (V,)."""
        V = self.vocab_size
        p, share = np.zeros(V), np.ones(V)
        symbols = np.arange(V, dtype=np.uint64)
        for level in self.levels:
            k = level.n_before
            if k <= len(history):
                before = coded(history[len(history) - k:], k, V)     # (1,)
                codes = before * np.uint64(V) + symbols
                gain, left = level.look_up(codes, V)
                p += share * gain
                share *= left
        return p + share / V

    def generate(self, history, rng):
        """Continue a text, one symbol after the other, without end."""
        text = list(history)
        while True:
            reached = np.cumsum(self.next(text))
            drawn = rng.random() * reached[-1]
            symbol = int(np.searchsorted(reached, drawn, side="right"))
            text.append(symbol)
            yield symbol


class Level(NamedTuple):
    """What is known of the histories of one length."""

    n_before: int                  # symbols of a history
    codes: np.ndarray              # (M,) uint64, rising: of runs, the history and what followed
    discounted: np.ndarray         # (M,) their counts, less what is taken from them
    histories: np.ndarray          # (H,) uint64, rising
    totals: np.ndarray             # (H,) of all counts behind each
    taken: np.ndarray              # (H,) what was taken from them

    def look_up(self, codes, vocab_size):
        """Return a and b for each run: p of this order is a + b times p of the lower one."""
        run, is_seen = found(self.codes, codes)
        h, is_known = found(self.histories, codes // np.uint64(vocab_size))
        gain = self.discounted[run] / self.totals[h]
        share = self.taken[h] / self.totals[h]
        return np.where(is_seen, gain, 0.0), np.where(is_known, share, 1.0)


def levels(ids, order, vocab_size):
    """Count a text, and yield what is known of the longest histories, then of shorter ones."""
    check_order(order, vocab_size)
    if not len(ids):
        raise ValueError("ids are empty: there is nothing to count")
    order = min(order, len(ids))
    codes = coded(ids, order, vocab_size)
    for k in range(order - 1, -1, -1):
        codes.sort()
        begins = beginnings(codes)
        counts = np.diff(begins, append=len(codes))
        codes = codes[begins]
        yield counted(k, codes, counts, vocab_size)
        codes = codes % np.uint64(vocab_size ** k)               # without the first symbol


def counted(k, codes, counts, vocab_size):
    """Discount the counts of runs, and add up those of each history: `Level`."""
    by_count = discounts(counts)                                 # (4,)
    taken = by_count[np.minimum(counts, 3)]
    of_runs = codes // np.uint64(vocab_size)
    begins = beginnings(of_runs)
    totals = np.add.reduceat(counts, begins)
    sums = np.add.reduceat(taken, begins)
    return Level(k, codes, counts - taken, of_runs[begins], totals, sums)


def beginnings(codes):
    """Return where another one begins among codes in order."""
    changes = np.ones(len(codes), bool)
    changes[1:] = codes[1:] != codes[:-1]
    return np.flatnonzero(changes)


def surprise_at(levels, ids, vocab_size):
    """Return the surprise at each symbol of a text, in nats: (N,).

    Levels may be made as they are read, the longest histories first: then one is in memory.
    """
    p, share = np.zeros(len(ids)), np.ones(len(ids))
    for level in levels:
        k = level.n_before
        codes = coded(ids, k + 1, vocab_size)                    # (N - k,)
        unique, back = np.unique(codes, return_inverse=True)     # in order, which is faster
        gain, left = level.look_up(unique, vocab_size)
        p[k:] += share[k:] * gain[back]
        share[k:] *= left[back]
    return -np.log(p + share / vocab_size)


# Of little text the estimates may leave these, and something must be left for what is new.
LEAST, MOST = [0, 0.1, 0.1, 0.1], [0, 0.9, 1.9, 2.9]


def discounts(counts):
    """Return what is taken from counts of 0, 1, 2, and 3 or more: (4,)."""
    few = np.minimum(counts, 5)
    n1, n2, n3, n4 = np.bincount(few, minlength=6)[1:5]
    if min(n1, n2, n3) == 0:                           # too little to estimate them by
        return np.array([0, 0.5, 1.0, 1.5])
    Y = n1 / (n1 + 2 * n2)
    D1 = 1 - 2 * Y * n2 / n1
    D2 = 2 - 3 * Y * n3 / n2
    D3 = 3 - 4 * Y * n4 / n3
    return np.clip([0, D1, D2, D3], LEAST, MOST)


def coded(ids, n, V):
    """Number every n symbols in a row, in base V: (N - n + 1,) uint64."""
    N = max(0, len(ids) - n + 1)
    codes = np.zeros(N, np.uint64)
    for i in range(n):
        codes *= np.uint64(V)
        codes += np.asarray(ids[i:i + N], np.uint64)
    return codes


def found(table, codes):
    """Return where codes stand in a rising table, and whether they do."""
    at = np.searchsorted(table, codes)
    at = np.minimum(at, len(table) - 1)
    return at, table[at] == codes


def check_order(order, vocab_size):
    """Refuse an order whose runs of symbols have no number of 64 bits."""
    if order < 1:
        raise ValueError(f"order is {order}, but must be at least 1")
    if vocab_size ** order > 2 ** 64:
        most = highest_order(vocab_size)
        raise ValueError(f"order is {order}, but runs of so many of {vocab_size:,} symbols have "
                         f"no number of 64 bits: use {most}")


def highest_order(vocab_size):
    """Return the highest order that can be counted."""
    order = 1
    while vocab_size ** (order + 1) <= 2 ** 64 and order < 64:
        order += 1
    return order
