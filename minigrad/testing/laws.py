"""The laws that every backward pass keeps, each a function that raises Broken where it does not.

A law sees a Point: a subject at one case, with its forward and backward pass already run. The
laws about whole graphs (second order, symmetries, ...) are in engine_laws.py.
"""
from typing import NamedTuple

import numpy as np

from minigrad.testing import domains
from minigrad.testing.adapters import Broken
from minigrad.testing.points import (
    compare, copies, element, farthest, gradient_of, is_float, output, same_bits, shown)
from minigrad.testing.signatures import declared_shapes
from minigrad.testing.slopes import EPS

EPS32 = float(np.finfo(np.float32).eps)
LAWS = {}                                              # name -> Law, in the order of checking


class Law(NamedTuple):
    """A law: its name, the check, what that looks at (a "pass" or a whole "graph", at each example;
    the "subject" once), and for which subjects it says anything."""
    name: str
    check: object
    of: str = "pass"
    applies: object = lambda subject: True

    @property
    def text(self):
        return self.check.__doc__.split("\n")[0]


def law(name, of="pass", applies=Law._field_defaults["applies"]):
    """Add a function to LAWS."""
    def declare(check):
        LAWS[name] = Law(name, check, of, applies)
        return check
    return declare


# ---- laws of one pass ------------------------------------------------------------------------

@law("shapes")
def check_shapes(point):
    """Outputs have the declared shapes; float inputs get a gradient of theirs, others None."""
    check_outputs(point)
    grads = point.grads
    if len(grads) != len(point.arrays):
        raise Broken(f"the backward pass returned {len(grads)} gradients for "
                     f"{len(point.arrays)} inputs: return one each, None for integer inputs")
    for i, (x, dx) in enumerate(zip(point.arrays, grads)):
        name = point.subject.name_of(i)
        if not point.subject.moves(i, x):
            if dx is not None:
                raise Broken(f"{name} takes no gradient, but got one", ["return None there"])
        elif dx is None:
            raise Broken(f"{name} is float and got None", [
                "return its gradient (zeros if it has no influence; declare the domain "
                '"constant" if none is meant)'])
        elif not isinstance(dx, (np.ndarray, np.generic)):
            raise Broken(f"the gradient of {name} is a {type(dx).__name__}", ["return an array"])
        elif dx.shape != x.shape:
            raise Broken(f"the gradient of {name} has shape {dx.shape}, but the input has shape "
                         f"{x.shape}", shape_hints(x.shape, dx))
        elif dx.dtype != x.dtype:
            raise Broken(f"the gradient of {name} is {dx.dtype}, but the input is {x.dtype}",
                         ["keep the dtype of the data"])


def check_outputs(point):
    """Compare the shapes of the outputs with what the signature says."""
    subject, outputs = point.subject, point.outputs
    if not subject.op.signature or subject.op.inputs:
        return
    batched = None
    if subject.batched is not None:
        batched = [name in subject.batched for name in subject.names]
    expected = declared_shapes(subject.op.signature, point.arrays, batched)
    if expected is not None and len(expected) != len(outputs):
        raise Broken(f"the forward pass gives {len(outputs)} outputs, but the signature "
                     f"{subject.op.signature} declares {len(expected)}")
    for i, (y, shape) in enumerate(zip(outputs, expected or ())):
        if y.ndim != len(shape) or any(n not in (None, m) for n, m in zip(shape, y.shape)):
            wanted = ", ".join("any" if n is None else str(n) for n in shape)
            inputs = ", ".join(str(np.shape(x)) for x in point.arrays)
            raise Broken(f"{output(i)} has shape {y.shape} for inputs of shape {inputs}, but the "
                         f"signature {subject.op.signature} says ({wanted})", [
                             "correct the signature, or batched= if inputs do not broadcast"])


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
    if dx.size == int(np.prod(shape)):
        return ["the number of elements is right: a reshape is missing or too much"]
    return ["return one gradient for each element of the input"]


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
    if len(point.moving) > 1 and passed.asks:
        for i in point.moving:
            wanted = tuple(j == i for j in range(len(arrays)))
            same_bits([passed.pull(g, wanted)[i]], [first[i]], "asked for alone, another gradient "
                      "came of {}", lambda _, i=i: subject.name_of(i))


@law("slope")
def check_slope(point):
    """The gradient times a random direction is the slope of <g, f> along that direction."""
    refuse_nan(point)
    for i in point.moving:
        compare_slope(point, i)


