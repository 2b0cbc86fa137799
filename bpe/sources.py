"""Read text from wherever it is, in batches that can be split and counted apart.

Documents (strings, files, items of an iterator) never join. Special tokens cut a document, the longest
first where several begin at one place. What lies between is cut further before a space, where that
changes no named pattern's split, so memory does not follow the length of a document. A user's own
pattern allows no such cut: there a document, or what lies between special tokens, is held whole.
"""
import os
import re
from pathlib import Path
from pathlib import Path

from bpe.counting import BATCH
from bpe.pretokenize import pattern_name, safe_cut, to_bytes

READ = 1 << 22  # bytes read from a file at a time


def batches(source, pattern, special_tokens=()):
    """Yield lists of bytes, of about BATCH bytes together, whose pre-tokens are those of `source`."""
    batch, size = [], 0
    for document in documents(source):
        for piece in pieces(document, pattern, special_tokens):
            batch.append(piece)
            size += len(piece)
            if size >= BATCH:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def documents(source):
    """Yield each document as an iterator of bytes.

    Parameters
    ----------
    source : str, bytes, os.PathLike, or iterable
        Text itself; a file, or a folder (all its files, in sorted order); an iterable of these, whose
        strings are text, not paths.
    """
    if isinstance(source, (str, bytes, bytearray, memoryview)):
        yield _slices(source)
    elif isinstance(source, os.PathLike):
        path = Path(source)
        if not path.exists():
            raise FileNotFoundError(f"there is no file or folder {str(path)!r} to train on")
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        yield from map(_read, files)
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


def _slices(text):
    """Yield parts of a string or bytes, as if read from a file."""
    view = text if isinstance(text, str) else memoryview(text).cast("B")
    start = 0
    while start < len(view):
        stop = start + READ
        if isinstance(text, str) and "\ud800" <= text[stop - 1:stop] < "\udc00":
            stop += 1  # keep a pair of surrogates together
        yield to_bytes(text[start:stop]) if isinstance(text, str) else bytes(view[start:stop])
        start = stop


def _read(path):
    """Yield parts of a file."""
    with open(path, "rb") as file:
        while part := file.read(READ):
            yield part


def pieces(parts, pattern, special_tokens):
    """Cut one document, an iterator of bytes, into pieces that are split apart."""
    find, longest = _finder(special_tokens)
    named = pattern_name(pattern) is not None
    text, wanted = b"", 0
    for part in parts:
        text += part
        if len(text) < wanted:
            continue
        start, settled = 0, len(text) - longest  # a special token from `settled` on may go on
        for first, stop in find(text):
            if first > settled:
                break
            yield from _small(text[start:first], named)
            start = stop
        cut = safe_cut(text, settled, start + 1) if named and settled > start else 0
        if cut:
            yield from _small(text[start:cut], named)
            start = cut
        text = text[start:]
        wanted = 2 * len(text)  # so that a long text without a cut is not searched again and again
    start = 0
    for first, stop in find(text):
        yield from _small(text[start:first], named)
        start = stop
    yield from _small(text[start:], named)


def _finder(special_tokens):
    """Make a function that lists (start, stop) of special tokens in bytes; and their longest length."""
    names = sorted((to_bytes(name) for name in special_tokens), key=len, reverse=True)
    if not names:
        return (lambda text: ()), 0
    found = re.compile(b"|".join(map(re.escape, names))).finditer
    return (lambda text: (match.span() for match in found(text))), len(names[0])


def _small(text, named):
    """Yield the text in pieces of about BATCH bytes where it can be cut."""
    start = 0
    while named and len(text) - start > BATCH:
        near = start + BATCH
        while near < len(text) and not (cut := safe_cut(text, near, start + 1)):
            near += BATCH
        if near >= len(text):
            break
        yield text[start:cut]
        start = cut
    if start < len(text):
        yield text[start:]
