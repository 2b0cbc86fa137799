"""The laws that every backward pass keeps, each a function that raises Broken where it does not.

A law sees a Point: a subject at one case, with its forward and backward pass already run. The
laws about whole graphs (second order, symmetries, ...) are in engine_laws.py.
"""
import functools
from collections import Counter
from typing import NamedTuple

import numpy as np

from minigrad.mode import use
from minigrad.testing import domains
from minigrad.testing.adapters import Broken
from minigrad.testing.slopes import EPS, TINY, complex_slope, measure

EPS32 = float(np.finfo(np.float32).eps)
ROUNDING = 1e-9                                        # what float64 may lose, relative
LAWS = {}                                              # name -> Law, in the order of checking


class Law(NamedTuple):
    """A law: its name, the check, whether it looks once at the subject (not at each example),
    and for which subjects it says anything."""
    name: str
    check: object
    once: bool = False
    applies: object = lambda subject: True

    @property
    def text(self):
        return self.check.__doc__.split("\n")[0]


def law(name, once=False, applies=Law._field_defaults["applies"]):
    """Add a function to LAWS."""
    def declare(check):
        LAWS[name] = Law(name, check, once, applies)
        return check
    return declare


class Point:
    """A subject at one case.

    Attributes
    ----------
    outputs, grads : tuple of arrays
        Of the forward pass, and what the backward pass makes of `case.g`.
    tally : Counter
        How often what was measured, and how often it could not be.
    """

    def __init__(self, subject, case, rtol=1e-7, tally=None):
        self.subject, self.case, self.rtol = subject, case, rtol
        self.tally = Counter() if tally is None else tally
        self.arrays, self.params, self.g = case.arrays, case.params, case.g

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

    def moving(self):
        """List the inputs that receive a gradient."""
        return [i for i, x in enumerate(self.arrays) if self.subject.moves(i, x)]

    def floor(self):
        """Estimate the magnitude of the terms in a gradient, which may all cancel."""
        largest = [np.abs(x[np.isfinite(x)]).max(initial=0) for x in (*self.outputs, *self.arrays)
                   if isinstance(x, np.ndarray) and x.dtype.kind == "f"]
        g = max((np.abs(part).max(initial=0) for part in self.g if part is not None), default=0)
        return g * (1 + max(largest, default=0))


def copies(arrays):
    """Copy what a law hands to a pass that may write into it."""
    return tuple(x.copy() if isinstance(x, np.ndarray) else x for x in arrays)


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


# ---- laws of one pass ------------------------------------------------------------------------

@law("shapes")
def check_shapes(point):
    """Every float input gets a gradient of its own shape and dtype, an integer input None."""
    grads = point.grads
    if len(grads) != len(point.arrays):
        raise Broken(f"the backward pass returned {len(grads)} gradients for "
                     f"{len(point.arrays)} inputs: return one each, None for integer inputs")
    for i, (x, dx) in enumerate(zip(point.arrays, grads)):
        name = point.subject.name_of(i)
        if not point.subject.moves(i, x):
            if dx is not None:
                raise Broken(f"{name} takes no gradient, but got one: return None there")
        elif dx is None:
            raise Broken(f"{name} is float and got None: return its gradient (zeros if it has no "
                         'influence; declare the domain "constant" if none is meant)')
        elif not isinstance(dx, (np.ndarray, np.generic)):
            raise Broken(f"the gradient of {name} is a {type(dx).__name__}: return an array")
        elif dx.shape != x.shape:
            raise Broken(f"the gradient of {name} has shape {dx.shape}, but the input has shape "
                         f"{x.shape}", shape_hints(x.shape, dx))
        elif dx.dtype != x.dtype:
            raise Broken(f"the gradient of {name} is {dx.dtype}, but the input is {x.dtype}")


def shape_hints(shape, dx):
    try:
        stretched = np.broadcast_shapes(shape, dx.shape) == dx.shape
    except ValueError:
        stretched = False
    if stretched:
        return ["the input was broadcast, so every copy of it adds to its gradient: sum over the "
                "axes it was stretched along (if it never is broadcast in use, say batched=())"]
    if shape == dx.shape[::-1]:
        return ["the shape is reversed: a transposition is missing or too much"]
    return []


@law("purity")
def check_purity(point):
    """Inputs, g and saved arrays stay as they are, and the same call gives the same bits."""
    subject, case = point.subject, point.case
    arrays, g = copies(point.arrays), copies(point.g)
    passed = subject.run(arrays, case.params)
    same_bits(arrays, point.arrays, "the forward pass wrote into {}", subject.name_of)
    saved = [s.copy() if isinstance(s, np.ndarray) else s for s in passed.saved]
    first = [None if dx is None else np.array(dx) for dx in passed.pull(g)]
    same_bits(g, point.g, "the backward pass wrote into g{}", lambda i: f" of output {i}" * bool(i))
    same_bits(arrays, point.arrays, "the backward pass wrote into {}", subject.name_of)
    same_bits(passed.saved, saved, "the backward pass wrote into saved array {}", str)
    same_bits(first, passed.pull(g), "a second call of the backward pass with the same g gave "
              "another gradient of {}", subject.name_of)
    if len(point.moving()) > 1 and passed.asks:
        for i in point.moving():
            wanted = tuple(j == i for j in range(len(arrays)))
            same_bits([passed.pull(g, wanted)[i]], [first[i]], "asked for alone, another gradient "
                      "came of {}", lambda _, i=i: subject.name_of(i))


