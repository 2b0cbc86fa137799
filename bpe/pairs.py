"""Merge one word: the table of pairs and two loops that take the pair of lowest rank first.

Inside the kernels a token is a *symbol*: a byte is its own symbol, and the token that merge `r`
makes is symbol `256 + r` (the first such `r` where several merges make one token). Merging always
takes the pair of lowest rank, the leftmost where it stands twice.

A word of up to `SHORT` bytes is merged by scanning a small array for its lowest rank. A longer one
keeps, for every rank, the list of positions where that pair stands. A pair can only be made by a
merge of lower rank, so ranks are taken in ascending order and each list once: a million equal
letters take 0.03 s, tiktoken 0.33 s.
"""

from collections import namedtuple

import numpy as np
from numba import int64, uint64

from bpe.jit import kernel

NO_RANK = 0x7FFFFFFF  # larger than any rank
MAX_SYMBOLS = 1 << 20  # three numbers of 20 bits share one int64 in the table of pairs
SHORT = 64  # bytes; longer words take the merge loop with lists
_MULTIPLIER = 0x9E3779B97F4A7C15

# Read by all threads. pairs: open addressing, left << 40 | right << 20 | rank, -1 where empty;
# byte_pairs: rank of each pair of bytes; made: symbol that a merge makes; ids: id of each symbol;
# short: longest word for `merge_short` (all words, where `merge_long` does not apply).
Tables = namedtuple("Tables", "pairs byte_pairs made ids short")

# One per thread. Per position of a word: its symbol, its neighbours, its neighbours in the list of
# its rank; per rank: the first position of its list; heap: the ranks whose lists are not empty.
Work = namedtuple("Work", "symbol left right newer older first heap")


def new_work(n_positions, n_ranks):
    """Make room for words of up to `n_positions` bytes."""
    positions = (np.empty(n_positions, np.int32) for _ in range(5))
    return Work(*positions, np.full(n_ranks, -1, np.int32), np.empty(n_ranks + 1, np.int32))


# ---- the table of pairs ----


@kernel(inline="always")
def _pair_home(left, right, mask):
    key = uint64((left << 20) | right)
    return int64((key * uint64(_MULTIPLIER)) >> uint64(30)) & mask


@kernel(inline="always")
def _rank(pairs, left, right):
    key = (left << 20) | right
    mask = len(pairs) - 1
    p = _pair_home(left, right, mask)
    while True:
        entry = pairs[p]
        if (entry >> 20) == key:
            return entry & 0xFFFFF
        if entry < 0:
            return int64(NO_RANK)
        p = (p + 1) & mask


@kernel
def add_pairs(merges, pairs):
    """Enter merges ((M, 2) int64 symbols); of equal pairs the first counts."""
    mask = len(pairs) - 1
    for r in range(len(merges)):
        key = (merges[r, 0] << 20) | merges[r, 1]
        p = _pair_home(merges[r, 0], merges[r, 1], mask)
        while pairs[p] >= 0 and (pairs[p] >> 20) != key:
            p = (p + 1) & mask
        if pairs[p] < 0:
            pairs[p] = (key << 20) | r


# ---- merge loops ----


@kernel(inline="always")
def merge_short(data, start, n, pairs, byte_pairs, made, symbol, rank):
    """Merge the word data[start:start + n] into symbol[:count], in quadratic time."""
    for k in range(n):
        symbol[k] = data[start + k]
    for k in range(n - 1):
        rank[k] = byte_pairs[(int64(data[start + k]) << 8) | data[start + k + 1]]
    while n > 1:
        lowest = rank[0]
        at = 0
        for k in range(1, n - 1):
            if rank[k] < lowest:
                lowest = rank[k]
                at = k
        if lowest == NO_RANK:
            break
        symbol[at] = made[lowest]
        n -= 1
        for k in range(at + 1, n):
            symbol[k] = symbol[k + 1]
        for k in range(at + 1, n - 1):
            rank[k] = rank[k + 1]
        if at > 0:
            rank[at - 1] = _rank(pairs, int64(symbol[at - 1]), int64(symbol[at]))
        if at < n - 1:
            rank[at] = _rank(pairs, int64(symbol[at]), int64(symbol[at + 1]))
    return n


@kernel(inline="always")
def _push(heap, size, rank):
    k = size
    while k > 0 and heap[(k - 1) >> 1] > rank:
        heap[k] = heap[(k - 1) >> 1]
        k = (k - 1) >> 1
    heap[k] = rank
    return size + 1


