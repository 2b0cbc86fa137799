"""Cut text into pieces that can be encoded one by one, and encode them on several threads.

A piece is (bytes, mark): no pre-token crosses into the next one, and the mark, a number or None,
goes behind its ids. A special token ends the piece before it and is that piece's mark.
"""
import re
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from bpe.pretokenize import WHITE, to_bytes

JOB_BYTES = 1 << 19  # what one thread encodes at a time
BLOCK_BYTES = 1 << 18  # what is read at a time
BUFFER_BYTES = 1 << 16  # what is collected from an iterator before it is looked at
_MARKS = tuple(map(str.encode, '，。、\n,"+'))  # which no pattern joins to letters
_LETTER = re.compile(rb"(?:[0-9A-Za-z]|\xe4[\xb8-\xbf][\x80-\xbf]|[\xe5-\xe8][\x80-\xbf]{2}"
                     rb"|\xe3\x81[\x81-\xbf])\Z")  # a letter or digit, as far as need be



class SpecialTokenFound(ValueError):
    """A special token, its `name`, stands in a text where it is not allowed."""

    def __init__(self, name):
        super().__init__(f"the text contains the special token {name!r}: encode it as one with "
                         f"allowed_special={{{name!r}}} (or 'all'), or as ordinary text with "
                         f"disallowed_special=()")
        self.name = name


class Specials:
    """Which special tokens to recognise in a text, and which to complain about.

    Parameters
    ----------
    ids : dict of str -> int
        All special tokens.
    allowed, disallowed : "all" or collection of str
        As in tiktoken. `disallowed="all"` means all that are not allowed.
    always : dict of str -> int, optional
        Tokens to recognise whatever is allowed.
    """

    def __init__(self, ids, allowed=(), disallowed="all", always=None):
        allowed = set(ids) if allowed == "all" else _chosen(allowed, ids, "allowed_special")
        if disallowed == "all":
            disallowed = set(ids) - allowed
        else:
            disallowed = _chosen(disallowed, ids, "disallowed_special")
        found = {name: ids[name] for name in allowed} | (always or {})
        self.ids = {name.encode(): i for name, i in found.items()}
        self.allowed = _any_of(found)
        self.disallowed = _any_of(disallowed)
        names = map(str.encode, {*found, *disallowed})
        self.longest = max(map(len, names), default=0)

    def refuse(self, data, start=0):
        """Raise ValueError if a disallowed special token stands in `data` behind `start`."""
        match = self.disallowed and self.disallowed.search(data, start)
        if match:
            raise SpecialTokenFound(match.group().decode())

    def pieces(self, data):
        """Cut bytes at the allowed special tokens; the last piece has no mark."""
        self.refuse(data)
        view, start = memoryview(data), 0
        for match in self.allowed.finditer(data) if self.allowed else ():
            yield view[start:match.start()], self.ids[match.group()]
            start = match.end()
        yield view[start:], None

    def stream_pieces(self, blocks, cuttable):
        """Do `pieces` for the concatenation of `blocks`, keeping little more than is undecided.

        A special token is certain when no longer one can begin in its place. Between special tokens
        `cuttable` text is cut before a space, where no pre-token crosses, and at least a special
        token's length before the end of what was read.
        """
        data, checked, blocks_ahead, size = b"", 0, [], 0
        for block in blocks:
            blocks_ahead.append(block)
            size += len(block)
            if size >= max(BUFFER_BYTES, len(data)):  # else many small blocks cost their square
                data = b"".join([data, *blocks_ahead])
                data = yield from self._certain_pieces(data, checked, cuttable)
                checked, blocks_ahead, size = len(data), [], 0
        yield from self.pieces(b"".join([data, *blocks_ahead]))

    def _certain_pieces(self, data, checked, cuttable):
        """Yield the pieces that no later text can change; return the rest. The first `checked`
        bytes were looked at before."""
        self.refuse(data, max(0, checked - self.longest))
        view, certain, start = memoryview(data), max(0, len(data) - self.longest), 0
        while self.allowed:
            match = self.allowed.search(data, start)
            if not match or match.start() > certain:
                break
            yield view[start:match.start()], self.ids[match.group()]
            start = match.end()
        cut = cuttable and _last_cut(data, max(start, checked - self.longest), certain)
        if cut:
            yield view[start:cut], None
            start = cut
        return data[start:]


