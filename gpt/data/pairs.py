"""Pairs, a source and the target that answers to it: from files, and as tokens in a row.

In a text of pairs every source and every target is a document: source, end, target, end, source...
"""
import json
from typing import NamedTuple

import numpy as np

from gpt.data.corpora import Corpus, find_files, name_for, read_text
from gpt.data.reading import END_OF_TEXT, CorpusError
from gpt.data.windows import rows_from

TOGETHER = 2                       # documents that are never parted
SHORT = 64                         # bytes; what is shorter is read character by character


def load_pairs(names, binary=False):
    """Load pairs from files, folders and globs: of .jsonl {"source", "target"}, else with a tab.

    Parameters
    ----------
    names : list of str
    binary : bool
        As for `load_corpus`, but pairs are text in any case.

    Returns
    -------
    corpus : Corpus

    Raises
    ------
    CorpusError
        If there is none, or a line holds no pair.
    """
    if not names:
        raise CorpusError("pairs come from a file of yours: name a .tsv, each line a source, a tab "
                          'and a target, or a .jsonl of {"source": ..., "target": ...}')
    paths, texts = [path for name in names for path in find_files(name)], []
    for path in paths:
        for pair in read_pairs(path):
            texts += map(str.encode, pair)
    where = ", ".join(map(str, paths))
    if len(texts) < 2 * TOGETHER:
        raise CorpusError(f"there are no two pairs in {where}, one to learn and one to validate "
                          "on: write one a line")
    longest = 1 + max(map(len, texts))                # as tokens, at most
    source = f"{len(texts) // TOGETHER:,} pairs of {where}"
    settings = {"context_length": int(rounded(longest))}
    if longest <= SHORT:
        settings["tokenizer"] = "char"
    return Corpus(name_for(names[0]), texts, source, together=TOGETHER, settings=settings)


def read_pairs(path):
    """Yield the (source, target) of each line of a file that is not empty."""
    read = from_json if ".jsonl" in path.suffixes else from_tab
    for number, line in enumerate(read_text(str(path)).split("\n"), 1):
        if not line.strip():
            continue
        pair = read(line.removesuffix("\r"))
        if not pair or {*map(type, pair)} != {str}:
            raise CorpusError(f"line {number} of {path} is {line!r:.60}, but must be a source, a "
                              'tab and a target (of .jsonl {"source": ..., "target": ...})')
        yield pair


def from_tab(line):
    texts = line.split("\t")
    return texts if len(texts) == 2 else None


def from_json(line):
    try:
        row = json.loads(line)
        return row["source"], row["target"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


# ---- pairs as tokens ----

def end_of(tokenizer):
    """Return the id that stands behind every source and target, and before what is written.

    Raises
    ------
    CorpusError
        If the tokenizer has none.
    """
    if END_OF_TEXT not in tokenizer.special_tokens:
        raise CorpusError(f"this tokenizer has no {END_OF_TEXT}, which ends a source and a target: "
                          "use --tokenizer char or bpe")
    return tokenizer.special_tokens[END_OF_TEXT]


class Pairs(NamedTuple):
    """Where the pairs of a text stand."""

    ids: np.ndarray                # (N,) all tokens
    starts: np.ndarray             # (P, 2) of source and target
    lengths: np.ndarray            # (P, 2) with the end token
    end: int

    @classmethod
    def of(cls, ids, tokenizer):
        """Find the pairs of a text, (N,) ids."""
        end = end_of(tokenizer)
        ids = np.asarray(ids)
        stops = np.append(np.flatnonzero(ids == end), len(ids))
        starts = np.append(0, stops[:-1] + 1)
        whole = len(stops) // TOGETHER * TOGETHER
        starts, stops = (x[:whole].reshape(-1, TOGETHER) for x in (starts, stops))
        return cls(ids, starts, stops - starts + 1, end)

    def rows(self, chosen, side, width):
        """Return sources (side 0) or targets (1), (B, width) int64 padded with 0, and lengths."""
        starts, lengths = self.starts[chosen, side], self.lengths[chosen, side]
        rows = rows_from(self.ids, starts, width)                               # (B, width)
        left = lengths[:, None] - np.arange(width)
        rows[left == 1] = self.end
        rows[left < 1] = 0
        return rows, lengths

    def texts(self, place, tokenizer):
        """Return the source and the target of one pair."""
        found = []
        for start, length in zip(self.starts[place], self.lengths[place]):
            ids = self.ids[start:start + length - 1]
            found.append(tokenizer.decode(np.asarray(ids)))
        return found

    def groups(self):
        """Put pairs of about one length together: (group of each pair, widths of each group).

        Both sides of a pair are padded to the widths of its group, so there are few shapes.
        """
        widths = rounded(self.lengths)                                          # (P, 2)
        _, group = np.unique(widths.max(axis=1), return_inverse=True)
        most = []
        for i in range(group.max() + 1):
            inside = widths[group == i]
            most.append(inside.max(axis=0))
        return group, np.array(most)                                            # (P,), (groups, 2)


def rounded(n):
    """Round lengths up to a multiple of 8, or of a quarter of the power of 2 below them.

    >>> [int(rounded(n)) for n in (5, 8, 17, 70, 300)]
    [8, 8, 24, 80, 320]
    """
    n = np.asarray(n)
    power = np.frexp(n)[1] - 1                                # 2**power <= n
    step = 2 ** np.maximum(3, power - 2)
    return -(-n // step) * step
