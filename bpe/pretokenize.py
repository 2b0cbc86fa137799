"""Cut text into pre-tokens, the pieces that no merge crosses.

The named patterns are scanned by the kernels of `bpe.scan`. Any other pattern goes through `regex`,
far slower. Several patterns cut one after the other, each what those before it have left whole.
`bpe.reference.split` says the same in ten lines.
"""
from functools import lru_cache

import numpy as np
import regex

from bpe.scan import SCANNERS, SPARE
from bpe.unicode_ranges import SPACE, class_table

_LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
           r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
PATTERNS = {  # the first three as tiktoken 0.14 has them, then as models of these names do
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
    "cl100k": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
              r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    "o200k": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
             r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
             r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
             r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
             r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "llama3": _LLAMA3,
    "qwen2": _LLAMA3.replace("{1,3}", ""),
}
NUMBERS = {"digits": r"\p{N}", "digits3": r"\p{N}{1,3}", "numbers": r"\p{N}+"}  # cut off first
NAMED = PATTERNS | NUMBERS  # what `bpe.scan` does
GPT2_SPELLINGS = (  # the same splits, as GPT-2's release and its copies write them
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
)
WHITE = tuple(chr(c).encode() for c in np.flatnonzero(class_table() & SPACE))
PAD = 16  # readable bytes that kernels ask for behind the text


# ---- what the rest of the package calls ----

def to_bytes(text):
    """Encode a string as UTF-8, its lone surrogates as U+FFFD; bytes stay as they are."""
    if not isinstance(text, str):
        return text
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def side_by_side(pieces):
    """Lay bytes out as kernels want them: one writable uint8 array, `PAD` zeros behind; the ends.
    """
    data = np.frombuffer(bytearray().join((*pieces, bytes(PAD))), np.uint8)
    return data, np.cumsum([len(piece) for piece in pieces], dtype=np.int64)


def pattern_name(pattern):
    """The name of a pattern given by name or in full, or None where `regex` must do it."""
    if not isinstance(pattern, str):
        return None  # several patterns
    if pattern in NAMED:
        return pattern
    if pattern in GPT2_SPELLINGS:
        return "gpt2"
    return next((name for name, text in NAMED.items() if text == pattern), None)


def is_cuttable(pattern):
    """Whether no pre-token crosses the places where `bpe.stream` cuts text.

    `NUMBERS` alone keep whatever stands between two numbers in one piece.
    """
    names = [pattern_name(step) for step in steps_of(pattern)]
    return None not in names and any(name in PATTERNS for name in names)


def split_offsets(data, pattern):
    """Find where each pre-token ends.

    Parameters
    ----------
    data : bytes or (N,) uint8
    pattern : str or sequence of str
        A key of `PATTERNS`, or a regular expression. Text that the expression does not match
        becomes a pre-token of its own, so that nothing is lost. Several cut in their order.

    Returns
    -------
    ends : (W,) int64
        Rising; the last is N (none for empty data).
    """
    return Splitter(pattern).split(*side_by_side([bytes(data)]))


def steps_of(pattern):
    """The patterns, each a str, that a pattern is made of."""
    return (pattern,) if isinstance(pattern, str) else tuple(pattern)


def check_pattern(pattern):
    """Raise ValueError unless each step is a named pattern or a regular expression."""
    if not steps_of(pattern):
        raise ValueError("pattern has no steps: give at least one, such as '(?s).+' for no cuts")
    for step in steps_of(pattern):
        if pattern_name(step) is None:
            compile_pattern(step)


class Splitter:
    """A pattern of one step or several, with arrays that are used again for the next text."""

    def __init__(self, pattern):
        self.steps = [_Step(step) for step in steps_of(pattern)]

    def split(self, data, limits):
        """Do `split_offsets` on many documents in one array, none of which joins with the next.

        Parameters
        ----------
        data : (>= limits[-1] + PAD,) uint8, writable
        limits : (D,) int64
            Rising: where each document ends.

        Returns
        -------
        ends : (W,) int64
            Valid until the next call.
        """
        for step in self.steps:
            limits = step.split(data, limits)
        return limits


class _Step:
    """One pattern, and its arrays."""

    def __init__(self, pattern):
        self.pattern, self.name = pattern, pattern_name(pattern)
        self.classes = np.empty(0, np.uint8)
        self.ends = np.empty(0, np.int64)

    def split(self, data, limits):
        """Do `Splitter.split`."""
        if self.name is None:
            return _split_with_regex(data, limits, self.pattern)
        if len(data) + SPARE > len(self.ends):
            self.classes = np.empty(len(data) + 64, np.uint8)
            self.ends = np.empty(len(data) + SPARE, np.int64)
        scan = SCANNERS[self.name]
        n_words = scan(data, limits, class_table(), self.classes, self.ends)
        return self.ends[:n_words]


@lru_cache(maxsize=64)
def compile_pattern(pattern):
    """Compile a user's regular expression, or say what is wrong with it."""
    try:
        return regex.compile(pattern)
    except (regex.error, RecursionError) as error:
        names = ", ".join(PATTERNS)
        raise ValueError(f"pattern {pattern!r:.80} is none of {names} and no regular expression: "
                         f"{error!s:.80}") from None


def _split_with_regex(data, limits, pattern):
    """Split through `regex`; bytes that are not UTF-8 become lone surrogates on the way."""
    find = compile_pattern(pattern).finditer
    ends, start, raw = [], 0, data.tobytes()
    for limit in np.asarray(limits).tolist():
        text = raw[start:limit].decode("utf-8", "surrogateescape")
        edges = {len(text)}
        for match in find(text):
            edges.update(match.span())
        edges = sorted(edges - {0})
        if len(text) < limit - start:  # some characters are more bytes than one
            edges = _byte_offsets(text)[edges].tolist()
        ends += [start + edge for edge in edges]
        start = limit
    return np.array(ends, np.int64)


def _byte_offsets(text):
    """The byte offset of each character of text decoded with "surrogateescape", and of its end."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    lengths = 1 + (points > 0x7F) + (points > 0x7FF) + (points > 0xFFFF)
    lengths[points >> 11 == 0xD800 >> 11] = 1
    return np.append(0, np.cumsum(lengths))
