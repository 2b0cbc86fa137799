"""What filters look at: the words, lines and n-grams of a text, each found once."""
import functools
import re
import zlib

import numpy as np

WORD = re.compile(r"\w+(?:['’]\w+)*")
FACTOR = np.uint64(0x9E3779B97F4A7C15)               # of the hash: odd, its bits well mixed


class Look:
    """A text with its parts; `of` keeps the last ones, for the filters that come behind."""

    def __init__(self, text):
        self.text = text

    @functools.cached_property
    def words(self):
        """The words, without the marks between them."""
        return WORD.findall(self.text)

    @functools.cached_property
    def lines(self):
        """The lines that are not blank, without the white space around them."""
        stripped = map(str.strip, self.text.split("\n"))
        return [*filter(None, stripped)]

    @functools.cached_property
    def lengths(self):
        """The characters of each word: (N,)."""
        return np.fromiter(map(len, self.words), np.int64)

    @functools.cached_property
    def word_hashes(self):
        """A number for each word, whatever its case: (N,) uint64."""
        return np.fromiter(map(HASHES.__getitem__, self.words), np.uint64)

    def n_grams(self, n):
        """Return a number for every n words in a row: (N - n + 1,) uint64."""
        return n_grams(self.word_hashes, n)


class Hashes(dict):
    """A number for a word, whatever its case; those of so many words are kept."""

    MOST = 1 << 16

    def __missing__(self, word):
        if len(self) >= self.MOST:
            self.clear()
        self[word] = found = zlib.crc32(word.lower().encode())
        return found


HASHES = Hashes()
of = functools.lru_cache(maxsize=2)(Look)


def n_grams(hashes, n):
    """Return a number for every n numbers in a row."""
    *_, keys = longer_and_longer(hashes, n)
    return keys


def longer_and_longer(hashes, longest):
    """Yield a number for every one, two and so on up to n numbers in a row."""
    keys = np.pad(np.zeros_like(hashes), [(0, 1)] + [(0, 0)] * (hashes.ndim - 1))
    for _ in range(longest):
        keys = (keys[:-1] ^ hashes) * FACTOR
        keys ^= keys >> np.uint64(29)
        hashes = hashes[1:]
        yield keys
