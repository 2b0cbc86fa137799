"""Count the distinct words of a text of any size: batches of pre-tokens into tables, one a thread.

A table has three uint64 a slot. A word of up to 15 bytes stands in the first two itself, its length
in the top byte; a longer one leaves a hash there and the place of its bytes in `store`, marked by
the top byte 255. The third is how often the word occurred; 0 is an empty slot.
"""
import queue
from collections import namedtuple

import numpy as np
from numba import int64, uint64

from bpe.jit import kernel, load64, same_bytes
from bpe.pretokenize import PAD, SCANNERS, class_table, pattern_name, split_segments
from bpe.stream import map_in_order

_LONG = 255 << 56
_ONE = np.ones(1, np.int64)

# data: the bytes of all words and PAD zeros; ends: (W,) where each ends; counts: (W,)
Words = namedtuple("Words", "data ends counts")


class WordCounter:
    """A table of words that grows; `add` is for one thread at a time and lets others run."""

    def __init__(self, pattern):
        self.pattern, self.name = pattern, pattern_name(pattern)
        self.table = np.zeros(3 << 12, np.uint64)
        self.store = np.empty(1 << 12, np.uint8)
        self.used = np.zeros(2, np.int64)  # words in the table, bytes in the store
        self.classes = np.empty(0, np.uint8)
        self.ends = np.empty(0, np.int64)

    def add(self, pieces):
        """Count the pre-tokens of texts (bytes) that do not join with each other."""
        data = np.frombuffer(bytearray().join((*pieces, bytes(PAD))), np.uint8)
        limits = np.cumsum([len(piece) for piece in pieces])
        self.add_words(data, self._split(data, limits), _ONE)

    def _split(self, data, limits):
        """Split into reused arrays."""
        if self.name is None:
            return split_segments(data, limits, self.pattern)
        if len(data) > len(self.ends):
            self.classes = np.empty(len(data) + 64, np.uint8)
            self.ends = np.empty(len(data), np.int64)
        found = SCANNERS[self.name](data, limits, class_table(), self.classes, self.ends)
        return self.ends[:found]

    def add_words(self, data, ends, counts):
        """Add words that stand one after the other; one count for each, or one for all."""
        done = 0
        while done < len(ends):
            done = count_words(data, ends, done, counts, self.table, self.store, self.used)
            if done < len(ends):
                self._grow(ends[done] - (ends[done - 1] if done else 0))

    def _grow(self, length):
        """Make room in whichever of the two is full, `length` bytes more in the store."""
        if self.used[1] + length + 3 * PAD > len(self.store):
            store = np.empty(2 * len(self.store) + int(length) + 3 * PAD, np.uint8)
            store[:self.used[1]] = self.store[:self.used[1]]
            self.store = store
        if is_full(self.table, self.used):
            table = np.zeros(2 * len(self.table), np.uint64)
            move_words(self.table, table)
            self.table = table

    def words(self):
        """Return the table's contents as `Words`, in no particular order."""
        filled = np.flatnonzero(self.table[2::3])
        lengths = np.empty(len(filled), np.int64)
        word_lengths(self.table, self.store, filled, lengths)
        ends = np.cumsum(lengths)
        data = np.zeros((int(ends[-1]) if len(ends) else 0) + 2 * PAD, np.uint8)
        copy_words(self.table, self.store, filled, ends, data)
        return Words(data, ends, self.table[2::3][filled].astype(np.int64))


def count(batches, pattern, threads):
    """Count the words of batches (lists of bytes), `threads` at a time, as they come."""
    counters = [WordCounter(pattern) for _ in range(threads)]
    free = queue.SimpleQueue()
    for counter in counters:
        free.put(counter)

    def add(pieces):
        counter = free.get()
        counter.add(pieces)
        free.put(counter)

    for _ in map_in_order(add, batches, threads):
        pass
    while len(counters) > 1:
        counters[0].add_words(*counters.pop().words())
    return counters[0].words()


# ---- kernels ----

@kernel(inline="always")
def _short_key(data, start, length):
    """A word of up to 15 bytes as two uint64; its length is the top byte."""
    ones = uint64(0xFFFFFFFFFFFFFFFF)
    if length <= 8:
        return load64(data, start) & (ones >> uint64(64 - 8 * length)), uint64(length) << uint64(56)
    high = load64(data, start + 8) & (ones >> uint64(128 - 8 * length))
    return load64(data, start), high | uint64(length) << uint64(56)


