"""What is wrong with a gradient, in words: compare it, element by element, with the slopes."""
import numpy as np

from minigrad.testing.adapters import Broken
from minigrad.testing.arrays import where_largest
from minigrad.testing.evidence import Evidence, elementwise_slopes, same
from minigrad.testing.factors import FACTORS, is_special
from minigrad.testing.hints import (
    HINTS, NO_SAY, differs_by_term, has_float32_digits, has_other_ratio, one_ratio)
from minigrad.testing.trials import SLOW_TRIALS, TRIALS

LARGEST = 200                                          # elements worth measuring one by one
MEASURED = 64                                          # of further cases, several times
ORDER = (*HINTS[:3], *TRIALS, *HINTS[3:], *FACTORS, *SLOW_TRIALS)


def diagnose(point, others=()):
    """Describe what is wrong with a gradient that is not the slope.

    Parameters
    ----------
    point : Point
        The smallest counterexample, to be shown.
    others : list of Point
        More counterexamples: a hint has to fit them all, for in the smallest many things coincide.

    Returns
    -------
    message, table : str
    hints : list of str
    """
    for i in point.moving:
        if point.arrays[i].size > LARGEST:
            continue
        shown = evidence(point, i)
        if shown.dx.shape != shown.slopes.shape:       # the law of shapes speaks of that
            continue
        is_wrong = shown.wrong.any()
        small_error = not is_wrong and shown.gap.any() and has_float32_digits(shown)
        if not is_wrong and not small_error:
            continue
        worst = where_largest(shown.gap)
        place = f", element {worst}" if worst else ""
        message = (f"{point.subject.name_of(i)}{place}: your backward says "
                   f"{shown.dx[worst]:.9g}, the slope is {shown.slopes[worst]:.9g}")
        hints = [small_error] if small_error else hints_for(shown, others)
        return message, table(shown.dx, shown.slopes), hints
    return None


def hints_for(shown, others):
    """Return the hints for what is wrong in a point, as the larger points let it stand."""
    more = [wrong_evidence(p, shown.i) for p in others]
    more = [e for e in more if e is not None]
    hints = agreed_hints(more or [shown])
    if others and not more:
        hints += filter(None, [is_special(shown)])
    known = [hint for hint in hints if not hint.startswith("no known pattern")]
    return known or hints


def evidence(point, i):
    dx = np.array(point.grads[i])
    return Evidence(dx, elementwise_slopes(point, i), point.arrays[i], point, i)


def wrong_evidence(point, i):
    """Return the evidence of a larger point, or None if it shows nothing."""
    if i not in point.moving or not 0 < point.arrays[i].size <= MEASURED:
        return None
    try:
        found = evidence(point, i)
    except Broken:
        return None
    is_like = found.dx.shape == found.slopes.shape
    return found if is_like and found.wrong.any() else None


def agreed_hints(cases, most=2):
    """Return the hints that fit every case, the surest first; or else those that fit most."""
    found, likely = [], []
    for hint in ORDER:
        if len(found) == most or found and hint in SLOW_TRIALS:
            break
        texts = [text for e in cases if (text := hint(e)) != NO_SAY]
        said = list(filter(None, texts))
        if said and len(said) == len(texts):
            text = one_ratio(said) if hint is has_other_ratio else said[0]
            found += filter(None, [text])
        elif len(said) > len(texts) / 2 and hint is not has_other_ratio:
            likely.append(said[0])
    return found or likely[:most] or [differs_by_term(cases[0])]


def table(dx, slopes, most=8):
    """Write yours beside the slope, the wrong elements first."""
    def row(at):
        mark = "" if same(dx[at], slopes[at]) else "   <-"
        return f"    {str(at):>10} {dx[at]:>14.6g} {slopes[at]:>14.6g}{mark}"
    places = sorted(np.ndindex(dx.shape), key=lambda at: bool(same(dx[at], slopes[at])))
    rows = [f"    {'element':>10} {'yours':>14} {'slope':>14}", *map(row, places[:most])]
    if dx.size > most:
        rows.append(f"    ... and {dx.size - most} more")
    return "\n".join(rows)
