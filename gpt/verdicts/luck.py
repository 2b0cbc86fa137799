"""Is it luck? What differs between runs that differ in their seed alone, and between two runs."""
import math

import numpy as np

from gpt.training.folder import read_manifest
from gpt.training.intervals import Interval, significant, t_quantile
from gpt.verdicts.blocks import blocks_of, difference
from gpt.verdicts.case import TOLD, Figure, Line, Unfit, row_of

ABOUT = ("The interval is about these two runs, on text like this; not about their settings, which "
         "only several seeds of each can compare (train.py --seeds).")


def seeds_agree(case, seconds):
    """Runs that differ in their seed alone end about alike."""
    names = case.facts.get("seeds") or []
    found = {name: reached(case.folder.parent / name) for name in names}
    found = {name: value for name, value in found.items() if value}
    if len(found) < 2:
        raise Unfit("one seed was trained: train with --seeds N to ask this")
    said = spread_told([*found.values()])
    rows = [row_of(name, x) for name, (x, _) in found.items()]
    units = [unit for _, unit in found.values()]
    figure = Figure("Runs that differ in their seed alone", ("run", units[0]), rows, "bars")
    return Line(said, TOLD, (figure,))


def reached(folder):
    """Return what a run reached on its held-out part, (number, unit); None if it is not told."""
    result = read_manifest(folder).get("result") or {}
    if result.get("bits_per_byte"):
        return result["bits_per_byte"], "bits/byte"
    return (100 * result["accuracy"], "% right") if "accuracy" in result else None


def spread_of(values):
    """Return the mean of runs, and how far from it another one will lie 19 times of 20."""
    n, mean = len(values), float(np.mean(values))
    if n < 3:
        return Interval(mean, math.inf)
    deviation = float(np.std(values, ddof=1))
    half = t_quantile(n - 1) * deviation * math.sqrt(1 + 1 / n)
    return Interval(mean, half)


def spread_told(found):
    """Say how far runs lie apart, each as `reached` returns it."""
    values, (unit, *_) = zip(*found)
    spread, deviation = spread_of(values), np.std(values, ddof=1)
    said = (f"{len(values)} seeds: {spread.mean:.4f} {unit} on average, standard deviation "
            f"{deviation:.4f}, from {min(values):.4f} to {max(values):.4f}")
    if math.isinf(spread.half):
        return said
    return f"{said}; another seed would come within {spread.half:.4f} of it, 19 times of 20"


def compared(one, other):
    """Return how much more bits a byte one run needs than another on the same text.

    Parameters
    ----------
    one, other : (n_bytes,)
        The surprise at each byte, in bits; nan where it was not asked.

    Returns
    -------
    gap : Interval
    n_blocks : int

    Raises
    ------
    Unfit
        If no byte was asked of both.
    """
    asked = ~np.isnan(one + other)
    if not asked.any():
        raise Unfit("there is no text that both were measured on")
    one, other = (np.where(asked, bits, np.nan) for bits in (one, other))
    mine, theirs = blocks_of(one), blocks_of(other)
    return difference(mine, theirs), len(mine.bits)


def gap_told(name, gap, n_blocks, other):
    """Say in one sentence what `compared` has found."""
    side = "lower" if gap.mean < 0 else "higher"
    doubt = "" if significant(gap) else ", which may be chance"
    half = "" if math.isnan(gap.half) else f" ± {gap.half:.4f}"
    return (f"{name} is {abs(gap.mean):.4f}{half} bits/byte {side} than {other}, on {n_blocks} "
            f"blocks of text{doubt}")
