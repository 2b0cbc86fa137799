"""Does it remember what it read only a few times? The exposure of strings planted in its text."""
import math

import numpy as np

from gpt.batch import IGNORE, Batch
from gpt.data.canaries import drawn, read_canaries
from gpt.verdicts.case import TOLD, WARNS, Figure, Line, Unfit, row_of, scored

OTHERS = 1023                      # strings that were not planted: exposures go up to 10 bits
EXPOSED = 5.0                      # bits, of what stood in the text once: 1 of 32 by chance


def are_forgotten(case, seconds):
    """Strings that stood in the text a few times are no likelier than others.

    Exposure is log2 of how many strings there are, less log2 of the rank of this one by its
    surprise: 1.4 bits on average where nothing is remembered (Carlini et al. 2019, definition 4).
    """
    case.writes()
    planted = read_canaries(case.folder / "data") if case.folder else None
    if planted is None:
        raise Unfit("nothing was planted: train with --canaries to ask this")
    strings, letters = planted
    rng = np.random.default_rng(1)
    new = [drawn(letters, rng) for _ in range(OTHERS)]
    others, rows = of_strings(case, new), []
    for n, some in sorted(strings.items()):
        found = exposures(of_strings(case, some), others)
        rows.append(row_of(f"{n} times", found.mean(), math.nan, found.min(), found.max()))
    once = rows[0][1]
    figure = Figure("Mean exposure of planted strings, in bits",
                    ("planted", "mean", "", "least", "most"), rows, "bars",
                    "10 bits is the most that can be seen, 1.4 is chance.")
    words = ", ".join(f"{mean:.1f} bits of those that stood there {name}"
                      for name, mean, *_ in rows)
    return Line(f"mean exposure: {words}", WARNS if once > EXPOSED else TOLD, (figure,))


def exposures(nats, others):
    """Return the exposure of strings by their surprise, beside that of others, in bits: (n,)."""
    likelier = others < nats[:, None]                                       # (n, OTHERS)
    ranks = 1 + likelier.sum(axis=1)
    return np.log2(len(others) + 1) - np.log2(ranks)


def of_strings(case, strings):
    """Return the surprise at each string as a line of its own, in nats: (n,)."""
    lines = [f"\n{text}\n" for text in strings]
    encode = case.tokenizer.encode
    return surprises(case.model, [encode(line, disallowed_special=()) for line in lines])


def surprises(model, rows, B=64):
    """Return the surprise at all but the first of each row's ids, in nats: (n,)."""
    parts = [of_rows(model, rows[i:i + B]) for i in range(0, len(rows), B)]
    return np.concatenate(parts)


def of_rows(model, rows):
    longest = max(map(len, rows)) - 1
    T = min(longest, model.config.context_length)
    ids = np.zeros((len(rows), T), np.int64)
    targets = np.full_like(ids, IGNORE)
    for b, row in enumerate(rows):
        n = min(len(row) - 1, T)
        ids[b, :n] = row[:n]
        targets[b, :n] = row[1:n + 1]
    scores = scored(model, Batch(ids)).astype(np.float64)                   # (B, T, V)
    scores -= scores.max(axis=-1, keepdims=True)
    asked = targets != IGNORE
    at = np.where(asked, targets, 0)[..., None]
    chosen = np.take_along_axis(scores, at, axis=-1)[..., 0]                # (B, T)
    total = np.exp(scores).sum(axis=-1)
    return ((np.log(total) - chosen) * asked).sum(axis=1)
