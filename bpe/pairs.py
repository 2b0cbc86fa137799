"""The merges of a tokenizer as tables, and the plain loop that merges a word: lowest rank first.

Inside the kernels a token is a *symbol*: a byte is its own symbol, and the token that merge `r`
makes is symbol `256 + r` (the first such `r` where several merges make one token). Merging always
takes the pair of lowest rank, the leftmost where it stands twice.

`bpe.backtrack` finds the same symbols faster in long words, and where pairs come again as they do
in Chinese; `merge_short` in a few random letters. The loop here finds the merges behind a list of
tokens, and does what is left: merges that join what only a merge of higher rank makes.
"""
from collections import namedtuple

import numpy as np
from numba import int64, uint64

from bpe.backtrack import MEMO, NO_RANK, is_known, make_tree, no_tree
from bpe.jit import kernel, leading_zeros, trailing_zeros
from bpe.pretokenize import side_by_side
from bpe.table import find_pair, index_pairs, pair_slot, power_of_two

SHORT = 32  # bytes of the words of `merge_short`
_ONE = uint64(1)
_NO_PAIR = np.uint64(2**64 - 1)

# Read by all threads. pairs: (M,) int64 left << 32 | right, in the order of ranks; slots: their
# table; made: symbol that a merge makes; ids: id of each symbol; tree: for `backtrack`, if it can.
Tables = namedtuple("Tables", "pairs slots made ids tree")

# One per thread. rank: (N,) int32, for each position of a word; dead: (N / 64 + 1,) uint64, a bit
# for each; memo: (MEMO,) uint64, pairs of symbols and whether they fit.
Work = namedtuple("Work", "rank dead memo")


def new_work(n_positions):
    """Make room for words of up to `n_positions` bytes."""
    rank = np.empty(n_positions, np.int32)
    dead = np.empty((n_positions >> 6) + 1, np.uint64)
    return Work(rank, dead, np.full(MEMO, _NO_PAIR))


# ---- tables ----

def tables_from_merges(merges, made, ids, tokens):
    """Build the tables of a list of merges.

    Parameters
    ----------
    merges : (M, 2) int64
        Symbols, in rank order.
    made : (M,) int32
        The symbol that each makes.
    ids : (S,) int64
        The id of every symbol: bytes, what merges make, other tokens.
    tokens : list of S bytes
        Likewise.
    """
    left, right = merges.T
    ranks = np.arange(len(merges))
    tables = _empty_tables(left << 32 | right, made, ids)
    index_pairs(tables.pairs, len(merges), tables.slots)
    last = np.full(len(ids), -1)
    last[made] = ranks
    parts = np.maximum(last[left], last[right])
    ascending = (parts < ranks).all()
    return _with_tree(tables, tokens) if ascending else tables


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
    made = np.arange(256, 256 + n)
    tables = _empty_tables(np.full(n, -1), made, ids)
    longest = max(map(len, tokens), default=1)
    room = np.empty(longest, np.int32)
    recover_merges(*side_by_side(tokens), tables, new_work(longest), room)
    left = tables.pairs >> 32
    right = np.where(left < 0, -1, tables.pairs & 0xFFFFFFFF)
    every_byte = [bytes([byte]) for byte in range(256)]
    tables = _with_tree(tables, every_byte + list(tokens))
    return tables, np.stack([left, right], axis=1)


def _empty_tables(pairs, made, ids):
    n_slots = power_of_two(4 * len(pairs) + 2)  # most pairs that are looked for are not there
    slots = np.full(n_slots, -1, np.int32)
    made, ids = made.astype(np.int32), ids.astype(np.int32)
    return Tables(pairs, slots, made, ids, no_tree())


def _with_tree(tables, tokens):
    tree = make_tree(tokens, tables.pairs, tables.slots, tables.made)
    return tables._replace(tree=tree)


# ---- the loop ----

@kernel(inline="always")
def _rank(left, right, tables):
    """The rank of a pair of symbols, or NO_RANK."""
    pair = int64(left) << 32 | int64(right)
    rank = find_pair(pair, tables.pairs, tables.slots)
    return rank if rank >= 0 else NO_RANK


