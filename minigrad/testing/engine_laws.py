"""The laws about more than one pass: whole graphs, other bodies, other sizes, threads."""
import functools

import numpy as np

from minigrad.functional import differentiable_vjp
from minigrad.kernels import jit, threads
from minigrad.mode import use
from minigrad.ops import sum as total
from minigrad.tensor import Tensor, backprop
from minigrad.testing import domains
from minigrad.testing.adapters import Broken, Subject
from minigrad.testing.laws import compare_slope, law
from minigrad.testing.points import (
    Point, compare, gradient_of, moved, output, points_of, same_bits, shown)
from minigrad.testing.signatures import axis_names
from minigrad.testing.slopes import EPS, measure
from minigrad.testing.strategies import LONGEST, SizedDraw, make_case

LARGE = 20_000                                         # elements that are worth several threads


@law("agreement", applies=lambda subject: subject.reference or subject.level != "reference"
     and subject.op.bodies["reference"][1])
def check_agreement(point):
    """Every level gives the outputs and gradients of the reference."""
    subject = point.subject
    if subject.reference is not None:
        expected = subject.reference(*point.arrays, **point.params)
        expected = expected if isinstance(expected, tuple) else (expected,)
        compare(point.outputs, expected, output, point.size)
    else:
        judge = point.judge
        if judge is point:
            judge = Point(Subject(subject.op, "reference"), point.case)
        compare(point.outputs, judge.outputs, output, point.size)
        compare(point.grads, judge.grads, gradient_of(point), 10 * point.floor)


@law("reuse", of="graph")
def check_reuse(point):
    """An input that is used twice receives the sum of both gradients."""
    subject = point.subject
    twins = [(i, j) for i in point.moving for j in point.moving if i < j
             and point.arrays[i].shape == point.arrays[j].shape
             and subject.domain_of(i) == subject.domain_of(j)]
    arrays = list(point.arrays)
    for i, j in twins[:1]:
        arrays[j] = arrays[i].copy()                   # equal values in different memory
    expected = [0 if dx is None else 2 * dx
                for dx in subject.run(arrays, point.params).pull(point.g)]
    inputs = subject.traced(arrays)
    for i, j in twins[:1]:
        arrays[j] = arrays[i]
        inputs[j] = inputs[i]
        expected[i] = expected[j] = expected[i] + expected[j]
    for _ in range(2):                                 # gradients of two backward calls add
        for y, g in zip(subject.call(inputs, point.params), point.g):
            if isinstance(y, Tensor) and y.requires_grad and g is not None:
                y.backward(g, retain_graph=True)
    found = [x.grad if isinstance(x, Tensor) else None for x in inputs]
    moving = point.moving
    with shown(point.case._replace(arrays=tuple(arrays))):
        compare([found[i] for i in moving], [expected[i] for i in moving],
                lambda k: f"used twice, the gradient of {subject.name_of(moving[k])}",
                10 * point.floor, hints=[
                    "an array that is given twice, or used by two calls, gets the sum of both "
                    "gradients: return a new array for each input, and keep nothing"])


# ---- derivatives of derivatives --------------------------------------------------------------

def recorded_gradient(point, g):
    """Run backward on Tensors: the gradients as Tensors, for Tensors g; None if it cannot."""
    inputs = point.subject.traced(point.arrays)
    outputs = point.subject.call(inputs, point.params)
    moving, found = set(point.moving), {}
    try:
        with use(point.subject.level):
            for y, g_y in zip(outputs, g):
                if g_y is None or not (isinstance(y, Tensor) and y.requires_grad):
                    continue
                for step in backprop(y, g_y, run_vjp=differentiable_vjp):
                    if step.node.op is None and isinstance(step.g, Tensor):
                        found[step.node] = (found[step.node] + step.g if step.node in found
                                            else step.g)
    except NotImplementedError:
        return None
    return inputs, {i: found[inputs[i]] for i in moving if inputs[i] in found}


