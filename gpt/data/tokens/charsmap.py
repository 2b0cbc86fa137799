"""SentencePiece's table of what characters become: T5's and XLM's normalizer.

The bytes are a little-endian uint32, the size of a trie; the trie, a double array of 32-bit units;
and texts that end in a zero byte, in which the trie's values are places. In a unit:

    bits 0-7     the byte that leads here; with bit 31 set the unit is a value, in bits 0-30
    bit 8        a value is among the children
    bits 10-30   how far the children are, exclusive or, 256 times as far where bit 9 is set

References
----------
Aoe 1989, "An efficient digital search algorithm by using a double-array structure"; the format is
that of the library darts-clone.
"""
import base64
import binascii

import numpy as np
import regex

LABEL = 1 << 31 | 0xFF
LONGEST_CLUSTER = 5  # bytes; what is longer goes by its characters


def charsmap(path, text):
    """Make a normalizer of a table in base 64; a ValueError says that it is none."""
    if not text:
        return lambda text: text
    trie, texts = _tables(path, text)
    known = {}  # a cluster of characters -> what it becomes
    printable = map(chr, range(32, 127))
    plain = [c for c in printable if _found(trie, texts, c) is None]
    run = "[" + "".join(map(regex.escape, plain)) + "]+"
    # A run of plain characters, of which the last may belong to a cluster, or one cluster.
    pieces = regex.compile(rf"{run}(?=[ -~]|\Z)|\X" if plain else r"\X")

    def become(match):
        piece = match.group()
        if piece.isascii() and piece[0] in plain:
            return piece
        if piece not in known:
            if len(known) >= 1 << 16:
                known.clear()
            known[piece] = _cluster(trie, texts, piece)
        return known[piece]
    return lambda text: pieces.sub(become, text)


def _tables(path, text):
    """Read the trie, (U,) list of int, and the texts, bytes."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    size, rest = int.from_bytes(data[:4], "little"), data[4:]
    right = size % 4 == 0 and 4 <= size <= len(rest)
    if not right or not rest.endswith(b"\0"):
        raise ValueError(f"{path}: normalizer Precompiled: precompiled_charsmap is no table of "
                         f"characters of SentencePiece")
    units = np.frombuffer(rest[:size], "<u4")
    return units.tolist(), rest[size:]


def _cluster(trie, texts, cluster):
    """Say what a cluster becomes: as a whole if it is short and the trie begins it, else by
    characters."""
    if len(cluster.encode()) <= LONGEST_CLUSTER:
        found = _found(trie, texts, cluster)
        if found is not None:
            return found
    parts = [(c, _found(trie, texts, c)) for c in cluster]
    return "".join(c if found is None else found for c, found in parts)


def _found(trie, texts, key):
    """Look up the shortest beginning of `key` that the trie has; None if there is none."""
    at, place = 0, None
    for byte in key.encode():
        at ^= _offset(trie[at]) ^ byte
        if byte == 0 or at >= len(trie) or trie[at] & LABEL != byte:
            break
        value = at ^ _offset(trie[at])
        if trie[at] >> 8 & 1 and value < len(trie):
            place = trie[value] & (1 << 31) - 1
            break
    if place is None or place >= len(texts):
        return None
    return texts[place:texts.index(0, place)].decode("utf-8", "replace")


def _offset(unit):
    return (unit >> 10) << ((unit & 1 << 9) >> 6)
