"""From documents to token files: what is held out, and what a run learns from."""
import functools
import shutil
import sys
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from bpe.files import file_sha256
from bpe.tokenfile import save_tokens
from gpt.data.canaries import plant
from gpt.data.corpora import Corpus, load_corpus
from gpt.data.encoding import encoded_sources, telling
from gpt.data.pairs import Pairs
from gpt.data.reading import (
    END_OF_TEXT, CorpusError, Piece, documents_in, start_of_character, whole)
from gpt.data.token_files import SOURCES, Tokens, read_sources, write_sources
from gpt.data.tokens.kinds import load_tokenizer, train_tokenizer

PART_TOKENS = 1 << 16              # decoded at a time
COUNTED_TOKENS = 1 << 20           # counted at a time
SAMPLE_BYTES = 1 << 27             # of a longer text merges are learnt from a sample of this size
TOKEN_FILES = "train.npy", "val.npy"


@dataclass(frozen=True)
class Dataset:
    """Tokens to learn and to validate on, with their tokenizer."""

    tokenizer: object
    train: np.ndarray              # (N,) uint16 or uint32; or Tokens, which are on disk
    val: np.ndarray
    sha256: dict = field(default_factory=dict)       # of its files: name -> digest
    sources: tuple = ()            # of `Source`: parts of `train` that have weights of their own

    @functools.cached_property
    def n_bytes(self):
        """How many bytes of text there are, to learn and to validate on."""
        return self.size_bytes(self.train) + self.size_bytes(self.val)

    @functools.cached_property
    def pairs(self):
        """The pairs to learn from, where the text is of such, and their groups."""
        found = Pairs.of(self.train, self.tokenizer)
        return found, found.groups()

    def ids(self, part):
        """Return the tokens of a part of the data, (N,), in a row."""
        return part

    def size_bytes(self, part):
        """Return how many bytes of text a part stands for."""
        return int(self.counts(self.ids(part)) @ self.tokenizer.token_bytes)

    def counts(self, ids):
        """Return how often each token stands among ids: (V,)."""
        found = np.zeros(self.tokenizer.vocab_size, np.int64)
        for i in range(0, len(ids), COUNTED_TOKENS):          # not all at once: they are on disk
            found += np.bincount(ids[i:i + COUNTED_TOKENS], minlength=len(found))
        return found

    def bytes_per_token(self, part):
        return self.size_bytes(part) / max(1, len(self.ids(part)))

    @property
    def settings(self):
        """What the data say of a run: its settings, by name."""
        return {"vocab_size": self.tokenizer.vocab_size}

    def described(self, kind):
        """Say how much there is, of a kind of tokens."""
        return (f"tokens: {len(self.train):,} to learn, {len(self.val):,} to validate on; {kind}, "
                f"{self.tokenizer.vocab_size:,} kinds, {self.bytes_per_token(self.val):.2f} bytes "
                "each")

    def width(self, T):
        """Return how many tokens stand in a row at most where the net takes T."""
        return T

    def pass_tokens(self, T):
        """Return how many tokens of steps go once over what there is to learn."""
        return len(self.train)

    def check(self, T, batch_tokens):
        """Refuse a context or steps that the text cannot fill."""
        check_length(self, T)
        check_batch(self, batch_tokens)

    def text(self, part, n_bytes=sys.maxsize):
        """Return the bytes of a part, or the first ones, documents joined."""
        text, ids = bytearray(), self.ids(part)
        for i in range(0, len(ids), PART_TOKENS):             # which takes less memory
            text += self.tokenizer.decode_bytes(ids[i:i + PART_TOKENS])
            if len(text) >= n_bytes:
                break
        return bytes(text[:n_bytes])


def split_pieces(pieces, left):
    """Cut documents, in order, after `left` bytes: what is learnt, and what is validated on.

    The cut falls at a character, so the document it meets is in both parts, once each.

    Yields
    ------
    part : int
        Which of TOKEN_FILES it is for.
    piece : Piece
    """
    for text, ends in pieces:
        cut = start_of_character(text, min(left, len(text)))
        if cut:
            yield 0, Piece(text[:cut], ends or cut < len(text))
        if cut < len(text):
            yield 1, Piece(text[cut:], ends)
        left -= min(left, len(text))


