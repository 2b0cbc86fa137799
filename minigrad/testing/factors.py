"""Hints about which factor or term is missing: yours and the slopes against what is at hand."""
import numpy as np

from minigrad.testing.arrays import all_finite, is_array, is_float
from minigrad.testing.evidence import all_same, row_sum, same
from minigrad.testing.trials import named_arrays

MADE = {                                               # of what may stand in a formula -> how
    "{}": lambda a: a,
    "the square of {}": lambda a: a * a,
    "1 - {}": lambda a: 1 - a,
    "1 + {}": lambda a: 1 + a,
    "1 minus the square of {}": lambda a: 1 - a * a,
    "exp of {}": lambda a: np.exp(np.minimum(a, 50)),
    "{} minus its mean": lambda a: a - a.mean(axis=-1, keepdims=True) if a.ndim else a,
}
PLACES = {
    "is negative": lambda a: a < 0,
    "is positive": lambda a: a > 0,
    "is 0": lambda a: a == 0,
    "is less than 1 in magnitude": lambda a: np.abs(a) < 1,
    "is more than 1 in magnitude": lambda a: np.abs(a) > 1,
}


def factors(e):
    """Yield (name, array) of what may stand in a formula, in the shape of the gradient."""
    for name, a in named_arrays(e.point):
        try:
            a = np.broadcast_to(a, e.dx.shape)
        except ValueError:
            continue
        if all_finite(a):
            for words, make in MADE.items():
                yield words.format(name), make(a)


def is_times(e):
    """Compare the ratio of yours and the slopes with everything at hand."""
    for name, a in factors(e):
        varies = np.ptp(a) > 1e-6 * np.abs(a).max(initial=0)
        if not varies:
            continue
        if c := ratio_to(e.dx, a * e.slopes):
            return f"yours is {c:.4g} times the slope times {name}: that is a factor too much"
        if c := ratio_to(e.slopes, a * e.dx):
            return f"yours times {name} is {1 / c:.4g} times the slope: that is a factor too few"
    if has_rows(e) and all_same(e.dx, row_ratio(e) * e.slopes):
        return ("within each row the ratio of yours to the slope is constant: a factor that "
                "belongs to the row (a norm, a sum, a maximum) is missing or too much")


def has_rows(e):
    """Say whether there are rows of more than one element, and most of them have a slope."""
    sizes = np.abs(e.slopes)
    used = sizes > 1e-3 * sizes.max(initial=0)
    return (e.dx.ndim and e.dx.shape[-1] > 1
            and used.sum() > e.dx.size / 2 and all_finite(e.dx))


def row_ratio(e):
    """Return, for each row, the number that the slopes are best multiplied with."""
    squares = row_sum(e.slopes * e.slopes)
    return row_sum(e.dx * e.slopes) / np.maximum(squares, 1e-300)


def multiple(a, b):
    """Return the number c for which c b is nearest to a."""
    square = (b * b).sum()
    return float((a * b).sum() / max(square, 1e-300))


def ratio_to(a, b):
    """Return the number c with a = c b, or None."""
    c = multiple(a, b)
    return c if c and all_same(a, c * b) else None


def lacks_term(e):
    """Compare the error with everything at hand, and with that times g."""
    error = e.dx - e.slopes
    if error.size < 2 or not all_finite(error):
        return None
    for name, a in terms(e):
        c = multiple(error, a)
        rest = np.abs(error - c * a)
        if c and np.all(rest <= 1e-5 * np.abs(error).max()):
            return (f"the error is {c:.4g} times {name}: a term with it is missing, too much, or "
                    "has the other sign")
    for axis in range(error.ndim):
        along = np.broadcast_to(error.take([0], axis), error.shape)
        if error.shape[axis] > 1 and all_same(error, along):
            return (f"the error is the same all along axis {axis - error.ndim}: a term such as "
                    "a sum or a mean over it is forgotten or has the wrong size")


def terms(e):
    """Yield (name, array) of what may have been added: the factors, and those times g."""
    known, g = list(factors(e)), e.g
    is_like = g is not None and g.shape == e.dx.shape
    if is_like:
        yield "g", g
    yield from known
    for name, a in known if is_like else ():
        yield f"g times {name}", g * a


def is_wrong_where(e):
    """Look where the wrong elements are."""
    wrong = e.wrong
    if wrong.all() or wrong.size < 2:
        return None
    for name, a in named_arrays(e.point):
        for words, holds in PLACES.items() if np.shape(a) == wrong.shape else ():
            if is_exactly(wrong, holds(a), e.slopes):
                return f"it is wrong exactly where {name} {words}: look at that branch"
    for axis, n in enumerate(wrong.shape):
        others = tuple(k for k in range(wrong.ndim) if k != axis)
        rows = np.flatnonzero(wrong.any(axis=others))
        if 0 < rows.size < n and n > 2:
            where = written_places(rows.tolist(), n)
            return (f"only some places of axis {axis - wrong.ndim} (of size {n}) are wrong, {where}"
                    ": look at how the loop, the mask or the index ends there")


def is_exactly(wrong, there, slopes):
    """Say whether all that is wrong is there, and what is right there has no slope."""
    elsewhere = wrong & ~there
    expected = wrong | same(slopes, 0)
    return there.any() and not elsewhere.any() and expected[there].all()


def written_places(rows, n):
    """Write some of n places in words."""
    if rows == list(range(rows[0], n)):
        return f"from {rows[0]} on"
    if rows == list(range(len(rows))):
        return f"up to {rows[-1]}"
    more = ", ..." if len(rows) > 4 else ""
    return f"at {', '.join(map(str, rows[:4]))}{more}"


def is_special(e):
    """Say what is unusual in a case when larger, usual ones are right."""
    inputs = [x for x in e.point.arrays if is_array(x)]
    floats = [x for x in (*inputs, *e.point.g) if is_float(x)]
    sizes = np.concatenate([[1.0], *(np.abs(x[np.isfinite(x)]) for x in floats)])
    small, large = sizes[sizes > 0].min(), sizes.max()
    shapes = {x.shape for x in inputs}
    sides = {n for shape in shapes for n in shape}
    longest = max(sides, default=0)
    unusual = {                                        # what to say -> whether it is so
        f"values as small as {small:.2g}": small < 0.05,
        f"values as large as {large:.2g}": large > 20,
        f"sides as long as {longest}": longest > 33,
        "exact zeros": 0 in sizes,
        "inputs of different shapes": len(shapes) > 1,
        "axes of size 1": 1 in sides,
        "no axes at all": () in shapes,
    }
    found = [words for words, is_so in unusual.items() if is_so]
    if found:
        return f"larger cases with usual values are right; this one has {', '.join(found[:3])}"


FACTORS = (is_times, lacks_term, is_wrong_where)
