"""Encode a word in linear time, without merging it: the longest token that fits, or one step back.

Two tokens *fit* if their bytes together become these two tokens again. What merging makes of a word
is the one sequence of tokens in which all neighbours fit: no merge crosses a border of the result,
so every part of it is the result of its own bytes; and the first merge across a border of such a
sequence would cross that border of the two tokens alone. So the first tokens of a word are the one
result of their bytes too, and a place that no token leads on from is left for good.

Whether two tokens fit follows from how they came about. Ranks only rise while a word is merged
(where each merge joins what merges of lower rank make). Backwards from the two tokens, the younger
one falls into its parts, of which the one at the border matters; the two fit if no pair that stood
at the border was to be merged before one of its tokens was merged with its other neighbour.

References
----------
van Antwerpen and Neubeck 2024, "So many tokens, so little time", GitHub's blog.
"""
from collections import namedtuple

import numpy as np
from numba import int64, uint64

from bpe.jit import kernel
from bpe.pretokenize import side_by_side
from bpe.table import find_pair, pair_hash, power_of_two

NO_RANK = 0x7FFFFFFF  # larger than any rank
MEMO = 1 << 15  # pairs of tokens that a thread remembers whether they fit
_NODE_BITS = 28
_NODE = uint64((1 << _NODE_BITS) - 1)
_NONE, _ONE, _6, _8, _63, _64 = map(uint64, (0, 1, 6, 8, 63, 64))
# the columns of `facts`
SHORTER, RANK, LEFT, RIGHT = range(4)

# A tree of the bytes of all tokens. Its nodes are numbers: that of a token is its symbol, others
# are higher. first: (65536,) int32, the node of two bytes, or 0; nodes: a hash table of uint64,
# (node, byte, node behind it). A row of facts, (S, 4) int32, has of a symbol the longest token that
# it begins with or -1, its rank or -1, the two symbols it is made of; length: (S,) int32, its
# bytes. known: a bit that is set for the hash of each pair with a rank, since most have none.
Tree = namedtuple("Tree", "first nodes facts length known")


def no_tree():
    """What stands in place of a tree where merges are in no order that allows it."""
    facts = np.empty((0, 4), np.int32)
    numbers = np.empty(0, np.int32)
    bits = np.empty(0, np.uint64)
    return Tree(numbers, bits, facts, numbers, bits)


def make_tree(tokens, pairs, slots, made):
    """Build the tree of tokens.

    Parameters
    ----------
    tokens : list of bytes
        Of each symbol.
    pairs, slots, made
        As in `bpe.pairs.Tables`.
    """
    facts = np.full((len(tokens), 4), -1, np.int32)
    length = np.array(list(map(len, tokens)), np.int32)
    known = np.zeros(power_of_two(8 * len(pairs) + 64) >> 6, np.uint64)
    note_merges(pairs, slots, made, facts, known)
    able = np.flatnonzero(facts[:, RANK] >= 0)
    by_length = np.argsort(length[able], kind="stable")
    symbols = np.append(np.arange(256), able[by_length])
    data, ends = side_by_side([tokens[symbol] for symbol in symbols])
    if ends[-1] + len(tokens) >> _NODE_BITS:
        raise ValueError(f"the tokens take {ends[-1]:,} bytes, more than {1 << _NODE_BITS:,}")
    first = np.zeros(1 << 16, np.int32)
    nodes = np.zeros(power_of_two(2 * ends[-1]), np.uint64)
    n_nodes = grow(data, ends, symbols, first, nodes, facts)
    if 4 * n_nodes < len(nodes):  # tokens share their beginnings
        first[:], nodes = 0, np.zeros(power_of_two(2 * n_nodes), np.uint64)
        grow(data, ends, symbols, first, nodes, facts)
    return Tree(first, nodes, facts, length, known)


# ---- the tree ----

@kernel
def note_merges(pairs, slots, made, out_facts, out_known):
    """Write the rank and the parts of each symbol that its own bytes become."""
    for r in range(len(pairs)):
        if pairs[r] < 0:
            continue
        bit = pair_hash(pairs[r]) & (_64 * uint64(len(out_known)) - _ONE)
        out_known[bit >> _6] |= _ONE << (bit & _63)
        left, right = pairs[r] >> 32, pairs[r] & 0xFFFFFFFF
        symbol = made[r]
        able = (left < 256 or out_facts[left, RANK] >= 0) and (
            right < 256 or out_facts[right, RANK] >= 0)
        if able and out_facts[symbol, RANK] < 0 and _fit_below(
                left, right, r, pairs, slots, out_facts, out_known):
            out_facts[symbol, RANK] = r
            out_facts[symbol, LEFT], out_facts[symbol, RIGHT] = left, right


@kernel
def grow(data, ends, symbols, out_first, out_nodes, out_facts):
    """Enter tokens, the shorter ones first; return how many nodes there are."""
    n_symbols = n_nodes = len(out_facts)
    begin = 0
    for j in range(len(symbols)):
        symbol = symbols[j]
        node = longest = int64(data[begin])
        for k in range(begin + 1, ends[j]):
            after = _node_behind(node, data, k, begin, out_first, out_nodes)
            if after == 0:
                after = symbol
                if k < ends[j] - 1:
                    after, n_nodes = n_nodes, n_nodes + 1
                _connect(node, data, k, begin, after, out_first, out_nodes)
            if k < ends[j] - 1 and after < n_symbols:
                longest = after
            node = after
        out_facts[symbol, SHORTER] = longest if ends[j] - begin > 1 else -1
        begin = ends[j]
    return n_nodes


