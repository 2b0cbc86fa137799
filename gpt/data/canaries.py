"""Strings that stand nowhere else, planted in a text, so that one can ask later who remembers them.

Carlini et al. 2019, The Secret Sharer, arXiv:1802.08232.
"""
import json

import numpy as np

from bpe.files import write_text

FILE = "canaries.json"
COPIES = 1, 4, 16, 64
STRINGS = 10                       # of each number of copies
LENGTH = 12                        # letters
READ = 10_000                      # documents, and bytes of each, whose letters are looked up


def plant(documents, folder, seed=0):
    """Return documents with lines planted at random, which are written into a folder, too.

    Parameters
    ----------
    documents : list of bytes
    folder : Path
    seed : int

    Returns
    -------
    list of bytes
    """
    rng = np.random.default_rng(seed)
    letters = letters_of(documents)
    strings = {}                   # copies -> strings
    for n in COPIES:
        strings[n] = [drawn(letters, rng) for _ in range(STRINGS)]
    facts = {"letters": letters, "copies": strings}
    write_text(folder / FILE, json.dumps(facts))
    lines = [line for n, some in strings.items() for line in some * n]
    return with_lines(documents, lines, rng)


def with_lines(documents, lines, rng):
    """Put lines into documents behind line breaks at random, as often into each as it is long."""
    sizes = np.array([*map(len, documents)], float)
    owners = rng.choice(len(documents), len(lines), p=sizes / sizes.sum())
    planted = list(documents)
    for i in np.unique(owners):
        text, places = documents[i], []
        for line in np.array(lines)[owners == i]:
            begun = int(rng.integers(len(text)))
            place = text.find(b"\n", begun) + 1        # 0, its beginning, behind the last
            places.append((place, line.encode() + b"\n"))
        planted[i] = put(text, places)
    return planted


def letters_of(documents):
    """Return the small letters of a text, so that each tokenizer of it knows a canary."""
    seen = {byte for document in documents[:READ] for byte in document[:READ]}
    found = [chr(byte) for byte in sorted(seen) if byte < 128]
    small = [x for x in found if "a" <= x <= "z"]
    printable = [x for x in found if x.isprintable()]
    return "".join(small if len(small) > 1 else printable)


def drawn(letters, rng):
    """Return a random string of so many letters."""
    return "".join(rng.choice([*letters], LENGTH))


def put(text, lines):
    """Put lines into a text: pairs of a place and a line."""
    parts, before = [], 0
    for place, line in sorted(lines):
        parts += [text[before:place], line]
        before = place
    return b"".join([*parts, text[before:]])


def read_canaries(folder):
    """Return {copies: strings} and the letters of what was planted; None if nothing was."""
    try:
        facts = json.loads((folder / FILE).read_text(encoding="utf-8"))
        strings = {int(n): some for n, some in facts["copies"].items()}
        return strings, facts["letters"]
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
