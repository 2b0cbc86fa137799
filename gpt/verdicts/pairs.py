"""Minimal pairs: of two sentences that differ in one thing, does it find the right one likelier?

Warstadt et al. 2020, BLiMP, arXiv:1912.00582: a line of JSON each, with `sentence_good`,
`sentence_bad`, and what is tested in `linguistics_term` or `UID`.
"""
import numpy as np

from gpt.models.sampling import encode_prompt
from gpt.prompts import read_records
from gpt.training.intervals import wilson
from gpt.verdicts.canaries import surprises
from gpt.verdicts.case import TOLD, WARNS, Figure, Line, Unfit, row_of_share

NAMES = "linguistics_term", "UID", "field"      # of what a pair tests, the first that is there
SIDES = "sentence_good", "sentence_bad"


def read_pairs(name):
    """Read a file of pairs: [(phenomenon, good, bad)].

    Raises
    ------
    ConfigError
        Naming the line that is no pair.
    """
    return read_records(name, pair_of, "pair", " and ".join(SIDES))


def pair_of(row):
    """Return (phenomenon, good, bad)."""
    named = [row[field] for field in NAMES if field in row]
    tested = str(named[0]) if named else "all"
    good, bad = [row[side] + "" for side in SIDES]    # which fails for all but text
    return tested, good, bad


def prefers_the_right(case, seconds):
    """Of two sentences the right one is the likelier."""
    if case.pairs is None:
        raise Unfit("no pairs were named: say --pairs FILE to ask this")
    case.writes()
    begin, pairs = [*encode_prompt(case.tokenizer, "")], case.pairs
    encode = lambda text: [*begin, *encode_prompt(case.tokenizer, text)]
    names, *sides = zip(*pairs)
    good, bad = (surprises(case.model, [*map(encode, side)]) for side in sides)
    right, names, rows = good < bad, np.array(names), []                    # (n,)
    for name in sorted({*names.tolist()}):
        chosen = right[names == name]
        rows.append(row_of_share(name, int(chosen.sum()), len(chosen)))
    low, high = wilson(int(right.sum()), len(right))
    figure = Figure("Right pairs by what they test", ("phenomenon", "% right", "± 95 %"), rows,
                    "bars", "Guessing is right in 50 %.")
    return Line(f"{right.mean():.1%} of {len(right):,} pairs ({low:.1%} to {high:.1%}), by "
                "guessing 50 %", TOLD if low > 0.5 else WARNS, (figure,))
