"""The hash tables of kernels: of words of any length, and of pairs of tokens.

A table of words has four uint64 a slot, the last two for whoever keeps something about a word. The
first two are its key. Of a word of up to 15 bytes: the bytes themselves, its length and one in the
top byte. Of a longer one: a hash, and the place of its bytes in `store`, marked by the top byte
255. Slots are looked up in blocks of words, all of them prefetched before any is read.

A table of pairs has the pairs, left << 32 | right, in an array of whoever uses it, and one int32 a
slot: where in this array a pair stands, -1 in an empty slot. Both have 2 ** n slots.
"""
from collections import namedtuple

import numpy as np
from numba import int64, uint64

from bpe.jit import kernel, load64, prefetch

BLOCK = 256  # words that are looked up together
ONE, TWO, THREE, FOUR = map(uint64, range(1, 5))
_LONG = uint64(255 << 56)
_MULTIPLIER, _MULTIPLIER_2 = uint64(0x9E3779B97F4A7C15), uint64(0xD6E8FEB86659FD93)
_FIRST = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)  # what n bytes of a number hold

# slots: (4 * n_slots,) uint64; store: uint64, of a longer word its length, then its bytes; used:
# words in the slots, numbers in the store; keys: for each word of a block its key and first slot
Table = namedtuple("Table", "slots store used keys")


def new_table(n_slots, n_store):
    """Make an empty table."""
    slots = np.zeros(4 * n_slots + 8, np.uint64)
    start = -slots.ctypes.data % 64 // 8  # no slot lies across two cache lines
    slots = slots[start:start + 4 * n_slots]
    store, keys = np.empty(n_store, np.uint64), np.empty(3 * BLOCK, np.uint64)
    return Table(slots, store, np.zeros(2, np.int64), keys)


def grown(table, n_slots, n_store):
    """Make room in a table; what it was is not to be used any more."""
    if n_slots > len(table.slots) >> 2:
        return moved(table, n_slots, n_store)
    return table._replace(store=_larger(table, n_store))


def moved(old, n_slots, n_store):
    """Copy a table into one that is as large or larger."""
    table = new_table(n_slots, 0)
    if n_slots == len(old.slots) >> 2:
        table.slots[:] = old.slots  # three times as fast
    else:
        move_slots(old.slots, table.slots)
    table.used[:] = old.used
    return table._replace(store=_larger(old, n_store))


def _larger(table, n_store):
    """Copy the store of a table into a larger one."""
    store, n_used = np.empty(n_store, np.uint64), table.used[1]
    store[:n_used] = table.store[:n_used]
    return store


def words_of(table):
    """List the words of a table, in no particular order: slots (W,), ends (W,), bytes and PAD."""
    slots = np.flatnonzero(table.slots[1::4])
    keys = table.slots[1::4][slots]
    lengths = (keys >> np.uint64(56)).astype(np.int64) - 1
    long = keys > _LONG
    places = (keys[long] ^ _LONG).astype(np.int64)
    lengths[long] = table.store[places - 1]
    ends = np.cumsum(lengths)
    data = np.zeros(int(lengths.sum()) + 32, np.uint8)
    write_words(table, slots, ends, data)
    return slots, ends, data


def power_of_two(n):
    """The lowest power of two from n on."""
    return 1 << (int(n) - 1).bit_length()


# ---- words ----

@kernel(inline="always")
def _number(data, start, n):
    """The n <= 8 bytes from `start` on as one number."""
    return load64(data, start) & _FIRST[uint64(n)]


@kernel(inline="always")
def word_key(data, start, n):
    """The key of a word; that of a longer one without its place."""
    if n <= 15:
        n_low = min(n, 8)
        low, high = _number(data, start, n_low), _number(data, start + 8, n - n_low)
        return low, high | uint64(n + 1) << uint64(56)
    h, stop = uint64(n), start + n
    for k in range(start, stop - 7, 8):
        h = (h ^ load64(data, k)) * _MULTIPLIER
        h ^= h >> uint64(29)
    h = (h ^ load64(data, stop - 8)) * _MULTIPLIER
    return h ^ (h >> uint64(32)), _LONG


@kernel(inline="always")
def first_slot(a, b, slots):
    """Where to look first for the key (a, b)."""
    n_slots = uint64(len(slots) >> 2)
    h = (a * _MULTIPLIER + b * _MULTIPLIER_2) >> uint64(32)
    return ((h * n_slots) >> uint64(32)) << TWO


@kernel(inline="always")
def after(p, slots):
    """The slot behind slot p."""
    return (p + FOUR) & uint64(len(slots) - 1)


