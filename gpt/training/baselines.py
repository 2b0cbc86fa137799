"""What simpler means reach on the same text, in bits per byte, and how much is copied."""
import lzma
import math
import time

import numpy as np

XZ_BYTES = 32 << 20                # of a longer text the beginning is read
TRIAL = 1 << 17                    # bytes by which is measured how long the rest will take
PART = 1 << 22                     # bytes that are counted at a time, which bounds the memory


def baselines(train, val, seconds=math.inf):
    """Measure counting models, trained on one text, on another; and xz on both together.

    Of a long text they read the beginning, as much as there is time for.

    Parameters
    ----------
    train, val : functions of n
        That return the first n bytes of the text, or all there are.
    seconds : float
        To be kept to, about; one second is enough for a megabyte.

    Returns
    -------
    dict of str to float, in bits per byte
    """
    counted, _ = affordable(train, seconds / 2, lambda text: count(text, text))
    surprised = val(max(len(counted), TRIAL))
    train_ids, val_ids, A = bytes_to_symbols(counted, surprised)
    found = {"uniform": 8.0}
    for n, name in enumerate(("unigram", "bigram", "trigram"), 1):
        found[name] = ngram_bits(train_ids, val_ids, n, A)
    both = lambda n: (train(n) + val(n))[:n]
    text, whole = affordable(both, seconds / 2, xz)
    name = "xz -9" if whole else f"xz -9 of {len(text) / 1e6:.1f} MB"
    return found | {name: 8 * len(xz(text)) / len(text)}


def affordable(read, seconds, work):
    """Return the beginning of a text that can be read and worked on in so many seconds.

    A first try tells; at most `XZ_BYTES` are asked for.

    Returns
    -------
    text : bytes
    whole : bool
        Whether that is all of it.
    """
    began = time.perf_counter()
    trial = read(TRIAL)
    work(trial)
    spent_s = max(1e-6, time.perf_counter() - began)
    n_bytes = min(XZ_BYTES, len(trial) * (seconds / spent_s - 1))
    if n_bytes <= len(trial) or len(trial) < TRIAL:
        return trial, len(trial) < TRIAL
    text = read(int(n_bytes))
    return text, len(text) < n_bytes


def count(train, val):
    """Do what counting models do with a text."""
    train_ids, val_ids, A = bytes_to_symbols(train, val)
    for n in 1, 2, 3:
        ngram_bits(train_ids, val_ids, n, A)


def xz(text):
    """Compress as xz -9 does, but with a dictionary no longer than the text: less memory."""
    longest = min(max(len(text), 4096), 64 << 20)
    how = {"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": longest}
    return lzma.compress(text, filters=[how])


def bytes_to_symbols(*texts):
    """Number the byte values that occur: fewer of them make smaller tables of counts.

    Returns
    -------
    list of (N,) uint8, one for each text, and the number of symbols
    """
    texts = [np.frombuffer(text, np.uint8) for text in texts]
    counts = sum(np.bincount(text, minlength=256) for text in texts)           # (256,)
    used = counts > 0
    number = (np.cumsum(used) - 1).astype(np.uint8)
    return *(number[text] for text in texts), int(used.sum())


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
        counts = np.zeros(A ** order, np.int64)
        for _, key in runs(train, order, A):
            counts += np.bincount(key, minlength=len(counts))
        table = counts.reshape(-1, A)                         # (histories, A)
        total = table.sum(axis=1)
        distinct = np.count_nonzero(table, axis=1)
        for first, key in runs(val, order, A):
            history = key // A
            places = p[first + order - 1:][:len(key)]         # the first bytes have no history
            known, new = total[history], distinct[history]
            seen = (counts[key] + new * places) / np.maximum(known + new, 1)
            np.copyto(places, seen, where=known > 0)
    return float(-np.log2(p).mean())


def runs(ids, n, A, part=PART):
    """Number every run of n symbols, `part` of them at a time: yield (first, (<= part,) int32)."""
    for first in range(0, len(ids) - n + 1, part):
        piece = ids[first:first + part + n - 1]
        found = np.zeros(len(piece) - n + 1, np.int32)
        for i in range(n):
            found *= A
            found += piece[i:i + len(found)]
        yield first, found


def longest_copied_span(sample, text, at_least=8):
    """Find the longest piece of a sample that stands in a text, word for word.

    Parameters
    ----------
    sample, text : bytes
    at_least : int, from 1 to 8
        Shorter pieces are of no interest.

    Returns
    -------
    span : bytes
    """
    best, known = b"", known_runs(sample, text, at_least)
    for start in range(len(sample)):
        stop = start + max(len(best) + 1, at_least)           # only a longer one is of interest
        while stop <= len(sample):
            span = sample[start:stop]
            if not known[start:stop - at_least + 1].all() or span not in text:
                break
            best = span
            stop += 1
    return best


def known_runs(sample, text, n, part=1 << 20):
    """Tell of every n bytes in a row of a sample whether they stand in a text."""
    runs = byte_runs(sample, n)
    found = [runs[:0]]
    perhaps = np.zeros(1 << 16, bool)                         # by 16 bits that stand for a run
    perhaps[spread(runs)] = True
    for i in range(0, len(text), part):
        there = byte_runs(text[i:i + part + n - 1], n)
        found.append(np.unique(there[perhaps[spread(there)]]))
    return np.isin(runs, np.concatenate(found))


def spread(keys):
    """Map numbers to 16 bits (Knuth 6.4: multiply by 2**64 over the golden ratio)."""
    return keys * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(48)


def byte_runs(text, n):
    """Number every n <= 8 bytes in a row: (N - n + 1,) uint64."""
    N = max(0, len(text) - n + 1)
    eight = np.ndarray(N, "<u8", text + bytes(8), strides=(1,))
    return eight << np.uint64(64 - 8 * n)                     # the n first of the eight
