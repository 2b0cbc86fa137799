"""A Point is a subject at one case; what laws do with it: run, move, measure, compare."""
import functools
from collections import Counter
from contextlib import contextmanager

import numpy as np

from minigrad.mode import use
from minigrad.testing import domains
from minigrad.testing.adapters import Broken
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
        self.subject, self.rtol, self.judge = subject, rtol, judge or self
        self.tally = Counter() if tally is None else tally
        self.arrays, self.params, self.slopes = case.arrays, case.params, {}
        if case.g is None:
            case = case._replace(g=make_g(case.seed, self.outputs))
        self.case, self.g = case, case.g

    @functools.cached_property
    def passed(self):
        return self.subject.run(copies(self.arrays), self.params)

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
        rng = self.rng
        return {i: domains.direction(rng, self.arrays[i], self.subject.domain_of(i))
                for i in self.moving}

    @functools.cached_property
    def size(self):
        """Return the magnitude of the inputs and outputs, at least 1."""
        return 1 + max((largest(x) for x in (*self.outputs, *self.arrays) if is_float(x)),
                       default=0)

    @functools.cached_property
    def floor(self):
        """Estimate the magnitude of the terms in a gradient, which may all cancel."""
        return self.size * max((largest(part) for part in self.g if part is not None), default=0)

    def slope(self, *inputs):
        """Measure how <g, f> changes when some inputs move along their directions."""
        judge = self.judge
        if inputs not in judge.slopes:
            moves = {i: judge.directions[i] for i in inputs}
            yours = sum(float((self.grads[i] * v).sum()) for i, v in moves.items())
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


def is_float(x):
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def largest(x):
    """Return the magnitude of the largest finite element, 0 if there is none."""
    return np.abs(x[np.isfinite(x)]).max(initial=0)


def copies(arrays):
    """Copy what a law hands to a pass that may write into it."""
    return tuple(x.copy() if isinstance(x, np.ndarray) else x for x in arrays)


# ---- moving and measuring --------------------------------------------------------------------

def moved(arrays, moves, t):
    """Move some of the arrays along their directions."""
    return [x + t * moves[i] if i in moves else x for i, x in enumerate(arrays)]


def slope_along(point, moves, guess):
    """Measure how <g, f> changes when inputs move; `moves` are directions by input."""
    used = [(k, part, np.isfinite(y)) for k, (part, y) in enumerate(zip(point.g, point.outputs))
            if part is not None]
    inputs = max((largest(x) for x in point.arrays if is_float(x)), default=0)
    rounding = float(sum((np.abs(part[mask]) * (np.abs(point.outputs[k][mask])
                                                + max(1.0, inputs))).sum()
                         for k, part, mask in used))

    def phi(t):
        outputs = point.subject.forward(moved(point.arrays, moves, t), point.params)
        return sum(float((part[mask] * outputs[k][mask]).sum()) for k, part, mask in used)
    return measure(phi, rounding, point.rtol * abs(guess), exact_slope(point, moves), guess)


def exact_slope(point, moves):
    """Try the complex step; remember if this forward pass does not take complex numbers."""
    subject = point.subject
    if not subject.complex_works or not all(np.isfinite(y).all() for y in point.outputs):
        return None
    with use("reference"):
        found = complex_slope(subject.op.bodies["reference"][0],
                              moved(point.arrays, moves, 1j * TINY), point.params, point.g)
    subject.complex_works = found is not None
    point.tally["complex steps"] += found is not None
    return found


# ---- comparing -------------------------------------------------------------------------------

def farthest(x, y, tolerance):
    """Return the index of the element where x and y differ most, or None if within tolerance."""
    gap = np.where((x == y) | (np.isnan(x) & np.isnan(y)), 0.0, np.abs(x - y))
    gap = np.where(np.isnan(gap), np.inf, gap)
    if gap.size == 0 or gap.max() <= tolerance:
        return None
    return tuple(int(i) for i in np.unravel_index(gap.argmax(), gap.shape))


def tolerance_of(x, y, floor):
    """Return what rounding may change in x, of which y is another computation."""
    size = max(np.abs(a[np.isfinite(a)]).max(initial=0) for a in (x, y))
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
        at = farthest(x, y, 0.0 if bits else tolerance_of(x, y, floor))
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
    for i, (x, y) in enumerate(zip(now, before)):
        if isinstance(y, np.ndarray) and not (x.shape == y.shape and x.tobytes() == y.tobytes()):
            at = farthest(x, y, 0.0) if x.shape == y.shape else None
            where = "" if at is None else f":{element(at)[1:]} {y[at]:.12g} became {x[at]:.12g}"
            raise Broken(message.format(name(i)) + where, [
                "work on a copy: others still use the same memory" if "wrote" in message else
                "something is kept between calls, or read where nothing was written: make each "
                "result anew, from what the arguments say alone"])
