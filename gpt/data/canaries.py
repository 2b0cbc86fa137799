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
READ = 1 << 20                     # bytes of a text, in which its letters are looked up


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
    strings = {n: [drawn(letters, rng) for _ in range(STRINGS)] for n in COPIES}
    write_text(folder / FILE, json.dumps({"letters": letters, "copies": strings}))
    sizes = np.array([*map(len, documents)], float)
    lines = {}                     # document -> [(place, line)]
    for n, some in strings.items():
        for line in some * n:
            i = int(rng.choice(len(documents), p=sizes / sizes.sum()))
            begun = int(rng.integers(len(documents[i])))
            place = documents[i].find(b"\n", begun) + 1        # 0, its beginning, behind the last
            lines.setdefault(i, []).append((place, line.encode() + b"\n"))
    return [with_lines(document, lines.get(i, [])) for i, document in enumerate(documents)]


def letters_of(documents):
    """Return the small letters of a text, so that each tokenizer of it knows a canary."""
    beginning = b"".join(documents)[:READ] if len(documents) < 1000 else b"".join(documents[:1000])
    found = sorted({*beginning.decode("ascii", "ignore")})
    small = [x for x in found if "a" <= x <= "z"]
    return "".join(small if len(small) > 1 else [x for x in found if x.isprintable()])


def drawn(letters, rng):
    """Return a random string of so many letters."""
    return "".join(rng.choice([*letters], LENGTH))


def with_lines(document, lines):
    """Put lines into a document, each at its place."""
    parts, before = [], 0
    for place, line in sorted(lines):
        parts += [document[before:place], line]
        before = place
    return b"".join([*parts, document[before:]])


def read_canaries(folder):
    """Return {copies: strings} and the letters of what was planted; None if nothing was."""
    try:
        facts = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return {int(n): some for n, some in facts["copies"].items()}, facts["letters"]
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
