"""Hints about which factor or term is missing: yours and the slopes against what is at hand."""
import numpy as np

from minigrad.testing.evidence import all_same, same
from minigrad.testing.trials import named_arrays


def factors(e):
    """Yield (name, array) of what may stand in a formula, in the shape of the gradient."""
    for name, a in named_arrays(e.point):
        try:
            a = np.broadcast_to(a, e.dx.shape)
        except ValueError:
            continue
        if np.isfinite(a).all():
            yield name, a
            yield f"the square of {name}", a * a
            yield f"1 - {name}", 1 - a
            yield f"1 + {name}", 1 + a
            yield f"1 minus the square of {name}", 1 - a * a
            yield f"exp of {name}", np.exp(np.minimum(a, 50))
            yield f"{name} minus its mean", a - a.mean(axis=-1, keepdims=True) if a.ndim else a


def is_times(e):
    """Compare the ratio of yours and the slopes with everything at hand."""
    for name, a in factors(e):
        if not np.ptp(a) > 1e-6 * np.abs(a).max(initial=0):
            continue
        if c := ratio_to(e.dx, a * e.slopes):
            return f"yours is {c:.4g} times the slope times {name}: that is a factor too much"
        if c := ratio_to(e.slopes, a * e.dx):
            return f"yours times {name} is {1 / c:.4g} times the slope: that is a factor too few"
    used = np.abs(e.slopes) > 1e-3 * np.abs(e.slopes).max(initial=0)
    if e.dx.ndim and e.dx.shape[-1] > 1 and used.sum() > e.dx.size / 2 and np.isfinite(e.dx).all():
        square = (e.slopes * e.slopes).sum(axis=-1, keepdims=True)
        r = (e.dx * e.slopes).sum(axis=-1, keepdims=True) / np.maximum(square, 1e-300)
        if all_same(e.dx, r * e.slopes):
            return ("within each row the ratio of yours to the slope is constant: a factor that "
                    "belongs to the row (a norm, a sum, a maximum) is missing or too much")


def ratio_to(a, b):
    """Return the number c with a = c b, or None."""
    c = float((a * b).sum() / max((b * b).sum(), 1e-300))
    return c if c and all_same(a, c * b) else None


def lacks_term(e):
    """Compare the error with everything at hand, and with that times g."""
    error = e.dx - e.slopes
    if error.size < 2 or not np.isfinite(error).all():
        return None
    known = list(factors(e))
    if e.g is not None and e.g.shape == e.dx.shape:
        known = [("g", e.g), *known, *((f"g times {name}", e.g * a) for name, a in known)]
    for name, a in known:
        c = float((error * a).sum() / max((a * a).sum(), 1e-300))
        if c and np.all(np.abs(error - c * a) <= 1e-5 * np.abs(error).max()):
            return (f"the error is {c:.4g} times {name}: a term with it is missing, too much, or "
                    "has the other sign")
    balanced = [axis for axis in range(error.ndim) if error.shape[axis] > 1 and all_same(
        error, np.broadcast_to(error.take([0], axis), error.shape))]
    if balanced:
        return (f"the error is the same all along axis {balanced[0] - error.ndim}: a term such as "
                "a sum or a mean over it is forgotten or has the wrong size")


PLACES = {"is negative": lambda a: a < 0, "is positive": lambda a: a > 0, "is 0": lambda a: a == 0,
          "is less than 1 in magnitude": lambda a: np.abs(a) < 1,
          "is more than 1 in magnitude": lambda a: np.abs(a) > 1}


def is_wrong_where(e):
    """Look where the wrong elements are."""
    wrong = e.wrong
    if wrong.all() or wrong.size < 2:
        return None
    for name, a in named_arrays(e.point):
        if np.shape(a) != wrong.shape:
            continue
        for words, holds in PLACES.items():
            there = holds(a)
            if there.any() and not (wrong & ~there).any() and (
                    wrong | same(e.slopes, 0))[there].all():
                return f"it is wrong exactly where {name} {words}: look at that branch"
    for axis in range(wrong.ndim):
        rows = np.flatnonzero(wrong.any(axis=tuple(k for k in range(wrong.ndim) if k != axis)))
        n = wrong.shape[axis]
        if 0 < rows.size < n and n > 2:
            where = f"from {rows[0]} on" if rows[-1] == n - 1 and rows.size == n - rows[0] else (
                f"up to {rows[-1]}" if rows[0] == 0 and rows.size == rows[-1] + 1 else
                f"at {', '.join(map(str, rows[:4]))}" + ", ..." * (rows.size > 4))
            return (f"only some places of axis {axis - wrong.ndim} (of size {n}) are wrong, {where}"
                    ": look at how the loop, the mask or the index ends there")


def is_special(e):
    """Say what is unusual in a case when larger, usual ones are right."""
    point, found = e.point, []
    floats = [np.abs(x[np.isfinite(x)]) for x in (*point.arrays, *point.g)
              if isinstance(x, np.ndarray) and x.dtype.kind == "f" and x.size]
    shapes = [np.shape(x) for x in point.arrays if isinstance(x, np.ndarray)]
    sides = [n for shape in shapes for n in shape]
    small = min((a[a > 0].min() for a in floats if (a > 0).any()), default=1)
    large = max((a.max(initial=0) for a in floats), default=1)
    found += [f"values as small as {small:.2g}"] * bool(small < 0.05)
    found += [f"values as large as {large:.2g}"] * bool(large > 20)
    found += [f"sides as long as {max(sides, default=0)}"] * (max(sides, default=0) > 33)
    found += ["exact zeros"] * any((a == 0).any() for a in floats)
    found += ["inputs of different shapes"] * (len({*shapes}) > 1)
    found += ["axes of size 1"] * (1 in sides) + ["no axes at all"] * (() in shapes)
    if found:
        return f"larger cases with usual values are right; this one has {', '.join(found[:3])}"


FACTORS = (is_times, lacks_term, is_wrong_where)
