"""Count the distinct words of a text of any size: batches of pre-tokens into tables, one a thread.

The third number of a slot is how often its word occurred.
"""
from collections import namedtuple

import numpy as np
from numba import uint64

from bpe.jit import kernel
from bpe.pretokenize import Splitter, side_by_side
from bpe.stream import map_in_order
from bpe.table import (
    BLOCK, ONE, TWO, THREE, enter, find, grown, is_full, look_ahead, new_table, size_in_store,
    words_of)

_ONCE = np.ones(1, np.int64)
_MOST_BYTES = 1 << 33  # of a table

# data: the bytes of all words and PAD zeros; ends: (W,) where each ends; counts: (W,)
Words = namedtuple("Words", "data ends counts")


class WordCounter:
    """A table of words that grows; `add` is for one thread at a time and lets others run."""

    def __init__(self, pattern):
        self.splitter = Splitter(pattern)
        self.table = new_table(1 << 12, 1 << 10)

    def add(self, pieces):
        """Count the pre-tokens of texts (bytes) that do not join with each other."""
        data, limits = side_by_side(pieces)
        self.add_words(data, self.splitter.split(data, limits), _ONCE)

    def add_words(self, data, ends, counts):
        """Add words that stand one after the other; one count for each, or one for all."""
        done = 0
        while done < len(ends):
            done = count_words(data, ends, done, counts, self.table)
            if done < len(ends):
                self._grow(size_in_store(ends[done] - (ends[done - 1] if done else 0)))

    def _grow(self, wanted):
        """Make room in whichever of the two is full, `wanted` numbers more in the store."""
        n_slots, n_store = len(self.table.slots) >> 2, len(self.table.store)
        if self.table.used[1] + wanted > n_store:
            n_store = 2 * n_store + int(wanted)
        else:
            n_slots *= 2
        if 32 * n_slots + 8 * n_store > _MOST_BYTES:
            raise ValueError(f"the {self.table.used[0]:,} distinct words so far are too many: "
                             f"train on less text, or with a pattern that cuts more")
        self.table = grown(self.table, n_slots, n_store)

    def words(self):
        """Return the table's contents as `Words`, in no particular order."""
        slots, ends, data = words_of(self.table)
        return Words(data, ends, self.table.slots[2::4][slots].astype(np.int64))


def count(batches, pattern, threads):
    """Count the words of batches (lists of bytes), `threads` at a time, as they come."""
    counters = [WordCounter(pattern) for _ in range(threads)]
    free = counters.copy()

    def add(pieces):
        counter = free.pop()
        counter.add(pieces)
        free.append(counter)

    for _ in map_in_order(add, batches, threads):
        pass
    while len(counters) > 1:
        counters[0].add_words(*counters.pop().words())
    return counters[0].words()


@kernel
def count_words(data, ends, done, counts, table):
    """Count words from number `done` on; return where it stopped: for want of room, or the end."""
    slots, store, used, keys = table
    begin = ends[done - 1] if done else 0
    weight = uint64(counts[0])
    for first in range(done, len(ends), BLOCK):
        if is_full(table):
            return first
        stop = min(first + BLOCK, len(ends))
        look_ahead(data, begin, ends, first, stop, table)
        q = uint64(0)
        for j in range(first, stop):
            n = ends[j] - begin
            a, b = keys[q], keys[q + ONE]
            p = find(a, b, keys[q + TWO], data, begin, n, table)
            if slots[p + ONE] == 0:
                if used[1] + size_in_store(n) > len(store):
                    return j
                enter(a, b, p, data, begin, n, table)
            if len(counts) > 1:
                weight = uint64(counts[j])
            slots[p + TWO] += weight
            q += THREE
            begin = ends[j]
    return len(ends)
