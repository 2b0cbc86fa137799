"""Encode on any number of threads: the tables of a vocabulary, and what one thread writes to."""

import numpy as np

from bpe.encode import BLOCK, PADDING, add_words, encode_words, fill_cache, new_cache, shift_of
from bpe.pairs import (
    MAX_SYMBOLS,
    NO_RANK,
    SHORT,
    Tables,
    add_pairs,
    new_work,
    recover_merges,
)
from bpe.pretokenize import SCANNERS, class_table, pattern_name, split_segments

_POSITIONS = 1 << 12  # bytes; room for words that is always there
_MOST_POSITIONS = 2**31 - 1  # they are int32
_KEPT_BYTES = 1 << 23  # buffers for more than this are given back

# ---- tables ----


def tables_from_merges(merges, made, ids):
    """Build the tables of a list of merges.

    Parameters
    ----------
    merges : (M, 2) int64
        Symbols, in rank order.
    made : (M,) int32
        The symbol that each makes.
    ids : (S,) int64
        The id of every symbol: bytes, what merges make, other tokens.
    """
    tables = _empty_tables(len(merges), made, ids)
    add_pairs(merges, tables.pairs)
    of_bytes = np.flatnonzero((merges < 256).all(axis=1))[::-1]  # of equal pairs the first stays
    tables.byte_pairs[merges[of_bytes, 0] << 8 | merges[of_bytes, 1]] = of_bytes
    last = np.full(len(ids), -1)
    last[made] = np.arange(len(merges))
    ascending = (last[merges].max(axis=1, initial=-1) < np.arange(len(merges))).all()
    return tables._replace(short=SHORT if ascending else np.iinfo(np.int64).max)


def tables_from_tokens(tokens, ids):
    """Build the tables of tokens (bytes, two at least, in rank order) and find the merges behind
    them.

    Returns
    -------
    tables : Tables
    merges : (M, 2) int64
        Symbols; -1 for a token that no merge makes.
    """
    n = len(tokens)
    tables = _empty_tables(n, np.arange(256, 256 + n, dtype=np.int32), ids)
    merges = np.empty((n, 2), np.int64)
    data, ends = _joined(tokens)
    recover_merges(data, ends, tables, new_work(max(map(len, tokens), default=1), 1), merges)
    return tables, merges


def _empty_tables(n_merges, made, ids):
    if len(ids) > MAX_SYMBOLS:
        raise ValueError(f"{n_merges} merges are more than the {MAX_SYMBOLS - 256} that fit here")
    n_slots = _power_of_two(max(1024, 2 * n_merges + 2))
    pairs = np.full(n_slots, -1, np.int64)
    byte_pairs = np.full(65536, NO_RANK, np.int32)
    return Tables(pairs, byte_pairs, made.astype(np.int32), ids.astype(np.int32), SHORT)


def _joined(words):
    """Lay words (bytes) out as kernels read them: padded data, ends."""
    data = np.frombuffer(bytearray(b"".join(words) + bytes(PADDING)), np.uint8)
    return data, np.cumsum([len(word) for word in words], dtype=np.int64)


def _power_of_two(n):
    return 1 << (int(n) - 1).bit_length()


# ---- the encoder ----