def split_groups(documents, val_fraction, size):
    """Hold out the last documents, those that belong together staying so: train, val.

    What begins like one of those held out, with the same source, is left out.
    """
    n = len(documents) // size
    cut = size * min(n - 1, max(1, round(n * (1 - val_fraction))))
    val = documents[cut:]
    known, train = {*val[::size]}, []
    for i in range(0, cut, size):
        train += documents[i:i + size] if documents[i] not in known else []
    return train, val


def prepare(corpus: Corpus, settings, folder, tokenizer=None, load=load_corpus, say=None):
    """Tokenize a corpus into a run's folder.

    Parameters
    ----------
    corpus : Corpus
    settings : DataConfig
        With tokenizer and vocabulary chosen, not "auto" and 0.
    folder : path
        Gets `tokenizer.json`, `train.npy` and `val.npy`.
    tokenizer : optional
        That of a base, instead of what the settings say.
    load : callable
        Which reads another text to validate on.
    say : callable, optional
        Is told how far it is, of a long text.

    Returns
    -------
    data : Dataset

    Raises
    ------
    CorpusError
        If there is no such tokenizer, it does not know a character, a text to validate on cannot
        be read, or the disk is full.
    """
    folder = token_folder(folder, corpus, settings, tokenizer)
    corpora, told = [corpus], telling(corpus.size_bytes, say)
    if settings.val:
        corpora.append(load([settings.val], binary=settings.tokenizer in ("byte", "bpe")))
    train, val = parts_of(corpora, settings.val_fraction)
    if settings.canaries:
        train = [planted(pieces, folder) for pieces in train]
    try:
        tokenizer = tokenizer or new_tokenizer(corpora, train, settings, say)
        tokenizer.save(folder / "tokenizer.json")
        for name, sources in zip(TOKEN_FILES, (train, val)):
            firsts = []
            arrays = encoded_sources(sources, tokenizer, told, firsts)
            save_tokens(folder / name, arrays, tokenizer)
            if name == TOKEN_FILES[0] and corpus.parts:
                write_sources(folder, corpus.parts, firsts)
    except (OSError, ValueError) as error:
        raise CorpusError(f"the text cannot be tokenized: {error}") from error
    return load_dataset(folder)


def planted(pieces, folder):
    """Plant canaries in a text that is read into memory for that; return a function that reads it.
    """
    documents = [*documents_in(pieces())]
    return partial(whole, plant(documents, folder))


def parts_of(corpora, val_fraction):
    """Return what is learnt and what is validated on: of each, functions that read its sources.

    Parameters
    ----------
    corpora : list of Corpus
        Of one, the end of each source is held out; else the second one is.
    val_fraction : float

    Returns
    -------
    train, val : lists of callables, which return iterators of Piece
    """
    corpus, *other = corpora
    if other:
        return [pieces for pieces, _ in corpus.sources], [other[0].pieces]
    if corpus.together > 1:
        parts = split_groups(corpus.documents, val_fraction, corpus.together)
        return [[partial(whole, part)] for part in parts]
    train, val = [], []
    for pieces, n_bytes in corpus.sources:
        left = int(n_bytes * (1 - val_fraction))
        train.append(partial(part_of, 0, pieces, left))
        val.append(partial(part_of, 1, pieces, left))
    return train, val


def part_of(part, pieces, left):
    """Yield the pieces of one of the two parts of a text."""
    return (piece for of, piece in split_pieces(pieces(), left) if of == part)


def new_tokenizer(corpora, train, settings, say=None):
    """Make the tokenizer that the settings ask for; of a long text bpe learns from a sample."""
    n_documents = sum(len(corpus.lengths) for corpus in corpora)
    n_bytes = corpora[0].size_bytes
    every = (piece.text for corpus in corpora for piece in corpus.pieces())
    learnt = sampled(chain.from_iterable(pieces() for pieces in train), n_bytes)
    if say and settings.tokenizer == "bpe" and n_bytes > SAMPLE_BYTES:
        say(f"tokens: bpe learns from a sample of {SAMPLE_BYTES / 1e6:.0f} MB, spread evenly")
    return train_tokenizer(settings.tokenizer, settings.vocabulary, every, learnt,
                           [END_OF_TEXT] if n_documents > 1 else [])


