"""Duplicates: exact lines and documents, and near ones by MinHash.

Two documents have as many of their MinHashes alike as n-grams in common (Broder 1997); in bands of
r hashes, a pair of Jaccard similarity s meets in one of b bands with 1 - (1 - s**r)**b. With 22
bands of 5, that is 99.6 % at 0.74 and 5 % at 0.3.
"""
import hashlib
from collections import Counter
from itertools import combinations

import numpy as np

from gpt.data.cleaning.look import Look, n_grams, of

N_BANDS, BAND_HASHES, N_GRAM = 22, 5, 5
SHINGLES = 1 << 12                 # hashed at a time


def text_hash(text):
    """Return 63 bits that stand for a text."""
    data = text.encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(data, digest_size=8)
    return int.from_bytes(digest.digest(), "little") >> 1


def minhashes(text, n_hashes=N_BANDS * BAND_HASHES, n_gram=N_GRAM, seed=0):
    """Return for each of n hash functions the smallest hash of an n-gram of words: (n,) uint64.

    The functions are h -> (a h + b) >> 32 with odd a (Dietzfelbinger et al. 1997).
    """
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 2**63, (2, n_hashes, 1), np.uint64)
    a = 2 * a + np.uint64(1)                                                    # (n, 1)
    hashes = of(text).word_hashes
    n = min(n_gram, max(1, len(hashes)))              # a text of fewer words is one n-gram
    keys = n_grams(hashes, n)                                                   # (N,)
    least = np.full(n_hashes, 2**64 - 1, np.uint64)
    for i in range(0, len(keys), SHINGLES):
        hashed = a * keys[i:i + SHINGLES] + b                                   # (n, N)
        hashed >>= np.uint64(32)
        least = np.minimum(least, hashed.min(axis=1))
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
        parent = self.parent
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    def join(self, i, j):
        i, j = self.first(i), self.first(j)
        self.parent[max(i, j)] = min(i, j)

    def firsts(self):
        """Return the first member of everyone's group: (n,)."""
        found = map(self.first, range(len(self.parent)))
        return np.fromiter(found, np.int64)


def join_equal(groups, keys, members):
    """Join those of the members whose keys, (n,), are equal."""
    order = np.argsort(keys, kind="stable")
    keys, members = keys[order], members[order]
    same = np.flatnonzero(keys[1:] == keys[:-1])
    for k in same:
        groups.join(members[k], members[k + 1])


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
    counts = Counter()
    for path in paths:
        counts.update(map(text_hash, lines_in(path)))
    for path in paths:
        kept = [line for line in lines_in(path) if counts[text_hash(line)] == 1]
        write(folder / path.name, "".join(kept))


def lines_in(path):
    return read(path).splitlines(keepends=True)


def read(path):
    return path.read_bytes().decode("utf-8")


def write(path, text):
    path.write_bytes(text.encode("utf-8"))


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
    texts = [read(path) for path in paths]
    keys = [band_keys(minhashes(text, num_hashes, ngrams), num_bands) for text in texts]
    grams = [Look(text).n_grams(ngrams) for text in texts]
    groups = Groups(len(paths))
    for i, j in combinations(range(len(paths)), 2):
        meet = (keys[i] == keys[j]).any()
        if meet and jaccard(grams[i], grams[j]) >= jaccard_threshold:
            groups.join(i, j)
    for i, first in enumerate(groups.firsts()):
        if i == first:
            write(folder / paths[i].name, texts[i])


def jaccard(a, b):
    """Return the share of two sets of numbers that is in both."""
    both, either = np.intersect1d(a, b), np.union1d(a, b)
    return len(both) / max(1, len(either))
