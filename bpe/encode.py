"""Turn pre-tokens into ids: the cache of words, and the kernel that goes through text.

A word that was seen before is looked up, not merged: one slot of 32 bytes holds up to 15 bytes of
the word and up to three ids, and the slots of a block of words are prefetched before any is read.
"""

from collections import namedtuple

import numpy as np
from llvmlite import ir
from numba import int64, types, uint64
from numba.extending import intrinsic

from bpe.jit import kernel, load64, same_bytes
from bpe.pairs import merge_long, merge_short

PADDING = 16  # readable bytes needed after the last word
BLOCK = 256  # words whose slots are prefetched together
_CACHED = 253  # bytes; longer words are not kept
_BYTE, _I32 = ir.IntType(8), ir.IntType(32)
ONE, TWO, THREE = uint64(1), uint64(2), uint64(3)
_MULTIPLIER = 0x9E3779B97F4A7C15
_MULTIPLIER_2 = 0xD6E8FEB86659FD93

# One per thread. slots: 4 uint64 a word (`_word_key` and `encode_words` say what); long_words:
# bytes of words of 16 bytes and more; long_ids: ids of words with four ids and more; used: how much
# of the three is taken; keys: what a block of words is looked up by.
Cache = namedtuple("Cache", "slots long_words long_ids used keys")


# ---- words ----


# ---- memory ----


def new_cache(n_slots):
    """Make an empty cache for half as many words as `n_slots`, a power of two."""
    slots = np.zeros(4 * n_slots + 8, np.uint64)
    start = -slots.ctypes.data % 64 // 8  # no slot lies across two cache lines
    return Cache(slots[start:start + 4 * n_slots], np.empty(4 * n_slots + PADDING, np.uint8),
                 np.empty(2 * n_slots, np.int32), np.zeros(3, np.int64),
                 np.empty(3 * BLOCK, np.uint64))


def fill_cache(old, cache):
    """Enter all words of `old` into the empty `cache`, which is as large or larger."""
    if len(old.slots) == len(cache.slots):
        cache.slots[:] = old.slots
    else:
        rehash(old.slots, cache.slots, shift_of(cache))
    for i in (1, 2):
        cache[i][:old.used[i]] = old[i][:old.used[i]]
    cache.used[:] = old.used


def shift_of(cache):
    return 65 - (len(cache.slots) >> 2).bit_length()


# ---- kernels ----


