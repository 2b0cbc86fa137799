"""Does it know what it does not know? Where it is sure, where it is surprised, and how rightly."""
import unicodedata

import numpy as np

from gpt.verdicts.blocks import bits_per_byte, added, edges_of, byte_places, reading
from gpt.verdicts.case import OK, TOLD, WARNS, Figure, Line, bits

BINS = 15                          # Guo et al. 2017, arXiv:1706.04599
MOST_ERROR = 0.05                  # of a net that one need not warn of
SURPRISES, AROUND = 10, 40         # places that are shown, and characters before each


def is_calibrated(case, seconds):
    """Of the tokens that it is 70 % sure of, 70 % are right."""
    found = reading(case, "val", seconds)
    of = np.minimum((found.confidence * BINS).astype(int), BINS - 1)        # (n,)
    n = np.bincount(of, minlength=BINS)
    sure = np.bincount(of, found.confidence, BINS)
    right = np.bincount(of, found.right, BINS)
    error = float(np.abs(sure - right).sum() / n.sum())
    rows = [(f"{i / BINS:.0%} to {(i + 1) / BINS:.0%}", round(sure[i] / n[i], 4),
             round(right[i] / n[i], 4), int(n[i])) for i in range(BINS) if n[i]]
    figure = Figure("How sure it is, and how often it is right",
                    ("sure between", "mean", "right", "tokens"), rows, "reliability",
                    "On the diagonal it is as often right as it is sure.")
    more = "sure" if sure.sum() > right.sum() else "unsure"
    return Line(f"it is right in {right.sum() / n.sum():.1%} and {sure.sum() / n.sum():.1%} sure "
                f"of its likeliest token: too {more} by {error:.3f} on average over {BINS} bins",
                OK if error <= MOST_ERROR else WARNS, (figure,))


def by_position(case, seconds):
    """More context before a token helps to predict it."""
    found, ids = reading(case, "val", seconds), np.asarray(case.text().val)
    T = int(found.behind.max())
    edges = [n for n in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048) if n < T] + [T + 1]
    of = np.searchsorted(edges, found.behind, side="right") - 1
    names = [f"{low} to {high - 1}" if high - low > 1 else f"{low}"
             for low, high in zip(edges, edges[1:])]
    rows = grouped(case, found, ids, of, names)
    figure = Figure("Surprise by tokens of context before", ("tokens", "bits/byte", "± 95 %"),
                    rows, "bars", "Less to the end: the context is used.")
    first, last = rows[0], rows[-1]
    return Line(f"{first[1]:.2f} bits/byte behind {first[0]} tokens of context, {last[1]:.2f} "
                f"behind {last[0]}", TOLD if last[1] <= first[1] else WARNS, (figure,))


def by_frequency(case, seconds):
    """What it saw often it predicts better."""
    found, data = reading(case, "val", seconds), case.text()
    counts = np.bincount(np.asarray(data.train), minlength=case.config.model.vocab_size)
    ids = np.asarray(data.val)
    seen = counts[ids[found.places]]
    edges = [0, 1, 10, 100, 1000, 10_000, 100_000, 10 ** 18]
    of = np.searchsorted(edges, seen, side="right") - 1
    names = ["0", "1 to 9", "10 to 99", "100 to 999", "1,000 to 9,999", "10,000 to 99,999",
             "100,000 or more"]
    rows = grouped(case, found, ids, of, names, 1)
    figure = Figure("Surprise by how often a token stood in the training text",
                    ("times", "bits/token", "± 95 %"), rows, "bars")
    rare, often = rows[0], rows[-1]
    return Line(f"{rare[1]:.2f} bits/token at those that stood {rare[0]} times in the training "
                f"text, {often[1]:.2f} at those of {often[0]}", TOLD, (figure,))


def by_kind(case, seconds):
    """Which kinds of characters cost it most."""
    found, ids = reading(case, "val", seconds), np.asarray(case.text().val)
    of_token = [kind_of(case.tokenizer.decode([i])) for i in range(case.tokenizer.vocab_size)]
    names = sorted({*of_token})
    of = np.array([names.index(kind) for kind in of_token])[ids[found.places]]
    rows = grouped(case, found, ids, of, names, 1)
    figure = Figure("Surprise by what a token begins with",
                    ("begins with", "bits/token", "± 95 %"), rows, "bars")
    worst, best = max(rows, key=lambda row: row[1]), min(rows, key=lambda row: row[1])
    return Line(f"most bits/token where a token begins with {worst[0]}, {worst[1]:.2f}; fewest "
                f"where with {best[0]}, {best[1]:.2f}", TOLD, (figure,))


def kind_of(text):
    """Say what a token is: by its first character that is no space."""
    if not text.strip():
        return "a line break" if "\n" in text else "a space"
    first = text.strip()[0]
    kind = unicodedata.category(first)
    if kind[0] == "L":
        return ("a capital" if kind == "Lu" else "a small letter") + (
            " behind a space" if text[0] == " " else "")
    return {"N": "a digit", "P": "punctuation"}.get(kind[0], "another character")


def grouped(case, found, ids, of, names, unit=None):
    """Return (name, bits a byte, half an interval) of each group that is there, by its number.

    With a unit of 1 they are bits a token.
    """
    starts = byte_places(ids, case.tokenizer.token_bytes)
    size, rows = edges_of(int(starts[-1])), []
    block, lengths = starts[found.places] // size, np.diff(starts)[found.places]
    if unit:
        lengths = np.full(len(block), unit)
    for i, name in enumerate(names):
        chosen = of == i
        if lengths[chosen].sum():
            mean, half = bits_per_byte(added(block[chosen], bits(found.nats[chosen]),
                                             lengths[chosen]))
            rows.append((name, round(mean, 3), None if np.isnan(half) else round(half, 3)))
    return rows


def surprises(case, seconds):
    """The places of the held-out text that it found hardest."""
    found, ids = reading(case, "val", seconds), np.asarray(case.text().val)
    rows = []
    for i in np.argsort(-found.nats, kind="stable")[:SURPRISES]:
        place, decode = found.places[i], case.tokenizer.decode
        before = decode([int(x) for x in ids[max(0, place - AROUND):place]])[-AROUND:]
        rows.append((before, decode([int(ids[place])]), decode([int(found.guess[i])]),
                     round(float(bits(found.nats[i])), 1)))
    figure = Figure("The most surprising places", ("behind", "stood", "it thought likeliest",
                                                   "bits"), rows)
    return Line(f"{rows[0][3]} bits at {rows[0][1]!r} behind {rows[0][0][-20:]!r}", TOLD, (figure,))
