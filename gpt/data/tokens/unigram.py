"""Unigram: of all ways to cut a word into tokens, the likeliest, as in T5 and XLM.

References
----------
Kudo 2018, arXiv:1804.10959; Viterbi 1967 for the search.
"""
from math import inf, isfinite

from gpt.data.tokens.vocabularies import LONGEST_PIECE, fallback_ids

PIECE = f"a text of at most {LONGEST_PIECE} characters and its log-likelihood"

UNKNOWN_PENALTY = 10.0  # an unknown character is so much less likely than the unlikeliest token


class Unigram:
    """Tokens with log-likelihoods; called with a word, it returns a list of ids."""

    def __init__(self, part):
        pieces = part("vocab", list)
        for i, piece in enumerate(pieces):
            part.check(f"vocab[{i}]", piece, _is_piece(piece), PIECE)
        texts = [text for text, _ in pieces]
        self.vocab = {text: i for i, text in enumerate(texts)}
        self.scores = dict(pieces)
        self.unknown = part("unk_id", int, None)
        right = self.unknown is None or 0 <= self.unknown < len(pieces)
        part.check("unk_id", self.unknown, right, f"an id below {len(pieces)}")
        falls_back = part("byte_fallback", bool, False)
        self.bytes = fallback_ids(self.vocab) if falls_back else [None] * 256
        least = min((score for _, score in pieces), default=0.0)
        self.unlikely = least - UNKNOWN_PENALTY
        self.begun = set()
        for text in texts:
            self.begun.update(text[:n] for n in range(1, len(text)))

    def __call__(self, word):
        ids = []
        for text, _ in self._pieces(word):
            ids += self._ids(text)
        return ids

    def _ids(self, text):
        """The ids of a piece: its own, or those of its bytes, or the one for what is unknown."""
        if text in self.vocab:
            return [self.vocab[text]]
        ids = [self.bytes[byte] for byte in text.encode()]
        if None not in ids:
            return ids
        if self.unknown is None:
            raise ValueError(f"{text!r:.60} is no token, and this tokenizer has none for what is "
                             f"unknown")
        return [self.unknown]

    def _pieces(self, word):
        """Cut a word: (text, whether it is a token), unknown characters side by side in one."""
        best, came_from, known = self._search(word)
        pieces, stop = [], len(word)
        while stop:
            start = came_from[stop]
            if pieces and not known[stop] and not pieces[-1][1]:
                text, _ = pieces.pop()
                pieces.append((word[start:stop] + text, False))
            else:
                pieces.append((word[start:stop], known[stop]))
            stop = start
        return reversed(pieces)

    def _search(self, word):
        """Find the likeliest way to each place, (T + 1,) lists.

        Returns
        -------
        best : list of float
            Its log-likelihood.
        came_from : list of int
            Where its last piece begins.
        known : list of bool
            Whether that piece is a token.
        """
        n = len(word)
        best, came_from = [0.0] + [-inf] * n, [0] * (n + 1)
        known = [True] * (n + 1)
        for start in range(n):
            stop, text = start, ""
            single = False
            while stop < n and (stop == start or text in self.begun):
                stop += 1
                text = word[start:stop]
                score = self.scores.get(text)
                if score is None:
                    continue
                single |= stop == start + 1
                if best[start] + score > best[stop]:
                    best[stop], came_from[stop] = best[start] + score, start
                    known[stop] = self.vocab[text] != self.unknown
            score = best[start] + self.unlikely
            if not single and score > best[start + 1]:
                best[start + 1], came_from[start + 1] = score, start
                known[start + 1] = False
        return best, came_from, known


def _is_piece(piece):
    if not isinstance(piece, list) or len(piece) != 2:
        return False
    text, score = piece
    right = isinstance(text, str) and len(text) <= LONGEST_PIECE
    return right and type(score) in (int, float) and isfinite(score)