@intrinsic
def _prefetch(typing_context, array, k):
    """Ask for the cache line of array[k], which will be read and perhaps written."""

    def codegen(context, builder, signature, args):
        pointer = context.make_array(signature.args[0])(context, builder, args[0]).data
        address = builder.bitcast(builder.gep(pointer, [args[1]]), _BYTE.as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer()] + 3 * [_I32])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [_BYTE.as_pointer()], kind)
        builder.call(prefetch, [address, _I32(0), _I32(3), _I32(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


@kernel(inline="always")
def _word_key(data, start, n):
    """Return two uint64 for a word of n <= 15 bytes: bytes 0 to 7; bytes 8 to 14 with n on top."""
    low = min(n, 8)
    high = n - low
    ones = uint64(0xFFFFFFFFFFFFFFFF)
    a = load64(data, start) & (ones >> uint64(64 - 8 * low))
    b = load64(data, start + 8) & ((ones >> uint64(1)) >> uint64(63 - 8 * high))
    return a, b | (uint64(n) << uint64(56))


@kernel(inline="always")
def _long_key(data, start, n):
    """Return two uint64 for a longer word: a hash of its bytes; its length on top of zeros."""
    h = uint64(n)
    for k in range(start, start + n - 7, 8):
        h = (h ^ load64(data, k)) * uint64(_MULTIPLIER)
        h ^= h >> uint64(29)
    h = (h ^ load64(data, start + n - 8)) * uint64(_MULTIPLIER)
    return h ^ (h >> uint64(32)), uint64(n) << uint64(56)


@kernel(inline="always")
def _home(a, b, shift):
    return int64((a * uint64(_MULTIPLIER) + b * uint64(_MULTIPLIER_2)) >> uint64(shift)) << 2


@kernel
def rehash(old, slots, shift):
    """Enter the words of `old` into the larger, empty `slots`, 2 ** (64 - shift) of them."""
    for q in range(0, len(old), 4):
        a = old[q]
        b = old[q + 1]
        if b != uint64(0):
            short = (b >> uint64(56)) < uint64(16)
            p = _home(a, b if short else (b >> uint64(56)) << uint64(56), shift)
            while slots[p + 1] != uint64(0):
                p = (p + 4) & (len(slots) - 1)
            for k in range(4):
                slots[p + k] = old[q + k]


@kernel
def add_words(data, ends, ids, cache, shift):
    """Enter words that are one token each, so that they are never merged; `cache` has the room."""
    slots, long_words, _, used, _ = cache
    start = 0
    for j in range(len(ends)):
        w = ends[j] - start
        if w <= _CACHED:
            a, b = _word_key(data, start, w) if w <= 15 else _long_key(data, start, w)
            p = _home(a, b, shift)
            while slots[p + 1] != uint64(0):
                p = (p + 4) & (len(slots) - 1)
            slots[p] = a
            slots[p + 1] = b
            slots[p + 2] = (uint64(ids[j]) << uint64(32)) | uint64(1)
            used[0] += 1
            if w > 15:
                slots[p + 1] |= uint64(used[1] + 1)
                for k in range(w):
                    long_words[used[1] + k] = data[start + k]
                used[1] += w
        start = ends[j]


@kernel
def encode_words(data, start, ends, tables, cache, work, out):
    """Write the ids of the words that end at `ends`, of which the first starts at `start`, to
    `out`.

    An empty word is written as -1. `data` has PADDING bytes behind the last word; `out` has room
    for one id a byte and three more.

    Returns
    -------
    n_words, n_ids : int
        What was done. It is less than all where the cache is half full or the next word does not
        fit into `work`: the caller makes room and calls again.
    """
    pairs, byte_pairs, made, ids, short = tables
    slots, long_words, long_ids, used, keys = cache
    symbol = work.symbol
    rank = work.older
    n_slots = len(slots) >> 2
    shift = 64
    while (1 << (64 - shift)) < n_slots:
        shift -= 1
    m = 0
    begin = start
    for block in range(0, len(ends), BLOCK):
        stop = min(block + BLOCK, len(ends))
        if 2 * (used[0] + BLOCK) > n_slots:
            return block, m
        s = begin
        for j in range(block, stop):
            w = ends[uint64(j)] - s
            if w == 0:
                a, b = uint64(0), uint64(0xFE) << uint64(56)
            elif w <= 15:
                a, b = _word_key(data, s, w)
            elif w <= _CACHED:
                a, b = _long_key(data, s, w)
            else:
                a, b = uint64(0), uint64(0xFF) << uint64(56)
            p = _home(a, b, shift)
            _prefetch(slots, p)
            q = uint64(3 * (j - block))  # unsigned: no test for an index from the end
            keys[q] = a
            keys[q + ONE] = b
            keys[q + TWO] = uint64(p)
            s = ends[uint64(j)]
        for j in range(block, stop):
            w = ends[uint64(j)] - begin
            q = uint64(3 * (j - block))
            a = keys[q]
            b = keys[q + ONE]
            p = keys[q + TWO]
            found = slots[p] == a and slots[p + ONE] == b
            while not found and slots[p + ONE] != uint64(0):
                if w > 15 and slots[p] == a and (slots[p + ONE] >> uint64(56)) == uint64(w):
                    at = int64(slots[p + ONE] & uint64(0xFFFFFFFFFF)) - 1
                    found = same_bytes(data, begin, long_words, at, w)
                if not found:
                    p = (p + uint64(4)) & uint64(len(slots) - 1)
                    found = slots[p] == a and slots[p + ONE] == b
            if found:
                low = slots[p + TWO]
                high = slots[p + THREE]
                count = int64(low & uint64(0xFFFFFFFF))
                if count <= 3:
                    out[uint64(m)] = low >> uint64(32)
                    out[uint64(m + 1)] = high & uint64(0xFFFFFFFF)
                    out[uint64(m + 2)] = high >> uint64(32)
                else:
                    for k in range(count):
                        out[m + k] = long_ids[int64(high) + k]
            elif w == 0:
                out[m] = -1
                count = 1
            else:
                if w > len(symbol):
                    return j, m
                if w <= short:
                    count = merge_short(
                        data, begin, w, pairs, byte_pairs, made, symbol, rank)
                else:
                    count = merge_long(data, begin, w, tables, work)
                for k in range(count):
                    out[m + k] = ids[symbol[k]]
                room = used[1] + w <= len(long_words) and used[2] + count <= len(long_ids)
                if w <= _CACHED and room:
                    used[0] += 1
                    slots[p] = a
                    slots[p + ONE] = b
                    if w > 15:
                        slots[p + ONE] |= uint64(used[1] + 1)
                        for k in range(w):
                            long_words[used[1] + k] = data[begin + k]
                        used[1] += w
                    if count <= 3:
                        slots[p + TWO] = (uint64(out[m]) << uint64(32)) | uint64(count)
                        second = uint64(out[m + 1]) if count > 1 else uint64(0)
                        third = uint64(out[m + 2]) if count > 2 else uint64(0)
                        slots[p + THREE] = second | (third << uint64(32))
                    else:
                        slots[p + TWO] = uint64(count)
                        slots[p + THREE] = uint64(used[2])
                        for k in range(count):
                            long_ids[used[2] + k] = out[m + k]
                        used[2] += count
            m += count
            begin = ends[uint64(j)]
    return len(ends), m
