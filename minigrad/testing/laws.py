"""The laws that every backward pass keeps, each a function that raises Broken where it does not.

A law sees a Point: a subject at one case, with its forward and backward pass already run. The
laws about whole graphs (second order, symmetries, ...) are in engine_laws.py.
"""
import functools
from typing import NamedTuple

import numpy as np

from minigrad.testing import domains
from minigrad.testing.adapters import Broken, Subject, no_scalars
from minigrad.testing.arrays import all_finite, copies, each, first, is_array, is_float, total
from minigrad.testing.points import (
    compare, element, farthest, gradient_of, output, same_bits, shown)
from minigrad.testing.signatures import declared_shapes

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
        fits = [n in (None, m) for n, m in zip(shape, y.shape)]
        if y.ndim != len(shape) or not all(fits):
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
    name_of = point.subject.name_of
    arrays, g = copies(point.arrays), copies(point.g)
    passed = point.run(arrays)
    same_bits(arrays, point.arrays, "the forward pass wrote into {}", name_of)
    saved = copies(passed.saved)
    grads = no_scalars(copies(passed.pull(g)))
    same_bits(g, point.g, "the backward pass wrote into g{}", lambda i: f" of output {i}" * bool(i))
    same_bits(arrays, point.arrays, "the backward pass wrote into {}", name_of)
    same_bits(passed.saved, saved, "the backward pass wrote into saved array {}", str)
    same_bits(grads, passed.pull(g), "a second call of the backward pass with the same g gave "
              "another gradient of {}", name_of)
    for i in point.moving if passed.asks else ():
        wanted = tuple(j == i for j, _ in enumerate(arrays))
        alone = passed.pull(g, wanted)[i]
        same_bits([alone], [grads[i]], "asked for alone, another gradient came of {}",
                  lambda _, i=i: name_of(i))


@law("slope")
def check_slope(point):
    """The gradient times a random direction is the slope of <g, f> along that direction."""
    refuse_nan(point)
    for i in point.moving:
        compare_slope(point, i)


def refuse_nan(point):
    """Tell inputs outside of the domain of the function from a wrong gradient."""
    if any(map(has_nan, point.arrays)):
        return
    for i, y in enumerate(point.outputs):
        if has_nan(y):
            at = first(np.isnan(y))
            raise Broken(f"the forward pass gives nan as {output(i)}{element(at)} though no input "
                         "is nan: there is no slope to compare with", [
                             "the inputs lie outside of the domain of the function: say which "
                             'values it takes, such as domain="positive"'])


def has_nan(x):
    return is_float(x) and bool(np.isnan(x).any())


def compare_slope(point, *inputs):
    """Compare the slope along the directions of some inputs with what the backward pass says."""
    terms = [point.grads[i] * point.judge.directions[i] for i in inputs]
    yours, slope = total(terms), point.slope(*inputs)
    size = max(total(map(np.abs, terms)), abs(slope.value))
    point.tally["slopes"] += 1
    if not slope.is_clear(size, point.floor):
        point.tally["kinks" if slope.kink else "unclear"] += 1
        return
    tolerance = slope.sharpness * point.rtol * size + 3 * slope.bar
    if not abs(yours - slope.value) <= tolerance:
        name = "all inputs together" if len(inputs) > 1 else point.subject.name_of(*inputs)
        raise Broken(f"{name}: along a random direction your backward says {yours:.10g}, but the "
                     f"slope is {slope.value:.10g}, give or take {slope.bar:.0e}")


@law("linearity")
def check_linearity(point):
    """The backward pass is linear in g: that of 2 g - 3 other_g is 2 times one - 3 times other."""
    case, pull = point.case, point.passed.pull
    other = case.other_g or each(functools.partial(like, point.rng), point.g)
    mixed = combined(point.g, other)
    of_other, of_mixed = pull(copies(other)), pull(copies(mixed))
    expected = combined(point.grads, of_other)
    with shown(case._replace(other_g=other)):
        compare(of_mixed, expected, gradient_of(point, "for 2 g - 3 other_g, "), 10 * point.floor,
                hints=["for another g the gradient must change in proportion: look for a clip, an "
                       "absolute value, a sign, or a g that is not used where it should be"])


def like(rng, g):
    """Make a second gradient, about as large as the first."""
    size = np.abs(g).max(initial=0)
    return np.asarray(rng.normal(size=g.shape) * size)


def combined(ones, others):
    """Return 2 of one minus 3 of the other, None where there is none."""
    return tuple(None if a is None else 2 * a - 3 * b for a, b in zip(ones, others))


@law("layout")
def check_layout(point):
    """How the memory of inputs and g lies makes no difference (in bits where a kernel computes)."""
    layout = domains.LAYOUTS[point.case.seed % len(domains.LAYOUTS)]
    arrays = within_domains(point, functools.partial(relaid, layout=layout))
    g = each(lambda part: domains.lay(part, layout), point.g)
    plain, plain_g = in_order(arrays), in_order(g)
    strided, expected = point.run(arrays), point.run(plain)
    wanted = expected.pull(plain_g)
    forward_bits, backward_bits = computed_by_kernels(point, plain, plain_g, expected, wanted)
    hints = ["go by index, not by position in memory: np.ascontiguousarray first, if a kernel "
             "needs it"]
    with shown(point.case._replace(arrays=arrays, g=g)):
        compare(strided.outputs, expected.outputs, lambda i: f"with inputs {layout}, output {i}",
                point.size, forward_bits, hints)
        for passed, whose in ((expected, "g"), (strided, "inputs and g")):
            compare(passed.pull(g), wanted, gradient_of(point, f"with {whose} {layout}, "),
                    10 * point.floor, backward_bits, hints)
    turned = each(np.asfortranarray, plain_g)
    if all(part is None or part.flags.c_contiguous for part in turned):
        return                                             # of one axis there is one order
    with shown(point.case._replace(arrays=plain, g=turned)):
        compare(expected.pull(turned), wanted, gradient_of(point, "with g in Fortran order, "),
                10 * point.floor, backward_bits, hints)


