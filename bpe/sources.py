"""Read text from wherever it is, in batches that can be split and counted apart.

Documents (strings, files, items of an iterator) never join. Special tokens cut a document; what
lies between is cut further before a space, where that changes no named pattern's split, so memory
does not follow the length of a document. A user's own pattern allows no such cut: there a document,
or what lies between two special tokens, is held whole.
"""
import os
from pathlib import Path

from bpe.pretokenize import is_cuttable
from bpe.stream import BLOCK_BYTES, Specials, blocks_of, blocks_of_file, jobs


def batches(source, pattern, special_tokens=()):
    """Yield lists of bytes, about `stream.JOB_BYTES` together, with the pre-tokens of `source`."""
    specials = Specials(dict.fromkeys(special_tokens, 0), allowed="all")
    cuttable = is_cuttable(pattern)
    pieces = (piece for blocks in documents(source)
              for piece in specials.stream_pieces(blocks, cuttable))
    for job in jobs(pieces, cuttable):
        texts = [text for text, _ in job if text]
        if texts:
            yield texts


def documents(source):
    """Yield each document as an iterable of bytes.

    Parameters
    ----------
    source : str, bytes, os.PathLike, or iterable
        Text itself; a file, or a folder (all its files, in sorted order); an iterable of these,
        whose strings are text, not paths.
    """
    if isinstance(source, (str, bytes, bytearray, memoryview)):
        yield blocks_of(source[k:k + BLOCK_BYTES] for k in range(0, len(source), BLOCK_BYTES))
    elif isinstance(source, os.PathLike):
        path = Path(source)
        if not path.exists():
            raise FileNotFoundError(f"there is no file or folder {str(path)!r} to train on")
        for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
            with open(file, "rb") as opened:
                yield blocks_of_file(opened)
    else:
        for document in _each(source):
            yield from documents(document)


def _each(source):
    """Iterate, or say what cannot be."""
    try:
        return iter(source)
    except TypeError:
        raise TypeError(f"text is a str, bytes, a Path or an iterable of these, not "
                        f"{type(source).__name__}") from None