def refuse_nan(point):
    """Tell inputs outside of the domain of the function from a wrong gradient."""
    if any(np.isnan(x).any() for x in point.arrays if is_float(x)):
        return
    for i, y in enumerate(point.outputs):
        if y.dtype.kind == "f" and np.isnan(y).any():
            at = tuple(int(k) for k in np.argwhere(np.isnan(y))[0])
            raise Broken(f"the forward pass gives nan as {output(i)}{element(at)} though no input "
                         "is nan: there is no slope to compare with", [
                             "the inputs lie outside of the domain of the function: say which "
                             'values it takes, such as domain="positive"'])


def compare_slope(point, *inputs):
    """Compare the slope along the directions of some inputs with what the backward pass says."""
    terms = [point.grads[i] * point.judge.directions[i] for i in inputs]
    yours, slope = float(sum(part.sum() for part in terms)), point.slope(*inputs)
    size = max(float(sum(np.abs(part).sum() for part in terms)), abs(slope.value))
    point.tally["slopes"] += 1
    if slope.kink or slope.bar > 1e-5 * size and slope.bar > 1e6 * EPS * point.floor:
        point.tally["kinks" if slope.kink else "unclear"] += 1
    elif not abs(yours - slope.value) <= slope.sharpness * point.rtol * size + 3 * slope.bar:
        name = point.subject.name_of(inputs[0]) if len(inputs) == 1 else "all inputs together"
        raise Broken(f"{name}: along a random direction your backward says {yours:.10g}, but the "
                     f"slope is {slope.value:.10g}, give or take {slope.bar:.0e}")


@law("linearity")
def check_linearity(point):
    """The backward pass is linear in g: that of 2 g - 3 other_g is 2 times one - 3 times other."""
    case, rng = point.case, point.rng
    other = case.other_g or tuple(None if g is None else other_g(rng, g) for g in point.g)
    mixed = tuple(None if a is None else 2 * a - 3 * b for a, b in zip(point.g, other))
    of_other, of_mixed = point.passed.pull(copies(other)), point.passed.pull(copies(mixed))
    expected = [None if a is None else 2 * a - 3 * b for a, b in zip(point.grads, of_other)]
    with shown(case._replace(other_g=other)):
        compare(of_mixed, expected, gradient_of(point, "for 2 g - 3 other_g, "), 10 * point.floor,
                hints=["for another g the gradient must change in proportion: look for a clip, an "
                       "absolute value, a sign, or a g that is not used where it should be"])


def other_g(rng, g):
    """Make a second gradient, about as large as the first."""
    return np.asarray(rng.normal(size=g.shape) * np.abs(g).max(initial=0))


@law("layout")
def check_layout(point):
    """How the memory of inputs and g lies makes no difference (in bits where a kernel computes)."""
    subject, layout = point.subject, domains.LAYOUTS[point.case.seed % len(domains.LAYOUTS)]
    arrays = [relaid(x, layout, subject.domain_of(i)) for i, x in enumerate(point.arrays)]
    g = [None if part is None else domains.lay(part, layout) for part in point.g]
    plain, plain_g = in_order(arrays), in_order(g)
    strided, expected = subject.run(arrays, point.params), subject.run(plain, point.params)
    wanted = expected.pull(plain_g)
    forward_bits, backward_bits = computed_by_kernels(point, plain, plain_g, expected, wanted)
    hints = ["go by index, not by position in memory: np.ascontiguousarray first, if a kernel "
             "needs it"]
    with shown(point.case._replace(arrays=tuple(arrays), g=tuple(g))):
        compare(strided.outputs, expected.outputs, lambda i: f"with inputs {layout}, output {i}",
                point.size, forward_bits, hints)
        for passed, whose in ((expected, "g"), (strided, "inputs and g")):
            compare(passed.pull(g), wanted, gradient_of(point, f"with {whose} {layout}, "),
                    10 * point.floor, backward_bits, hints)
    turned = [None if part is None else np.asfortranarray(part) for part in plain_g]
    if all(part is None or part.flags.c_contiguous for part in turned):
        return                                             # of one axis there is one order
    with shown(point.case._replace(arrays=tuple(plain), g=tuple(turned))):
        compare(expected.pull(turned), wanted, gradient_of(point, "with g in Fortran order, "),
                10 * point.floor, backward_bits, hints)


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
    with shown(point.case._replace(arrays=tuple(large))):
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
    with shown(point.case._replace(arrays=tuple(small), g=g32)):
        judge32(passed.outputs, wide.outputs, moved.outputs, output, point.size)
        judge32(passed.pull(g32), wide.pull(g64), moved.pull(g64), gradient_of(point), point.floor)


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
                         f"float64; rounding explains a difference of {tolerance:.0e}", [
                             "look for a step with fewer digits, or for a difference of nearly "
                             "equal numbers"])