def in_order(arrays):
    return each(functools.partial(np.array, order="C"), arrays)


def computed_by_kernels(point, arrays, g, passed, grads):
    """Say whether kernels computed the outputs and the gradients: there no bit may differ.

    NumPy may sum in another order for another layout. It computes where no kernel was written, for
    small sizes (then the reference gives the same bits), and it sums over broadcast copies.
    """
    subject = point.subject
    cores = subject.op.core_ndim if subject.batched is None else None
    inputs = [(x, n) for x, n in zip(arrays, cores or ()) if is_array(x)]
    leading = {x.shape[:x.ndim - n] for x, n in inputs}
    if subject.level != "fast" or len(leading) > 1:
        return False, False
    reference = Subject(subject.op, "reference").run(arrays, point.params)
    if all(map(np.array_equal, reference.outputs, passed.outputs)):
        return False, False
    pairs = [(x, y) for x, y in zip(grads, reference.pull(g)) if x is not None]
    return True, not any(y.any() and np.array_equal(x, y) for x, y in pairs)


def within_domains(point, change):
    """Return the inputs, each changed by change(x, domain)."""
    names = map(point.subject.domain_of, range(len(point.arrays)))
    return tuple(map(change, point.arrays, names))


def relaid(x, domain, layout):
    """Lay an input out anew, unless that would change its values out of its domain."""
    has_ties = layout == "with zero strides" and "spread" in domains.words(domain)
    return domains.lay(x, layout) if is_array(x) and not has_ties else x


@law("finite")
def check_finite(point):
    """Finite inputs of any magnitude in the domain give finite outputs and gradients."""
    large = within_domains(point, domains.enlarge)
    is_masked = not all(map(all_finite, filter(is_array, large)))
    expect_finite(point.outputs, output, is_masked)
    expect_finite(point.grads, gradient_of(point))
    with shown(point.case._replace(arrays=large)):
        passed, size = point.run(large), "with inputs as large as 10,000, "
        expect_finite(passed.outputs, lambda i: size + output(i), is_masked)
        expect_finite(passed.pull(point.g), gradient_of(point, size))


def expect_finite(arrays, name, may_be_infinite=False):
    for i, x in enumerate(arrays):
        if x is None or all_finite(x):
            continue
        if may_be_infinite and not np.isnan(x).any():
            continue
        at = first(~np.isfinite(x))
        raise Broken(f"{name(i)}{element(at)} is {x[at]}, though all inputs are finite", [
            "rewrite the formula so that nothing overflows (take the maximum out of an exp), or "
            'declare a narrower domain such as "moderate"'])


@law("float32")
def check_float32(point):
    """float32 in gives float32 out, as close to the float64 result as rounding allows."""
    rng = point.rng
    small = in_float(within_domains(point, domains.calm), np.float32)
    exact = in_float(small, np.float64)
    nudged = list(exact)
    for i in point.moving:
        signs = rng.choice([-1, 1], exact[i].shape)
        nudged[i] = exact[i] * (1 + EPS32 * signs)
    g32 = in_float(point.g, np.float32)
    g64 = in_float(g32, np.float64)
    narrow, wide, moved = map(point.run, (small, exact, nudged))
    with shown(point.case._replace(arrays=small, g=g32)):
        judge32(narrow.outputs, wide.outputs, moved.outputs, output, point.size)
        grads = narrow.pull(g32), wide.pull(g64), moved.pull(g64)
        judge32(*grads, gradient_of(point), point.floor)


def in_float(arrays, dtype):
    return tuple(x.astype(dtype) if is_float(x) else x for x in arrays)


def judge32(narrow, wide, moved, name, floor):
    """Compare float32 results with float64 ones; `moved` shows what rounding the inputs does."""
    for i, (x, y, z) in enumerate(zip(narrow, wide, moved)):
        if x is None or not is_float(np.asarray(y)):
            continue
        if x.dtype != np.float32:
            raise Broken(f"{name(i)} is {x.dtype} for float32 inputs: keep the dtype of the data",
                         ["look for np.zeros(...) without dtype, or a float64 constant array"])
        finite = np.isfinite(y) & (np.abs(y) < 1e37)
        x, y, z = (np.where(finite, array, 0) for array in (x, y, z))
        shaken = np.abs(z - y).max(initial=0)
        size = np.abs(y).max(initial=0)
        tolerance = 256 * EPS32 * (size + floor) + 16 * shaken
        at = farthest(x, y, tolerance)
        if at is not None:
            raise Broken(f"{name(i)}{element(at)} is {x[at]:.8g} in float32 and {y[at]:.12g} in "
                         f"float64; rounding explains a difference of {tolerance:.0e}", [
                             "look for a step with fewer digits, or for a difference of nearly "
                             "equal numbers"])
