"""Turn pre-tokens into ids, on any number of threads.

A word that was seen before is looked up, not merged. The third number of its slot is how many ids
it has (32 bits) and the first of them; the fourth the next two, or, where there are more than
three, the place of all of them in the table's store.
"""
import numpy as np
from numba import int64, uint64

from bpe.backtrack import encode_word
from bpe.jit import kernel
from bpe.pairs import SHORT, merge_short, merge_word, new_work
from bpe.pretokenize import Splitter, side_by_side
from bpe.table import (
    BLOCK, ONE, THREE, TWO, enter, find, first_slot, grown, is_full, look_ahead, moved, new_table,
    power_of_two, size_in_store, word_key)

_MARK = -1  # in place of an id, what an empty word becomes: such a word stands where a mark is
_KEPT_WORD = 256  # bytes; longer words are not kept
_MOST_SLOTS = 1 << 20  # of a thread's cache, which takes 64 MB at most, whatever the text
_KEPT_BYTES = 1 << 23  # buffers for more than this are given back
_POSITIONS = 1 << 12  # bytes; room for words that is always there
_32 = uint64(32)
_LOW = uint64(0xFFFFFFFF)


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
        self.tables, self.pattern = tables, pattern
        n_slots = power_of_two(4 * (len(words) + BLOCK))  # fuller, and words lie far from home
        self.max_slots = max(_MOST_SLOTS, n_slots)
        data, ends = side_by_side([b"", *words])
        self.seed = new_table(n_slots, 2 * n_slots + len(data) // 8)
        known = [_MARK] if word_ids is None else [_MARK, *word_ids]
        enter_words(data, ends, np.array(known), self.seed)
        first = _State(self)
        first.words(data, ends)  # which merges those that are not known
        self.seed = first.cache
        self._idle = []

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
        self._start_cache()
        self._make_buffers()

    def encode(self, pieces):
        """Do `Encoder.encode`."""
        data, limits = side_by_side([text for text, _ in pieces])
        ends = self.splitter.split(data, limits)
        marked = [k for k, (_, mark) in enumerate(pieces) if mark is not None]
        if marked:
            ends = np.sort(np.append(ends, limits[marked]), kind="stable")
        ids = self.words(data, ends).copy()
        if marked:
            ids[ids == _MARK] = [pieces[k][1] for k in marked]
        if len(data) > _KEPT_BYTES:
            self._make_buffers()
        return ids

    def words(self, data, ends):
        """Encode the words that end at `ends`; the ids stay valid until the next call."""
        room = len(data) + len(ends) + 3
        if room > len(self.out):
            self.out = np.empty(room, np.int32)
        done = n_ids = 0
        while done < len(ends):
            done, more = encode_words(data, ends, done, self.encoder.tables, self.cache, self.work,
                                      self.out[n_ids:])
            n_ids += more
            if done < len(ends):
                self._make_room(int(ends[done] - (ends[done - 1] if done else 0)))
        return self.out[:n_ids]

    def _make_buffers(self):
        self.splitter = Splitter(self.encoder.pattern)
        self.out = np.empty(0, np.int32)
        self.work = new_work(_POSITIONS)

    def _make_room(self, n_bytes):
        """For a word of so many bytes, or else for more words: a larger cache, or a new one."""
        n_slots, n_store = len(self.cache.slots) >> 2, len(self.cache.store)
        full, most = is_full(self.cache), self.encoder.max_slots
        if n_bytes > len(self.work.rank):
            self.work = new_work(n_bytes)
        elif full and n_slots < most:
            self.cache = grown(self.cache, 2 * n_slots, n_store)
        elif not full and n_store < 4 * most:
            self.cache = grown(self.cache, n_slots, 2 * n_store)
        else:
            self.cache = moved(self.encoder.seed, n_slots, n_store)

    def _start_cache(self):
        seed = self.encoder.seed
        self.cache = moved(seed, len(seed.slots) >> 2, len(seed.store))


# ---- kernels ----

@kernel
def enter_words(data, ends, ids, cache):
    """Enter the first words, which are one token each; `cache` has the room."""
    begin = 0
    for j in range(len(ids)):
        n = ends[j] - begin
        a, b = word_key(data, begin, n)
        p = first_slot(a, b, cache.slots)
        p = find(a, b, p, data, begin, n, cache)
        enter(a, b, p, data, begin, n, cache)
        cache.slots[p + TWO] = uint64(ids[j]) << _32 | ONE
        begin = ends[j]


@kernel
def encode_words(data, ends, done, tables, cache, work, out):
    """Write the ids of words from number `done` on.

    `data` has PAD bytes behind the last word; `out` has room for one id a byte and three more.

    Returns
    -------
    done, n_ids : int
        Where it stopped, for want of room in `cache` or in `work` for this word, or the end; how
        many ids it wrote.
    """
    slots, _, _, keys = cache
    m = 0
    begin = ends[done - 1] if done else 0
    for first in range(done, len(ends), BLOCK):
        if is_full(cache):
            return first, m
        stop = min(first + BLOCK, len(ends))
        look_ahead(data, begin, ends, first, stop, cache)
        q, last = uint64(0), THREE * uint64(stop - first)
        while True:
            q, m = _copy_known(q, last, cache, out, m)
            if q == last:
                break
            j = first + int64(q // THREE)
            begin = ends[j - 1] if j else 0
            n = ends[j] - begin
            a, b = keys[q], keys[q + ONE]
            p = find(a, b, keys[q + TWO], data, begin, n, cache)
            if slots[p + ONE]:
                count = _copy_ids(p, cache, out, m)
            elif n > len(work.rank) or not _has_room(n, cache):
                return j, m
            else:
                count = _merge(data, begin, n, tables, work, out, m)
                if n <= _KEPT_WORD:
                    enter(a, b, p, data, begin, n, cache)
                    _keep_ids(p, cache, out, m, count)
            m += count
            q += THREE
        begin = ends[stop - 1]
    return len(ends), m


@kernel(inline="always")
def _copy_known(q, last, cache, out, m):
    """Do the words of a block that are where they belong and have three ids at most, as most are.

    Returns
    -------
    q : uint64
        Of `keys`, where the first other word stands, or `last`.
    m : int
        Where its ids belong.
    """
    slots, _, _, keys = cache
    while q != last:
        p = keys[q + TWO]
        low, high = slots[p + TWO], slots[p + THREE]
        count = low & _LOW
        if slots[p] != keys[q] or slots[p + ONE] != keys[q + ONE] or count > THREE:
            break
        k = uint64(m)
        out[k] = low >> _32
        out[k + ONE] = high & _LOW
        out[k + TWO] = high >> _32
        m += int64(count)
        q += THREE
    return q, m


@kernel(inline="always")
def _copy_ids(p, cache, out, m):
    """Write the ids of the word in slot p from out[m] on, or two more; return how many."""
    low, high = cache.slots[p + TWO], cache.slots[p + THREE]
    count = int64(low & _LOW)
    m = uint64(m)
    if count <= 3:
        out[m] = low >> _32
        out[m + ONE] = high & _LOW
        out[m + TWO] = high >> _32
    else:
        for k in range(0, count, 2):
            two = cache.store[int64(high) + (k >> 1)]
            out[m] = two & _LOW
            out[m + ONE] = two >> _32
            m += TWO
    return count


@kernel(inline="always")
def _merge(data, start, n, tables, work, out, m):
    """Write the ids of a word that is not in the cache; return how many."""
    if not len(tables.tree.facts):
        count = merge_word(data, start, n, tables, work, out, m)
    elif n <= SHORT and data[start + n - 1] < 128:  # beyond ASCII the same pairs come again
        count = merge_short(data, start, n, tables, work, out, m)
    else:
        count = encode_word(data, start, n, tables, work, out, m)
    for k in range(m, m + count):
        out[k] = tables.ids[out[k]]
    return count


@kernel(inline="always")
def _has_room(n, cache):
    """Whether the store takes a word of n bytes, with as many ids; longer ones are not kept."""
    return n > _KEPT_WORD or cache.used[1] + size_in_store(n) + ((n + 1) >> 1) <= len(cache.store)


@kernel(inline="always")
def _keep_ids(p, cache, out, m, count):
    """Write the ids out[m:m + count] to slot p."""
    slots, store, used, _ = cache
    if count <= 3:
        slots[p + TWO] = uint64(out[m]) << _32 | uint64(count)
        slots[p + THREE] = _two(out, m + 1)
    else:
        slots[p + TWO] = count
        slots[p + THREE] = used[1]
        for k in range(0, count, 2):
            store[used[1]] = _two(out, m + k)
            used[1] += 1


@kernel(inline="always")
def _two(out, k):
    """Two ids in one number; what stands behind the last id does not matter."""
    return uint64(out[k]) & _LOW | uint64(out[k + 1]) << _32
