"""Learn merges: `train` and `train_steps`.

The words of the text are counted (`counting`), laid out as cells, and merged through an index of
pairs (`pair_index`). `bpe.reference.train` is the same in twenty lines, and gives the same merges.
"""
import os
import sys
import time
from typing import NamedTuple

import numpy as np

from bpe import pair_index, reference
from bpe.counting import count
from bpe.jit import COMPILED
from bpe.pair_index import (
    DONE, GROW_ARENA, GROW_CHANGES, GROW_DATA, GROW_PAIRS, NO_PAIR,
    N_ARENA, N_DATA, N_HEAP, N_PAIRS, N_TOKENS, WANTED, Changes, Pairs, Text)
from bpe.pretokenize import check_pattern
from bpe.sources import batches
from bpe.spelling import CHARACTERS
from bpe.table import index_pairs, power_of_two
from bpe.tokenizer import Tokenizer

DEFAULT_PATTERN = "cl100k"
TIES = ("smallest", "greatest", "first")
_MAX_CELLS = 2**31 - 2**20
_ROOM = 64  # of each list that grows, at first


class Merge(NamedTuple):
    """One step of training: tokens `left` and `right` become token `id`."""

    id: int
    left: int
    right: int
    token: bytes
    count: int  # how often the pair stood in the text; 0 for one of `initial_merges` never met


# The byte of each id below 256; "hf" sorts bytes by the characters that stand for them.
_BY_CHARACTER = tuple(sorted(range(256), key=CHARACTERS.__getitem__))
ORDERS = {"bytes": reference.BYTES, "hf": _BY_CHARACTER}


def train(source, vocab_size, *, pattern=DEFAULT_PATTERN, special_tokens=(), ties="smallest",
          order="bytes", min_count=1, max_token_bytes=None, initial_merges=(), forbid=None,
          threads=None, progress=False):
    """Learn a tokenizer from text.

    Parameters
    ----------
    source : str, bytes, os.PathLike, or iterable of these
        Text itself; a file; a folder (all its files, sorted); an iterable of documents or paths.
    vocab_size : int
        256 bytes, merges and special tokens together. The tokenizer is smaller where the text has
        no more pairs.
    pattern : str
        "gpt2", "cl100k", "o200k" or a regular expression. By default cl100k: as many bytes per
        token as gpt2 or up to 13 % more, and no token of more than three digits.
    special_tokens : sequence of str
        They cut the text, the longest first, and get the ids behind the last merge.
    ties : {"smallest", "greatest", "first"}
        Among pairs of equal count: the smallest pair of ids (as Hugging Face with order="hf", and
        as rustbpe and bpeasy), the greatest pair of byte strings (as the reference of Stanford's
        CS336), or the first one in the text (as minbpe; slow, in plain Python).
    order : {"bytes", "hf"}
        Which byte is which id below 256: its value, or GPT-2's table ("!" is 0), as Hugging Face.
    min_count : int
        Stop when no pair stands at least so often.
    max_token_bytes : int, optional
        Make no longer tokens.
    initial_merges : sequence of (int, int)
        Merges made first, whatever their count; training goes on from there.
    forbid : callable of bytes -> bool, optional
        Make no token for which it is true.
    threads : int, optional
        For counting words; all cores by default. The result does not depend on it.
    progress : bool
        Show how far training is, on standard error.

    Returns
    -------
    tokenizer : bpe.tokenizer.Tokenizer

    Raises
    ------
    ValueError
        If an option makes no sense, or the distinct words take more than 2**31 bytes.

    Notes
    -----
    Memory follows the distinct words, not the text: 26 MB for 50 MB of books and Python sources.

    Examples
    --------
    >>> train("low lower lowest", 259).encode("lowest low")
    [257, 101, 115, 116, 258]
    """
    special_tokens = _check_special(special_tokens)
    n_merges = vocab_size - 256 - len(special_tokens)
    if n_merges < 0:
        raise ValueError(f"vocab_size is {vocab_size}, but 256 bytes and {len(special_tokens)} "
                         f"special tokens need {256 + len(special_tokens)}")
    steps = train_steps(source, n_merges, pattern=pattern, special_tokens=special_tokens, ties=ties,
                        order=order, min_count=min_count, max_token_bytes=max_token_bytes,
                        initial_merges=initial_merges, forbid=forbid, threads=threads)
    if progress:
        steps = show_progress(steps, n_merges)
    merges = [(step.left, step.right) for step in steps]
    n = 256 + len(merges)
    specials = {name: n + k for k, name in enumerate(special_tokens)}
    byte_ids = [ORDERS[order].index(byte) for byte in range(256)]
    return Tokenizer(merges, pattern, specials, byte_ids=byte_ids)


