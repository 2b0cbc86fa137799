"""The kernels of training: all words as one array of tokens, and an index of pairs kept up to date.

- `cells` has one int32 for each byte of each distinct word. A token stands at its first and at its
  last byte, -1 in between and between words: both neighbours are found without a list, and merging
  two tokens writes four cells. Words stand sorted by count, so that 64 cells share one.
- A pair has a count and its places, one contiguous stretch of `arena`. A pair gains places only in
  the merge that makes one of its two tokens, so places are written once; those that have become
  stale are noticed, since the cell no longer holds the left token, and skipped.
- A heap holds each pair with an upper bound of its count; the top is corrected when it is looked
  at.
"""
from collections import namedtuple

import numpy as np
from numba import int64, uint64

from bpe.jit import kernel
from bpe.table import find_pair, pair_slot

# cells: (P,) int32; counts: (P / 64,) int64; length, head, start: per token its bytes, how many
# they are, the first 8 as a number and where all are in `data`
Text = namedtuple("Text", "cells counts length head start data")
# key: left << 32 | right; places arena[start:start + size]; slots: a hash table of indices, -1
# empty
Pairs = namedtuple("Pairs", "key count start size slots arena heap_count heap_key")
# Per side (pairs that the new token is right of, left of) and per token: what is to be added to or
# taken from a pair's count, and how many places; then lists of tokens seen, and of (token, place)
Changes = namedtuple("Changes", "more less places gained lost token place")
# places of `numbers`
N_TOKENS, N_PAIRS, N_ARENA, N_HEAP, N_DATA, WANTED, VISITS = range(7)
DONE, NO_PAIR, GROW_PAIRS, GROW_ARENA, GROW_CHANGES, GROW_DATA = range(6)
_LOW = 0xFFFFFFFF


# ---- words to cells ----

@kernel
def lay_out(data, starts, ends, counts, id_of_byte, out_cells, out_counts):
    """Write words, sorted by count, into cells that are -1; return how many cells they take."""
    p = 1
    for w in range(len(starts)):
        if w and counts[w] != counts[w - 1]:
            p = (p + 63) & -64
        for block in range(p >> 6, (p + ends[w] - starts[w] + 63) >> 6):
            out_counts[block] = counts[w]
        for i in range(starts[w], ends[w]):
            out_cells[p] = id_of_byte[data[i]]
            p += 1
        p += 1
    return p


@kernel
def count_bytes(cells, counts, out_count, out_size):
    """Count each pair of byte tokens, left << 8 | right, in the text and in the cells."""
    for p in range(len(cells) - 1):
        k = _byte_pair(cells, p)
        if k >= 0:
            out_count[k] += counts[p >> 6]
            out_size[k] += 1


@kernel(inline="always")
def _byte_pair(cells, p):
    """The pair of byte tokens at p, left << 8 | right; -1 where there is none."""
    left, right = int64(cells[p]), int64(cells[p + 1])
    return left << 8 | right if left >= 0 and right >= 0 else -1


@kernel
def place_bytes(cells, cursor, out_arena):
    """Write the places of each pair of byte tokens from its `cursor` on."""
    for p in range(len(cells) - 1):
        k = _byte_pair(cells, p)
        if k >= 0:
            out_arena[cursor[k]] = p
            cursor[k] += 1


# ---- pairs and the heap ----

@kernel(inline="always")
def _greater_token(a, b, text):
    """Compare the bytes of two tokens: 1, 0 or -1."""
    if text.head[a] != text.head[b]:
        return 1 if text.head[a] > text.head[b] else -1
    for k in range(min(text.length[a], text.length[b])):
        x, y = text.data[text.start[a] + k], text.data[text.start[b] + k]
        if x != y:
            return 1 if x > y else -1
    return np.sign(text.length[a] - text.length[b])


@kernel
def _before(count_a, key_a, count_b, key_b, greatest, text):
    """Whether pair a is merged before pair b."""
    if count_a != count_b:
        return count_a > count_b
    if not greatest:
        return key_a < key_b
    order = _greater_token(key_a >> 32, key_b >> 32, text)
    if order == 0:
        order = _greater_token(key_a & _LOW, key_b & _LOW, text)
    return order > 0


@kernel
def _sift_down(count, key, n, i, greatest, text):
    """Move entry i of a heap, where a parent has four children, down to its place."""
    c, k = count[i], key[i]
    while 4 * i + 1 < n:
        best = 4 * i + 1
        for j in range(best + 1, min(best + 4, n)):
            if _before(count[j], key[j], count[best], key[best], greatest, text):
                best = j
        if not _before(count[best], key[best], c, k, greatest, text):
            break
        count[i], key[i] = count[best], key[best]
        i = best
    count[i], key[i] = c, k