@kernel(inline="always")
def _two_bytes(data, k):
    """The two bytes at k as one number."""
    return int64(data[k]) << 8 | int64(data[k + 1])


@kernel(inline="always")
def _slot(node, byte, nodes):
    """The slot of `nodes` for a byte behind a node: its own, or an empty one."""
    key = uint64(node) << _8 | uint64(byte)
    mask = uint64(len(nodes) - 1)
    q = pair_hash(key) & mask
    while nodes[q] and nodes[q] >> uint64(_NODE_BITS) != key:
        q = (q + _ONE) & mask
    return q


@kernel(inline="always")
def _node_behind(node, data, k, begin, first, nodes):
    """The node that the byte at k leads to from `node`, or 0; the token begins at `begin`."""
    if k == begin + 1:
        return int64(first[_two_bytes(data, begin)])
    return int64(nodes[_slot(node, data[k], nodes)] & _NODE)


@kernel
def _connect(node, data, k, begin, after, out_first, out_nodes):
    """Let the byte at k lead from `node` to `after`."""
    if k == begin + 1:
        out_first[_two_bytes(data, begin)] = after
    else:
        key = uint64(node) << _8 | uint64(data[k])
        q = _slot(node, data[k], out_nodes)
        out_nodes[q] = key << uint64(_NODE_BITS) | uint64(after)


# ---- words ----

@kernel(inline="always")
def encode_word(data, start, n, tables, work, out, m):
    """Write the symbols of the word data[start:start + n] from out[m] on; return how many."""
    tree, dead = tables.tree, work.dead
    for k in range((n >> 6) + 1):
        dead[k] = 0
    stop, at, count = start + n, start, 0
    token, end = _longest(data, at, stop, tree)
    while at < stop:
        before = int64(out[m + count - 1]) if count else -1
        while token >= 0:
            if not _is_dead(end - start, dead) and _fit(before, token, tables, work.memo):
                break
            token = int64(tree.facts[token, SHORTER])
            end = at + int64(tree.length[token])
        if token >= 0:
            out[m + count] = token
            count += 1
            at = end
            token, end = _longest(data, at, stop, tree)
        else:
            dead[(at - start) >> 6] |= _ONE << uint64((at - start) & 63)
            count -= 1
            token, end = int64(out[m + count]), at  # which the loop takes for a shorter one
            at -= int64(tree.length[token])
    return count


@kernel(inline="always")
def _longest(data, at, stop, tree):
    """The longest token that begins at `at` and ends by `stop`; where it ends."""
    first, nodes, facts, _, _ = tree
    token, end = int64(data[at]), at + 1
    if at + 2 <= stop:
        node, k = int64(first[_two_bytes(data, at)]), at + 2
        while node:
            if node < len(facts):
                token, end = node, k
            if k >= stop:
                break
            node = int64(nodes[_slot(node, data[k], nodes)] & _NODE)
            k += 1
    return token, end


@kernel(inline="always")
def _is_dead(k, dead):
    """Whether no sequence of tokens leads on from k bytes behind the start."""
    return (dead[k >> 6] >> uint64(k & 63)) & _ONE != _NONE


@kernel(inline="always")
def _fit(x, y, tables, memo):
    """Whether token y may stand behind x, which is -1 at the start of a word."""
    if x < 0:
        return True
    pair = uint64(x) << uint64(32) | uint64(y)
    q = pair_hash(pair) & uint64(len(memo) - 1)
    if memo[q] >> _ONE != pair:
        tree = tables.tree
        fit = _fit_below(x, y, NO_RANK, tables.pairs, tables.slots, tree.facts, tree.known)
        memo[q] = pair << _ONE | uint64(fit)
    return memo[q] & _ONE != _NONE


@kernel(inline="always")
def is_known(pair, known):
    """Whether a pair of symbols may have a rank: False is certain."""
    bit = pair_hash(pair) & (_64 * uint64(len(known)) - _ONE)
    return known[bit >> _6] >> (bit & _63) & _ONE != _NONE


@kernel
def _fit_below(x, y, rank, pairs, slots, facts, known):
    """Whether x and y fit where merges from `rank` on do not exist.

    `x_until` is the rank of the merge that joins x to what is left of it, `y_until` of that which
    joins y to what is right of it. Of a row of equal tokens the leftmost two are joined.
    """
    x_until = y_until = int64(rank)
    while True:
        pair = int64(x) << 32 | int64(y)
        if is_known(pair, known):
            joined = find_pair(pair, pairs, slots)
            if 0 <= joined < x_until and joined <= y_until and joined < rank:
                return False
        x_rank = int64(facts[x, RANK])
        y_rank = int64(facts[y, RANK])
        if x_rank > y_rank:
            x_until, x = x_rank, int64(facts[x, RIGHT])
        elif y_rank >= 0:
            y_until, y = y_rank, int64(facts[y, LEFT])
        else:
            return True