@kernel(inline="always")
def _pop(heap, size):
    """Return the lowest rank and take it out; the heap then has size - 1."""
    top = heap[0]
    last = heap[size - 1]
    k = 0
    while True:
        child = 2 * k + 1
        if child >= size - 1:
            break
        if child + 1 < size - 1 and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= last:
            break
        heap[k] = heap[child]
        k = child
    heap[k] = last
    return top


@kernel(inline="always")
def _list_pair(k, rank, newer, older, first, heap, size):
    """Put position k in front of the list of `rank`; -1 in `first`: empty, and not in the heap."""
    head = first[rank]
    if head == -1:
        size = _push(heap, size, rank)
    if head >= 0:
        newer[head] = k
    older[k] = head if head >= 0 else -1
    newer[k] = -rank - 2  # no newer one: this is the head of that list
    first[rank] = k
    return size


@kernel(inline="always")
def _unlist_pair(k, newer, older, first):
    """Take position k out of its list, if it is in one; -2 in `first`: empty, but in the heap."""
    above = newer[k]
    if above == -1:
        return
    below = older[k]
    if above >= 0:
        older[above] = below
    else:
        first[-above - 2] = below if below >= 0 else -2
    if below >= 0:
        newer[below] = above
    newer[k] = -1


@kernel
def merge_long(data, start, n, tables, work):
    """Merge the word data[start:start + n] into work.symbol[:count] in almost linear time.

    Every rank's list is worked off once, since no merge makes a pair of its own or a lower rank.
    Its order matters only for a pair of equal symbols, whose places overlap: those are merged along
    the whole run from its left end.
    """
    pairs, byte_pairs, made, _, _ = tables
    symbol, left, right, newer, older, first, heap = work
    size = 0
    for k in range(n):
        symbol[k] = data[start + k]
        left[k] = k - 1
        right[k] = k + 1
        newer[k] = -1
    for k in range(n - 2, -1, -1):
        r = byte_pairs[(int64(data[start + k]) << 8) | data[start + k + 1]]
        if r != NO_RANK:
            size = _list_pair(k, r, newer, older, first, heap, size)
    while size > 0:
        rank = _pop(heap, size)
        size -= 1
        while first[rank] >= 0:
            k = int64(first[rank])
            a = symbol[k]
            twins = symbol[right[k]] == a
            while twins and left[k] >= 0 and symbol[left[k]] == a:
                k = int64(left[k])
            while True:
                gone = right[k]
                after = right[gone]
                before = left[k]
                _unlist_pair(k, newer, older, first)
                _unlist_pair(gone, newer, older, first)
                symbol[k] = made[rank]
                right[k] = after
                if before >= 0:
                    _unlist_pair(before, newer, older, first)
                    r = _rank(pairs, int64(symbol[before]), int64(symbol[k]))
                    if r != NO_RANK:
                        size = _list_pair(before, r, newer, older, first, heap, size)
                if after >= n:
                    break
                left[after] = k
                r = _rank(pairs, int64(symbol[k]), int64(symbol[after]))
                if r != NO_RANK:
                    size = _list_pair(k, r, newer, older, first, heap, size)
                k = int64(after)
                if not (twins and symbol[k] == a and right[k] < n and symbol[right[k]] == a):
                    break
        first[rank] = -1
    count = 0
    k = 0
    while k < n:
        symbol[count] = symbol[k]
        count += 1
        k = right[k]
    return count


@kernel
def recover_merges(data, ends, tables, work, merges):
    """Find the merge that makes each token: the last two symbols its bytes merge to by earlier
    tokens.

    The tokens, in rank order, stand one after the other in `data` and end at `ends`. `merges` ((n,
    2) int64) is filled, with -1 for a token that no merge makes; `tables` learns each merge at
    once.
    """
    pairs, byte_pairs, made, _, _ = tables
    mask = len(pairs) - 1
    start = 0
    for r in range(len(ends)):
        n = ends[r] - start
        count = merge_short(data, start, n, pairs, byte_pairs, made, work.symbol, work.older)
        merges[r, 0] = -1
        merges[r, 1] = -1
        if count == 2:
            left, right = int64(work.symbol[0]), int64(work.symbol[1])
            merges[r, 0] = left
            merges[r, 1] = right
            p = _pair_home(left, right, mask)
            while pairs[p] >= 0:
                p = (p + 1) & mask
            pairs[p] = (((left << 20) | right) << 20) | r
            if n == 2:
                byte_pairs[(left << 8) | right] = r
        start = ends[r]
