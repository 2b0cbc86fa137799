"""Texts that begin the same: what they share is read once, and no place is padding.

    stem       The cat sat on        rows 0 to 3, at places 0 to 3
    branches   the mat               rows 4 to 5, at places 4 to 5: they see the stem and themselves
               a hot tin roof        rows 6 to 9, at places 4 to 7

Each token is a row of its own, as if many texts were written at once, a token each: so all that a
net does at each place is done for the tokens of many such trees together. Attention alone asks
which rows are of one text.
"""
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from gpt.models.caches import KVCache
from gpt.models.sampling import begin_alike


class Part(NamedTuple):
    """Rows that follow one another in a text: a stem, or what comes behind it."""

    rows: slice
    place: int                     # of the first of them
    ids: list                      # (T,)
    before: list                   # two ids

    @property
    def n_keys(self):
        """How many tokens the last of them sees."""
        return self.place + len(self.ids)

    def column(self):
        return np.array(self.ids, np.int64)[:, None]                            # (T, 1)

    def places(self):
        return np.arange(self.place, self.n_keys)                               # (T,)

    def pairs_before(self):
        """Return the two ids before each, (T, 2)."""
        known = np.array(self.before + self.ids, np.int64)
        return np.stack([known[:-2], known[1:-1]], axis=1)


class Branches:
    """The state of a decoder that reads all trees at once, nothing before it, and only once.

    Parameters
    ----------
    config : ModelConfig
    trees : list of list of list of int
        Texts that begin with the same ids, for each tree.
    dtype : float dtype

    Attributes
    ----------
    ids : (N, 1) int64
        What is to be read.
    rows : list of (T,) int64
        In which of the N rows the tokens of each text are.
    """

    def __init__(self, config, trees, dtype=np.float32):
        self.parts, self.rows = [], []
        for texts in trees:
            self.rows += self.planted(texts)
        self.ids = self.joined(Part.column)                                     # (N, 1)
        self.place = self.joined(Part.places)                                   # (N,)
        self.recent = self.joined(Part.pairs_before)                            # (N, 2)
        self.length = int(self.place.max())
        self.capacity = config.context_length
        longest = replace(config, n_layer=1, context_length=self.length + 1)
        self.seen = KVCache(longest, dtype=dtype)      # of the part that is being read

    def joined(self, of_part):
        return np.concatenate([*map(of_part, self.parts)])

    def planted(self, texts):
        """Add the parts of texts, and yield the rows of each text."""
        n = shared(texts)
        stem = self.add(texts[0][:n], [])
        for text in texts:
            branch = self.add(text[n:], text[:n])
            yield np.concatenate([stem, branch])

    def add(self, ids, known):
        """Add a part behind what is known of its text, and return its rows."""
        start = self.parts[-1].rows.stop if self.parts else 0
        stop = start + len(ids)
        if ids:
            rows, before = slice(start, stop), [0, 0, *known[-2:]]
            self.parts.append(Part(rows, len(known), ids, before[-2:]))
        return np.arange(start, stop)

    # ---- what a decoder asks a state ----

    def check_room(self, n):
        """Refuse texts that are longer than the context."""
        if self.length + n > self.capacity:
            raise ValueError(f"context_length is {self.capacity}, but a text has "
                             f"{self.length + n} tokens: pass the last ones only")

    def layer(self, i):
        return self

    def attend(self, qkv, n_head, seen):
        """Let each token see what comes before it in its text: (N, 1, ...) to (N, 1, H D)."""
        cache, found = self.seen.layer(0), []
        in_a_row = qkv.swapaxes(0, 1)                                           # (1, N, ...)
        for part in self.parts:
            self.seen.place[:] = part.place            # what is behind it is overwritten
            mask, bias = (of_part(hidden, part) for hidden in (seen.mask, seen.bias))
            own = seen._replace(mask=mask, bias=bias)
            y = cache.attend(in_a_row[:, part.rows], n_head, own)               # (1, T, H D)
            found.append(y)
        return np.concatenate(found, axis=1).swapaxes(0, 1)


def shared(texts):
    """Return with how many ids all texts begin."""
    first = texts[0]
    return min(begin_alike(first, text) for text in texts)


def of_part(hidden, part):
    """Return what is hidden of (N, H, 1, S) as (1, H, T, S) for the rows of a part."""
    if hidden is None:
        return None
    of_rows = hidden[part.rows, :, 0, :part.n_keys]                             # (T, H, S)
    return of_rows.swapaxes(0, 1)[None]