@kernel
def merge_word(data, start, n, tables, work, out, m):
    """Merge the word data[start:start + n] into symbols from out[m] on, in quadratic time; return
    how many."""
    symbol, rank = out[m:], work.rank
    for k in range(n):
        symbol[k] = data[start + k]
    for k in range(n - 1):
        rank[k] = _rank(symbol[k], symbol[k + 1], tables)
    while n > 1:
        lowest, at = rank[0], 0
        for k in range(1, n - 1):
            if rank[k] < lowest:
                lowest, at = rank[k], k
        if lowest == NO_RANK:
            break
        symbol[at] = tables.made[lowest]
        n -= 1
        for k in range(at + 1, n):
            symbol[k] = symbol[k + 1]
        for k in range(at + 1, n - 1):
            rank[k] = rank[k + 1]
        if at > 0:
            rank[at - 1] = _rank(symbol[at - 1], symbol[at], tables)
        if at < n - 1:
            rank[at] = _rank(symbol[at], symbol[at + 1], tables)
    return n


# ---- short words ----

@kernel(inline="always")
def merge_short(data, start, n, tables, work, out, m):
    """Do `merge_word` to up to SHORT bytes, where there is a tree.

    A pair's key is its rank and its place, so that the lowest is that of the next merge. A symbol
    stays at the place of its first byte; `alive` has a bit for each place where one is.
    """
    symbol, key = out[m:], work.rank
    n_places = (n + 7) & ~7
    _start_keys(data, start, n, tables.tree, symbol, key)
    for k in range(n - 1, n_places):
        key[k] = NO_RANK
    alive = (_ONE << uint64(n)) - _ONE
    while True:
        lowest = key[0]
        for k in range(1, n_places):
            lowest = min(lowest, key[k])
        if lowest == NO_RANK:
            return _without_gaps(symbol, alive)
        at = int64(lowest) % SHORT
        until = (_ONE << uint64(at + 1)) - _ONE
        before, behind = alive & (until >> _ONE), alive & ~until
        joined = trailing_zeros(behind)
        behind &= behind - _ONE
        alive ^= _ONE << uint64(joined)
        symbol[at] = tables.made[int64(lowest) // SHORT]
        key[at] = key[joined] = NO_RANK
        if behind:
            key[at] = _key(at, symbol[at], symbol[trailing_zeros(behind)], tables)
        if before:
            left = 63 - leading_zeros(before)
            key[left] = _key(left, symbol[left], symbol[at], tables)


@kernel(inline="always")
def _start_keys(data, start, n, tree, out_symbol, out_key):
    """Write the n bytes of a word, and the keys of their pairs: of two bytes the tree tells."""
    for k in range(n):
        out_symbol[k] = data[start + k]
    for k in range(n - 1):
        node = int64(tree.first[int64(data[start + k]) << 8 | int64(data[start + k + 1])])
        is_token = 256 <= node < len(tree.facts)
        out_key[k] = (node - 256) * SHORT + k if is_token else NO_RANK


@kernel(inline="always")
def _key(at, left, right, tables):
    """The key of two symbols of which the left one is at a place, or NO_RANK."""
    rank = NO_RANK
    if is_known(int64(left) << 32 | int64(right), tables.tree.known):
        rank = _rank(left, right, tables)
    return NO_RANK if rank == NO_RANK else int64(rank) * SHORT + at


@kernel(inline="always")
def _without_gaps(symbol, alive):
    """Move the symbols of the places that are alive to the front; return how many."""
    count = 0
    while alive:
        symbol[count] = symbol[trailing_zeros(alive)]
        alive &= alive - _ONE
        count += 1
    return count


# ---- the merges behind tokens ----

@kernel
def recover_merges(data, ends, tables, work, symbol):
    """Find the merge that makes each token: the last two symbols its bytes merge to by earlier
    tokens.

    The tokens, in rank order, stand one after the other in `data` and end at `ends`. `tables`
    learns each merge at once; -1 stays in `tables.pairs` for a token that no merge makes. `symbol`
    has room for one token.
    """
    pairs, slots, _, _, _ = tables
    start = 0
    for r in range(len(ends)):
        n = ends[r] - start
        if merge_word(data, start, n, tables, work, symbol, 0) == 2:
            pairs[r] = int64(symbol[0]) << 32 | int64(symbol[1])
            slots[pair_slot(pairs[r], pairs, slots)] = r
        start = ends[r]