@law("adjoint", of="graph", applies=lambda subject: subject.jvp or not subject.is_plain)
def check_adjoint(point):
    """<g, J v> = <J^T g, v>: the Jacobian of the forward mode is that of the backward pass."""
    subject, v = point.subject, point.directions
    if subject.jvp is None and point.case.seed % 2 == 0:      # these have their second order
        return
    tangents = [v.get(i) for i in range(len(point.arrays))]
    right = [dx * w for dx, w in zip(point.grads, tangents) if w is not None]
    if subject.jvp is not None:
        forward = subject.jvp(tangents, *point.arrays)
        forward = forward if isinstance(forward, tuple) else (forward,)
    else:
        forward = forward_mode(point, tangents)
    if forward is None:
        return
    left = [g * np.asarray(dy) for g, dy in zip(point.g, forward) if g is not None]
    a, b = (float(sum(part.sum() for part in side)) for side in (left, right))
    size = float(sum(np.abs(part).sum() for part in (*left, *right)))
    if not abs(a - b) <= 1e-9 * size + 1e-11 * point.floor:
        raise Broken(f"<g, J v> by the forward mode is {a:.12g}, <J^T g, v> is {b:.12g}", [
            "the two have different Jacobians: one of them is transposed, misses a term, or is "
            "another function"])


def forward_mode(point, tangents):
    """Compute J v as the gradient, in g, of <J^T g, v>."""
    g = tuple(None if part is None else Tensor(part, requires_grad=True) for part in point.g)
    recorded = recorded_gradient(point, g)
    if recorded is None:
        return None
    found = gradients_of_product(recorded[1], tangents, g)
    return [None if part is None else np.zeros_like(part.data) if dy is None else dy
            for part, dy in zip(g, found)]


def gradients_of_product(gradients, vectors, inputs):
    """Return the gradient of the sum of <gradient, vector> in each of the inputs."""
    parts = [total(dx * vectors[i]) for i, dx in gradients.items()]
    if not parts:
        return [None] * len(inputs)
    product = functools.reduce(lambda a, b: a + b, parts)
    steps = backprop(product) if product.requires_grad else ()
    found = {step.node: step.g for step in steps if step.node.op is None}
    return [found.get(x) if isinstance(x, Tensor) else None for x in inputs]


@law("second order", of="graph", applies=lambda subject: not subject.is_plain)
def check_second_order(point):
    """The gradient of the gradient is the slope of the gradient."""
    subject, rng, v = point.subject, point.rng, point.directions
    if point.case.seed % 2 or not v:                   # every other case: it takes long
        return
    recorded = recorded_gradient(point, tuple(None if g is None else Tensor(g) for g in point.g))
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
    size = max(float(np.abs(terms).sum()), abs(slope.value))
    if slope.kink or slope.bar > 1e-5 * size and slope.bar > 1e6 * EPS * point.floor:
        return
    if not abs(yours - slope.value) <= 10 * point.rtol * size + 3 * slope.bar:
        raise Broken(f"{subject.name_of(i)}: the derivative of the gradient along a direction "
                     f"is {yours:.10g}, but its slope is {slope.value:.10g}, give or take "
                     f"{slope.bar:.0e}", [
                         "the vjp must be made of operators and ops, and the op save nothing but "
                         "its inputs and outputs (the engine takes all else for constant): compute "
                         "it again in the vjp, or declare parts"])


def gradient_slope(point, i, u, v, guess):
    """Measure how <gradient, v> changes when input i moves along u."""
    def phi(t):
        grads = point.subject.run(moved(point.arrays, {i: u}, t), point.params).pull(point.g)
        return float(sum((grads[k] * w).sum() for k, w in v.items()))
    if "second order" not in point.slopes:
        size = sum(np.abs(point.grads[k] * w).sum() for k, w in v.items())
        point.slopes["second order"] = measure(phi, float(size) + 10 * point.floor,
                                               point.rtol * abs(guess), guess=guess)
    return point.slopes["second order"]


# ---- symmetries ------------------------------------------------------------------------------