class Encoder:
    """The kernels with their tables, for any number of threads.

    Parameters
    ----------
    tables : Tables
    words : list of bytes
        The tokens: what they are is in the cache from the start.
    word_ids : (W,) int32 or None
        The ids of `words`, whatever the merges say; None to ask the merges.
    pattern : str
    """

    def __init__(self, tables, words, word_ids, pattern):
        self.tables = tables
        self.pattern = pattern
        self.classes = class_table()
        n_slots = _power_of_two(4 * (len(words) + BLOCK))  # fuller, and words lie far from home
        self.max_slots = max(1 << 18, 2 * n_slots)
        self.seed = new_cache(n_slots)
        data, ends = _joined(words)
        if word_ids is not None:
            add_words(data, ends, word_ids, self.seed, shift_of(self.seed))
        first = _State(self)
        if word_ids is None:
            first.out = np.empty(len(data) + 3, np.int32)
            first.words(data, ends)
            self.seed = first.cache
            first = _State(self)
        self._idle = [first]

    def encode(self, pieces):
        """Turn pieces of text into ids.

        Parameters
        ----------
        pieces : list of (bytes-like, int or None)
            No pre-token crosses from one piece into the next. The number, an id or a mark of the
            caller's, is put behind the ids of its piece.

        Returns
        -------
        ids : (N,) int32
        """
        try:
            state = self._idle.pop()
        except IndexError:
            state = _State(self)  # one for each thread at work
        try:
            return state.encode(pieces)
        finally:
            self._idle.append(state)


class _State:
    """What one thread writes to while it encodes."""

    def __init__(self, encoder):
        self.encoder = encoder
        seed = encoder.seed
        self.cache = new_cache(len(seed.slots) >> 2)
        fill_cache(seed, self.cache)
        self._make_buffers()

    def encode(self, pieces):
        """Do `Encoder.encode`."""
        lengths = [len(text) for text, _ in pieces]
        limits = np.cumsum(lengths, dtype=np.int64)
        n = sum(lengths)
        if n + len(pieces) > len(self.ends):
            self._make_buffers(_power_of_two(n + len(pieces)))
        for (text, _), length, limit in zip(pieces, lengths, limits.tolist()):
            self.data[limit - length:limit] = np.frombuffer(text, np.uint8)
        self.data[n:n + PADDING] = 0
        ends = self._split(limits)
        marked = np.array([marker is not None for _, marker in pieces], bool)
        if marked.any():
            ends = np.sort(np.append(ends, limits[marked]), kind="stable")
        ids = self.words(self.data, ends).copy()
        if marked.any():
            ids[ids == -1] = [marker for _, marker in pieces if marker is not None]
        if n > _KEPT_BYTES:
            self._make_buffers()
        return ids

    def words(self, data, ends):
        """Encode the words that end at `ends`; the ids stay valid until the next call."""
        done = n_ids = begin = 0
        while done < len(ends):
            n, m = encode_words(data, begin, ends[done:], self.encoder.tables, self.cache,
                                self.work, self.out[n_ids:])
            done += n
            n_ids += m
            if done < len(ends):
                begin = int(ends[done - 1]) if done else 0
                self._make_room(int(ends[done]) - begin)
        return self.out[:n_ids]

    def _split(self, limits):
        name = pattern_name(self.encoder.pattern)
        if name is None:
            return split_segments(self.data, limits, self.encoder.pattern)
        n = SCANNERS[name](self.data, limits, self.encoder.classes, self.classes, self.ends)
        return self.ends[:n]

    def _make_buffers(self, n_bytes=1 << 16):
        self.data = np.empty(n_bytes + PADDING, np.uint8)
        self.classes = np.empty(n_bytes + 64, np.uint8)
        self.ends, self.out = np.empty(n_bytes, np.int64), np.empty(n_bytes + 3, np.int32)
        self._make_work(_POSITIONS)

    def _make_work(self, n_positions):
        if n_positions > _MOST_POSITIONS:
            raise ValueError(f"a pre-token is {n_positions} bytes long, more than the "
                             f"{_MOST_POSITIONS} that can be merged")
        self.work = new_work(n_positions, len(self.encoder.tables.made))

    def _make_room(self, n_bytes):
        """For a word of so many bytes, or else for more words: a larger cache, or a new one."""
        if n_bytes > len(self.work.symbol):
            self._make_work(n_bytes)
            return
        n_slots = len(self.cache.slots) >> 2
        full = 2 * n_slots > self.encoder.max_slots
        old = self.encoder.seed if full else self.cache
        self.cache = new_cache(n_slots if full else 2 * n_slots)
        fill_cache(old, self.cache)