@kernel(inline="always")
def _push(c, k, pairs, numbers, greatest, text):
    """Add an entry to the heap."""
    count, key = pairs.heap_count, pairs.heap_key
    i = numbers[N_HEAP]
    numbers[N_HEAP] += 1
    while i > 0:
        above = (i - 1) >> 2
        if not _before(c, k, count[above], key[above], greatest, text):
            break
        count[i], key[i] = count[above], key[above]
        i = above
    count[i], key[i] = c, k


@kernel
def top_pair(pairs, text, numbers, greatest, max_bytes):
    """The pair to be merged next, now on top of the heap, or -1; drop those without a future."""
    count, key = pairs.heap_count, pairs.heap_key
    while numbers[N_HEAP] > 0:
        k = key[0]
        x = find_pair(k, pairs.key, pairs.slots)
        now = pairs.count[x]
        if now > 0 and text.length[k >> 32] + text.length[k & _LOW] <= max_bytes:
            if now == count[0]:
                return x
            count[0] = now
        else:
            n = numbers[N_HEAP] = numbers[N_HEAP] - 1
            count[0], key[0] = count[n], key[n]
        _sift_down(count, key, numbers[N_HEAP], 0, greatest, text)
    return -1


# ---- merging ----

@kernel
def merge_pairs(key, limits, text, pairs, changes, numbers, greatest, out):
    """Merge the most frequent pairs until there are enough tokens, or there is much to report.

    Parameters
    ----------
    key : int
        The one pair to merge, whatever its count; or -1.
    limits : (3,) int64
        How many tokens are enough, the lowest count to be merged, the longest token.
    out : (V, 3) int64
        Gets left, right and count of each merge, at the new token's number.

    Returns
    -------
    code : int
        DONE, NO_PAIR, or what has to grow before the next merge.
    """
    enough, min_count, max_bytes = limits
    visits = numbers[VISITS]
    while numbers[N_TOKENS] < enough and numbers[VISITS] - visits < 1 << 21:
        if key >= 0:
            x, pair = find_pair(key, pairs.key, pairs.slots), key
        else:
            x = top_pair(pairs, text, numbers, greatest, max_bytes)
            if x < 0 or pairs.count[x] < min_count:
                return NO_PAIR
            pair = pairs.key[x]
        size = pairs.size[x] if x >= 0 else 0
        a, b = pair >> 32, pair & _LOW
        code = _what_must_grow(size, text.length[a] + text.length[b], text, pairs, changes, numbers)
        if code != DONE:
            return code
        new = numbers[N_TOKENS]
        out[new, 0], out[new, 1] = a, b
        out[new, 2] = pairs.count[x] if x >= 0 else 0
        _make_token(a, b, new, text, numbers)
        if size:
            _replace(a, b, new, pairs.start[x], size, text, pairs.arena, changes, numbers)
            _take_away(a, b, changes, pairs)
            pairs.count[x] = 0
            _add_pairs(new, changes, pairs, numbers, greatest, text)
        if key >= 0:
            break
    return DONE


@kernel(inline="always")
def _what_must_grow(size, length, text, pairs, changes, numbers):
    """Compare the room there is with what a merge of `size` places can take."""
    numbers[WANTED] = size
    made = min(2 * size, 2 * numbers[N_TOKENS] + 2)
    if numbers[N_PAIRS] + made > len(pairs.key):  # the heap has no more entries than pairs
        return GROW_PAIRS
    if numbers[N_ARENA] + 2 * size > len(pairs.arena):
        return GROW_ARENA
    if size >= changes.token.shape[1]:
        return GROW_CHANGES
    if numbers[N_DATA] + length > len(text.data):
        return GROW_DATA
    return DONE


@kernel(inline="always")
def _make_token(a, b, new, text, numbers):
    """Write down the bytes of token a + b."""
    start, p = numbers[N_DATA], numbers[N_DATA]
    for part in (a, b):
        for k in range(text.length[part]):
            text.data[p] = text.data[text.start[part] + k]
            p += 1
    text.start[new], text.length[new] = start, p - start
    text.head[new] = 0
    for k in range(min(8, p - start)):
        text.head[new] |= uint64(text.data[start + k]) << uint64(56 - 8 * k)
    numbers[N_DATA] = p
    numbers[N_TOKENS] = new + 1