@law("symmetry", of="graph", applies=lambda subject: subject.symmetries or not subject.is_plain)
def check_symmetry(point):
    """What the op declares to be equal is equal, and so are the gradients of both sides."""
    subject = point.subject
    if not subject.is_plain:
        check_rows(point)
    f = functools.partial(first_if_alone, subject, point.params)
    names = [*subject.symmetries]
    for name in names[point.case.seed % len(names):][:1] if names else ():
        symmetry = subject.symmetries[name]
        inputs = [subject.traced(point.arrays) for _ in range(2)]
        with use(subject.level):
            sides = [symmetry(f, *some)[side] for side, some in enumerate(inputs)]
        left, right = (np.asarray(getattr(y, "data", y)) for y in sides)
        both = f'of the two sides of the symmetry "{name}", '
        compare([left], [right], lambda _, both=both: both + "the first", point.floor)
        g = point.rng.normal(size=left.shape)
        compare(*(gradients_through(point, some, y, g) for some, y in zip(inputs, sides)),
                gradient_of(point, both), 100 * point.floor)


def first_if_alone(subject, params, *inputs, **others):
    outputs = subject.call(inputs, {**params, **others})
    return outputs if len(outputs) > 1 else outputs[0]


def gradients_through(point, inputs, y, g):
    with use(point.subject.level):
        if isinstance(y, Tensor) and y.requires_grad:
            y.backward(g)
    return [x.grad if isinstance(x, Tensor) else None for x in inputs]


def check_rows(point):
    """Compare the first leading index computed alone with the same in the whole batch."""
    cores, first = point.subject.op.core_ndim, point.outputs[0]
    if not cores or point.params or not first.size or "?" in point.subject.op.signature:
        return
    batch = max((x.ndim - n for x, n in zip(point.arrays, cores) if isinstance(x, np.ndarray)),
                default=0)
    if batch == 0 or any(y.ndim < batch for y in point.outputs):
        return
    alone = [x[0] if isinstance(x, np.ndarray) and x.ndim - n == batch else x
             for x, n in zip(point.arrays, cores)]
    if all(x is y for x, y in zip(alone, point.arrays)):
        return
    outputs = point.subject.forward(alone, point.params)
    compare(outputs, [y[0] for y in point.outputs], lambda i: f"the first of the leading axis, "
            f"computed alone, output {i}", point.floor)


# ---- once for each subject -------------------------------------------------------------------

SIZES = (*range(LONGEST + 1), 65, 257)                 # a vector's, then where kernels take over


def has_loops(subject):
    """Say whether sizes may matter: not for parts that agree with what was judged at all sizes."""
    return not subject.explicit and not (subject.level == "parts" and subject.judges)


@law("sizes", of="subject", applies=has_loops)
def check_sizes(subject, rtol, tally, seed=0):
    """The slope is right for every size of every axis from 0 to 33 (twice a vector, and one)."""
    for point in points_of(subject, "sizes", sized_cases(subject, seed), rtol, tally):
        with shown(point.case):
            compare_slope(point, *point.moving)


def sized_cases(subject, seed):
    """Yield cases in which an axis has a size: each axis and each of SIZES."""
    leading = subject.op.signature and subject.batched != ()
    names = axis_names(subject.op.signature) if subject.op.signature else range(4)
    needs_rows = {domains.index_axis(subject.domain_of(i)) for i in range(len(subject.names))}
    for axis in (*names, *[None] * bool(leading)):
        for n in SIZES:
            if n == 0 and (subject.op.inputs or axis in needs_rows):
                continue
            which = axis if subject.op.inputs else LONGEST
            draw = SizedDraw(np.random.default_rng([seed, n]), n, which)
            if axis is None:
                draw.batch = (n,)
            case = make_case(subject, draw, seed + n, {} if subject.op.inputs else {axis: n})
            if not subject.op.inputs or draw.drawn > which:    # else it has fewer sides than that
                yield case


@law("threads", of="subject", applies=lambda subject: subject.level == "fast")
def check_threads(subject, rtol, tally, seed=0):
    """One thread and all threads give the same bits."""
    before, most = threads.n_threads(), jit.config.NUMBA_NUM_THREADS
    try:
        for point in large_points(subject, seed):
            results = []
            for n in (1, most):
                threads.set_threads(n)
                passed = subject.run(point.arrays, point.params)
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
        arrays = [x for x in (*point.outputs, *point.arrays) if isinstance(x, np.ndarray)]
        side = max(side, int(np.ceil(LARGE ** (1 / max(1, *(x.ndim for x in arrays))))))
