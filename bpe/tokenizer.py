"""What a user holds: text to ids, ids to text.

A sentence takes the plain path, Python and a dictionary of words, so that nobody waits for a
compiler; text from `PLAIN_BYTES` on (or as much in small portions) takes the kernels of
`bpe.encode`. Both give the same ids, on any number of threads.
"""
import hashlib
import json
import os
from functools import cached_property, partial
from itertools import chain
from pathlib import Path

import numpy as np

from bpe import formats, reference
from bpe.decode import StreamDecoder, bytes_of, checked_errors
from bpe.encode import Encoder
from bpe.jit import COMPILED
from bpe.pretokenize import check_pattern, is_cuttable, pattern_name, steps_of, to_bytes
from bpe.stream import (
    BLOCK_BYTES, Specials, blocks_of, blocks_of_file, jobs, joined, map_in_order)
from bpe.tokenfile import save_tokens
from bpe.vocabulary import Vocabulary

PLAIN_BYTES = 1 << 16  # by then the plain path has taken as long as the kernels take to load
KERNEL_BYTES = 1 << 10  # where kernels, once loaded, are the faster ones
PLAIN_WORD_BYTES = 1 << 10  # longer ones take the plain path too long
_WORDS = 1 << 16  # words that the plain path remembers


class Tokenizer:
    """A byte-level BPE tokenizer. `bpe.train` makes one, `Tokenizer.load` reads one.

    Parameters
    ----------
    merges : sequence of (int, int), or None where there are `ranks`
        Pairs of ids, the one merged first in front.
    pattern : str or sequence of str
        A key of `bpe.PATTERNS` ("gpt2", "cl100k", "o200k", ...), or a regular expression that cuts
        text into pre-tokens. Several cut one after the other.
    special_tokens : dict of str -> int
        Texts that are one token each, where they are allowed.
    added_tokens : dict of str -> int, optional
        Texts that are one token each wherever they stand, such as runs of spaces: plain text like
        any other, but looked for before the pattern cuts.
    byte_ids : sequence of 256 int, optional
        The id of each byte; by default the byte itself.
    merge_ids : sequence of int, optional
        The id of the token that each merge makes; by default 256, 257, ... Several merges may make
        the same token.
    more_tokens : dict of int -> bytes, optional
        Tokens that no merge makes.
    whole_words : bool
        A pre-token that is a token as a whole is that token, whatever the merges say (as in
        tiktoken; "ignore_merges" in Hugging Face's files).
    ranks : dict of bytes -> int, in place of `merges` and all ids
        Tokens as in tiktoken: a pair is merged where the two together are a token, the lowest id
        first. Implies `whole_words`. The merges behind them are found when they are needed.

    Attributes
    ----------
    tokens : list of bytes
        By id, special tokens included; None for an id that stands for nothing.
    token_bytes : (V,) int32
        How many bytes of text each id stands for, 0 for special tokens: what turns nats per token
        into bits per byte.

    Examples
    --------
    >>> tokenizer = Tokenizer([(104, 105), (32, 256)], "gpt2", {"<|end|>": 258})
    >>> tokenizer.encode("hi hi<|end|>", allowed_special="all")
    [256, 257, 258]
    >>> tokenizer.decode([256, 257])
    'hi hi'
    """

    frame = (), ()  # ids that a model expects before and behind a text: here it has none

    def __init__(self, merges, pattern="gpt2", special_tokens=None, *, added_tokens=None,
                 byte_ids=None, merge_ids=None, more_tokens=None, whole_words=False, ranks=None):
        self._arguments = dict(
            merges=merges, pattern=pattern, special_tokens=special_tokens,
            added_tokens=added_tokens, byte_ids=byte_ids, merge_ids=merge_ids,
            more_tokens=more_tokens, whole_words=whole_words, ranks=ranks)
        check_pattern(pattern)
        steps = [pattern_name(step) or step for step in steps_of(pattern)]
        self.pattern = steps[0] if len(steps) == 1 else tuple(steps)
        self.vocabulary = Vocabulary(merges, byte_ids, merge_ids, more_tokens, whole_words, ranks)
        self.special_tokens = dict(special_tokens or {})
        self.added_tokens = dict(added_tokens or {})
        self.tokens = self.vocabulary.with_tokens(self.special_tokens, self.added_tokens)
        self.vocab_size = len(self.tokens)
        self._words = {}  # bytes -> list of int: what the plain path remembers
        self._plain_bytes_left = PLAIN_BYTES
        self._specials = {}  # (allowed, disallowed) -> Specials

    @classmethod
    def load(cls, path, pattern=None, special_tokens=None):
        """Read a tokenizer in any of the formats of `bpe.formats`.

        Parameters
        ----------
        path : path
            This package's JSON, a Hugging Face `tokenizer.json`, a `.tiktoken` file, or the folder
            of (or either of) `vocab.json` and `merges.txt`.
        pattern : str, optional
            For a `.tiktoken` file of a name that is not known; for the others, a pattern of your
            own.
        special_tokens : dict of str -> int, optional
            Likewise.
        """
        return cls(**formats.read(path, pattern, special_tokens))

    def save(self, path, format=None):
        """Write the tokenizer to a file.

        Parameters
        ----------
        path : path
        format : {"bpe", "tiktoken", "gpt2", "hf"}, optional
            This package's JSON, which holds everything; `.tiktoken` ranks; `vocab.json` and
            `merges.txt` in the folder `path`; Hugging Face's `tokenizer.json`. By default
            "tiktoken" for a path that ends so, else "bpe".
        """
        formats.write(self, path, format)

    def fingerprint(self):
        """Name this tokenizer by 16 hexadecimal digits: equal names mean equal ids."""
        text = json.dumps(formats.as_json(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def with_more(self, names):
        """Make a tokenizer that has special tokens more, with ids behind all others."""
        ids = range(self.vocab_size, self.vocab_size + len(names))
        specials = self.special_tokens | dict(zip(names, ids))
        return Tokenizer(**self._arguments | {"special_tokens": specials})

    def __reduce__(self):
        """Pickle the arguments only: another process makes its own tables and caches."""
        return partial(Tokenizer, **self._arguments), ()

    def __repr__(self):
        added = f", added_tokens={self.added_tokens}" if self.added_tokens else ""
        return (f"Tokenizer({self.vocab_size} tokens, pattern={self.pattern!r}, "
                f"special_tokens={self.special_tokens}{added})")

    # ---- text to ids ----

    def encode(self, text, *, allowed_special=(), disallowed_special="all", threads=None):
        """Turn text into a list of ids.

        Parameters
        ----------
        text : str or bytes
            Bytes need not be UTF-8. A lone surrogate in a str counts as U+FFFD, as in tiktoken.
        allowed_special : "all" or collection of str
            Special tokens to recognise.
        disallowed_special : "all" or collection of str
            Special tokens to refuse; "all" means all that are not allowed. Any other special token
            is text like any other.
        threads : int, optional
            At most so many; by default as many as there are cores. The ids do not depend on it.

        Returns
        -------
        ids : list of int

        Raises
        ------
        ValueError
            If a disallowed special token stands in the text.
        """
        return self.encode_array(text, allowed_special=allowed_special, threads=threads,
                                 disallowed_special=disallowed_special).tolist()

    def encode_array(self, text, *, allowed_special=(), disallowed_special="all", threads=None):
        """Do `encode`, but return an (N,) int32 array: less memory, and a third faster."""
        specials = self._special(allowed_special, disallowed_special)
        threads = _checked_threads(threads)
        if isinstance(text, (str, bytes)) and len(text) <= BLOCK_BYTES:
            return self._encode_job(list(specials.pieces(to_bytes(text))))
        arrays = self._encode_pieces(self._pieces(specials, text), threads)
        ascii_only = not isinstance(text, str) or text.isascii()
        return joined(arrays, len(text) if ascii_only else 3 * len(text))

    def encode_batch(self, texts, *, allowed_special=(), disallowed_special="all", threads=None):
        """Encode many texts, on all cores: a list of (N,) int32 arrays."""
        if isinstance(texts, (str, bytes)):
            raise TypeError("texts must be several, not one str or bytes: use [text]")
        specials = self._special(allowed_special, disallowed_special)
        end = self.vocab_size  # a mark behind each text that is no id
        pieces = ((data, end if mark is None else mark) for text in texts
                  for data, mark in specials.pieces(_checked_bytes(text)))
        arrays, begun = [], []
        for ids in self._encode_pieces(pieces, threads):
            *whole, rest = np.split(ids, np.flatnonzero(ids == end) + 1)
            for part in whole:
                arrays.append(np.concatenate([*begun, part[:-1]]))
                begun = []
            begun.append(rest)
        return arrays

    def encode_iterator(self, texts, *, allowed_special=(), disallowed_special="all", threads=1):
        """Encode a stream: the ids are those of all the texts joined, whatever their borders.

        Memory is bounded as long as a space comes now and then (with a pattern of your own nothing
        is known to be a border, and only special tokens help).

        Parameters
        ----------
        texts : iterable of str or bytes
            For instance an open file.

        Yields
        ------
        ids : (N,) int32
        """
        specials = self._special(allowed_special, disallowed_special)
        pieces = specials.stream_pieces(blocks_of(texts), self._cuttable)
        yield from filter(len, self._encode_pieces(pieces, threads))

    def encode_file(self, source, target, *, allowed_special=(), disallowed_special="all",
                    end_token=None, threads=None):
        """Encode files of any size to one token file (`bpe.load_tokens` opens it).

        The files are read as bytes: a byte-order mark and CR LF are text like any other.

        Parameters
        ----------
        source : path or list of paths
        target : path
            Written under a temporary name and renamed when it is complete.
        end_token : str, optional
            A special token to write behind each file.

        Returns
        -------
        n_tokens : int
        """
        paths = [source] if isinstance(source, (str, os.PathLike)) else list(source)
        if end_token is not None and end_token not in self.special_tokens:
            raise ValueError(f"end_token is {end_token!r}, which is none of the special tokens "
                             f"{sorted(self.special_tokens)}")
        specials = self._special(allowed_special, disallowed_special)

        def pieces():
            for path in paths:
                with open(path, "rb") as file:
                    yield from specials.stream_pieces(blocks_of_file(file), self._cuttable)
                if end_token is not None:
                    yield b"", self.special_tokens[end_token]

        if any(Path(path).resolve() == Path(target).resolve() for path in paths):
            raise ValueError(f"{target} is both source and target")
        return save_tokens(target, self._encode_pieces(pieces(), threads), self)

    def encode_with_offsets(self, text, *, allowed_special=(), disallowed_special="all"):
        """Encode, and say where in the text each token comes from.

        Returns
        -------
        ids : (N,) int32
        offsets : (N, 2) int64
            Start and stop: bytes for bytes, characters for a str. A token that holds a part of a
            character has the whole character as its place.
        """
        ids = self.encode_array(text, allowed_special=allowed_special,
                                disallowed_special=disallowed_special)
        tokens = map(self.tokens.__getitem__, ids.tolist())
        lengths = list(map(len, tokens))
        stops = np.cumsum(lengths, dtype=np.int64)
        starts = np.append(0, stops)[:len(stops)]
        if isinstance(text, str):
            data = np.frombuffer(to_bytes(text), np.uint8)
            begun = np.append(0, np.cumsum(data & 0xC0 != 0x80))  # characters, before each byte
            stops = begun[stops]
            starts = begun[np.minimum(starts + 1, len(data))] - 1
        return ids, np.stack([starts, stops], axis=1)

    def count(self, text, limit=None, *, allowed_special=(), disallowed_special="all"):
        """Count the tokens of a text; above `limit`, return limit + 1 without reading further."""
        specials = self._special(allowed_special, disallowed_special)
        n_tokens = 0
        for ids in self._encode_pieces(self._pieces(specials, text), threads=1):
            n_tokens += len(ids)
            if limit is not None and n_tokens > limit:
                return limit + 1
        return n_tokens

    # ---- ids to text ----

    def decode(self, ids, errors="replace"):
        """Turn ids into a str; `errors` is for what is not UTF-8, as in `bytes.decode`."""
        return self.decode_bytes(ids).decode("utf-8", checked_errors(errors))

    def decode_bytes(self, ids):
        """Turn ids into bytes.

        Raises
        ------
        ValueError
            If an id is out of range or stands for nothing.
        """
        return bytes_of(ids, self.tokens)

    def decoder(self, errors="replace"):
        """Make a `StreamDecoder`."""
        return StreamDecoder(self, errors)

    # ---- what it is made of ----

    @property
    def merges(self):
        """(M, 2) int64: pairs of ids, in the order of ranks."""
        return self.vocabulary.merges

    @cached_property
    def token_bytes(self):
        """(V,) int32: how many bytes of text each id stands for, 0 for special tokens."""
        lengths = np.array([len(token or b"") for token in self.tokens], np.int32)
        lengths[list(self.special_tokens.values())] = 0
        return lengths

    def merge_steps(self, word):
        """Merge one pre-token (bytes) step by step: yield its ids at first and after each merge."""
        return self.vocabulary.merge_steps(word)

    # ---- how ----

    @cached_property
    def _encoder(self):
        return Encoder(*self.vocabulary.tables, self.pattern)

    @property
    def _cuttable(self):
        return is_cuttable(self.pattern)

    def _special(self, allowed, disallowed):
        """Make the `Specials` of these choices, once."""
        key = tuple(names if isinstance(names, str) else frozenset(names)
                    for names in (allowed, disallowed))
        if key not in self._specials:
            self._specials[key] = Specials(self.special_tokens, *key, always=self.added_tokens)
        return self._specials[key]

    def _pieces(self, specials, text):
        """Cut a text into pieces; a long str in steps, which stay in the processor's caches."""
        if isinstance(text, str) and len(text) > BLOCK_BYTES and self._cuttable:
            steps = range(0, len(text), BLOCK_BYTES)
            blocks = blocks_of(text[start:start + BLOCK_BYTES] for start in steps)
            return specials.stream_pieces(blocks, cuttable=True)
        return specials.pieces(_checked_bytes(text))

    def _encode_pieces(self, pieces, threads=None):
        """Yield the ids of pieces (bytes, mark), in arrays of any length."""
        threads = _checked_threads(threads)
        work = jobs(pieces, self._cuttable)
        first, second = next(work, []), next(work, None)
        if second is None:
            yield self._encode_job(first)
        else:
            yield from map_in_order(self._encoder.encode, chain([first, second], work), threads)

    def _encode_job(self, pieces):
        n_bytes = sum(len(data) for data, _ in pieces)
        ready = "_encoder" in self.__dict__
        limit = KERNEL_BYTES if ready else self._plain_bytes_left
        if COMPILED and n_bytes > limit:
            return self._encoder.encode(pieces)
        ids = []
        for data, mark in pieces:
            words = reference.split(bytes(data), self.pattern)
            longest = max(words, key=len, default=b"")
            if COMPILED and len(longest) > PLAIN_WORD_BYTES:
                return self._encoder.encode(pieces)
            for word in words:
                ids += self._encode_word(word)
            if mark is not None:
                ids.append(mark)
        self._plain_bytes_left -= n_bytes
        return np.array(ids, np.int32)

    def _encode_word(self, word):
        ids = self._words.get(word)
        if ids is None:
            if len(self._words) == _WORDS:
                self._words.clear()
            ids = self._words[word] = self.vocabulary.encode_word(word)
        return ids


def _checked_bytes(text):
    if not isinstance(text, (str, bytes, bytearray, memoryview)):
        raise TypeError(f"text must be str or bytes, not {type(text).__name__}")
    return to_bytes(text) if isinstance(text, str) else bytes(text)


def _checked_threads(threads):
    """The number of threads to use: by default one for each core this process may run on."""
    if threads is None:
        affinity = getattr(os, "sched_getaffinity", None)
        return len(affinity(0)) if affinity else os.cpu_count() or 1
    if not isinstance(threads, int) or threads < 1:
        raise ValueError(f"threads is {threads!r}, but must be an int of at least 1")
    return threads
