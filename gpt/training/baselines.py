"""What simpler means reach on the same text, in bits per byte, and how much is copied."""
import lzma
import math
import time

import numpy as np

from gpt.models.counting import levels, surprise_at

XZ_BYTES = 16 << 20                # of a longer text xz compresses the beginning
COUNTED_BYTES = 6 << 20            # and so much of it is counted
TRIAL = 1 << 17                    # bytes by which is measured how long the rest will take
LONG = 2_000_000                   # bytes from which on runs of 8 pay, else 7 (measured)


def baselines(train, val, seconds=math.inf):
    """Measure a counting model, trained on one text, on another; and xz on both together.

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
    counted, whole = affordable(train, seconds / 2, count, COUNTED_BYTES)
    surprised = val(max(len(counted), TRIAL))
    order = 8 if len(counted) >= LONG else 7
    name = named(f"Kneser-Ney {order}", counted, whole)
    found = {"uniform": 8.0, name: counted_bits(counted, surprised, order)}
    both = lambda n: (train(n) + val(n))[:n]
    text, whole = affordable(both, seconds / 2, xz)
    return found | {named("xz -9", text, whole): 8 * len(xz(text)) / len(text)}


def named(name, text, whole):
    """Say of how much of a text a number is."""
    return name if whole else f"{name} of {len(text) / 1e6:.1f} MB"


def affordable(read, seconds, work, most=XZ_BYTES):
    """Return the beginning of a text that can be read and worked on in so many seconds.

    A first try tells; no more than `most` bytes are asked for.

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
    n_bytes = min(most, int(len(trial) * (min(seconds, 1e9) / spent_s - 1)))
    if n_bytes <= len(trial) or len(trial) < TRIAL:
        return trial, len(trial) < TRIAL
    text = read(n_bytes)
    return text, len(text) < n_bytes


def count(text):
    """Do what the counting model does with a text, and a tenth of it to validate on."""
    counted_bits(text, text[:len(text) // 10], 7)


def counted_bits(train, val, order):
    """Return the surprise of a model that counts so many bytes in a row, in bits per byte."""
    train_ids, val_ids = (np.frombuffer(text, np.uint8) for text in (train, val))
    found = surprise_at(levels(train_ids, order, 256), val_ids, 256)
    return float(found.mean() / math.log(2))


def xz(text):
    """Compress as xz -9 does, but with a dictionary no longer than the text: less memory."""
    longest = min(max(len(text), 4096), 64 << 20)
    how = {"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": longest}
    return lzma.compress(text, filters=[how])


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