@kernel(inline="always")
def _mix(a, b):
    """Scatter two uint64 over 64 bits."""
    h = (a ^ (b * uint64(0xD6E8FEB86659FD93))) * uint64(0x9E3779B97F4A7C15)
    h = (h ^ (h >> uint64(32))) * uint64(0xD6E8FEB86659FD93)
    return h ^ (h >> uint64(32))


@kernel(inline="always")
def _hash(data, start, length):
    """Hash a word of more than 15 bytes."""
    h = uint64(length)
    stop = start + length - 8
    while start < stop:
        h = (h ^ load64(data, start)) * uint64(0x9E3779B97F4A7C15)
        h ^= h >> uint64(29)
        start += 8
    return _mix(h, load64(data, stop))


@kernel(inline="always")
def _stands_in(store, place, data, start, length):
    """Whether the word of `store` at `place` (8 bytes of length, then its bytes) is this one."""
    return (int64(load64(store, place)) == length
            and same_bytes(store, place + 8, data, start, length))


@kernel(inline="always")
def _first_slot(a, b, size):
    """Where to look first in a table of `size` slots; a place in `store` plays no part."""
    h = a if b >> uint64(56) == 255 else _mix(a, b)
    return 3 * int64(((h >> uint64(32)) * uint64(size)) >> uint64(32))


@kernel
def is_full(table, used):
    """Whether two of three slots are taken."""
    return used[0] * 9 >= len(table) * 2


@kernel
def count_words(data, ends, done, counts, table, store, used):
    """Count words from number `done` on; return where it stopped: for want of room, or the end."""
    size = len(table) // 3
    start = ends[done - 1] if done else 0
    weight = uint64(counts[0])
    while done < len(ends):
        length = ends[done] - start
        if length > 15:
            a, b = _hash(data, start, length), uint64(_LONG)
        else:
            a, b = _short_key(data, start, length)
        if len(counts) > 1:
            weight = uint64(counts[done])
        q = _first_slot(a, b, size)
        while table[q + 2] and not (table[q] == a and (
                table[q + 1] == b if length <= 15 else table[q + 1] >= b and _stands_in(
                    store, int64(table[q + 1] ^ b), data, start, length))):
            q = q + 3 if q + 3 < len(table) else 0
        if table[q + 2] == 0:
            if is_full(table, used):
                break
            if length > 15:
                if used[1] + length + 24 > len(store):
                    break
                b = _keep(store, used, data, start, length)
            table[q], table[q + 1] = a, b
            used[0] += 1
        table[q + 2] += weight
        start = ends[done]
        done += 1
    return done


@kernel(inline="always")
def _keep(store, used, data, start, length):
    """Copy a word behind the others in `store`; return its place, marked as long."""
    place = used[1]
    for k in range(8):
        store[place + k] = (length >> (8 * k)) & 255
    for k in range(length):
        store[place + 8 + k] = data[start + k]
    used[1] = place + 8 + length
    return uint64(_LONG) | uint64(place)


@kernel
def move_words(table, out_table):
    """Enter every word of a table into a larger, empty one."""
    size = len(out_table) // 3
    for p in range(0, len(table), 3):
        if table[p + 2]:
            q = _first_slot(table[p], table[p + 1], size)
            while out_table[q + 2]:
                q = q + 3 if q + 3 < len(out_table) else 0
            for k in range(3):
                out_table[q + k] = table[p + k]


@kernel
def word_lengths(table, store, slots, out_lengths):
    """Write the length of the word in each slot."""
    for k in range(len(slots)):
        b = table[3 * slots[k] + 1]
        top = int64(b >> uint64(56))
        out_lengths[k] = top
        if top == 255:
            out_lengths[k] = int64(load64(store, int64(b ^ uint64(_LONG))))


@kernel
def copy_words(table, store, slots, ends, out_data):
    """Write the bytes of the words in the slots, one after the other."""
    start = 0
    for k in range(len(slots)):
        a, b = table[3 * slots[k]], table[3 * slots[k] + 1]
        length = ends[k] - start
        if length > 15:
            place = int64(b ^ uint64(_LONG)) + 8
            for i in range(length):
                out_data[start + i] = store[place + i]
        else:
            for i in range(min(length, 8)):
                out_data[start + i] = (a >> uint64(8 * i)) & uint64(255)
            for i in range(8, length):
                out_data[start + i] = (b >> uint64(8 * (i - 8))) & uint64(255)
        start = ends[k]