def _chosen(names, ids, parameter):
    names = {names} if isinstance(names, str) else set(names)
    unknown = sorted(map(str, names - set(ids)))
    if unknown:
        raise ValueError(f"{parameter} names {unknown[0]!r}, which is none of the special tokens "
                         f"{sorted(ids)}")
    return names


def _any_of(names):
    """Compile a pattern of any of the names, the longest first; None for no names."""
    longest_first = sorted((name.encode() for name in names), key=lambda name: (-len(name), name))
    return re.compile(b"|".join(map(re.escape, longest_first))) if names else None


def _last_cut(data, start, stop):
    """Find the last place in start + 1 ... stop that is before a space and behind no white space;
    where there is none, as in Chinese, one before a mark and behind a letter or digit.

    No pre-token crosses such a place, whatever follows. Returns 0 if there is none.
    """
    cuts = (_last_mark(data, mark, start, stop) for mark in _MARKS)
    return _last_space(data, start, stop) or max(cuts)


def _last_space(data, start, stop):
    cut = data.rfind(b" ", start + 1, stop + 1)
    while cut > start:
        before = data[max(start, cut - 4096):cut]
        cut -= len(before) - len(before.rstrip(b" "))
        if cut > start and not data[max(0, cut - 3):cut].endswith(WHITE):
            return cut
        cut = data.rfind(b" ", start + 1, cut)
    return 0


def _last_mark(data, mark, start, stop):
    cut = data.rfind(mark, start + 1, stop + len(mark))
    while cut > start and not _LETTER.search(data, max(start, cut - 3), cut):
        cut = data.rfind(mark, start + 1, cut)
    return max(cut, 0)


def _first_cut(data, near):
    """Find such a place near `near`: before it if there is one not far, else behind; 0 if none."""
    step = JOB_BYTES // 2
    for start in range(near - step, len(data), step):
        cut = _last_cut(data, start, min(start + step, len(data)))
        if cut:
            return cut
    return 0


def blocks_of(texts):
    """Turn strs and bytes into bytes; two strs may share a pair of surrogates."""
    if isinstance(texts, (str, bytes)):
        raise TypeError("texts must be an iterable of str or bytes, not one str: use [text]")
    torn = ""
    for text in texts:
        if isinstance(text, str):
            text = torn + text
            torn = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
            yield to_bytes(text[:-1] if torn else text)
        elif isinstance(text, (bytes, bytearray, memoryview)):
            yield to_bytes(torn) + bytes(text)
            torn = ""
        else:
            raise TypeError(f"the text must be str or bytes, but a {type(text).__name__} came")
    yield to_bytes(torn)


def blocks_of_file(file):
    """Read a binary file in blocks."""
    return iter(lambda: file.read(BLOCK_BYTES), b"")


def jobs(pieces, cuttable):
    """Group small pieces, and cut large ones before a space, to about JOB_BYTES each."""
    job, size = [], 0
    for data, mark in pieces:
        view, start = memoryview(data), 0
        text = bytes(data) if cuttable and len(data) > 2 * JOB_BYTES else b""
        while len(text) - start > 2 * JOB_BYTES:
            cut = _first_cut(text, start + JOB_BYTES)
            if not cut:
                break
            yield [*job, (view[start:cut], None)]
            job, size, start = [], 0, cut
        job.append((view[start:], mark))
        size += len(data) - start + 8
        if size >= JOB_BYTES:
            yield job
            job, size = [], 0
    if job:
        yield job


def joined(arrays, n_expected):
    """Join arrays of ids as they come, without holding all of them twice."""
    ids, n = np.empty(n_expected, np.int32), 0
    for array in arrays:
        if n + len(array) > len(ids):
            ids.resize(2 * (n + len(array)), refcheck=False)
        ids[n:n + len(array)] = array
        n += len(array)
    ids.resize(n, refcheck=False)
    return ids


def map_in_order(function, items, threads):
    """Yield function(item) in the order of items, on `threads` threads, few items ahead."""
    if threads == 1:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(threads)
    waiting = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
