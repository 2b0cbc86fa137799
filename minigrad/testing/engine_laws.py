"""The laws about more than one pass: whole graphs, other bodies, other sizes, threads."""
import functools
import itertools

import numpy as np

from minigrad.functional import differentiable_vjp
from minigrad.kernels import jit, threads
from minigrad.mistakes import has_vjp
from minigrad.mode import use
from minigrad.ops import add
from minigrad.ops import sum as sum_of
from minigrad.tensor import Tensor, detach, needs_grad
from minigrad.testing import domains
from minigrad.testing.adapters import Broken, Subject, leaf_gradients
from minigrad.testing.arrays import as_tuple, each, is_array, total
from minigrad.testing.laws import compare_slope, law
from minigrad.testing.points import (
    Point, compare, gradient_of, moved, output, points_of, products, same_bits, shown)
from minigrad.testing.signatures import axis_names
from minigrad.testing.slopes import measure
from minigrad.testing.strategies import LONGEST, SizedDraw, make_case

LARGE = 20_000                                         # elements that are worth several threads


@law("agreement", applies=lambda subject: subject.reference or subject.level != "reference"
     and has_vjp(subject.op))
def check_agreement(point):
    """Every level gives the outputs and gradients of the reference."""
    subject, judge = point.subject, point.judge
    if subject.reference is not None:
        expected = subject.reference(*point.arrays, **point.params)
        compare(point.outputs, as_tuple(expected), output, point.size)
        return
    if judge is point:
        judge = Point(Subject(subject.op, "reference"), point.case)
    compare(point.outputs, judge.outputs, output, point.size)
    compare(point.grads, judge.grads, gradient_of(point), 10 * point.floor)


@law("reuse", of="graph")
def check_reuse(point):
    """An input that is used twice receives the sum of both gradients."""
    subject, moving = point.subject, point.moving
    arrays = list(point.arrays)
    twins = [*pairs_alike(point)][:1]
    for i, j in twins:
        arrays[j] = arrays[i].copy()                   # equal values in different memory
    grads = point.run(arrays).pull(point.g)
    expected = [0 if dx is None else 2 * dx for dx in grads]
    inputs = subject.traced(arrays)
    for i, j in twins:
        arrays[j] = arrays[i]
        inputs[j] = inputs[i]
        expected[i] = expected[j] = expected[i] + expected[j]
    for _ in range(2):                                 # gradients of two backward calls add
        outputs = subject.call(inputs, point.params)
        for y, g in zip(outputs, point.g):
            if needs_grad(y) and g is not None:
                y.backward(g, retain_graph=True)
    found = [inputs[i].grad for i in moving]
    with shown(point.case._replace(arrays=tuple(arrays))):
        compare(found, [expected[i] for i in moving],
                lambda k: f"used twice, the gradient of {subject.name_of(moving[k])}",
                10 * point.floor, hints=[
                    "an array that is given twice, or used by two calls, gets the sum of both "
                    "gradients: return a new array for each input, and keep nothing"])


def pairs_alike(point):
    """Yield (i, j) for inputs that could be one array: of one shape and one domain."""
    domain_of = point.subject.domain_of
    for i, j in itertools.combinations(point.moving, 2):
        x, y = point.arrays[i], point.arrays[j]
        if x.shape == y.shape and domain_of(i) == domain_of(j):
            yield i, j


# ---- derivatives of derivatives --------------------------------------------------------------

def recorded_gradient(point, g):
    """Run backward on Tensors: the gradients as Tensors, for Tensors g; None if it cannot."""
    inputs = point.subject.traced(point.arrays)
    outputs = point.subject.call(inputs, point.params)
    try:
        with use(point.subject.level):
            found = leaf_gradients(outputs, g, run_vjp=differentiable_vjp)
    except NotImplementedError:
        return None
    gradients = {i: found.get(inputs[i]) for i in point.moving}
    return inputs, {i: dx for i, dx in gradients.items() if isinstance(dx, Tensor)}


def takes_tensors(subject):
    return not subject.is_plain


