"""The pages of a MediaWiki dump, from any place in it on: so several processes read one dump.

A page belongs to the part that it begins in. A .bz2 of several streams, as Wikipedia has them, can
be unpacked from each stream on, and what is damaged costs one stream.
"""
import bz2
import math
from pathlib import Path

from gpt.data.cleaning.losses import MOST_BYTES, Loss
from gpt.data.reading import BLOCK_BYTES, blocks_of

BEGIN, END = b"<page>", b"</page>"


def pages_in(path, first=0, stop=None):
    """Yield what stands between <page> and </page>, of the pages that begin in a part of a dump.

    Parameters
    ----------
    path : path
    first, stop : int
        Places in the file as it is on disk; None for the end.

    Yields
    ------
    page : bytes or Loss
    """
    name, rest, base, own = Path(path).name, b"", 0, math.inf
    for block, inside in blocks_of_part(path, first, stop):
        if isinstance(block, Loss):
            if inside:                                # else whoever reads that part tells it
                yield block
            base, rest, block = base + len(rest), b"", b""    # no page is made of two halves
        if not inside and own == math.inf:
            own = base + len(rest)                    # pages that begin from here on are others'
        rest += block
        pages, cut = cut_pages(rest)
        for place, page in pages:
            if base + place >= own:
                return
            yield page if len(page) <= MOST_BYTES else too_long(name, page)
        base, rest = base + cut, rest[cut:]
        if base >= own:
            return
        if len(rest) > MOST_BYTES:
            yield too_long(name, rest)
            base, rest = base + len(rest), b""


def too_long(name, page):
    return Loss(name, repr(page[:80]), f"the page is longer than {MOST_BYTES:,} bytes")


def cut_pages(text):
    """Return [(place, page)] of the whole pages in a text, and where what is left of it begins."""
    pages, end = [], 0
    while True:
        place = text.find(BEGIN, end)
        if place < 0:
            return pages, max(end, len(text) - len(BEGIN) + 1)        # half a mark may be there
        stop = text.find(END, place)
        if stop < 0:
            return pages, place
        pages.append((place, text[place + len(BEGIN):stop]))
        end = stop + len(END)


def blocks_of_part(path, first, stop):
    """Yield (block, whether it is inside the part) from a place on to the end of the file."""
    if str(path).lower().endswith(".bz2"):
        return blocks_of_streams(path, first, math.inf if stop is None else stop)
    if first or stop is not None:
        return blocks_between(path, first, stop)
    return ((block, True) for block in blocks_of(path))


def blocks_between(path, first, stop):
    with open(path, "rb") as file:
        file.seek(first)
        while (place := file.tell()) < stop:
            yield file.read(min(BLOCK_BYTES, stop - place)), True
        while block := file.read(BLOCK_BYTES):
            yield block, False


# ---- the streams of a .bz2 ----

MAGIC = b"1AY&SY"                  # pi, as every stream of a .bz2 has it behind BZh and a digit


def blocks_of_streams(path, first, stop):
    """Yield (block, whether its stream begins before `stop`), and a Loss for a damaged stream."""
    with open(path, "rb") as file:
        place = next_stream(file, first, stop)
        while place is not None:
            inside = place < stop
            try:
                behind = yield from blocks_of_stream(file, place, inside)
            except (OSError, EOFError, ValueError) as error:
                yield Loss(Path(path).name, f"the stream at byte {place:,}", str(error)), inside
                behind = place + 1
            place = next_stream(file, behind, math.inf)


def next_stream(file, place, stop):
    """Find where the next stream begins, from a place on and before `stop`; None if none does."""
    before = b""
    file.seek(place)
    while place < stop and (block := file.read(BLOCK_BYTES)):
        text = before + block
        found = text.find(MAGIC, 4)
        while found >= 0 and text[found - 4:found - 1] != b"BZh":
            found = text.find(MAGIC, found + 1)
        if found >= 0:
            begins = place - len(before) + found - 4
            return begins if begins < stop else None
        place += len(block)
        before = text[-9:]
    return None


def blocks_of_stream(file, place, inside):
    """Yield (block, inside) of one stream; return where the file goes on behind it."""
    file.seek(place)
    unpack = bz2.BZ2Decompressor()
    while not unpack.eof:
        data = file.read(BLOCK_BYTES) if unpack.needs_input else b""
        if unpack.needs_input and not data:
            raise EOFError("it is cut off")
        block = unpack.decompress(data, BLOCK_BYTES)  # so no bomb fills the memory
        if block:
            yield block, inside
    return file.tell() - len(unpack.unused_data)
