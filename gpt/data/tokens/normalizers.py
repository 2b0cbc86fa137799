"""What is done to a text before it is cut: a table of functions from str to str."""
import re
import unicodedata
from functools import lru_cache

from bpe.spelling import spell
from gpt.data.tokens.charsmap import charsmap
from gpt.data.tokens.parts import Part, check_growth, replacement, steps_in
from gpt.data.tokens.unicode_classes import (
    CONTROL, INERT, MARK, NONSPACING, classes, set_of, white)

HAN = ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
       (0x2B740, 0x2B81F), (0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F))
NMT_DROPPED = [*range(0x1, 0x9), 0xB, *range(0xE, 0x20), 0x7F, 0x8F, 0x9F]
NMT_SPACES = [0x9, 0xA, 0xC, 0xD, 0x1680, *range(0x200B, 0x2010), 0x2028, 0x2029, 0x2581, 0xFEFF,
              0xFFFD]


def normalizer_of(path, facts):
    """Make one function of all normalizers of a `tokenizer.json`."""
    steps = steps_in(path, facts, "normalizer", "normalizers")
    made = [Part(path, "normalizer", step).made_by(NORMALIZERS) for step in steps]
    return _one_by_one(path, made)


def _one_by_one(path, steps):
    """Make one function of several, each of which goes on with what the one before has made."""
    def normalize(text):
        before = text
        for step in steps:
            text = step(text)
            check_growth(path, text, before)
        return text
    return normalize


class _ByCharacter(dict):
    """What each code point becomes, asked for once: a table for `str.translate`."""

    def __init__(self, becomes):
        self.becomes = becomes

    def __missing__(self, code):
        self[code] = self.becomes(code)
        return self[code]


def _lower(text):
    return text.replace("Σ", "σ").lower()  # else the last one of a word becomes ς


def _cleaned(code):
    """Drop what is no text, and make one kind of white space."""
    if code in (0, 0xFFFD) or classes()[code] & CONTROL:
        return None
    return " " if chr(code) in white() else code


def _padded(code):
    """Put spaces around a Chinese character, so that it is a word."""
    is_han = any(first <= code <= last for first, last in HAN)
    return f" {chr(code)} " if is_han else code


def _bert(part):
    lowercase = part("lowercase", bool)
    accents = part("strip_accents", bool, None)
    steps = []
    if part("clean_text", bool):
        steps.append(_translation(_cleaned))
    if part("handle_chinese_chars", bool):
        steps.append(_translation(_padded))
    if lowercase if accents is None else accents:
        steps += [_form("NFD"), _translation(_without(NONSPACING))]
    if lowercase:
        steps.append(_lower)
    return _one_by_one(part.path, steps)


def _translation(becomes):
    table = _ByCharacter(becomes)
    return lambda text: text.translate(table)


def _without(bit):
    """Drop a class of characters."""
    return lambda code: None if classes()[code] & bit else code


def _strip(part):
    left, right = part("strip_left", bool), part("strip_right", bool)

    def normalize(text):
        text = text.lstrip(white()) if left else text
        return text.rstrip(white()) if right else text
    return normalize


def _prepend(part):
    content = part("prepend", str)
    return lambda text: content + text if text else text


def _nmt(part):
    table = dict.fromkeys(NMT_DROPPED) | dict.fromkeys(NMT_SPACES, " ")
    return lambda text: text.translate(table)


def _form(form):
    """A normal form of Unicode 9, whatever version Python has: what came later stays as it is."""
    def normalize(text):
        if text.isascii():
            return text
        parts = _later().split(text)  # what stands between them, and every second time one of them
        parts[::2] = [unicodedata.normalize(form, part) for part in parts[::2]]
        return "".join(parts)
    return normalize


@lru_cache(maxsize=1)
def _later():
    return re.compile(f"([{set_of(INERT)}])")


NORMALIZERS = {
    "NFC": lambda part: _form("NFC"),
    "NFD": lambda part: _form("NFD"),
    "NFKC": lambda part: _form("NFKC"),
    "NFKD": lambda part: _form("NFKD"),
    "Lowercase": lambda part: _lower,
    "StripAccents": lambda part: _translation(_without(MARK)),
    "BertNormalizer": _bert,
    "Strip": _strip,
    "Replace": replacement,
    "Prepend": _prepend,
    "Nmt": _nmt,
    "ByteLevel": lambda part: lambda text: spell(text.encode()),
    "Precompiled": lambda part: charsmap(part.path, part("precompiled_charsmap", str, "")),
}
