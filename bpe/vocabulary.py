"""The tokens and merges of a tokenizer: checked, named by id, and as tables for the kernels."""
from functools import cached_property
from math import inf

import numpy as np

from bpe.pairs import tables_from_merges, tables_from_tokens

MAX_ID = 1 << 24


class Vocabulary:
    """Tokens and how to merge them; the parameters are those of `Tokenizer`."""

    def __init__(self, merges, byte_ids=None, merge_ids=None, more_tokens=None, whole_words=False,
                 ranks=None):
        if (merges is None) == (ranks is None):
            raise ValueError("give either merges or ranks")
        self._ranks = ranks
        self.whole_words = bool(whole_words or ranks)
        if ranks is not None:
            self.byte_ids = _byte_ids_of_ranks(ranks)
            self.tokens = {i: token for token, i in ranks.items()}  # int -> bytes
        else:
            self.merges = _pairs_of_ids(merges)
            n = len(self.merges)
            self.byte_ids = _ids_or(range(256), byte_ids)
            self.merge_ids = _ids_or(range(256, 256 + n), merge_ids)
            self.more_tokens = dict(more_tokens or {})
            self.tokens = self._merged_tokens()
        self._check_ids()

    def with_tokens(self, special_tokens, added_tokens):
        """List the bytes of every id, those of texts included; None where there is none.

        An added token may have the id of the same bytes: plain text either way.
        """
        tokens = dict(self.tokens)
        for kind, texts in (("special", special_tokens), ("added", added_tokens)):
            for text, i in texts.items():
                _check_text(kind, text)
                if not _is_id(i):
                    raise ValueError(f"the {kind} token {text!r} has the id {i!r}, which is not in "
                                     f"0 to {MAX_ID - 1}")
                same = kind == "added" and self.tokens.get(i) == text.encode()
                if i in tokens and not same:
                    raise ValueError(f"the {kind} token {text!r} has the id {i}, which is "
                                     f"also {tokens[i]!r}")
                tokens[int(i)] = text.encode()
        twice = sorted(special_tokens.keys() & added_tokens.keys())
        if twice:
            raise ValueError(f"{twice[0]!r} is both a special token and an added one")
        return [tokens.get(i) for i in range(max(tokens) + 1)]

    # ---- the plain path ----

    def encode_word(self, word):
        """Turn one pre-token (bytes) into a list of ids."""
        if self.whole_words and word in self._ids:
            return [self._ids[word]]
        *_, ids = self.merge_steps(word)
        return ids

    def merge_steps(self, word):
        """Yield the ids of a pre-token (bytes) before the first and after every merge."""
        rank_of, id_of = self._plain_ranks
        ids = [self.byte_ids[byte] for byte in word]
        yield ids
        while True:
            ranks = list(map(rank_of, ids, ids[1:]))
            rank = min(ranks, default=inf)
            if rank == inf:
                return
            at = ranks.index(rank)
            ids = ids.copy()
            ids[at:at + 2] = [id_of(rank)]
            yield ids

    @cached_property
    def _plain_ranks(self):
        """Two functions: (left id, right id) -> rank or inf; rank -> id of what is made."""
        if self._ranks is not None:
            tokens, ranks = self.tokens, self._ranks
            return lambda left, right: ranks.get(tokens[left] + tokens[right], inf), int
        pairs = map(tuple, self.merges[::-1].tolist())  # reversed: of equal pairs the first stays
        ranks = reversed(range(len(self.merges)))
        table = dict(zip(pairs, ranks))
        return lambda left, right: table.get((left, right), inf), self.merge_ids.__getitem__

    @cached_property
    def _ids(self):
        """bytes -> int, the lowest id where two tokens are the same bytes."""
        last_first = sorted(self.tokens.items(), reverse=True)
        return {token: i for i, token in last_first}

    # ---- the kernels ----

    @cached_property
    def tables(self):
        """What `Encoder` takes: the tables, the tokens, and their ids if whole words count."""
        tables = self._tables_from_merges() if self._ranks is None else self._recovered[0]
        words = sorted(self._ids, key=self._ids.get)  # frequent ones first find the best places
        ids = np.array([self._ids[word] for word in words])
        return tables, words, ids if self.whole_words else None

    def _tables_from_merges(self):
        n = len(self.merges)
        ids = np.array([*self.byte_ids, *self.merge_ids, *self.more_tokens], np.int64)
        symbols = np.full(max(self.tokens) + 1, -1)
        numbers = np.arange(len(ids))
        symbols[ids[::-1]] = numbers[::-1]  # backwards: the first to make a token stays
        made = symbols[ids[256:256 + n]]
        tokens = [self.tokens[i] for i in ids.tolist()]
        return tables_from_merges(symbols[self.merges], made, ids, tokens)

    # ---- from ranks ----

    @cached_property
    def _recovered(self):
        """Tables; the merge of each token of two bytes and more, or (-1, -1); ids of symbols."""
        in_order = sorted(self._ranks, key=self._ranks.get)
        tokens = [token for token in in_order if len(token) > 1]
        made = [self._ranks[token] for token in tokens]
        ids = np.array(self.byte_ids + made, np.int64)
        tables, merges = tables_from_tokens(tokens, ids)
        return tables, merges, ids

    @cached_property
    def merges(self):
        """(M, 2) int64: pairs of ids, in the order of ranks."""
        _, merges, ids = self._recovered
        return ids[merges[merges[:, 0] >= 0]]

    @cached_property
    def merge_ids(self):
        """The id that each merge makes."""
        _, merges, ids = self._recovered
        return ids[256:][merges[:, 0] >= 0].tolist()

    @cached_property
    def more_tokens(self):
        """The tokens that no merge makes, int -> bytes."""
        _, merges, ids = self._recovered
        others = ids[256:][merges[:, 0] < 0].tolist()
        return {i: self.tokens[i] for i in others}

    # ---- what files of others can say ----

    @property
    def is_ranks(self):
        """Whether the tokens and their ids alone imply all the rest, as in a `.tiktoken` file."""
        if self._ranks is not None:
            return True
        ranks = {token: i for i, token in self.tokens.items()}
        if self.merge_ids != sorted(self.merge_ids) or len(ranks) < len(self.tokens):
            return False
        implied = Vocabulary(None, ranks=ranks)
        alike = np.array_equal(implied.merges, self.merges) or self._are_all_cuts(ranks)
        return alike and (self.whole_words or not implied.more_tokens)

    def _are_all_cuts(self, ranks):
        """Whether every token is made in every way of two, as where ranks were spelled as merges.
        """
        cuts = set()
        for token in ranks:
            for i in range(1, len(token)):
                left, right = token[:i], token[i:]
                if left in ranks and right in ranks:
                    cuts.add((ranks[left], ranks[right]))
        return cuts == set(map(tuple, self.merges.tolist()))

    @property
    def words_count(self):
        """Whether `whole_words` makes a difference."""
        if not self.whole_words or self._ranks is not None:
            return self.whole_words and bool(self.more_tokens)
        return any([i] != list(self.merge_steps(token))[-1] for token, i in self._ids.items())

    # ---- checks ----

    def _merged_tokens(self):
        """Spell every token out: int -> bytes."""
        if len(self.byte_ids) != 256 or len(set(self.byte_ids)) != 256:
            raise ValueError("byte_ids must be 256 different ids")
        if len(self.merge_ids) != len(self.merges):
            raise ValueError(f"there are {len(self.merges)} merges, but {len(self.merge_ids)} "
                             f"merge_ids")
        tokens = {i: bytes([byte]) for byte, i in enumerate(self.byte_ids)} | self.more_tokens
        waiting = list(zip(self.merge_ids, self.merges.tolist()))
        while waiting:  # a part may be made by a later merge
            later = []
            for i, (left, right) in waiting:
                if left in tokens and right in tokens:
                    token = tokens[left] + tokens[right]
                    if tokens.setdefault(i, token) != token:
                        raise ValueError(f"id {i} stands for {tokens[i]!r} and for {token!r}")
                else:
                    later.append((i, (left, right)))
            if len(later) == len(waiting):
                i, (left, right) = later[0]
                raise ValueError(f"the merge of {left} and {right} (to {i}) uses the id "
                                 f"{right if left in tokens else left}, which is no token")
            waiting = later
        return tokens

    def _check_ids(self):
        for i, token in self.tokens.items():
            if not _is_id(i):
                raise ValueError(f"the token {token!r} has the id {i!r}, which is not in "
                                 f"0 to {MAX_ID - 1}")
            if not isinstance(token, bytes) or not token:
                raise ValueError(f"id {i} is {token!r}, but a token is one byte or more")


def _ids_or(default, ids):
    return list(map(int, default if ids is None else ids))


def _is_id(i):
    return isinstance(i, (int, np.integer)) and not isinstance(i, bool) and 0 <= i < MAX_ID


def _check_text(kind, text):
    if not isinstance(text, str) or not text:
        raise ValueError(f"a token that is {kind} must be a str of one character or more, "
                         f"not {text!r}")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"the {kind} token {text!r} has half a surrogate pair, which no text has")


def _pairs_of_ids(merges):
    try:
        pairs = np.array(merges)
    except ValueError:  # rows of different lengths
        pairs = np.empty(0, object)
    if len(merges) == 0:
        pairs = np.empty((0, 2), np.int64)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
        raise ValueError(f"merges must be pairs of ids, not {merges!r:.60}")
    return pairs.astype(np.int64)


def _byte_ids_of_ranks(ranks):
    missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if missing:
        raise ValueError(f"the ranks have no token for the byte {missing[0]}")
    if len(set(ranks.values())) != len(ranks):
        ids = sorted(ranks.values())
        twice = next(i for i, j in zip(ids, ids[1:]) if i == j)
        raise ValueError(f"the rank {twice} is given to two tokens")
    return [ranks[bytes([byte])] for byte in range(256)]
