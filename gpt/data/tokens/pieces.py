"""What text each token stands for: a table of decoders."""
import re

from bpe.spelling import unspell
from gpt.data.tokens.parts import Part, check_growth, replacement, steps_in

BYTE = re.compile(r"<0x([0-9A-F]{2})>")
# How English is written, token by token: no space before these.
CLEANED = {" .": ".", " ?": "?", " !": "!", " ,": ",", " ' ": "'", " n't": "n't", " 'm": "'m",
           " do not": " don't", " 's": "'s", " 've": "'ve", " 're": "'re"}


def decoder_of(path, facts):
    """Make a function of the decoders of a `tokenizer.json`.

    Returns
    -------
    piece : callable
        The text of a token, str, -> the bytes that it stands for.
    starts_with_space : bool
        Whether the first token brings a space that was not in the text.
    """
    parts = [Part(path, "decoder", step, ("trim_offsets", "add_prefix_space", "use_regex"))
             for step in steps_in(path, facts, "decoder", "decoders")]
    made = [part.made_by(DECODERS) for part in parts] or [lambda token: " " + token]
    spaces = not parts or any(map(_brings_space, parts))

    def piece(token):
        before = token
        for step in made:
            token = step(token)
            if isinstance(token, bytes):
                return token
            check_growth(path, token, before)
        return token.encode("utf-8", "replace")
    return piece, spaces


def _brings_space(part):
    if part.kind == "Metaspace":
        return part.facts.get("prepend_scheme", "always") != "never"
    return part.kind in ("Strip", "WordPiece")


def _fallback(part):
    """A token named `<0x0A>` is that byte."""
    def piece(token):
        match = BYTE.fullmatch(token)
        return bytes.fromhex(match[1]) if match else token
    return piece


def _strip(part):
    """Only as SentencePiece means it: one space at the start of the text, which `decode` drops."""
    usual = part("content", str), part("start", int), part("stop", int)
    part.check("content, start, stop", usual, usual == (" ", 1, 0), "' ', 1, 0")
    return lambda token: token


def _metaspace(part):
    sign = part("replacement", str)
    part("prepend_scheme", str, "always"), part("split", bool, True)
    part.asked.add("str_rep")
    return lambda token: token.replace(sign, " ")


def _word_piece(part):
    prefix, cleanup = part("prefix", str), part("cleanup", bool)

    def piece(token):
        token = token.removeprefix(prefix) if token.startswith(prefix) else " " + token
        for wrong in CLEANED if cleanup else ():
            token = token.replace(wrong, CLEANED[wrong])
        return token
    return piece


def _byte_level(part):
    def piece(token):
        try:
            return unspell(token)
        except KeyError:                               # it spells no bytes
            return token.encode("utf-8", "replace")
    return piece


DECODERS = {"ByteLevel": _byte_level, "ByteFallback": _fallback, "Fuse": lambda part: str,
            "Metaspace": _metaspace, "Replace": replacement, "Strip": _strip,
            "WordPiece": _word_piece}
