"""Read the files of a text, packed or not, in pieces: what is long is never held whole."""
import bz2
import codecs
import gzip
import lzma
from array import array
from pathlib import Path
from typing import NamedTuple

from bpe.console import is_stream, read_stream
from bpe.pretokenize import WHITE

END_OF_TEXT = "<|endoftext|>"      # between documents
PIECE_BYTES = 1 << 22              # of a document, at most
BLOCK_BYTES = 1 << 20              # read at a time


class CorpusError(ValueError):
    """Text that cannot be had or used; the message says why, and what to do."""


class Piece(NamedTuple):
    """A document, or the next part of a long one."""

    text: bytes
    ends: bool                     # whether the document ends with it


# ---- files ----

def open_zst(path, mode="rb"):
    try:
        import zstandard
    except ImportError:
        raise CorpusError(f"{path} is packed by zstd: pip install zstandard, or unpack it"
                          ) from None
    return zstandard.open(path, mode)


OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zst": open_zst}


def opened(path):
    """Open a file to read bytes, unpacking it if its name says that it is packed."""
    return OPENERS.get(Path(path).suffix.lower(), open)(path, "rb")


def blocks_of(path):
    """Yield what a file or a stream holds, unpacked, a block at a time; bytes are one block.

    Raises
    ------
    CorpusError
        If it cannot be read or unpacked.
    """
    if isinstance(path, bytes):
        yield path
        return
    try:
        if is_stream(path):
            yield read_stream(path)
            return
        with opened(path) as file:
            while block := file.read(BLOCK_BYTES):
                yield block
    except CorpusError:
        raise
    except Exception as error:                        # each packer has errors of its own
        raise CorpusError(f"{path} cannot be read: {error}") from error


def read_file(path):
    """Read a file or a stream whole, unpacked: bytes; raise CorpusError as `blocks_of` does."""
    return b"".join(blocks_of(path))


class NoTextError(ValueError):
    """Bytes that are no UTF-8 or hold a NUL."""


def checked(blocks):
    """Pass blocks on, as long as they are UTF-8 without NUL.

    Raises
    ------
    NoTextError
        If they are not.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    for block in blocks:
        check_text(decoder, block, False)
        yield block
    check_text(decoder, b"", True)


def check_text(decoder, block, last):
    try:
        decoder.decode(block, last)
    except UnicodeDecodeError as error:
        raise NoTextError(str(error)) from None
    if b"\0" in block:
        raise NoTextError("there is a NUL")


def is_text(data):
    """Tell whether bytes are UTF-8 without NUL."""
    try:
        return any(True for _ in checked([data]))
    except NoTextError:
        return False


# ---- documents ----

def pieces_in(blocks, longest=PIECE_BYTES):
    """Cut blocks of bytes into documents at END_OF_TEXT, and long ones into pieces.

    Blank documents are left out. A long one is cut before a space, where no pre-token of a
    named pattern crosses; where there is none, between two characters.

    Parameters
    ----------
    blocks : iterable of bytes
    longest : int
        Bytes of a piece; a document that is shorter is one piece.

    Yields
    ------
    Piece
    """
    mark = END_OF_TEXT.encode()
    waiting, blank = [], True
    for piece in cut_at(mark, blocks, longest):
        waiting.append(piece)
        blank = blank and not piece.text.strip()
        if not blank:
            yield from waiting
            waiting = []
        if piece.ends:
            waiting, blank = [], True


def cut_at(mark, blocks, longest):
    """Yield the pieces between marks; the last one ends with the blocks."""
    rest = b""
    for block in blocks:
        *whole, rest = (rest + block).split(mark)
        yield from (Piece(text, True) for text in whole)
        while len(rest) > longest + len(mark):
            cut = last_cut(rest, longest)
            yield Piece(rest[:cut], False)
            rest = rest[cut:]
    yield Piece(rest, True)


def last_cut(text, stop):
    """Return the last place, up to `stop`, before a space that follows none; or between characters.

    >>> last_cut(b"one two  three", 9), last_cut("naïve".encode(), 3)
    (7, 2)
    """
    cut = text.rfind(b" ", 1, stop + 1)
    while cut > 0 and text[max(0, cut - 3):cut].endswith(WHITE):
        cut = text.rfind(b" ", 1, cut)
    if cut <= 0:
        cut = start_of_character(text, stop)
    return cut or stop


def start_of_character(text, place):
    """Go back from a place in UTF-8 to where a character begins."""
    while 0 < place < len(text) and text[place] & 0xC0 == 0x80:
        place -= 1
    return place


def whole(documents):
    """Yield documents that are in memory, each as one piece."""
    return (Piece(document, True) for document in documents)


class Documents:
    """The documents of files, read anew whenever they are asked for.

    Attributes
    ----------
    sources : list of path or bytes
        Those that hold any; a stream, which can be read but once, is kept as bytes.
    lengths : array of int
        The bytes of each document.
    """

    def __init__(self):
        self.sources, self.lengths = [], array("q")

    def add(self, path, binary=False):
        """Add the documents of a file; return how many bytes they have.

        Raises
        ------
        CorpusError
            If it cannot be read.
        NoTextError
            If it is no text, unless `binary`; then none of it is added.
        """
        source = read_file(path) if is_stream(path) else path
        blocks, lengths, length = blocks_of(source), array("q"), 0
        for text, ends in pieces_in(blocks if binary else checked(blocks)):
            length += len(text)
            if ends:
                lengths.append(length)
                length = 0
        if lengths:
            self.sources.append(source)
            self.lengths += lengths
        return sum(lengths)

    def __len__(self):
        return len(self.lengths)

    def __iter__(self):
        """Yield each document whole."""
        return documents_in(self.pieces())

    def pieces(self):
        """Yield each document in pieces.

        Raises
        ------
        CorpusError
            At the end, if files are no longer as they were when they were added.
        """
        n_bytes = 0
        for source in self.sources:
            for piece in pieces_in(blocks_of(source)):
                n_bytes += len(piece.text)
                yield piece
        if n_bytes != sum(self.lengths):
            raise CorpusError(f"the text had {sum(self.lengths):,} bytes and now has "
                              f"{n_bytes:,}: begin when no one writes it any more")


def joined(some):
    """Put several `Documents` into one."""
    every = Documents()
    for documents in some:
        every.sources += documents.sources
        every.lengths += documents.lengths
    return every


def documents_in(pieces):
    """Join pieces to whole documents; the last one may be cut off."""
    parts = []
    for text, ends in pieces:
        parts.append(text)
        if ends:
            yield b"".join(parts)
            parts = []
    if parts:
        yield b"".join(parts)
