"""From documents to token files: what is held out, and what a run learns from."""
import functools
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import bpe
from bpe.files import file_sha256
from bpe.tokenfile import save_tokens
from gpt.data.canaries import plant
from gpt.data.corpora import END_OF_TEXT, Corpus, CorpusError, load_corpus
from gpt.data.pairs import Pairs
from gpt.data.tokens.kinds import load_tokenizer, train_tokenizer

PART_TOKENS = 1 << 16              # decoded at a time
TOKEN_FILES = "train.npy", "val.npy"


@dataclass(frozen=True)
class Dataset:
    """Tokens to learn and to validate on, memory-mapped, with their tokenizer."""

    tokenizer: object
    train: np.ndarray              # (N,) uint16 or uint32
    val: np.ndarray
    sha256: dict = field(default_factory=dict)       # of its files: name -> digest

    @functools.cached_property
    def n_bytes(self):
        """How many bytes of text there are, to learn and to validate on."""
        return self.size_bytes(self.train) + self.size_bytes(self.val)

    @functools.cached_property
    def pairs(self):
        """The pairs to learn from, where the text is of such, and their groups."""
        found = Pairs.of(self.train, self.tokenizer)
        return found, found.groups()

    def size_bytes(self, ids):
        """Return how many bytes of text the ids stand for."""
        counts = np.bincount(ids, minlength=self.tokenizer.vocab_size)
        return int(counts @ self.tokenizer.token_bytes)

    def bytes_per_token(self, ids):
        return self.size_bytes(ids) / max(1, len(ids))

    @property
    def settings(self):
        """What the data say of a run: its settings, by name."""
        return {"vocab_size": self.tokenizer.vocab_size}

    def described(self, kind):
        """Say how much there is, of a kind of tokens."""
        return (f"tokens: {len(self.train):,} to learn, {len(self.val):,} to validate on; {kind}, "
                f"{self.tokenizer.vocab_size:,} kinds, {self.bytes_per_token(self.val):.2f} bytes "
                "each")

    def pass_tokens(self, T):
        """Return how many tokens of steps go once over what there is to learn."""
        return len(self.train)

    def check(self, T, batch_tokens):
        """Refuse a context or steps that the text cannot fill."""
        check_length(self, T)
        check_batch(self, batch_tokens)

    def text(self, ids, n_bytes=sys.maxsize):
        """Return the bytes of ids, or the first ones, documents joined."""
        text = bytearray()
        for i in range(0, len(ids), PART_TOKENS):             # which takes less memory
            text += self.tokenizer.decode_bytes(ids[i:i + PART_TOKENS])
            if len(text) >= n_bytes:
                break
        return bytes(text[:n_bytes])


def split_documents(documents, val_fraction):
    """Cut documents, in order, into those to learn from and the last ones to validate on.

    The cut falls at a character, so the document it meets is in both parts, once each.

    Returns
    -------
    train, val : lists of bytes
    """
    left = int(sum(map(len, documents)) * (1 - val_fraction))
    train, val = [], []
    for document in documents:
        cut = min(left, len(document))
        while 0 < cut < len(document) and document[cut] & 0xC0 == 0x80:        # inside a character
            cut -= 1
        train += [document[:cut]] if cut else []
        val += [document[cut:]] if cut < len(document) else []
        left -= min(left, len(document))
    return train, val


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


def prepare(corpus: Corpus, settings, folder, tokenizer=None, load=load_corpus):
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
    documents = corpus.documents
    if corpus.together > 1:
        train, val = split_groups(documents, settings.val_fraction, corpus.together)
    else:
        train, val = split_documents(documents, settings.val_fraction)
    if settings.val:
        other = load([settings.val], binary=settings.tokenizer in ("byte", "bpe"))
        train, val, documents = documents, other.documents, documents + other.documents
    if settings.canaries:
        train = plant(train, folder)
    try:
        tokenizer = tokenizer or train_tokenizer(settings.tokenizer, settings.vocabulary,
                                                 documents, train)
        tokenizer.save(folder / "tokenizer.json")
        for name, part in zip(TOKEN_FILES, (train, val)):
            save_tokens(folder / name, encoded(part, tokenizer), tokenizer)
    except (OSError, ValueError) as error:
        raise CorpusError(f"the text cannot be tokenized: {error}") from error
    return load_dataset(folder)


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


def encoded(documents, tokenizer):
    """Yield the ids of each document, with the end-of-text token between two."""
    end = tokenizer.special_tokens.get(END_OF_TEXT)
    for i, document in enumerate(documents):
        if i and end is not None:
            yield np.array([end])
        yield tokenizer.encode_array(document, disallowed_special=())


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
    return opened(folder, TOKEN_FILES, sealed, read_dataset)


def read_dataset(folder, tokenizer, sha256):
    train, val = (bpe.load_tokens(folder / name, tokenizer) for name in TOKEN_FILES)
    return Dataset(tokenizer, train, val, sha256)


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


MOST_TOKENS = 1 << 20              # of a step, where the text has fewer


def check_batch(data, n_tokens):
    """Refuse steps of more tokens than there are."""
    most = max(len(data.train), MOST_TOKENS)
    if n_tokens > most:
        raise CorpusError(f"batch_tokens is {n_tokens:,}, but the training part has only "
                          f"{len(data.train):,} tokens: use --batch_tokens {most} or fewer")
