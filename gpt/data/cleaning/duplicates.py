"""Duplicates: exact lines and documents, and near ones by MinHash.

Two documents have as many of their MinHashes alike as n-grams in common (Broder 1997); in bands of
r hashes, a pair of Jaccard similarity s meets in one of b bands with 1 - (1 - s**r)**b. With 22
bands of 5, that is 99.6 % at 0.74 and 5 % at 0.3.
"""
import hashlib

import numpy as np

from gpt.data.cleaning.look import Look, n_grams

N_BANDS, BAND_HASHES, N_GRAM = 22, 5, 5
SHINGLES = 1 << 12                 # hashed at a time


def text_hash(text):
    """Return 63 bits that stand for a text."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def minhashes(text, n_hashes=N_BANDS * BAND_HASHES, n_gram=N_GRAM, seed=0):
    """Return for each of n hash functions the smallest hash of an n-gram of words: (n,) uint64.

    The functions are h -> (a h + b) >> 32 with odd a (Dietzfelbinger et al. 1997).
    """
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 2**63, (2, n_hashes, 1), np.uint64)
    hashes = Look(text).word_hashes
    keys = n_grams(hashes, min(n_gram, max(1, len(hashes))))                    # (N,)
    least = np.full(n_hashes, 2**64 - 1, np.uint64)
    for i in range(0, len(keys), SHINGLES):
        hashed = keys[i:i + SHINGLES] * (2 * a + np.uint64(1)) + b              # (n, N)
        np.minimum(least, (hashed >> np.uint64(32)).min(axis=1), out=least)
    return least


def band_keys(least, n_bands=N_BANDS):
    """Return a number for each band of MinHashes: (n_bands,) uint64."""
    bands = least.reshape(n_bands, -1)                                          # (b, r)
    return n_grams(bands.T, bands.shape[1])[0]


class Groups:
    """Who belongs together: each group has its first member as its name (Tarjan 1975)."""

    def __init__(self, n):
        self.parent = np.arange(n)

    def first(self, i):
        while self.parent[i] != i:
            self.parent[i] = i = self.parent[self.parent[i]]
        return i

    def join(self, i, j):
        i, j = self.first(i), self.first(j)
        self.parent[max(i, j)] = min(i, j)

    def firsts(self):
        """Return the first member of everyone's group: (n,)."""
        return np.array([self.first(i) for i in range(len(self.parent))], np.int64)


def join_equal(groups, keys, members):
    """Join those of the members whose keys, (n,), are equal."""
    order = np.argsort(keys, kind="stable")
    same = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    for i, j in zip(members[order[same]], members[order[same + 1]]):
        groups.join(i, j)


def exact_duplicates(hashes):
    """Return for each document the first one with its hash: (n,)."""
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    return first[inverse.ravel()]


# ---- as functions of files: names and defaults of Stanford's CS336, assignment 4 ----

def exact_line_deduplication(paths, folder):
    """Write files without the lines that stand more than once in all of them together.

    Parameters
    ----------
    paths : list of Path
    folder : Path
        Gets a file of the same name for each.
    """
    counts = {}
    for path in paths:
        for line in open_lines(path):
            key = text_hash(line)
            counts[key] = counts.get(key, 0) + 1
    for path in paths:
        kept = [line for line in open_lines(path) if counts[text_hash(line)] == 1]
        (folder / path.name).write_bytes("".join(kept).encode())


def open_lines(path):
    return path.read_bytes().decode("utf-8").splitlines(keepends=True)


def minhash_deduplication(paths, num_hashes, num_bands, ngrams, jaccard_threshold, folder):
    """Write the files of which no earlier one is a near duplicate.

    Parameters
    ----------
    paths : list of Path
    num_hashes, num_bands : int
        Of MinHash; the bands must have equally many.
    ngrams : int
        Words of an n-gram.
    jaccard_threshold : float
        Two files that meet in a band are duplicates if they have this share of n-grams in common.
    folder : Path
    """
    texts = [path.read_bytes().decode("utf-8") for path in paths]
    keys = np.array([band_keys(minhashes(text, num_hashes, ngrams), num_bands) for text in texts])
    groups, grams = Groups(len(paths)), [Look(text).n_grams(ngrams) for text in texts]
    for band in keys.T:
        for key in np.unique(band):
            first, *others = np.flatnonzero(band == key)
            for i in others:
                if jaccard(grams[first], grams[i]) >= jaccard_threshold:
                    groups.join(first, i)
    for i, first in enumerate(groups.firsts()):
        if i == first:
            (folder / paths[i].name).write_bytes(texts[i].encode())


def jaccard(a, b):
    """Return the share of two sets of numbers that is in both."""
    both = len(np.intersect1d(a, b))
    return both / max(1, len(np.union1d(a, b)))
