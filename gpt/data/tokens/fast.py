"""Byte-level BPE by the kernels of `bpe`, in place of splitters and model."""
import re
from contextlib import suppress

import bpe
from bpe.huggingface import arguments_of
from bpe.spelling import CHARACTERS
from gpt.data.tokens.parts import steps_in
from gpt.data.tokens.splitters import with_space


class FastWords:
    """A tokenizer of `bpe`, and what it cannot do.

    Parameters
    ----------
    tokenizer : bpe.Tokenizer
        Without special or added tokens.
    prefix : bool
        Whether a text begins with a space.
    missing : bytes
        Bytes that the model has no token for, though `tokenizer` has.
    """

    def __init__(self, tokenizer, prefix, missing):
        self.tokenizer, self.prefix = tokenizer, prefix
        bytes_in = b"[" + re.escape(missing) + b"]"
        self.missing = re.compile(bytes_in if missing else b"(?!)")

    def lacks(self, text):
        """Whether the text has a byte without a token."""
        return bool(self.missing.search(text.encode()))

    def encode(self, text, threads):
        """Turn text into an (N,) int32 array."""
        text = with_space(text) if self.prefix and text else text
        return self.tokenizer.encode_array(text, threads=threads)


def fast_words(path, facts):
    """Make a `FastWords` of the JSON of a `tokenizer.json`, or None where it is another model."""
    model = facts["model"]
    vocab = model["vocab"]
    steps = steps_in(path, facts, "pre_tokenizer", "pretokenizers")
    if not isinstance(vocab, dict) or not steps or steps[-1].get("type") != "ByteLevel":
        return None
    prefix = steps[-1].get("add_prefix_space") is True
    if prefix and len(steps) > 1:  # then a space comes before every word
        return None
    missing = [byte for byte in range(256) if CHARACTERS[byte] not in vocab]
    free = max(vocab.values(), default=-1) + 1
    ids = range(free, free + len(missing))
    vocab = vocab | dict(zip((CHARACTERS[byte] for byte in missing), ids))
    steps[-1] = steps[-1] | {"add_prefix_space": False}
    plain = dict(model=model | {"vocab": vocab},
                 pre_tokenizer={"type": "Sequence", "pretokenizers": steps})
    with suppress(ValueError):
        tokenizer = bpe.Tokenizer(**arguments_of(path, plain))
        return FastWords(tokenizer, prefix, bytes(missing))
    return None