def train_steps(source, n_merges, *, pattern=DEFAULT_PATTERN, special_tokens=(), ties="smallest",
                order="bytes", min_count=1, max_token_bytes=None, initial_merges=(), forbid=None,
                threads=None):
    """Yield a `Merge` for each merge as it is learnt, at most `n_merges`; see `train`.

    Special tokens cut the text here too, but take no id.
    """
    _check(n_merges, pattern, ties, order, min_count, max_token_bytes, initial_merges, threads)
    special_tokens = _check_special(special_tokens)
    max_bytes = max_token_bytes or sys.maxsize
    texts = batches(source, pattern, special_tokens)
    if ties == "first" or not COMPILED:
        return _plain_steps(texts, n_merges, pattern, ties, order, min_count, max_bytes,
                            initial_merges, forbid)
    words = count(texts, pattern, threads or os.cpu_count() or 1)
    n_merges = min(n_merges, len(words.data) + len(initial_merges))  # each makes a word shorter
    index = PairIndex(words, n_merges, ORDERS[order], ties == "greatest")
    return index.steps(n_merges, min_count, max_bytes, list(initial_merges), forbid)


def show_progress(steps, n_merges, stream=None):
    """Pass records on, and write how many there were, the newest token and the time left."""
    stream = stream or sys.stderr
    began = shown = time.monotonic()
    for done, step in enumerate(steps, 1):
        yield step
        now = time.monotonic()
        if now - shown > 0.2 or done == n_merges:
            shown = now
            left_s = (now - began) / done * (n_merges - done)
            line = f"merge {done:,} of {n_merges:,}  {step.token!r:.30} x {step.count:,}"
            stream.write(f"\r\x1b[K{line}  {left_s:.0f} s left")
            stream.flush()
    stream.write("\n")


# ---- checks ----

def _check(n_merges, pattern, ties, order, min_count, max_token_bytes, initial_merges, threads):
    """Say what is wrong with an option."""
    check_pattern(pattern)
    if ties not in TIES:
        raise ValueError(f"ties is {ties!r}, but must be one of {', '.join(TIES)}")
    if order not in ORDERS:
        raise ValueError(f"order is {order!r}, but must be one of {', '.join(ORDERS)}")
    for name, value in (("min_count", min_count), ("threads", threads),
                        ("max_token_bytes", max_token_bytes)):
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}, but must be at least 1")
    if len(initial_merges) > n_merges:
        raise ValueError(f"there are {len(initial_merges)} initial merges, but room for {n_merges}")
    for k, (left, right) in enumerate(initial_merges):
        if not (0 <= left < 256 + k and 0 <= right < 256 + k):
            raise ValueError(f"initial merge {k} joins {left} and {right}, but only tokens below "
                             f"{256 + k} exist by then")


def _check_special(special_tokens):
    """Refuse what cannot be a set of special tokens."""
    if isinstance(special_tokens, (str, bytes)):
        raise TypeError(f"special_tokens is {special_tokens!r}, but must be a list of strings")
    names = list(special_tokens)
    for name in names:
        if not isinstance(name, str) or not name:
            raise ValueError(f"special token {name!r} is not a string of at least one character")
    if len(set(names)) < len(names):
        raise ValueError(f"special tokens {names} name one token twice")
    return names


# ---- the plain path: ties="first", or nothing is compiled ----