@law("adjoint", of="graph", applies=lambda subject: subject.jvp or takes_tensors(subject))
def check_adjoint(point):
    """<g, J v> = <J^T g, v>: the Jacobian of the forward mode is that of the backward pass."""
    subject, v = point.subject, point.directions
    if subject.jvp is None and point.case.seed % 2 == 0:      # these have their second order
        return
    tangents = list(map(v.get, range(len(point.arrays))))
    if subject.jvp is not None:
        forward = as_tuple(subject.jvp(tangents, *point.arrays))
    else:
        forward = forward_mode(point, tangents)
    if forward is None:
        return
    left = [g * np.asarray(dy) for g, dy in zip(point.g, forward) if g is not None]
    right = products(point.grads, v)
    a, b = total(left), total(right)
    size = total(map(np.abs, (*left, *right)))
    if not abs(a - b) <= 1e-9 * size + 1e-11 * point.floor:
        raise Broken(f"<g, J v> by the forward mode is {a:.12g}, <J^T g, v> is {b:.12g}", [
            "the two have different Jacobians: one of them is transposed, misses a term, or is "
            "another function"])


def forward_mode(point, tangents):
    """Compute J v as the gradient, in g, of <J^T g, v>."""
    g = each(functools.partial(Tensor, requires_grad=True), point.g)
    recorded = recorded_gradient(point, g)
    if recorded is None:
        return None
    found = gradients_of_product(recorded[1], tangents, g)
    zeros = each(np.zeros_like, point.g)
    return [zero if dy is None else dy for zero, dy in zip(zeros, found)]


def gradients_of_product(gradients, vectors, inputs):
    """Return the gradient of the sum of <gradient, vector> in each of the inputs."""
    if not gradients:
        return [None] * len(inputs)
    parts = [sum_of(dx * vectors[i]) for i, dx in gradients.items()]
    product = functools.reduce(add, parts)
    found = leaf_gradients([product], [np.ones(())])
    return [found.get(x) if isinstance(x, Tensor) else None for x in inputs]


@law("second order", of="graph", applies=takes_tensors)
def check_second_order(point):
    """The gradient of the gradient is the slope of the gradient."""
    subject, rng, v = point.subject, point.rng, point.directions
    if point.case.seed % 2 or not v:                   # every other case: it takes long
        return
    recorded = recorded_gradient(point, each(Tensor, point.g))
    if recorded is None:
        point.tally["no second order"] += 1
        return
    inputs, gradients = recorded
    second = gradients_of_product(gradients, v, inputs)
    i = int(rng.choice([*v]))
    u = domains.direction(rng, point.arrays[i], subject.domain_of(i))
    terms = 0 * u if second[i] is None else second[i] * u
    yours = float(terms.sum())
    slope = gradient_slope(point.judge, i, u, v, yours)
    size = max(np.abs(terms).sum(), abs(slope.value))
    tolerance = 10 * point.rtol * size + 3 * slope.bar
    agrees = abs(yours - slope.value) <= tolerance
    if slope.is_clear(size, point.floor) and not agrees:
        raise Broken(f"{subject.name_of(i)}: the derivative of the gradient along a direction "
                     f"is {yours:.10g}, but its slope is {slope.value:.10g}, give or take "
                     f"{slope.bar:.0e}", [
                         "the vjp must be made of operators and ops, and the op save nothing but "
                         "its inputs and outputs (the engine takes all else for constant): compute "
                         "it again in the vjp, or declare parts"])


def gradient_slope(point, i, u, v, guess):
    """Measure how <gradient, v> changes when input i moves along u."""
    def phi(t):
        arrays = moved(point.arrays, {i: u}, t)
        grads = point.run(arrays).pull(point.g)
        return total(products(grads, v))
    if "second order" not in point.slopes:
        size = total(map(np.abs, products(point.grads, v)))
        enough = point.rtol * abs(guess)
        slope = measure(phi, size + 10 * point.floor, enough, guess=guess)
        point.slopes["second order"] = slope
    return point.slopes["second order"]


# ---- symmetries ------------------------------------------------------------------------------

@law("symmetry", of="graph", applies=lambda subject: subject.symmetries or takes_tensors(subject))
def check_symmetry(point):
    """What the op declares to be equal is equal, and so are the gradients of both sides."""
    subject = point.subject
    if not subject.is_plain:
        check_rows(point)
    names = [*subject.symmetries]
    if names:
        check_declared(point, names[point.case.seed % len(names)])


def check_declared(point, name):
    """Compare both sides of a symmetry, each computed from inputs of its own."""
    subject, symmetry = point.subject, point.subject.symmetries[name]
    f = functools.partial(first_if_alone, subject, point.params)
    inputs = [subject.traced(point.arrays) for _ in range(2)]
    with use(subject.level):
        left, _ = symmetry(f, *inputs[0])
        _, right = symmetry(f, *inputs[1])
    of_both = f'of the two sides of the symmetry "{name}", '
    y, other_y = np.asarray(detach(left)), np.asarray(detach(right))
    compare([y], [other_y], lambda _: of_both + "the first", point.floor)
    g = point.rng.normal(size=y.shape)
    dx = gradients_through(point, inputs[0], left, g)
    other_dx = gradients_through(point, inputs[1], right, g)
    compare(dx, other_dx, gradient_of(point, of_both), 100 * point.floor)


