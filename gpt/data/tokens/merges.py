"""Byte-pair encoding over characters, as in Llama 2 and Gemma.

Like `bpe`, but a word is characters at first. One that is no token becomes its UTF-8 bytes, tokens
named `<0x0A>`, where the model has them (byte fallback), or the token for what is unknown.
"""
import re
from array import array
from bisect import bisect_right
from heapq import heapify, heappop, heappush

import numpy as np

from bpe.files import list_in
from gpt.data.tokens.vocabularies import checked_vocab, fallback_ids

SIGN = "▁"  # what stands for a space


class Merges:
    """The merges of a `tokenizer.json`; called with a word, it returns a list of ids."""

    def __init__(self, part):
        self.vocab = checked_vocab(part)
        dropout = part("dropout", (int, float), None)
        part.check("dropout", dropout, not dropout, "null: merges are never left out here")
        self.prefix = part("continuing_subword_prefix", str, None) or ""
        self.suffix = part("end_of_word_suffix", str, None) or ""
        self.whole_words = part("ignore_merges", bool, False)
        self.fuses = part("fuse_unk", bool, False)
        unknown = part("unk_token", str, None)
        part.check("unk_token", unknown, unknown is None or unknown in self.vocab,
                   "in the vocabulary")
        self.unknown = self.vocab.get(unknown)
        falls_back = part("byte_fallback", bool, False)
        self.bytes = fallback_ids(self.vocab) if falls_back else [None] * 256
        part.asked.add("merges")
        self._index(*self._merges_in(part))

    def _merges_in(self, part):
        """Read the ids of the left tokens, of the right ones, and of what they make, by rank."""
        lefts, rights, made = array("i"), array("i"), array("i")
        vocab, skipped = self.vocab, len(self.prefix)
        for rank, pair in enumerate(list_in(part.path, part.facts, "merges")):
            try:
                left, right = pair.split(" ") if type(pair) is str else pair
                made.append(vocab[left + right[skipped:]])
                lefts.append(vocab[left])
                rights.append(vocab[right])
            except (AttributeError, ValueError, KeyError, TypeError):
                part.check(f"merges[{rank}]", pair, False, "two tokens that make a third")
        return lefts, rights, made

    def _index(self, lefts, rights, made):
        """Keep the merges in the order of their left ids: a dict takes seven times the memory."""
        left, right = np.array(lefts), np.array(rights)
        order = np.lexsort((right, left))              # of equal ones that of the last rank is last
        ids = np.arange(max(self.vocab.values(), default=0) + 2)
        begins = np.searchsorted(left[order], ids)
        self.made, self.begins = made, _numbers(begins)       # by rank; by left id
        self.rights, self.ranks = _numbers(right[order]), _numbers(order)

    def _rank(self, left, right):
        """Return the rank of the merge of two ids, None if there is none."""
        begin, end = self.begins[left], self.begins[left + 1]
        at = bisect_right(self.rights, right, begin, end) - 1
        there = at >= begin and self.rights[at] == right
        return self.ranks[at] if there else None

    def __call__(self, word):
        if self.whole_words and word in self.vocab:
            return [self.vocab[word]]
        ids = self._start(word)
        return self._merge(ids) if len(ids) > 1 else ids

    def _start(self, word):
        """The ids of a word's characters."""
        ids, before = [], None  # before: the token for what is unknown, if it came last
        for k, character in enumerate(word):
            text = (self.prefix if k else "") + character
            text += self.suffix if k == len(word) - 1 else ""
            i = self.vocab.get(text)
            parts = [i] if i is not None else [self.bytes[byte] for byte in text.encode()]
            if None not in parts:
                ids += parts
                before = None
            elif self.unknown is not None and not (self.fuses and before):
                ids.append(self.unknown)
                before = True
        return ids

    def _merge(self, ids):
        """Merge the pair of lowest rank, the leftmost first, until none is left.

        A pair waits in a heap from when it comes to stand side by side. When its turn comes, it may
        be gone: then another merge has taken one of the two.
        """
        n = len(ids)
        after = list(range(1, n + 1))
        before = list(range(-1, n - 1))
        heap = []

        def wait(i, j):
            rank = self._rank(ids[i], ids[j]) if i >= 0 and j < n else None
            if rank is not None:
                heappush(heap, (rank, i))

        for i in range(n - 1):
            wait(i, i + 1)
        heapify(heap)
        while heap:
            rank, i = heappop(heap)
            j = after[i]
            if ids[i] is None or j == n or self._rank(ids[i], ids[j]) != rank:
                continue
            ids[i], ids[j] = self.made[rank], None
            after[i] = after[j]
            if after[i] < n:
                before[after[i]] = i
            wait(before[i], i)
            wait(i, after[i])
        return [i for i in ids if i is not None]

    def borders(self):
        """Make a pattern of places that no merge crosses: before ▁, or None.

        A text without cuts is one word, as long as the text. But a token has ▁ behind few
        characters, mostly ▁ itself: behind any other, merges of the two sides never meet.
        """
        if SIGN not in self.vocab or self.prefix or self.suffix or self.whole_words:
            return None
        inside = {SIGN}
        for text in self.vocab:
            inside.update(re.findall(f"(?s).(?={SIGN})", text))
        inside = "".join(map(re.escape, sorted(inside)))
        return re.compile(f"(?<=[^{inside}])(?={SIGN})")


def _numbers(x):
    """Make an array that gives Python's numbers, at half the time of NumPy's."""
    return array("i", x.astype(np.intc).tobytes())