def _plain_steps(texts, n_merges, pattern, ties, order, min_count, max_bytes, initial_merges,
                 forbid):
    """Do what `reference.train` does, with the options of `train`."""
    tokens = reference.vocabulary([], ORDERS[order])
    pieces = (bytes(piece) for batch in texts for piece in batch)
    words = reference.count_words(pieces, pattern, ORDERS[order])
    refused = set()
    while len(tokens) < 256 + n_merges:
        counts = reference.count_pairs(words)
        if len(tokens) - 256 < len(initial_merges):
            pair = tuple(initial_merges[len(tokens) - 256])
        else:
            often = {pair: n for pair, n in counts.items() if n >= min_count}
            able = {pair: n for pair, n in often.items() if pair not in refused}
            if not able:
                return
            pair = reference.most_frequent(able, tokens, ties)
            token = tokens[pair[0]] + tokens[pair[1]]
            if len(token) > max_bytes or forbid and forbid(token):
                refused.add(pair)
                continue
        new, (left, right) = len(tokens), pair
        words = {reference.merge(word, pair, new): n for word, n in words.items()}
        tokens.append(tokens[left] + tokens[right])
        yield Merge(new, left, right, tokens[new], counts.get(pair, 0))


# ---- fast path ----

class PairIndex:
    """The words of a text as tokens, and the index that knows the next pair to merge.

    Training 50 MB takes 0.7 s, tokenizers 19 s, rustbpe 5.8 s (`benchmarks/bpe_train.py`).
    """

    def __init__(self, words, n_merges, byte_order, greatest):
        self.tokens = reference.vocabulary([], byte_order)
        self.greatest = greatest
        self.numbers = np.zeros(7, np.int64)
        self.out = np.empty((256 + n_merges, 3), np.int64)
        self.text = self._lay_out(words, 256 + n_merges)
        self.pairs = self._first_pairs()
        per_token = np.zeros((3, 2, 257 + n_merges), np.int64)
        seen = np.zeros((2, 2, 257 + n_merges), np.int32)
        places = np.zeros((2, 2, _ROOM), np.int32)
        self.changes = Changes(*per_token, *seen, *places)

    def steps(self, n_merges, min_count, max_bytes, initial_merges, forbid):
        """Yield a `Merge` for each merge."""
        limits = np.array([256 + n_merges, min_count, max_bytes])
        for left, right in initial_merges:
            yield from self._merge(left << 32 | right, limits)
        while len(self.tokens) < limits[0]:
            key = self._choose(limits, forbid) if forbid else -1
            if key is None:
                return
            before = len(self.tokens)
            yield from self._merge(key, limits)
            if len(self.tokens) == before:
                return

    def _choose(self, limits, forbid):
        """The key of the next pair whose token is not forbidden, or None."""
        while True:
            x = pair_index.top_pair(self.pairs, self.text, self.numbers, self.greatest, limits[2])
            if x < 0 or self.pairs.count[x] < limits[1]:
                return None
            key = int(self.pairs.key[x])
            token = self.tokens[key >> 32] + self.tokens[key & 0xFFFFFFFF]
            if not forbid(token):
                return key
            self.pairs.count[x] = 0

    def _merge(self, key, limits):
        """Yield the merge of one pair, or (for key -1) as many as a kernel makes at a time."""
        code = GROW_DATA
        while code not in (DONE, NO_PAIR):
            code = pair_index.merge_pairs(key, limits, self.text, self.pairs, self.changes,
                                          self.numbers, self.greatest, self.out)
            self._make_room(code)
            made = self.out[len(self.tokens):self.numbers[N_TOKENS]]
            for left, right, times in made.tolist():
                new, token = len(self.tokens), self.tokens[left] + self.tokens[right]
                self.tokens.append(token)
                yield Merge(new, left, right, token, times)

    def _lay_out(self, words, n_tokens):
        """Write the words as cells, and the byte tokens."""
        lengths = np.diff(words.ends, prepend=0)
        chosen = np.flatnonzero(lengths > 1)
        chosen = chosen[np.argsort(words.counts[chosen], kind="stable")]
        lengths, ends, counts = lengths[chosen], words.ends[chosen], words.counts[chosen]
        blocks = np.count_nonzero(np.diff(counts)) + 1
        n_cells = int(lengths.sum()) + len(ends) + 64 * blocks
        if n_cells > _MAX_CELLS:
            raise ValueError(f"the {len(ends):,} distinct words take {n_cells:,} bytes, more than "
                             f"{_MAX_CELLS:,}: train on less text, or a pattern that cuts more")
        cells = np.full(n_cells, -1, np.int32)
        per_block = np.zeros(n_cells // 64 + 1, np.int64)
        byte_of = np.frombuffer(b"".join(self.tokens), np.uint8)
        id_of = np.argsort(byte_of)
        pair_index.lay_out(words.data, ends - lengths, ends, counts, id_of, cells, per_block)
        self.numbers[N_TOKENS] = self.numbers[N_DATA] = 256
        length = np.ones(n_tokens, np.int32)
        head = np.zeros(n_tokens, np.uint64)
        head[:256] = byte_of.astype(np.uint64) << np.uint64(56)
        data = _grown(byte_of, 256 + _ROOM)
        return Text(cells, per_block, length, head, np.arange(n_tokens), data)

    def _first_pairs(self):
        """Count the pairs of bytes and list their places."""
        count, size = np.zeros((2, 1 << 16), np.int64)
        pair_index.count_bytes(self.text.cells, self.text.counts, count, size)
        live = np.flatnonzero(count)
        start = np.cumsum(size) - size
        total, n = int(size.sum()), len(live)
        byte_of = self.text.data[:256].astype(np.int64)
        left, right = live >> 8, live & 255
        ties = (-byte_of[right], -byte_of[left]) if self.greatest else (right, left)
        in_order = np.lexsort((*ties, -count[live]))  # sorted, so a heap
        pairs = _empty_pairs(n + _ROOM, total + total // 4 + _ROOM)
        pair_index.place_bytes(self.text.cells, start.copy(), pairs.arena)
        pairs.key[:n] = left << 32 | right
        pairs.count[:n] = count[live]
        pairs.start[:n] = start[live]
        pairs.size[:n] = size[live]
        pairs.heap_key[:n] = pairs.key[in_order]
        pairs.heap_count[:n] = pairs.count[in_order]
        self.numbers[[N_PAIRS, N_HEAP, N_ARENA]] = n, n, total
        index_pairs(pairs.key, n, pairs.slots)
        return pairs

    def _make_room(self, code):
        """Grow what a kernel found too small."""
        wanted = int(self.numbers[WANTED])
        if code == GROW_PAIRS:
            more = min(wanted, len(self.tokens) + 2)
            bigger = _empty_pairs(2 * (len(self.pairs.key) + more), 0)
            bigger = bigger._replace(arena=self.pairs.arena)
            for name in ("key", "count", "start", "size", "heap_count", "heap_key"):
                old = getattr(self.pairs, name)
                getattr(bigger, name)[:len(old)] = old
            self.pairs = bigger
            index_pairs(bigger.key, self.numbers[N_PAIRS], bigger.slots)
        elif code == GROW_ARENA:
            pair_index.drop_stale(self.text, self.pairs, self.numbers)
            n = 2 * wanted + int(1.25 * self.numbers[N_ARENA])
            if n > len(self.pairs.arena):
                arena = _grown(self.pairs.arena, n)
                self.pairs = self.pairs._replace(arena=arena)
        elif code == GROW_CHANGES:
            places = np.zeros((2, 2, 2 * wanted + 1), np.int32)
            self.changes = Changes(*self.changes[:5], *places)
        elif code == GROW_DATA:
            n = len(self.text.data) + int(self.text.length.max())
            data = _grown(self.text.data, 2 * n)
            self.text = self.text._replace(data=data)


def _empty_pairs(n, n_places):
    """Make room for n pairs."""
    slots = np.full(power_of_two(2 * n), -1, np.int32)
    numbers = np.empty((5, n), np.int64)
    size = np.empty(n, np.int32)
    arena = np.empty(n_places, np.int32)
    return Pairs(*numbers[:3], size, slots, arena, *numbers[3:])


def _grown(array, n):
    """Copy an array to the front of a longer one."""
    bigger = np.empty(n, array.dtype)
    bigger[:len(array)] = array
    return bigger