@kernel(inline="always")
def _stands_at(place, data, start, n, store):
    """Whether the word at a place of the store is this one."""
    if store[place - 1] != uint64(n):
        return False
    for k in range(0, n, 8):
        if store[place] != _number(data, start + k, min(n - k, 8)):
            return False
        place += 1
    return True


@kernel(inline="always")
def _stands_in(p, a, b, data, start, n, table):
    """Whether the word with this key is that of slot p."""
    there = table.slots[p + ONE]
    if table.slots[p] != a or b != _LONG or there <= _LONG:
        return table.slots[p] == a and there == b
    return _stands_at(int64(there ^ _LONG), data, start, n, table.store)


@kernel(inline="always")
def find(a, b, p, data, start, n, table):
    """The slot of the word with this key, looked for from p on: its own, or an empty one."""
    if table.slots[p] == a and table.slots[p + ONE] == b:  # as most do
        return p
    return _find_on(a, b, p, data, start, n, table)


@kernel
def _find_on(a, b, p, data, start, n, table):
    """Do `find` where the word is long, or not in its first slot."""
    slots = table.slots
    while slots[p + ONE] and not _stands_in(p, a, b, data, start, n, table):
        p = after(p, slots)
    return p


@kernel(inline="always")
def size_in_store(n):
    """How many numbers of the store a word of n bytes takes."""
    return (n + 15) >> 3 if n > 15 else 0


@kernel(inline="always")
def enter(a, b, p, data, start, n, table):
    """Enter a word into the empty slot p; the table has the room."""
    slots, store, used, _ = table
    used[0] += 1
    slots[p], slots[p + ONE] = a, b
    if b == _LONG:
        place = used[1]
        slots[p + ONE] |= uint64(place + 1)
        store[place] = n
        for k in range(0, n, 8):
            place += 1
            store[place] = _number(data, start + k, min(n - k, 8))
        used[1] = place + 1


@kernel
def is_full(table):
    """Whether a block of new words would make it more than two thirds full."""
    return 6 * (table.used[0] + BLOCK) > len(table.slots)


@kernel
def look_ahead(data, begin, ends, first, stop, table):
    """Write the keys and first slots of words first:stop, and ask for these slots' cache lines."""
    slots, _, _, keys = table
    q = uint64(0)
    for j in range(first, stop):
        n = ends[uint64(j)] - begin
        a, b = word_key(data, begin, n)
        p = first_slot(a, b, slots)
        prefetch(slots, p)
        keys[q], keys[q + ONE] = a, b
        keys[q + TWO] = p
        q += THREE
        begin = ends[uint64(j)]


@kernel
def move_slots(old, out_slots):
    """Enter every word of a table into the empty slots of a larger one."""
    for p in range(0, len(old), 4):
        a, b = old[p], old[p + 1]
        if b:
            q = first_slot(a, min(b, _LONG), out_slots)
            while out_slots[q + ONE]:
                q = after(q, out_slots)
            for k in range(4):
                out_slots[q + uint64(k)] = old[p + k]


@kernel
def write_words(table, slots, ends, out_data):
    """Write the bytes of the words in the slots, one after the other."""
    start = 0
    for k in range(len(slots)):
        p = 4 * slots[k]
        b = table.slots[p + 1]
        numbers = table.store[int64(b ^ _LONG):] if b > _LONG else table.slots[p:]
        for i in range(ends[k] - start):
            shift = uint64(8 * (i & 7))
            out_data[start + i] = (numbers[i >> 3] >> shift) & uint64(255)
        start = ends[k]


# ---- pairs ----

@kernel(inline="always")
def pair_hash(pair):
    """A hash of 32 bits."""
    return (uint64(pair) * _MULTIPLIER) >> uint64(32)


@kernel
def pair_slot(pair, pairs, slots):
    """The slot of a pair: where its index is, or the empty one where it belongs."""
    mask = len(slots) - 1
    q = int64(pair_hash(pair)) & mask
    while slots[q] >= 0 and pairs[slots[q]] != pair:
        q = (q + 1) & mask
    return q


@kernel
def find_pair(pair, pairs, slots):
    """The index of a pair, or -1."""
    return slots[pair_slot(pair, pairs, slots)]


@kernel
def index_pairs(pairs, n, slots):
    """Enter the first n pairs into the empty slots; of equal ones the first counts."""
    for x in range(n):
        q = pair_slot(pairs[x], pairs, slots)
        if slots[q] < 0:
            slots[q] = x
