"""What is wrong with a gradient, in words: compare it, element by element, with the slopes."""
import numpy as np

from minigrad.testing.adapters import Broken
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
        if shown.gap.max(initial=0) == 0 or not (shown.wrong.any() or has_float32_digits(shown)):
            continue
        worst = tuple(int(k) for k in np.unravel_index(shown.gap.argmax(), shown.gap.shape))
        place = f", element {worst}" if worst else ""
        message = (f"{point.subject.name_of(i)}{place}: your backward says "
                   f"{shown.dx[worst]:.9g}, the slope is {shown.slopes[worst]:.9g}")
        more = [wrong_evidence(p, i) for p in others]
        more = [e for e in more if e is not None]
        if not shown.wrong.any():
            return message, table(shown.dx, shown.slopes), [has_float32_digits(shown)]
        special = is_special(shown) if others and not more else None
        hints = agreed_hints(more or [shown]) + [special] * bool(special)
        known = [hint for hint in hints if not hint.startswith("no known pattern")] or hints
        return message, table(shown.dx, shown.slopes), known
    return None


def evidence(point, i):
    return Evidence(np.array(point.grads[i]), elementwise_slopes(point, i), point.arrays[i], point,
                    i)


def wrong_evidence(point, i):
    """Return the evidence of a larger point, or None if it shows nothing."""
    if i not in point.moving or not 0 < point.arrays[i].size <= MEASURED:
        return None
    try:
        found = evidence(point, i)
    except Broken:
        return None
    return found if found.dx.shape == found.slopes.shape and found.wrong.any() else None


def agreed_hints(cases, most=2):
    """Return the hints that fit every case, the surest first; or else those that fit most."""
    found, likely = [], []
    for hint in ORDER:
        if len(found) == most or found and hint in SLOW_TRIALS:
            break
        texts = [text for e in cases if (text := hint(e)) != NO_SAY]
        text = next(filter(None, texts), None)
        if text and all(texts):
            found += [text] if hint is not has_other_ratio else filter(None, [one_ratio(texts)])
        elif sum(map(bool, texts)) > len(texts) / 2 and hint is not has_other_ratio:
            likely.append(text)
    return found or likely[:most] or [differs_by_term(cases[0])]


def table(dx, slopes, most=8):
    """Write yours beside the slope, the wrong elements first."""
    order = sorted(np.ndindex(dx.shape), key=lambda at: bool(same(dx[at], slopes[at])))
    rows = [f"    {str(at):>10} {dx[at]:>14.6g} {slopes[at]:>14.6g}"
            + ("" if same(dx[at], slopes[at]) else "   <-") for at in order[:most]]
    more = [f"    ... and {dx.size - most} more"] * (dx.size > most)
    return "\n".join([f"    {'element':>10} {'yours':>14} {'slope':>14}", *rows, *more])
