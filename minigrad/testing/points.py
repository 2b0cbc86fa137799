"""A Point is a subject at one case; what laws do with it: run, move, measure, compare."""
import functools
from collections import Counter
from contextlib import contextmanager

import numpy as np

from minigrad.mode import use
from minigrad.testing import domains
from minigrad.testing.adapters import Broken
from minigrad.testing.arrays import (
    all_finite, copies, is_array, largest, largest_of, total, where_largest)
from minigrad.testing.slopes import TINY, complex_slope, measure
from minigrad.testing.strategies import make_g

ROUNDING = 1e-9                                        # what float64 may lose, relative


class Point:
    """A subject at one case.

    Attributes
    ----------
    outputs, grads : tuple of arrays
        Of the forward pass, and what the backward pass makes of `case.g`.
    judge : Point
        Where slopes are measured: at the level that has been judged, if another one has to
        agree with it, so that the levels of an op share them; itself else.
    tally : Counter
        How often what was measured, and how often it could not be.
    """

    def __init__(self, subject, case, rtol=1e-7, tally=None, judge=None):
        self.subject, self.rtol = subject, rtol
        self.judge = judge or self
        self.tally = Counter() if tally is None else tally
        self.arrays, self.params = case.arrays, case.params
        self.slopes = {}                               # inputs that move -> Slope
        if case.g is None:
            case = case._replace(g=make_g(case.seed, self.outputs))
        self.case, self.g = case, case.g

    def run(self, arrays):
        """Run the subject on other arrays, with the same keyword arguments."""
        return self.subject.run(arrays, self.params)

    @functools.cached_property
    def passed(self):
        return self.run(copies(self.arrays))

    @property
    def outputs(self):
        return self.passed.outputs

    @functools.cached_property
    def grads(self):
        return self.passed.pull(copies(self.g))

    @property
    def rng(self):
        """Make a generator anew, so that a law sees the same numbers whichever ran before."""
        return np.random.default_rng([self.case.seed, 2])

    @functools.cached_property
    def moving(self):
        """List the inputs that receive a gradient."""
        return [i for i, x in enumerate(self.arrays) if self.subject.moves(i, x)]

    @functools.cached_property
    def directions(self):
        """Choose a random direction for each input that moves."""
        rng, domain_of = self.rng, self.subject.domain_of
        return {i: domains.direction(rng, self.arrays[i], domain_of(i)) for i in self.moving}

    @functools.cached_property
    def size(self):
        """Return the magnitude of the inputs and outputs, at least 1."""
        return 1 + largest_of((*self.outputs, *self.arrays))

    @functools.cached_property
    def floor(self):
        """Estimate the magnitude of the terms in a gradient, which may all cancel."""
        return self.size * largest_of(self.g)

    def slope(self, *inputs):
        """Measure how <g, f> changes when some inputs move along their directions."""
        judge = self.judge
        if inputs not in judge.slopes:
            moves = {i: judge.directions[i] for i in inputs}
            yours = total(products(self.grads, moves))
            judge.slopes[inputs] = slope_along(judge, moves, yours)
        return judge.slopes[inputs]


@contextmanager
def shown(case):
    """Let a Broken raised inside show this case as the counterexample."""
    try:
        yield
    except Broken as broken:
        broken.case = case
        raise


def points_of(subject, name, cases, rtol, tally):
    """Yield a Point for each case; a level that has to agree takes the cases of the judge."""
    known = subject.judges.get(name)
    if known is not None:
        for judge in known:
            yield run_point(subject, judge.case, rtol, tally, judge)
        return
    made = []
    for case in cases:
        made.append(run_point(subject, case, rtol, tally))
        yield made[-1]
        if not subject.is_judge:
            made.clear()
    if subject.is_judge:
        subject.judges[name] = made


def run_point(subject, case, rtol=1e-7, tally=None, judge=None):
    """Make a Point and run its forward pass, of which errors are told with the case."""
    with shown(case._replace(g=case.g or ())):
        point = Point(subject, case, rtol, tally, judge)
        _ = point.passed
    return point


