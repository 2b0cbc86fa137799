"""Documents from dumps, crawls and files, one by one; what is damaged is counted, the rest goes on.

A source is a row of READERS: by the end of a file's name, what yields the documents in it.
"""
import csv
import html
import json
import os
import re
from io import TextIOWrapper
from pathlib import Path
from typing import NamedTuple

from gpt.data.cleaning.dumps import pages_in
from gpt.data.cleaning.htmltext import strip_html
from gpt.data.cleaning.losses import MOST_BYTES, LeftOut, Loss
from gpt.data.cleaning.wikitext import strip_wikitext
from gpt.data.reading import OPENERS, Documents, NoTextError, blocks_of, opened

UNIT_BYTES = 1 << 25               # of a dump, that one process reads at a time
PART = re.compile(r"(?<=\.xml)-p\d+p\d+[\w-]*$")


class Document(NamedTuple):
    """A text, and where it came from."""

    text: str
    source: str                    # the name of a file
    place: str                     # in it: a title, an address, the number of a line


class Unit(NamedTuple):
    """What one process reads at a time: a file, or the part of a dump between two places."""

    path: str
    first: int = 0
    stop: int | None = None        # None for the end


def units_of(paths):
    """Return the units of files; only dumps can be read from the middle on."""
    found = []
    for path in map(str, paths):
        size = os.path.getsize(path)
        if size <= UNIT_BYTES or not can_be_parted(path):
            found.append(Unit(path))
            continue
        for first in range(0, size, UNIT_BYTES):
            found.append(Unit(path, first, min(first + UNIT_BYTES, size)))
    return found


def can_be_parted(path):
    packed = Path(path).suffix.lower()
    return reader_of(path) is read_mediawiki and (packed == ".bz2" or packed not in OPENERS)


def read_unit(unit):
    """Yield the documents of a unit, and a Loss or LeftOut for whatever is none."""
    try:
        yield from reader_of(unit.path)(unit)
    except (OSError, EOFError, ValueError) as error:
        yield Loss(Path(unit.path).name, "", str(error))


def reader_of(path):
    """Return what reads a file, by its name; parts of a dump are called .xml-p10p3030."""
    path = Path(str(path).lower())
    name = path.stem if path.suffix in OPENERS else path.name
    name = PART.sub("", name)
    return next(read for ending, read in READERS.items() if name.endswith(ending))


# ---- MediaWiki dumps ----

TEXT = re.compile(r"<text\b[^>]*>(.*?)</text>", re.S)
REDIRECT = re.compile(r"\s*#redirect", re.I)


def read_mediawiki(unit):
    """Yield the articles that begin in a part of a dump; redirects and other kinds are left out.
    """
    name = Path(unit.path).name
    for page in pages_in(unit.path, unit.first, unit.stop):
        if isinstance(page, Loss):
            yield page
            continue
        page = page.decode("utf-8", "replace")
        title, found = html.unescape(field("title", page)), TEXT.search(page)
        text = html.unescape(found[1]) if found else ""
        if field("ns", page) != "0":
            yield LeftOut(name, title, "a page of another namespace")
        elif REDIRECT.match(text) or "<redirect " in page.partition("<revision")[0]:
            yield LeftOut(name, title, "a redirect")
        else:
            yield Document(strip_wikitext(text), name, title)


def field(name, page):
    found = re.search(f"<{name}>(.*?)</{name}>", page)
    return found[1] if found else ""


# ---- crawls: WARC/1.1, ISO 28500 ----

def read_warc(unit):
    """Yield the text of the pages of a crawl, with their addresses."""
    name = Path(unit.path).name
    with opened(unit.path) as file:
        while head := warc_head(file):
            length, place = int(head.get("content-length", 0)), head.get("warc-target-uri", "")
            if length > MOST_BYTES:
                yield Loss(name, place, f"it has {length:,} bytes")
                skip(file, length)
                continue
            body = file.read(length)
            if head.get("warc-type") == "conversion":             # text already: a .wet
                yield Document(body.decode("utf-8", "replace"), name, place)
            elif head.get("warc-type") == "response":
                text = text_of_response(body)
                if text is not None:
                    yield Document(text, name, place)


