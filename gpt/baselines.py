"""What simpler means reach on the same text, in bits per byte, and how much is copied."""
import lzma

import numpy as np

ALL_OF_XZ = 32 << 20               # bytes; of a longer text xz compresses the beginning


def baselines(train, val):
    """Measure counting models, trained on one text, on another; and xz on both together.

    Parameters
    ----------
    train, val : bytes

    Returns
    -------
    dict of str to float, in bits per byte
    """
    ids, A = bytes_to_symbols(train, val)
    found = {"uniform": float(np.log2(256))}
    for n, name in ((1, "unigram"), (2, "bigram"), (3, "trigram")):
        found[name] = ngram_bits(ids[:len(train)], ids[len(train):], n, A)
    text = (train + val)[:ALL_OF_XZ]
    found["xz -9"] = 8 * len(lzma.compress(text, preset=9)) / len(text)
    return found


def bytes_to_symbols(train, val):
    """Number the byte values that occur: fewer of them make smaller tables of counts."""
    data = np.frombuffer(train + val, np.uint8)
    used = np.bincount(data, minlength=256) > 0
    return (np.cumsum(used) - 1)[data], int(used.sum())


def ngram_bits(train, val, n, A):
    r"""Return the surprise of a model that counts n bytes in a row, in bits per byte.

    .. math:: p_n(c | h) = \frac{N(hc) + D(h) \, p_{n-1}(c | h')}{N(h) + D(h)},
              \quad p_0(c) = 1/256

    where D(h) counts the different bytes seen behind the history h: what is new is as likely as
    what was new so far.

    References
    ----------
    Witten & Bell 1991, IEEE Transactions on Information Theory 37(4), method C.
    """
    p = np.full(len(val), 1 / 256)
    for order in range(1, n + 1):
        counts = np.bincount(keys(train, order, A), minlength=A ** order).reshape(-1, A)
        total, distinct = counts.sum(axis=1), (counts > 0).sum(axis=1)
        key = keys(val, order, A)
        history, at = key // A, slice(order - 1, None)        # the first bytes have no history
        weight = np.maximum(total + distinct, 1)[history]
        backed_off = distinct[history] * p[at]
        unseen = total[history] == 0
        p[at] = np.where(unseen, p[at], (counts.reshape(-1)[key] + backed_off) / weight)
    return float(-np.log2(p).mean())


def keys(ids, n, A):
    """Number every run of n symbols: (N - n + 1,)."""
    found = np.zeros(max(0, len(ids) - n + 1), np.int64)
    for i in range(n):
        found = found * A + ids[i:i + len(found)]
    return found


def longest_copied_span(sample, text, at_least=8):
    """Find the longest piece of a sample that stands in a text, word for word.

    Parameters
    ----------
    sample, text : bytes

    Returns
    -------
    span : bytes
    """
    best, start = b"", 0
    while start + len(best) < len(sample):
        stop = start + max(len(best) + 1, at_least)           # only a longer one is of interest
        while stop <= len(sample) and sample[start:stop] in text:
            best = sample[start:stop]
            stop += 1
        start += 1
    return best