# ---- moving and measuring --------------------------------------------------------------------

def products(grads, moves):
    """Multiply the gradients of some inputs with directions: {input: direction}."""
    return [grads[i] * v for i, v in moves.items()]


def moved(arrays, moves, t):
    """Move some of the arrays along their directions."""
    return [x + t * moves[i] if i in moves else x for i, x in enumerate(arrays)]


def slope_along(point, moves, guess):
    """Measure how <g, f> changes when inputs move; `moves` are directions by input."""
    masks = [np.isfinite(y) for y in point.outputs]

    def pairs(outputs):
        for part, y, mask in zip(point.g, outputs, masks):
            if part is not None:
                yield part[mask], y[mask]

    def phi(t):
        outputs = point.run(moved(point.arrays, moves, t)).outputs
        return total(part * y for part, y in pairs(outputs))
    inputs = max(1.0, largest_of(point.arrays))
    rounding = total(abs(part) * (abs(y) + inputs) for part, y in pairs(point.outputs))
    enough = point.rtol * abs(guess)
    return measure(phi, rounding, enough, exact_slope(point, moves), guess)


def exact_slope(point, moves):
    """Try the complex step; remember if this forward pass does not take complex numbers."""
    subject = point.subject
    if not subject.complex_works or not all(map(all_finite, point.outputs)):
        return None
    arrays = moved(point.arrays, moves, 1j * TINY)
    forward, _ = subject.op.bodies["reference"]
    with use("reference"):
        found = complex_slope(forward, arrays, point.params, point.g)
    subject.complex_works = found is not None
    point.tally["complex steps"] += found is not None
    return found


# ---- comparing -------------------------------------------------------------------------------

def farthest(x, y, tolerance):
    """Return the index of the element where x and y differ most, or None if within tolerance."""
    are_equal = (x == y) | (np.isnan(x) & np.isnan(y))
    gap = np.where(are_equal, 0.0, np.abs(x - y))
    gap = np.where(np.isnan(gap), np.inf, gap)
    if gap.size == 0 or gap.max() <= tolerance:
        return None
    return where_largest(gap)


def tolerance_of(x, y, floor):
    """Return what rounding may change in x, of which y is another computation."""
    size = max(largest(x), largest(y))
    return ROUNDING * size + 0.01 * ROUNDING * floor


def compare(yours, expected, what, floor=0.0, bits=False, hints=()):
    """Raise Broken where two tuples of arrays differ; None stands for a gradient of zero."""
    for i, (x, y) in enumerate(zip(yours, expected)):
        if x is None and y is None:
            continue
        x = np.zeros_like(y) if x is None else np.asarray(x)
        y = np.zeros_like(x) if y is None else np.asarray(y)
        if x.shape != y.shape:
            raise Broken(f"{what(i)} has shape {x.shape}, but {y.shape} was expected", hints)
        tolerance = 0.0 if bits else tolerance_of(x, y, floor)
        at = farthest(x, y, tolerance)
        if at is not None:
            raise Broken(f"{what(i)}{element(at)} is {x[at]:.12g}, but should be {y[at]:.12g}",
                         hints)


def element(at):
    return f", element {at}," if at else ""


def gradient_of(point, when=""):
    return lambda i: f"{when}the gradient of {point.subject.name_of(i)}"


def output(i):
    return f"output {i}"


def same_bits(now, before, message, name):
    """Raise Broken with the message about name(i) where an array is not what it was before."""
    for i, (x, y) in enumerate(zip(now, before)):
        if not is_array(y):
            continue
        are_alike = x.shape == y.shape
        if are_alike and x.tobytes() == y.tobytes():
            continue
        at = farthest(x, y, 0.0) if are_alike else None
        where = "" if at is None else f":{element(at)[1:]} {y[at]:.12g} became {x[at]:.12g}"
        raise Broken(message.format(name(i)) + where, [
            "work on a copy: others still use the same memory" if "wrote" in message else
            "something is kept between calls, or read where nothing was written: make each "
            "result anew, from what the arguments say alone"])
