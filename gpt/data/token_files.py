"""Files of tokens, read where they are asked for, and which part of them is of which source."""
import json
import weakref
from typing import NamedTuple

import numpy as np

import bpe
from bpe.files import write_text


class Tokens:
    """A token file as an array that is on disk: a slice of it is read when it is taken.

    A file that is mapped into memory counts as memory wherever it was touched, and windows at
    random places touch all of it.

    Parameters
    ----------
    path : path
    tokenizer : Tokenizer
        The one that the ids must be of.

    Raises
    ------
    ValueError
        As `bpe.load_tokens` does.
    """

    def __init__(self, path, tokenizer):
        mapped = bpe.load_tokens(path, tokenizer)
        self.dtype, self.shape, self.offset = mapped.dtype, mapped.shape, mapped.offset
        self.file = open(path, "rb", buffering=0)
        weakref.finalize(self, self.file.close)

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, where):
        """Read a slice, (n,); anything else is taken from all of it."""
        if not isinstance(where, slice) or where.step not in (None, 1):
            return np.asarray(self)[where]
        first, stop, _ = where.indices(len(self))
        self.file.seek(self.offset + first * self.dtype.itemsize)
        return np.fromfile(self.file, self.dtype, max(0, stop - first))

    def __array__(self, dtype=None, copy=None):
        return self[:].astype(dtype or self.dtype, copy=False)


class Source(NamedTuple):
    """A part of the text to learn from that is drawn as often as its weight says."""

    name: str
    weight: float                  # of all sources together 1
    first: int                     # of its tokens,
    stop: int                      # and behind the last of them


SOURCES = "sources.json"


def read_sources(folder):
    """Return the sources of the tokens in a folder; none where it was all drawn alike."""
    path = folder / SOURCES
    if not path.exists():
        return ()
    rows = json.loads(path.read_text(encoding="utf-8"))
    return tuple(Source(**row) for row in rows)


def write_sources(folder, parts, firsts):
    """Write down whose tokens begin where.

    Parameters
    ----------
    folder : path
    parts : sequence of corpora.Part
    firsts : list of int
        Where the tokens of each begin, and where the last ones end.
    """
    rows, total = [], sum(part.weight for part in parts)
    for part, first, stop in zip(parts, firsts, firsts[1:]):
        row = Source(part.name, part.weight / total, first, stop)
        rows.append(row._asdict())
    write_text(folder / SOURCES, json.dumps(rows, indent=1))
