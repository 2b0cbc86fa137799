"""Files of tokens, which are memory-mapped and not read.

A token file is a NumPy `.npy` file of one uint16 or uint32 array, which `np.load(path,
mmap_mode="r")` opens, followed by one line of JSON that `np.load` does not see: the fingerprint of
the tokenizer, its vocabulary size and the number of tokens.
"""
import errno
import json
from pathlib import Path

import numpy as np

from bpe.files import write_whole

_HEADER_BYTES = 128


def save_tokens(path, arrays, tokenizer):
    """Write arrays of ids to one token file, under its name only when it is complete and on disk.

    Parameters
    ----------
    path : path
    arrays : iterable of (N,) int
        Ids of `tokenizer`, kept nowhere.
    tokenizer : Tokenizer

    Returns
    -------
    n_tokens : int
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(path.parent))
    return write_whole(path, lambda temporary: _write_tokens(temporary, arrays, tokenizer))


def _write_tokens(path, arrays, tokenizer):
    """Write head, ids and facts; return how many ids there are, which the head says in the end."""
    dtype = np.dtype("<u2" if tokenizer.vocab_size <= 1 << 16 else "<u4")
    facts = dict(fingerprint=tokenizer.fingerprint(), vocab_size=tokenizer.vocab_size, n_tokens=0)
    with open(path, "wb") as file:
        file.write(_header(dtype, 0))
        for ids in arrays:
            file.write(ids.astype(dtype))
            facts["n_tokens"] += len(ids)
        file.write(json.dumps(facts).encode() + b"\n")
        file.seek(0)
        file.write(_header(dtype, facts["n_tokens"]))
    return facts["n_tokens"]


def load_tokens(path, tokenizer=None):
    """Open a token file as a read-only memory map.

    Parameters
    ----------
    path : path
    tokenizer : Tokenizer, optional
        The one that the ids must be of.

    Returns
    -------
    ids : (N,) uint16 or uint32 memmap

    Raises
    ------
    ValueError
        If it is no token file, is cut off, or was made with another tokenizer.
    """
    facts = token_file_facts(path)
    if tokenizer is not None and facts["fingerprint"] != tokenizer.fingerprint():
        raise ValueError(f"{path} holds ids of the tokenizer {facts['fingerprint']}, not of "
                         f"{tokenizer.fingerprint()}: encode the text again")
    return np.load(path, mmap_mode="r")


def token_file_facts(path):
    """Read what a token file says about itself: fingerprint, vocab_size, n_tokens."""
    try:
        ids = np.load(path, mmap_mode="r")
        with open(path, "rb") as file:
            file.seek(_HEADER_BYTES + ids.nbytes)
            facts = json.loads(file.read())
        if {"fingerprint", "vocab_size", "n_tokens"} <= facts.keys() and len(ids.shape) == 1:
            return facts
    except (ValueError, EOFError, AttributeError, TypeError):
        pass
    raise ValueError(f"{path} is not a complete token file: write it with Tokenizer.encode_file")


def _header(dtype, n_tokens):
    """Write the head of an `.npy` file of one array, version 1.0, always of the same length."""
    text = repr({"descr": dtype.str, "fortran_order": False, "shape": (n_tokens,)})
    magic = b"\x93NUMPY\x01\x00" + (_HEADER_BYTES - 10).to_bytes(2, "little")
    return magic + text.ljust(_HEADER_BYTES - 11).encode() + b"\n"
