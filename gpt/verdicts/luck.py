"""Is it luck? What differs between runs that differ in their seed alone, and between two runs."""
import math
from pathlib import Path

import numpy as np

from gpt.training.folder import read_manifest
from gpt.training.intervals import Interval, significant, t_quantile
from gpt.verdicts.blocks import difference
from gpt.verdicts.case import TOLD, Figure, Line, Unfit

ABOUT = ("The interval is about these two runs, on text like this; not about their settings, which "
         "only several seeds of each can compare (train.py --seeds).")


def seeds_agree(case, seconds):
    """Runs that differ in their seed alone end about alike."""
    names = case.facts.get("seeds") or []
    found = {name: bits_of(name) for name in names}
    found = {name: x for name, x in found.items() if x}
    if len(found) < 2:
        raise Unfit("one seed was trained: train with --seeds N to ask this")
    spread = spread_of([*found.values()])
    rows = [(Path(name).name, round(x, 4)) for name, x in found.items()]
    figure = Figure("Runs that differ in their seed alone", ("run", "bits/byte"), rows, "bars")
    return Line(told(spread, [*found.values()]), TOLD, (figure,))


def bits_of(folder):
    return (read_manifest(folder).get("result") or {}).get("bits_per_byte")


def spread_of(values):
    """Return the mean of runs and how far another one may lie from it to 95 %: `Interval`."""
    n = len(values)
    deviation = float(np.std(values, ddof=1))
    wide = math.inf if n < 3 else t_quantile(n - 1) * deviation * math.sqrt(1 + 1 / n)
    return Interval(float(np.mean(values)), wide)


def told(spread, values):
    n, deviation = len(values), np.std(values, ddof=1)
    another = "" if math.isinf(spread.half) else (
        f"; another seed would come within {spread.half:.4f} of it, 19 times of 20")
    return (f"{n} seeds: {spread.mean:.4f} bits/byte on average, standard deviation "
            f"{deviation:.4f}, from {min(values):.4f} to {max(values):.4f}{another}")


def compared(one, other):
    """Return how two runs differ on the same blocks of text: (`Interval`, sentence).

    Parameters
    ----------
    one, other : Blocks
        Of the same text.

    Raises
    ------
    Unfit
        If they are not of the same bytes.
    """
    if not np.array_equal(one.n_bytes, other.n_bytes):
        raise Unfit("they were not measured on the same blocks of text")
    gap = difference(one, other)
    side = "lower" if gap.mean < 0 else "higher"
    doubt = "" if significant(gap) else ", which may be chance"
    half = "" if math.isnan(gap.half) else f" ± {gap.half:.4f}"
    return gap, f"{abs(gap.mean):.4f}{half} bits/byte {side} on {len(one.bits)} blocks{doubt}"
