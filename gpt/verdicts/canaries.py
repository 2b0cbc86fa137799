"""Does it remember what it read only a few times? The exposure of strings planted in its text."""
import math

import numpy as np

from gpt.batch import IGNORE, Batch
from gpt.data.canaries import drawn, read_canaries
from gpt.verdicts.case import TOLD, WARNS, Figure, Line, Unfit, scored

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
    others = surprises(case, [drawn(letters, rng) for _ in range(OTHERS)])
    rows = []
    for n, some in sorted(strings.items()):
        ranks = 1 + (others < surprises(case, some)[:, None]).sum(axis=1)   # (strings,)
        exposures = math.log2(OTHERS + 1) - np.log2(ranks)
        rows.append((f"{n} times", round(float(exposures.mean()), 2),
                     round(float(exposures.min()), 2), round(float(exposures.max()), 2)))
    once = rows[0][1]
    figure = Figure("Exposure of planted strings, in bits", ("planted", "mean", "least", "most"),
                    rows, "bars", "10 bits is the most that can be seen, 1.4 is chance.")
    words = ", ".join(f"{mean:.1f} bits of what stood there {name}" for name, mean, *_ in rows)
    return Line(f"mean exposure {words}", WARNS if once > EXPOSED else TOLD, (figure,))


def surprises(case, strings, B=64):
    """Return the surprise at each string as a line of its own, in nats: (n,)."""
    encode = lambda text: [*case.tokenizer.encode(text, disallowed_special=())]
    rows = [encode(f"\n{text}\n") for text in strings]
    found = []
    for i in range(0, len(rows), B):
        found.append(of_rows(case.model, rows[i:i + B]))
    return np.concatenate(found)


def of_rows(model, rows):
    """Return the surprise at all but the first of each row's ids, in nats: (B,)."""
    T = min(max(map(len, rows)) - 1, model.config.context_length)
    ids, targets = np.zeros((len(rows), T), np.int64), np.full((len(rows), T), IGNORE)
    for b, row in enumerate(rows):
        n = min(len(row) - 1, T)
        ids[b, :n], targets[b, :n] = row[:n], row[1:n + 1]
    scores = scored(model, Batch(ids)).astype(np.float64)                   # (B, T, V)
    scores -= scores.max(axis=-1, keepdims=True)
    asked = targets != IGNORE
    chosen = np.take_along_axis(scores, np.maximum(targets, 0)[..., None], -1)[..., 0]
    nats = np.log(np.exp(scores).sum(axis=-1)) - chosen                     # (B, T)
    return (nats * asked).sum(axis=1)