@kernel(inline="always")
def _replace(a, b, new, start, size, text, arena, changes, numbers):
    """Write the new token wherever the pair stands; collect what changes for its neighbours.

    Between two places that touch, such as abab, the pair (b, a) is lost once and (new, new) gained.
    """
    cells, length, counts = text.cells, text.length, text.counts
    more, less, places = changes.more, changes.less, changes.places
    gained, lost = changes.gained, changes.lost
    for side in range(2):
        gained[side, 0] = lost[side, 0] = changes.place[side, 0] = 0  # how long each list is
    for k in range(start, start + size):
        p = int64(arena[k])
        q = p + length[a]
        if cells[p] != a or cells[q] != b:
            continue
        r = q + length[b]
        count = counts[p >> 6]
        cells[q - 1] = -1
        cells[q] = -1
        cells[p] = new
        cells[r - 1] = new
        y = int64(cells[p - 1])
        if y >= 0:
            if y != new:
                _lose(0, y, count, less, lost)
            _gain(0, y, p - length[y], count, more, places, gained, changes)
        y = int64(cells[r])
        if y >= 0:
            _lose(1, y, count, less, lost)
            if y != a or cells[r + length[a]] != b:
                _gain(1, y, p, count, more, places, gained, changes)
    numbers[VISITS] += size + 64


@kernel(inline="always")
def _lose(side, y, count, less, lost):
    """Take note that an old pair with neighbour y is gone from a place."""
    if less[side, y] == 0:
        lost[side, 0] += 1
        lost[side, lost[side, 0]] = y
    less[side, y] += count


@kernel(inline="always")
def _gain(side, y, p, count, more, places, gained, changes):
    """Take note that the new token has neighbour y at p."""
    if more[side, y] == 0:
        gained[side, 0] += 1
        gained[side, gained[side, 0]] = y
    more[side, y] += count
    places[side, y] += 1
    n = changes.place[side, 0] + 1
    changes.place[side, 0] = n
    changes.token[side, n] = y
    changes.place[side, n] = p


@kernel(inline="always")
def _take_away(a, b, changes, pairs):
    """Lower the counts of the pairs (y, a) and (b, y)."""
    for side in range(2):
        for k in range(1, changes.lost[side, 0] + 1):
            y = int64(changes.lost[side, k])
            key = y << 32 | a if side == 0 else b << 32 | y
            x = find_pair(key, pairs.key, pairs.slots)
            pairs.count[x] -= changes.less[side, y]
            changes.less[side, y] = 0


@kernel(inline="always")
def _add_pairs(new, changes, pairs, numbers, greatest, text):
    """Enter the pairs (y, new) and (new, y) with their places."""
    for side in range(2):
        for k in range(1, changes.gained[side, 0] + 1):
            y = int64(changes.gained[side, k])
            key = y << 32 | new if side == 0 else new << 32 | y
            x, start = numbers[N_PAIRS], numbers[N_ARENA]
            pairs.key[x], pairs.count[x] = key, changes.more[side, y]
            pairs.start[x], pairs.size[x] = start, changes.places[side, y]
            pairs.slots[pair_slot(key, pairs.key, pairs.slots)] = x
            _push(pairs.count[x], key, pairs, numbers, greatest, text)
            numbers[N_PAIRS] = x + 1
            numbers[N_ARENA] = start + changes.places[side, y]
            changes.places[side, y], changes.more[side, y] = start, 0
        for k in range(1, changes.place[side, 0] + 1):
            y = changes.token[side, k]
            pairs.arena[changes.places[side, y]] = changes.place[side, k]
            changes.places[side, y] += 1
        for k in range(1, changes.gained[side, 0] + 1):
            changes.places[side, changes.gained[side, k]] = 0


@kernel
def drop_stale(text, pairs, numbers):
    """Move the places of live pairs together, leaving out those that are stale.

    Pairs stand in the order of their places.
    """
    cells, arena = text.cells, pairs.arena
    top = 0
    for x in range(numbers[N_PAIRS]):
        start, size = pairs.start[x], pairs.size[x]
        pairs.start[x] = top
        if pairs.count[x] > 0:
            key = pairs.key[x]
            a, b = key >> 32, key & _LOW
            for k in range(start, start + size):
                p = arena[k]
                if cells[p] == a and cells[p + text.length[a]] == b:
                    arena[top] = p
                    top += 1
        pairs.size[x] = top - pairs.start[x]
    numbers[N_ARENA] = top
