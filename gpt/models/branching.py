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
from minigrad.kernels.memory import empty


class Part(NamedTuple):
    """Rows that follow one another in a text: a stem, or what comes behind it."""

    rows: slice
    place: int                     # of the first of them
    ids: list
    before: list                   # two ids


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
        self.ids = np.array([[token] for part in self.parts for token in part.ids], np.int64)
        self.place = np.concatenate([part.place + np.arange(len(part.ids)) for part in self.parts])
        self.recent = np.concatenate([pairs_before(part) for part in self.parts])   # (N, 2)
        self.length = int(self.place.max())
        self.capacity = config.context_length
        longest = replace(config, n_layer=1, context_length=self.length + 1)
        self.seen = KVCache(longest, dtype=dtype)      # of the part that is being read

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
        rows = slice(start, start + len(ids))
        if ids:
            self.parts.append(Part(rows, len(known), ids, [0, 0, *known][-2:]))
        return np.arange(rows.start, rows.stop)

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
        N, _, width = qkv.shape
        one_text = qkv.reshape(1, N, width)
        out, cache = None, self.seen.layer(0)
        for part in self.parts:
            rows, n_keys = part.rows, part.place + len(part.ids)
            self.seen.place[:] = part.place            # what is behind it is overwritten
            own = seen._replace(mask=among(seen.mask, rows, n_keys),
                                bias=among(seen.bias, rows, n_keys))
            y = cache.attend(one_text[:, rows], n_head, own)                    # (1, T, H D)
            out = empty((N, 1, y.shape[2]), y.dtype) if out is None else out
            out[rows, 0] = y[0]
        return out


def shared(texts):
    """Return with how many ids all texts begin."""
    first = texts[0]
    return min(begin_alike(first, text) for text in texts)


def pairs_before(part):
    """Return the two ids before each of a part, (T, 2)."""
    known = np.array([*part.before, *part.ids], np.int64)
    return np.stack([known[:-2], known[1:-1]], axis=1)


def among(hidden, rows, n_keys):
    """Return what is hidden of (N, H, 1, S) as (1, H, T, S) for some rows."""
    if hidden is None:
        return None
    return hidden[rows, :, 0, :n_keys].swapaxes(0, 1)[None]
