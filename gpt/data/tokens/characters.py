"""A tokenizer with a token for each character of the text: the simplest one that works."""
import hashlib
import json
from functools import cached_property
from pathlib import Path

import numpy as np

import bpe
from bpe.decode import bytes_of, checked_errors
from bpe.files import check, write_text


class CharTokenizer:
    """Characters to ids in the order of their code points; used like `bpe.Tokenizer`.

    Parameters
    ----------
    characters : str
        All that can be encoded.
    special_tokens : dict of str -> int
        At most the end of text, behind the characters.

    Examples
    --------
    >>> tokenizer = CharTokenizer("hello")
    >>> tokenizer.encode("hole"), tokenizer.decode([1, 0, 2, 3])
    ([1, 3, 2, 0], 'helo')
    """

    frame = (), ()

    def __init__(self, characters, special_tokens=()):
        self.characters = sorted(set(characters))
        self.special_tokens = {name: len(self.characters) + i
                               for i, name in enumerate(special_tokens)}
        texts = [*self.characters, *self.special_tokens]
        self.tokens = [text.encode("utf-8", "surrogatepass") for text in texts]
        self.vocab_size = len(self.tokens)
        codes = [*map(ord, self.characters)]
        n_codes = max(codes, default=0) + 1
        self._ids = np.full(n_codes, -1, np.int32)     # by code point
        self._ids[codes] = np.arange(len(codes))

    def with_more(self, names):
        """Make a tokenizer that has special tokens more, with ids behind all others."""
        return CharTokenizer(self.characters, [*self.special_tokens, *names])

    def encode(self, text, **_):
        """Turn text into a list of ids."""
        return self.encode_array(text).tolist()

    def encode_array(self, text, **_):
        """Turn a str or UTF-8 bytes into an (N,) int32 array.

        Raises
        ------
        ValueError
            Naming a character that the training text did not have.
        """
        text = checked_text(text)
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        inside = codes < len(self._ids)
        ids = self._ids[np.where(inside, codes, 0)]
        unknown = ~inside | (ids < 0)
        if unknown.any():
            first = text[int(unknown.argmax())]
            raise ValueError(f"the character {first!r} is not among the "
                             f"{len(self.characters)} that the model knows: leave it out")
        return ids

    def decode_bytes(self, ids):
        """Turn ids into bytes; a ValueError names the first that is no token."""
        return bytes_of(ids, self.tokens)

    def decode(self, ids, errors="replace"):
        """Turn ids into a str."""
        return self.decode_bytes(ids).decode("utf-8", checked_errors(errors))

    def decoder(self, errors="replace"):
        """Make a decoder for ids that come one by one."""
        return bpe.StreamDecoder(self, errors)

    @cached_property
    def token_bytes(self):
        """(V,) int32: how many bytes of text each id stands for, 0 for special tokens."""
        lengths = np.array([*map(len, self.tokens)], np.int32)
        lengths[list(self.special_tokens.values())] = 0
        return lengths

    def fingerprint(self):
        """Name this tokenizer by 16 hexadecimal digits: equal names mean equal ids."""
        digest = hashlib.sha256(self._json().encode())
        return digest.hexdigest()[:16]

    def save(self, path):
        """Write the tokenizer to a JSON file."""
        write_text(Path(path), self._json())

    def _json(self):
        return json.dumps({"kind": "characters",
                           "characters": "".join(self.characters),
                           "special_tokens": list(self.special_tokens)})


def characters_of(path, facts):
    """Make the tokenizer of the JSON that `CharTokenizer.save` wrote, or raise a ValueError."""
    characters, names = facts.get("characters"), facts.get("special_tokens")
    check(path, "characters", characters, isinstance(characters, str), "a str")
    right = isinstance(names, list) and all(isinstance(name, str) for name in names)
    check(path, "special_tokens", names, right, "a list of str")
    return CharTokenizer(characters, names)


def checked_text(text):
    """Return a str or UTF-8 bytes as a str; what is neither is a TypeError or a ValueError."""
    if isinstance(text, str):
        return text
    if not isinstance(text, (bytes, bytearray, memoryview)):
        raise TypeError(f"text must be str or bytes, not {type(text).__name__}")
    try:
        return bytes(text).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} of the text is not UTF-8, and there are characters "
                         f"for UTF-8 alone: use the tokenizer byte or bpe") from None