def same_bits(now, before, message, name):
    for i, (x, y) in enumerate(zip(now, before)):
        if isinstance(y, np.ndarray) and not (x.shape == y.shape and x.tobytes() == y.tobytes()):
            at = farthest(x, y, 0.0) if x.shape == y.shape else None
            where = "" if at is None else f":{element(at)[1:]} {y[at]:.12g} became {x[at]:.12g}"
            raise Broken(message.format(name(i)) + where,
                         ["work on a copy: others still use the same memory"]
                         if "wrote" in message else [])


@law("slope")
def check_slope(point):
    """The gradient times a random direction is the slope of <g, f> along that direction."""
    for i, v in directions(point).items():
        compare_slope(point, {i: v}, point.subject.name_of(i))


def directions(point):
    """Choose a random direction for each input that moves."""
    rng = point.rng
    return {i: domains.direction(rng, point.arrays[i], point.subject.domain_of(i))
            for i in point.moving()}


def compare_slope(point, moves, name):
    """Compare the slope along the directions of some inputs with what the backward pass says."""
    terms = [point.grads[i] * v for i, v in moves.items()]
    yours = float(sum(part.sum() for part in terms))
    slope = slope_along(point, moves, abs(yours))
    size = max(float(sum(np.abs(part).sum() for part in terms)), abs(slope.value))
    point.tally["slopes"] += 1
    if slope.kink or slope.bar > 1e-5 * size and slope.bar > 1e6 * EPS * point.floor():
        point.tally["kinks" if slope.kink else "unclear"] += 1
    elif not abs(yours - slope.value) <= slope.sharpness * point.rtol * size + 3 * slope.bar:
        raise Broken(f"{name}: along a random direction your backward says {yours:.10g}, but the "
                     f"slope is {slope.value:.10g}, give or take {slope.bar:.0e}")


def moved(arrays, moves, t):
    """Move some of the arrays along their directions."""
    return [x + t * moves[i] if i in moves else x for i, x in enumerate(arrays)]


def slope_along(point, moves, size):
    """Measure how <g, f> changes when inputs move; `moves` are directions by input."""
    g = [(part, np.isfinite(y)) for part, y in zip(point.g, point.outputs) if part is not None]
    largest = max(1.0, *(np.abs(x[np.isfinite(x)]).max(initial=0) for x in point.arrays
                         if isinstance(x, np.ndarray) and x.dtype.kind == "f"))
    outputs = [y for y, part in zip(point.outputs, point.g) if part is not None]
    rounding = float(sum((np.abs(part[mask]) * (np.abs(y[mask]) + largest)).sum()
                         for (part, mask), y in zip(g, outputs)))

    def phi(t):
        outputs = point.subject.forward(moved(point.arrays, moves, t), point.params)
        found = [y for y, part in zip(outputs, point.g) if part is not None]
        return float(sum((part[mask] * y[mask]).sum() for (part, mask), y in zip(g, found)))
    return measure(phi, rounding, point.rtol * size, exact_slope(point, moves))


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


@law("linearity")
def check_linearity(point):
    """The backward pass is linear in g: that of 2 g1 - 3 g2 is 2 times one minus 3 times other."""
    rng = point.rng
    other = tuple(None if g is None else rng.normal(size=g.shape) for g in point.g)
    mixed = tuple(None if a is None else 2 * a - 3 * b for a, b in zip(point.g, other))
    of_other, of_mixed = point.passed.pull(other), point.passed.pull(mixed)
    expected = [None if a is None else 2 * a - 3 * b for a, b in zip(point.grads, of_other)]
    compare(of_mixed, expected, gradient_of(point, "for 2 g1 - 3 g2, "), 10 * point.floor(), hints=[
        "for another g the gradient must change in proportion: look for a clip, an absolute "
        "value, a sign, or a g that is not used where it should be"])


@law("layout")
def check_layout(point):
    """How the memory of inputs and g lies makes no difference (in bits where a kernel computes)."""
    subject, layout = point.subject, point.rng.choice(domains.LAYOUTS)
    arrays = [relaid(x, layout, subject.domain_of(i)) for i, x in enumerate(point.arrays)]
    g = [None if part is None else domains.lay(part, layout) for part in point.g]
    plain, plain_g = in_order(arrays), in_order(g)
    strided, expected = subject.run(arrays, point.params), subject.run(plain, point.params)
    wanted = expected.pull(plain_g)
    forward_bits, backward_bits = computed_by_kernels(point, plain, plain_g, expected, wanted)
    hints = ["go by index, not by position in memory: np.ascontiguousarray first, if a kernel "
             "needs it"]
    compare(strided.outputs, expected.outputs, lambda i: f"with inputs {layout}, output {i}",
            point.floor(), forward_bits, hints)
    for passed, whose in ((expected, "g"), (strided, "inputs and g")):
        compare(passed.pull(g), wanted, gradient_of(point, f"with {whose} {layout}, "),
                10 * point.floor(), backward_bits, hints)


