"""Directional derivatives with an error bar, and whether there is a derivative at all.

Two central differences, with steps h and h/2, give a better one (Richardson extrapolation); their
disagreement says how good. One-sided differences show a kink: the jump between them does not
shrink with h. Where the forward pass takes complex numbers, Im f(x + ihv) / h needs no difference
and is exact to rounding (Squire & Trapp 1998, SIAM Review 40(1)); it counts only where it agrees
with the differences, since abs(), conj() and comparisons spoil it.
"""
import functools
import warnings
from typing import NamedTuple

import numpy as np

from minigrad.testing.arrays import as_tuple, total

EPS = np.finfo(np.float64).eps
STEPS = (1e-4, 1e-5, 1e-6, 1e-3)                       # the first usually does
SHARP = 0.01                                           # of the tolerance, by the complex step
TINY = 1e-30                                           # a complex step is never subtracted


class Slope(NamedTuple):
    """A directional derivative: value, error bar, whether a kink was met, how sharp to judge."""
    value: float
    bar: float
    kink: bool = False
    sharpness: float = 1.0

    def is_clear(self, size, floor):
        """Say whether the bar is short beside the slope, or beside the terms of a gradient."""
        is_long = self.bar > 1e-5 * size and self.bar > 1e6 * EPS * floor
        return not (self.kink or is_long)


def measure(phi, size, enough, exact=None, guess=None):
    """Measure the slope of phi at 0.

    Parameters
    ----------
    phi : callable
        From a float to a float.
    size : float
        The magnitude of the terms that phi adds up, for its rounding error.
    enough : float
        The error bar that ends the search for a step.
    exact : float, optional
        The slope by the complex step, if that worked.
    guess : float, optional
        What the slope should be: where two points say so already, no more are asked.

    Returns
    -------
    Slope
    """
    phi, h = functools.cache(phi), STEPS[0]
    rounding = 64 * EPS * size
    if guess is not None:
        central = (phi(h) - phi(-h)) / (2 * h)
        agrees = abs(central - guess) <= enough
        if agrees and exact is None:
            return Slope(central, enough)
        if agrees and abs(exact - guess) <= SHARP * enough:
            return Slope(exact, rounding, False, SHARP)
    at_zero = phi(0.0)
    best = Slope(np.nan, np.inf, False)
    for h in STEPS:
        slope = richardson(phi, at_zero, size, h)
        is_better = not slope.kink and slope.bar < best.bar
        if is_better or best.bar == np.inf:
            best = slope
        if not best.kink and best.bar <= enough:
            break
    if exact is None or best.kink:
        return best
    gap = abs(exact - best.value)
    if gap <= 10 * best.bar + enough:
        return Slope(exact, max(rounding, gap), False, SHARP)
    return best


def richardson(phi, at_zero, size, h):
    """Extrapolate from the steps h and h/2."""
    after, before = phi(h), phi(-h)
    half_after, half_before = phi(h / 2), phi(-h / 2)
    whole = (after - before) / (2 * h)
    half = (half_after - half_before) / h
    jump = (after - 2 * at_zero + before) / h                    # right slope minus left slope
    half_jump = 2 * (half_after - 2 * at_zero + half_before) / h
    noise = 16 * EPS * size / h
    lasting_jump = abs(2 * half_jump - jump)                     # what is left of it at h = 0
    bar = abs(half - whole) / 3 + lasting_jump / 2 + noise
    kink = lasting_jump > 10 * noise + 1e-4 * max(abs(half), abs(whole))
    if not np.isfinite(bar):
        return Slope(np.nan, np.inf, True)
    return Slope((4 * half - whole) / 3, bar, bool(kink))


def complex_slope(forward, moved, params, g):
    """Differentiate <g, f> from inputs that were moved by i TINY v; None if forward refuses.

    Returns
    -------
    float or None
        nan if the numbers were too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            outputs, _ = forward(*moved, **params)
    except Exception:
        return None
    outputs = as_tuple(outputs)
    if not any(map(np.iscomplexobj, outputs)):
        return None
    terms = [part * np.imag(y) for y, part in zip(outputs, g) if part is not None]
    return total(terms) / TINY
