"""How a text is cut into words: a table of functions from (str, whether it comes first) to strs."""
import re
from functools import partial

from bpe import reference
from bpe.pretokenize import check_pattern, pattern_name
from bpe.spelling import spell
from gpt.data.tokens.parts import Part, pattern_of, steps_in
from gpt.data.tokens.unicode_classes import PUNCTUATION, WORD, set_of, white


def splitter_of(path, facts):
    """Make one function of all pre-tokenizers of a `tokenizer.json`.

    Returns
    -------
    split : callable
        (text, whether it stands at the start of all text) -> list of str.
    """
    ignored = ("trim_offsets", "str_rep")
    steps = [Part(path, "pre_tokenizer", step, ignored).made_by(SPLITTERS)
             for step in steps_in(path, facts, "pre_tokenizer", "pretokenizers")]

    def split(text, first):
        words = [text]
        for step in steps:
            words = [part for k, word in enumerate(words) for part in step(word, first and k == 0)
                     if part]
        return words
    return split


# ---- what becomes of matches ----

def _spans(find, text, invert):
    """Cover a text: yield (start, stop, whether it counts as a match)."""
    at = 0
    for match in find(text):
        if at < match.start():
            yield at, match.start(), invert
        yield match.start(), match.end(), not invert
        at = match.end()
    if at < len(text):
        yield at, len(text), invert


def _isolated(spans):
    return [(start, stop) for start, stop, _ in spans]


def _removed(spans):
    return [(start, stop) for start, stop, is_match in spans if not is_match]


def _contiguous(spans):
    return _joined(spans, lambda is_match, before: is_match == before)


def _with_previous(spans):
    return _joined(spans, lambda is_match, before: is_match and not before)


def _with_next(spans):
    return _with_previous(reversed([*spans]))[::-1]


def _joined(spans, joins):
    """Join each span with the last one where `joins` says so."""
    pieces, before = [], False
    for start, stop, is_match in spans:
        if pieces and joins(is_match, before):
            first, last = pieces[-1]
            pieces[-1] = min(first, start), max(last, stop)
        else:
            pieces.append((start, stop))
        before = is_match
    return pieces


BEHAVIOURS = {"Isolated": _isolated, "Removed": _removed, "Contiguous": _contiguous,
              "MergedWithPrevious": _with_previous, "MergedWithNext": _with_next}


def _cutter(pattern, behaviour, invert=False):
    """Cut where a compiled pattern matches."""
    if behaviour is _removed and not invert and not pattern.groups:
        return lambda text, first=False: pattern.split(text)
    return _cut_by(pattern.finditer, behaviour, invert)


def _cut_by(find, behaviour, invert=False):
    """Cut where a function, str -> matches, finds one."""
    def split(text, first=False):
        spans = _spans(find, text, invert)
        return [text[start:stop] for start, stop in behaviour(spans)]
    return split


# ---- the table ----

def _split(part):
    kind, pattern = pattern_of(part)
    behaviour, invert = part.choice("behavior", BEHAVIOURS), part("invert", bool, False)
    if kind == "String":
        compiled = re.compile(re.escape(pattern) if pattern else r"(?!)")
        return _cutter(compiled, behaviour, invert)
    check_pattern(pattern)
    if pattern_name(pattern):
        return _cut_by(_named(pattern), behaviour, invert)
    return _cutter(reference.compiled(pattern), behaviour, invert)


def _named(pattern):
    return partial(reference.matches, pattern=pattern)


def _digits(part):
    one = part("individual_digits", bool)
    return _cut_by(_named("digits" if one else "numbers"), _isolated)


def _punctuation(part):
    behaviour = part.choice("behavior", BEHAVIOURS, "Isolated")
    return _cutter(re.compile(f"[{set_of(PUNCTUATION)}]"), behaviour)


def _delimiter(part):
    character = part("delimiter", str)
    part.check("delimiter", character, len(character) == 1, "one character")
    return _cutter(re.compile(re.escape(character)), _removed)


def _bert(part):
    """Marks one by one, and what stands between marks and white space."""
    marks = set_of(PUNCTUATION)
    word = re.compile(f"[{marks}]|[^{marks}{re.escape(white())}]+")
    return lambda text, first: word.findall(text)


def _white_space(part):
    return _cutter(re.compile(f"[{re.escape(white())}]"), _removed)


def _words(part):
    inside = set_of(WORD)
    word = re.compile(f"[{inside}]+|[^{inside}{re.escape(white())}]+")
    return lambda text, first: word.findall(text)


def _metaspace(part):
    sign = part("replacement", str)
    part.check("replacement", sign, len(sign) == 1, "one character")
    scheme = part.choice("prepend_scheme", PREPEND, "always")
    if not part("add_prefix_space", bool, True):
        scheme = "never"
    before = re.compile(f"(?={re.escape(sign)})") if part("split", bool, True) else None

    def split(text, first):
        text = text.replace(" ", sign)
        wanted = scheme == "always" or scheme == "first" and first
        if wanted and not text.startswith(sign):
            text = sign + text
        return before.split(text) if before else [text]
    return split


def _byte_level(part):
    prefix = part("add_prefix_space", bool)
    cut = _cut_by(_named("gpt2"), _isolated)
    cuts = part("use_regex", bool, True)

    def split(text, first):
        text = with_space(text) if prefix else text
        return [spell(word.encode()) for word in (cut(text) if cuts else [text])]
    return split


def with_space(text):
    """Put a space before a text that does not begin with one."""
    return text if text.startswith(" ") else " " + text


def _fixed(part):
    n = part("length", int)
    part.check("length", n, n > 0, "at least 1")
    return lambda text, first: [text[k:k + n] for k in range(0, len(text), n)]


PREPEND = {"always": "always", "first": "first", "never": "never"}
SPLITTERS = {
    "ByteLevel": _byte_level, "Split": _split, "Digits": _digits, "Punctuation": _punctuation,
    "CharDelimiterSplit": _delimiter, "BertPreTokenizer": _bert, "Whitespace": _words,
    "WhitespaceSplit": _white_space, "Metaspace": _metaspace, "FixedLength": _fixed,
}
