"""Which tokens cost it most? The surprise by context, by frequency, by kind of character."""
import unicodedata

import numpy as np

from gpt.verdicts.blocks import added, bits_per_byte, byte_places, edges_of, reading
from gpt.verdicts.case import TOLD, WARNS, Figure, Line, in_bits, row_of

BEHIND = [2 ** n for n in range(14)]
OFTEN = {0: "0", 1: "1 to 9", 10: "10 to 99", 100: "100 to 999", 1000: "1,000 to 9,999",
         10_000: "10,000 to 99,999", 100_000: "100,000 or more"}


def by_position(case, seconds):
    """More context before a token helps to predict it."""
    found = reading(case, "val", seconds)
    last, names = int(found.behind.max()), []
    lows = [n for n in BEHIND if 2 * n <= last + 1] or [1]
    highs = [*[n - 1 for n in lows[1:]], last]
    for low, high in zip(lows, highs):
        names.append(f"{low} to {high}" if high > low else f"{low}")
    rows = grouped(case, found, between(lows, found.behind), names)
    figure = Figure("Surprise by tokens of context before", ("tokens", "bits/byte", "± 95 %"),
                    rows, "bars", "Less to the end: the context is used.")
    few, most, _ = rows[0]
    many, least, _ = rows[-1]
    return Line(f"{most:.2f} bits/byte behind {few} tokens of context, {least:.2f} behind {many}",
                TOLD if least <= most else WARNS, (figure,))


def by_frequency(case, seconds):
    """What it saw often it predicts better."""
    found, data = reading(case, "val", seconds), case.text()
    seen = data.counts(data.train)                                          # (V,)
    stood = np.asarray(data.val)[found.places]
    group = between([*OFTEN], seen[stood])
    rows = grouped(case, found, group, [*OFTEN.values()], by_token=True)
    figure = Figure("Surprise by how often a token stood in the training text",
                    ("times", "bits/token", "± 95 %"), rows, "bars")
    rare, most, _ = rows[0]
    often, least, _ = rows[-1]
    return Line(f"{most:.2f} bits/token at those that stood {rare} times in the training text, "
                f"{least:.2f} at those of {often}", TOLD, (figure,))


def by_kind(case, seconds):
    """Which kinds of characters cost it most."""
    found, ids = reading(case, "val", seconds), np.asarray(case.text().val)
    every = range(case.tokenizer.vocab_size)
    kinds = [kind_of(case.tokenizer.decode([i])) for i in every]
    names, number = np.unique(kinds, return_inverse=True)
    group = number[ids[found.places]]
    rows = grouped(case, found, group, names.tolist(), by_token=True)
    figure = Figure("Surprise by what a token begins with",
                    ("begins with", "bits/token", "± 95 %"), rows, "bars")
    by_bits = sorted((bits, name) for name, bits, _ in rows)
    least, best = by_bits[0]
    most, worst = by_bits[-1]
    return Line(f"most bits/token where a token begins with {worst}, {most:.2f}; fewest where "
                f"with {best}, {least:.2f}", TOLD, (figure,))


def kind_of(text):
    """Say what a token is: by its first character that is no space."""
    if not text.strip():
        return "a line break" if "\n" in text else "a space"
    first = text.strip()[0]
    kind = unicodedata.category(first)
    if kind[0] == "L":
        size = "a capital" if kind == "Lu" else "a small letter"
        return f"{size} behind a space" if text[0] == " " else size
    return {"N": "a digit", "P": "punctuation"}.get(kind[0], "another character")


def between(edges, values):
    """Return between which edges each value lies, by number."""
    return np.searchsorted(edges, values, side="right") - 1


def grouped(case, found, group, names, by_token=False):
    """Return (name, bits a byte, or a token, half an interval) of each group that is there.

    Parameters
    ----------
    case : Case
    found : Reading
        Of the held-out text.
    group : (n,) int
        Of each token that was asked.
    names : list of str
    by_token : bool
    """
    ids = np.asarray(case.text().val)
    starts = byte_places(ids, case.tokenizer.token_bytes)
    block = starts[found.places] // edges_of(int(starts[-1]))
    units = np.diff(starts)[found.places]
    if by_token:
        units = np.ones_like(units)
    bits, rows = in_bits(found.nats), []
    for i, name in enumerate(names):
        chosen = group == i
        if units[chosen].any():
            blocks = added(block[chosen], bits[chosen], units[chosen])
            rows.append(row_of(name, *bits_per_byte(blocks)))
    return rows