def first_if_alone(subject, params, *inputs, **others):
    outputs = subject.call(inputs, {**params, **others})
    return outputs if len(outputs) > 1 else outputs[0]


def gradients_through(point, inputs, y, g):
    with use(point.subject.level):
        if needs_grad(y):
            y.backward(g)
    return [x.grad if isinstance(x, Tensor) else None for x in inputs]


def check_rows(point):
    """Compare the first leading index computed alone with the same in the whole batch."""
    op, outputs = point.subject.op, point.outputs
    is_fixed = op.core_ndim and "?" not in op.signature
    if not is_fixed or point.params or not outputs[0].size:
        return
    inputs = [*zip(point.arrays, op.core_ndim)]
    n_leading = [x.ndim - n if is_array(x) else 0 for x, n in inputs]
    most = max(n_leading, default=0)
    if most == 0 or any(y.ndim < most for y in outputs):
        return
    alone = [x[0] if n == most else x for x, n in zip(point.arrays, n_leading)]
    firsts = [y[0] for y in outputs]
    compare(point.run(alone).outputs, firsts,
            lambda i: f"the first of the leading axis, computed alone, output {i}", point.floor)


# ---- once for each subject -------------------------------------------------------------------

SIZES = (*range(LONGEST + 1), 65, 257)                 # a vector's, then where kernels take over


def has_loops(subject):
    """Say whether sizes may matter: not for parts that agree with what was judged at all sizes."""
    return not subject.explicit and not (subject.level == "parts" and subject.judges)


@law("sizes", of="subject", applies=has_loops)
def check_sizes(subject, rtol, tally, seed=0):
    """The slope is right for every size of every axis from 0 to 33 (twice a vector, and one)."""
    cases = sized_cases(subject, seed)
    for point in points_of(subject, "sizes", cases, rtol, tally):
        with shown(point.case):
            compare_slope(point, *point.moving)


def sized_cases(subject, seed):
    """Yield cases in which an axis has a size: each axis and each of SIZES."""
    op = subject.op
    if op.inputs:                                      # axes are the sides that it draws
        for side, n in itertools.product(range(4), SIZES[1:]):
            rng = np.random.default_rng([seed, n])
            draw = SizedDraw(rng, n, side)
            case = make_case(subject, draw, seed + n)
            if draw.drawn > side:                      # else it has fewer sides than that
                yield case
        return
    of_inputs = map(subject.domain_of, range(len(subject.names)))
    indexed = set(map(domains.index_axis, of_inputs))
    leading = [] if subject.batched == () else [None]
    for axis, n in itertools.product(axis_names(op.signature) + leading, SIZES):
        if n == 0 and axis in indexed:
            continue
        rng = np.random.default_rng([seed, n])
        draw = SizedDraw(rng, n, LONGEST)
        draw.batch = (n,) if axis is None else None
        yield make_case(subject, draw, seed + n, {axis: n})


@law("threads", of="subject", applies=lambda subject: subject.level == "fast")
def check_threads(subject, rtol, tally, seed=0):
    """One thread and all threads give the same bits."""
    before, most = threads.n_threads(), jit.config.NUMBA_NUM_THREADS
    try:
        for point in large_points(subject, seed):
            results = []
            for n in (1, most):
                threads.set_threads(n)
                passed = point.run(point.arrays)
                results.append((passed.outputs, passed.pull(point.g)))
            (y, dx), (more_y, more_dx) = results
            same_bits(more_y, y, f"on {most} threads another output {{}}", str)
            same_bits(more_dx, dx, f"on {most} threads another gradient of {{}}", subject.name_of)
    finally:
        threads.set_threads(before)


def large_points(subject, seed):
    """Yield points whose sides are all 8, then all so long that an array has LARGE elements."""
    side = 8
    for _ in range(2):
        draw = SizedDraw(np.random.default_rng(seed), side)
        point = Point(subject, make_case(subject, draw, seed))
        yield point
        arrays = filter(is_array, (*point.outputs, *point.arrays))
        ndim = max(1, *(x.ndim for x in arrays))
        side = max(side, int(np.ceil(LARGE ** (1 / ndim))))