def warc_head(file):
    """Read the head of the next record, names in small letters; None at the end."""
    line = file.readline()
    while line and not line.strip():
        line = file.readline()
    if line and not line.startswith(b"WARC/"):
        raise ValueError(f"{line[:20]!r} stands where a record should begin")
    return line and fields_of(iter(file.readline, b""))


def fields_of(lines):
    """Return the fields of a head, by name, up to the empty line."""
    fields = {"": ""}
    for line in lines:
        if not line.strip():
            break
        name, _, value = line.decode("utf-8", "replace").partition(":")
        fields[name.strip().lower()] = value.strip()
    return fields


def skip(file, n):
    while n > 0 and (block := file.read(min(n, 1 << 20))):
        n -= len(block)


def text_of_response(body):
    """Return the text of what a server answered, if that is a page of HTML."""
    head, _, page = body.partition(b"\r\n\r\n")
    kind = fields_of(iter(head.split(b"\r\n"))).get("content-type", "")
    if "html" not in kind.lower():
        return None
    charset = re.search(r"charset=[\"']?([\w-]+)", kind)
    return strip_html(decoded(page, charset and charset[1]))


CHARSET = re.compile(rb"<meta[^>]+charset=[\"']?([\w-]+)", re.I)


def decoded(page, charset=None):
    """Decode a page by what it says of itself; as UTF-8 if it says nothing or what is unknown."""
    said = CHARSET.search(page[:4096])
    charset = charset or (said and said[1].decode()) or "utf-8"
    try:
        return page.decode(charset, "replace")
    except LookupError:
        return page.decode("utf-8", "replace")


def read_html(unit):
    page = read_whole(unit)
    yield Document(strip_html(decoded(page)), Path(unit.path).name, "")


def read_whole(unit):
    """Read a file that is one document."""
    parts, size = [], 0
    for block in blocks_of(unit.path):
        parts.append(block)
        size += len(block)
        if size > MOST_BYTES:
            raise ValueError(f"it is longer than {MOST_BYTES:,} bytes")
    return b"".join(parts)


# ---- tables and plain files ----

def read_jsonl(unit):
    """Yield the field `text` of each line."""
    name = Path(unit.path).name
    with opened(unit.path) as file:
        for number, line in enumerate(lines_in(file), 1):
            if len(line) == MOST_BYTES:
                yield Loss(name, f"line {number}", f"it is longer than {MOST_BYTES:,} bytes")
                continue
            try:
                row = json.loads(line)
                place = row.get("url") or row.get("id") or number
                yield Document(str(row["text"]), name, str(place))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                if line.strip():
                    yield Loss(name, f"line {number}", f"{type(error).__name__}: {error}")


def lines_in(file):
    """Yield the lines of a file; of a longer one its first MOST_BYTES."""
    while line := file.readline(MOST_BYTES):
        rest = line
        while len(rest) == MOST_BYTES and not rest.endswith(b"\n"):
            rest = file.readline(MOST_BYTES)          # of which nothing is kept
        yield line


def read_csv(unit):
    """Yield the column `text`."""
    name = Path(unit.path).name
    with opened(unit.path) as file, TextIOWrapper(file, "utf-8", "replace", newline="") as lines:
        rows = csv.DictReader(lines)
        if "text" not in (rows.fieldnames or ()):
            yield Loss(name, "", f"its columns are {rows.fieldnames}, and none is text")
            return
        for row in rows:
            place = row.get("url") or row.get("id") or f"line {rows.line_num}"
            yield Document(row["text"] or "", name, place)


def read_plain(unit):
    """Yield the documents of a text, which END_OF_TEXT parts."""
    name, documents = Path(unit.path).name, Documents()
    try:
        documents.add(unit.path)
    except NoTextError as error:
        yield Loss(name, "", f"it is no UTF-8 text: {error}")
        return
    if max(documents.lengths, default=0) > MOST_BYTES:
        yield Loss(name, "", f"a document in it is longer than {MOST_BYTES:,} bytes")
        return
    for number, text in enumerate(documents, 1):
        yield Document(text.decode("utf-8"), name, f"document {number}")


# name ends so, packed or not -> how it is read; the first that fits
READERS = {".xml": read_mediawiki, ".warc": read_warc, ".wet": read_warc, ".html": read_html,
           ".htm": read_html, ".jsonl": read_jsonl, ".csv": read_csv, "": read_plain}