def in_order(arrays):
    return [np.array(x, order="C") if isinstance(x, np.ndarray) else x for x in arrays]


def computed_by_kernels(point, arrays, g, passed, grads):
    """Say whether kernels computed the outputs and the gradients: there no bit may differ.

    NumPy may sum in another order for another layout. It computes where no kernel was written, for
    small sizes (then the reference gives the same bits), and it sums over broadcast copies.
    """
    subject, cores = point.subject, point.subject.op.core_ndim
    leading = {x.shape[:x.ndim - n] for x, n in zip(arrays, cores or ())
               if isinstance(x, np.ndarray)} if subject.batched is None else ()
    if subject.level != "fast" or len(leading) > 1:
        return False, False
    reference = type(subject)(subject.op, "reference").run(arrays, point.params)
    kernel = not all(map(np.array_equal, reference.outputs, passed.outputs))
    pairs = [(x, y) for x, y in zip(grads, reference.pull(g)) if x is not None]
    return kernel, kernel and not any(np.array_equal(x, y) for x, y in pairs if y.any())


def relaid(x, layout, domain):
    """Lay an input out anew, unless that would change its values out of its domain."""
    ties = layout == "with zero strides" and "spread" in domains.words(domain)
    return x if ties or not isinstance(x, np.ndarray) else domains.lay(x, layout)


@law("finite")
def check_finite(point):
    """Finite inputs of any magnitude in the domain give finite outputs and gradients."""
    subject = point.subject
    large = [domains.enlarge(x, subject.domain_of(i)) if isinstance(x, np.ndarray) else x
             for i, x in enumerate(point.arrays)]
    masked = {i for i, x in enumerate(large) if isinstance(x, np.ndarray)
              and not np.isfinite(x).all()}
    all_finite(point.outputs, output, masked)
    all_finite(point.grads, gradient_of(point), ())
    passed, size = subject.run(large, point.params), "with inputs as large as 10,000, "
    all_finite(passed.outputs, lambda i: size + output(i), masked)
    all_finite(passed.pull(point.g), gradient_of(point, size), ())


def all_finite(arrays, name, masked):
    for i, x in enumerate(arrays):
        if x is None or (np.isfinite(x).all() if not masked else not np.isnan(x).any()):
            continue
        at = tuple(int(k) for k in np.argwhere(~np.isfinite(x))[0])
        raise Broken(f"{name(i)}{element(at)} is {x[at]}, though all inputs are finite", [
            "rewrite the formula so that nothing overflows (take the maximum out of an exp), or "
            'declare a narrower domain such as "moderate"'])


@law("float32")
def check_float32(point):
    """float32 in gives float32 out, as close to the float64 result as rounding allows."""
    subject, rng = point.subject, point.rng
    small = [as_float(domains.calm(x, subject.domain_of(i)), np.float32)
             for i, x in enumerate(point.arrays)]
    g32 = tuple(as_float(part, np.float32) for part in point.g)
    passed = subject.run(small, point.params)
    exact = [as_float(x, np.float64) for x in small]
    g64 = tuple(as_float(part, np.float64) for part in g32)
    wide = subject.run(exact, point.params)
    nudged = [x * (1 + EPS32 * rng.choice([-1, 1], x.shape))
              if subject.moves(i, x) else x for i, x in enumerate(exact)]
    moved = subject.run(nudged, point.params)
    floor = point.floor()
    judge32(passed.outputs, wide.outputs, moved.outputs, output, 1 + floor)
    judge32(passed.pull(g32), wide.pull(g64), moved.pull(g64), gradient_of(point), floor)


def as_float(x, dtype):
    return x.astype(dtype) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x


def judge32(narrow, wide, moved, name, floor):
    """Compare float32 results with float64 ones; `moved` shows what rounding the inputs does."""
    for i, (x, y, z) in enumerate(zip(narrow, wide, moved)):
        if x is None or y is None or y.dtype.kind != "f":
            continue
        if x.dtype != np.float32:
            raise Broken(f"{name(i)} is {x.dtype} for float32 inputs: keep the dtype of the data",
                         ["look for np.zeros(...) without dtype, or a float64 constant array"])
        finite = np.isfinite(y) & (np.abs(y) < 1e37)
        shaken = np.abs(np.where(finite, z - y, 0)).max(initial=0)
        size = np.abs(y[finite]).max(initial=0)
        tolerance = 256 * EPS32 * (size + floor) + 16 * shaken
        at = farthest(np.where(finite, x, 0), np.where(finite, y, 0), tolerance)
        if at is not None:
            raise Broken(f"{name(i)}{element(at)} is {x[at]:.8g} in float32 and {y[at]:.12g} in "
                         f"float64; rounding explains a difference of {tolerance:.0e}")
