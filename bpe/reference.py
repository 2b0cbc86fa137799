"""Byte-pair encoding, the book version: start here. Slow, short, and what every test compares with.

Text is cut into pre-tokens (words, roughly), each a list of byte tokens. Training counts every pair
of neighbours, makes a token of the most frequent pair, writes it in place of the pair everywhere,
and starts over. Encoding repeats the same merges, in the same order, on new text.

>>> merges = train(["low lower lowest"], n_merges=3, pattern="gpt2")
>>> tokens = vocabulary(merges); tokens[256:]
[b'lo', b'low', b' low']
>>> [tokens[i] for i in encode("slow low", merges, "gpt2")]
[b's', b'low', b' low']
>>> decode(encode("slow low", merges, "gpt2"), merges)
b'slow low'

References
----------
Gage 1994, "A new algorithm for data compression"; Sennrich et al. 2016, arXiv:1508.07909; Radford
et al. 2019 (GPT-2) for bytes and for cutting into pre-tokens by a pattern.
"""
import re
from collections import Counter
from functools import lru_cache, partial
from itertools import chain, pairwise

import regex

from bpe.decode import bytes_of
from bpe.pretokenize import NAMED, pattern_name, steps_of, to_bytes
from bpe.unicode_ranges import SETS, expand

BYTES = tuple(range(256))  # byte_order: byte_order[i] is the byte of token i


def split(text, pattern):
    """Cut a str or bytes into its pre-tokens, a list of bytes that joins to the whole.

    Bytes that are not UTF-8 stand as lone surrogates while `regex` looks at them: neither letters,
    numbers nor white space. What the pattern does not match becomes a pre-token too.
    """
    pieces = [to_bytes(text).decode("utf-8", "surrogateescape")]
    for step in steps_of(pattern):
        cut = partial(_cut, pattern=step)
        pieces = list(chain.from_iterable(map(cut, pieces)))
    return [piece.encode("utf-8", "surrogateescape") for piece in pieces]


def _cut(text, pattern):
    """Cut a str where matches of a pattern begin and end."""
    edges = {0, len(text)}
    for match in matches(text, pattern):
        edges |= set(match.span())
    starts_and_stops = pairwise(sorted(edges))
    return [text[i:j] for i, j in starts_and_stops]


def matches(text, pattern):
    """Find the matches of a pattern in a str; for ASCII a named one compiles in no time."""
    return compiled(pattern, 128 if text.isascii() else 0x110000).finditer(text)


@lru_cache(maxsize=64)
def compiled(pattern, stop=0x110000):
    """Compile a pattern; in the named ones, each class becomes its pinned code points below `stop`.
    """
    if pattern_name(pattern) is None:
        return regex.compile(pattern)
    pattern = NAMED[pattern_name(pattern)].replace("(?!\\S)", "(?![^\\s])")
    names = sorted(SETS, key=len, reverse=True)
    any_name = "|".join(map(re.escape, names))
    sets = re.compile(f"(\\[[^]]*\\])|({any_name})")

    def pin(match):
        text = match.group()
        for name in names:
            inside = expand(name, stop)
            text = text.replace(name, inside if match.group(1) else f"[{inside}]")
        return text
    return regex.compile(sets.sub(pin, pattern))


def count_words(documents, pattern, byte_order=BYTES):
    """Count the distinct pre-tokens, as tuples of ids."""
    ids = {byte: i for i, byte in enumerate(byte_order)}
    pieces = Counter(piece for document in documents for piece in split(document, pattern))
    return {tuple(ids[b] for b in piece): count for piece, count in pieces.items()}


def count_pairs(words):
    """Count neighbours in all words, each as often as its word occurs; first seen, first listed."""
    counts = {}  # (int, int) -> int
    for word, count in words.items():
        for pair in zip(word, word[1:]):
            counts[pair] = counts.get(pair, 0) + count
    return counts


def merge(word, pair, new):
    """Write `new` for `pair`, from left to right: merge((1, 1, 1), (1, 1), 9) is (9, 1)."""
    out, i = [], 0
    while i < len(word):
        found = tuple(word[i:i + 2]) == pair
        out.append(new if found else word[i])
        i += 2 if found else 1
    return tuple(out)


def most_frequent(counts, tokens, ties):
    """Choose the pair to merge.

    Among equals: the `smallest` pair of ids, the `greatest` of byte strings, the `first` in text.
    """
    top = max(counts.values())
    best = [pair for pair, count in counts.items() if count == top]
    if ties == "smallest":
        return min(best)
    if ties == "greatest":
        return max(best, key=lambda pair: (tokens[pair[0]], tokens[pair[1]]))
    return best[0]


def train(documents, n_merges, pattern, ties="smallest", byte_order=BYTES, min_count=1):
    """Learn merges, a list of (left id, right id); merge k makes token 256 + k."""
    words = count_words(documents, pattern, byte_order)
    merges, tokens = [], vocabulary([], byte_order)
    while len(merges) < n_merges:
        counts = count_pairs(words)
        if not counts or max(counts.values()) < min_count:
            break
        pair = most_frequent(counts, tokens, ties)
        words = {merge(word, pair, len(tokens)): count for word, count in words.items()}
        tokens.append(tokens[pair[0]] + tokens[pair[1]])
        merges.append(pair)
    return merges


def vocabulary(merges, byte_order=BYTES):
    """The bytes of every token, in the order of ids."""
    tokens = [bytes([byte]) for byte in byte_order]
    for left, right in merges:
        tokens.append(tokens[left] + tokens[right])
    return tokens


def encode(text, merges, pattern, byte_order=BYTES):
    """Turn a str or bytes into ids: in each pre-token, the earliest merge comes first."""
    ids = {byte: i for i, byte in enumerate(byte_order)}
    numbered = list(enumerate(merges, 256))
    ranks = {pair: i for i, pair in reversed(numbered)}
    out = []
    for piece in split(text, pattern):
        word = tuple(ids[b] for b in piece)
        while known := [pair for pair in zip(word, word[1:]) if pair in ranks]:
            pair = min(known, key=ranks.get)
            word = merge(word, pair, ranks[pair])
        out.extend(word)
    return out


def decode(ids, merges, byte_order=BYTES):
    """Turn ids into bytes."""
    return bytes_of(ids, vocabulary(merges, byte_order))
