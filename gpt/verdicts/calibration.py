"""Does it know what it does not know? Where it is sure, and where it is surprised."""
import numpy as np

from gpt.verdicts.blocks import reading
from gpt.verdicts.case import OK, TOLD, WARNS, Figure, Line, in_bits, row_of

BINS = 15                          # Guo et al. 2017, arXiv:1706.04599
MOST_ERROR = 0.05                  # of a net that one need not warn of
SURPRISES, AROUND = 10, 40         # places that are shown, and characters before each


def is_calibrated(case, seconds):
    """Of the tokens that it is 70 % sure of, 70 % are right."""
    found = reading(case, "val", seconds)
    of = (found.confidence * BINS).astype(int)                              # (n,)
    of = np.minimum(of, BINS - 1)
    n = np.bincount(of, minlength=BINS)
    sure = np.bincount(of, found.confidence, BINS)
    right = np.bincount(of, found.right, BINS)
    rows = []
    for i in np.flatnonzero(n):
        name = f"{i / BINS:.0%} to {(i + 1) / BINS:.0%}"
        shares = row_of(name, sure[i] / n[i], right[i] / n[i])
        rows.append((*shares, int(n[i])))
    figure = Figure("How sure it is, and how often it is right",
                    ("sure between", "mean", "right", "tokens"), rows, "reliability",
                    "On the diagonal it is as often right as it is sure.")
    apart = np.abs(sure - right).sum()
    apart /= n.sum()
    said = (f"on average {found.confidence.mean():.1%} sure of its likeliest token, which is right "
            f"in {found.right.mean():.1%}; over {BINS} bins the two are {apart:.3f} apart")
    return Line(said, OK if apart <= MOST_ERROR else WARNS, (figure,))


def surprises(case, seconds):
    """The places of the held-out text that it found hardest."""
    found, ids = reading(case, "val", seconds), np.asarray(case.text().val)
    hardest = np.argsort(-found.nats, kind="stable")[:SURPRISES]
    decode, rows = case.tokenizer.decode, []
    for i in hardest:
        place, guess = found.places[i], int(found.guess[i])
        first, stood = max(0, place - AROUND), int(ids[place])
        before = decode(ids[first:place].tolist())[-AROUND:]
        bits = round(in_bits(float(found.nats[i])), 1)
        rows.append((before, decode([stood]), decode([guess]), bits))
    figure = Figure("The most surprising places",
                    ("behind", "stood", "it thought likeliest", "bits"), rows)
    before, stood, _, bits = rows[0]
    return Line(f"{bits} bits at {stood!r} behind {before[-20:]!r}", TOLD, (figure,))