def sampled(pieces, n_bytes, most=SAMPLE_BYTES):
    """Yield the texts of pieces, of n bytes in all; of more than `most`, some spread evenly."""
    share, seen, taken = most / max(1, n_bytes), 0, 0
    for text, _ in pieces:
        seen += len(text)
        if share >= 1 or taken < share * seen:
            taken += len(text)
            yield text


def token_folder(folder, corpus, settings, tokenizer=None):
    """Make the folder for the tokens of a corpus, if there is such a tokenizer and room; return it.
    """
    known = tokenizer or settings.tokenizer in ("bpe", "char", "byte")
    if not known and not Path(settings.tokenizer).is_file():
        raise CorpusError(f"tokenizer is {settings.tokenizer!r}: choose bpe, char or byte, or name "
                          "the file of a trained one")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    check_room(folder, corpus.size_bytes, settings.tokenizer)
    return folder


TOKEN_BYTES = {"char": 2, "byte": 2}     # on disk, for a byte of text; of merges fewer


def check_room(folder, n_bytes, kind):
    """Refuse a text whose tokens have no room."""
    needed, free = n_bytes * TOKEN_BYTES.get(kind, 0.8), shutil.disk_usage(folder).free
    if needed > free:
        raise CorpusError(f"the tokens of this text take about {needed / 1e6:,.0f} MB, but "
                          f"{free / 1e6:,.0f} MB are free in {folder}: make room, or say where "
                          "with --runs")


def load_dataset(folder, sealed=None):
    """Open what `prepare` wrote.

    Parameters
    ----------
    folder : path
    sealed : dict of str to str, optional
        The SHA256 that files must have, by name.

    Returns
    -------
    data : Dataset

    Raises
    ------
    CorpusError
        If a file is missing, unreadable, altered, or of another tokenizer.
    """
    names = [*TOKEN_FILES, *[SOURCES] * (Path(folder) / SOURCES).exists()]
    return opened(folder, names, sealed, read_dataset)


def read_dataset(folder, tokenizer, sha256):
    train, val = (Tokens(folder / name, tokenizer) for name in TOKEN_FILES)
    return Dataset(tokenizer, train, val, sha256, read_sources(folder))


def opened(folder, names, sealed, read):
    """Return read(folder, tokenizer, SHA256 by name) of files that are as they were sealed.

    Raises
    ------
    CorpusError
        As for `load_dataset`.
    """
    folder = Path(folder)
    try:
        sha256 = {name: file_sha256(folder / name) for name in names}
        for name, digest in (sealed or {}).items():
            if sha256.get(name) != digest:
                raise ValueError(f"{folder / name} is not as it was written")
        return read(folder, load_tokenizer(folder / "tokenizer.json"), sha256)
    except PermissionError as error:
        raise CorpusError(f"{error.filename} may not be read: make it readable") from error
    except (OSError, ValueError) as error:
        raise CorpusError(f"the tokens of this run cannot be read: {error}; put its folder data "
                          "back, or start anew") from error


def check_length(data, T):
    """Refuse a context that the text cannot fill."""
    for name, ids in (("training", data.train), ("validation", data.val)):
        if len(ids) < T + 2:
            raise CorpusError(f"context_length is {T}, but the {name} part has only {len(ids)} "
                              f"tokens: use --context_length {max(1, min(len(data.val) - 2, T))} "
                              "or more text")
    for source in getattr(data, "sources", ()):
        if source.stop - source.first < T + 2:
            raise CorpusError(f"context_length is {T}, but {source.name} has only "
                              f"{source.stop - source.first} tokens to learn from: leave it out, "
                              "or give no weights")


MOST_TOKENS = 1 << 20              # of a step, where the text has fewer


def check_batch(data, n_tokens):
    """Refuse steps of more tokens than there are."""
    most = max(len(data.train), MOST_TOKENS)
    if n_tokens > most:
        raise CorpusError(f"batch_tokens is {n_tokens:,}, but the training part has only "
                          f"{len(data.train):,} tokens: use --batch_tokens {most} or fewer")
