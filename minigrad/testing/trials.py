"""Hints found by running the passes again: with other values, another g, in another order."""
import numpy as np

from minigrad.testing.evidence import all_same, elementwise_slopes
from minigrad.testing.points import Point, is_float


def named_arrays(point):
    """Yield (name, array) of the float inputs and outputs."""
    for i, x in enumerate(point.arrays):
        if is_float(x):
            yield point.subject.name_of(i), x
    for i, y in enumerate(point.outputs):
        if is_float(y):
            yield "the output" + f" {i}" * (len(point.outputs) > 1), y


def takes_other_values(e):
    """Put another input or output in the place of each saved one: is it right then?"""
    saved = e.point.passed.saved
    for k, s in enumerate(saved):
        for name, other in named_arrays(e.point) if is_float(s) else ():
            if other.shape != s.shape or np.array_equal(other, s):
                continue
            found = e.point.passed.pull(e.point.g, None, (*saved[:k], other, *saved[k + 1:]))[e.i]
            if found is not None and all_same(found, e.slopes):
                names = [n for n, a in named_arrays(e.point) if np.array_equal(a, s)]
                return (f"with {name} in place of {names[0] if names else f'saved array {k}'} it "
                        "is right: the one was taken for the other")


def ignores_an_output(e):
    """Compare with the slopes of some of the outputs only."""
    g = e.point.g
    for k in range(len(g) if len(g) > 1 else 0):
        if g[k] is not None and all_same(e.dx, slopes_for(e, (*g[:k], 0 * g[k], *g[k + 1:]))):
            return (f"it is right but for output {k}, which is ignored: add what its gradient "
                    f"g[{k}] contributes")
    if len(g) == 2 and np.shape(g[0]) == np.shape(g[1]) and all_same(e.dx, slopes_for(e, g[::-1])):
        return "it is right if the outputs change places: their gradients are exchanged"


def is_reversed(e):
    """Compare with the slopes for a g that runs backwards, read backwards."""
    if len(e.point.g) > 1 or e.g.ndim != e.x.ndim:
        return None
    for axis in range(e.x.ndim):
        if e.x.shape[axis] > 1 and all_same(
                np.flip(e.dx, axis), slopes_for(e, (np.flip(e.g, axis),))):
            return (f"the order along axis {axis - e.x.ndim} is reversed: what runs forwards in "
                    "the forward pass runs backwards in the backward pass")


def depends_on_others(e):
    """Change one input: do yours and the slopes agree in whether that matters?"""
    for j in e.point.moving:
        arrays = [1.5 * x if k == j else x for k, x in enumerate(e.point.arrays)]
        case = e.point.case._replace(arrays=tuple(np.asarray(x) if k == j else x
                                                  for k, x in enumerate(arrays)))
        point = Point(e.point.subject, case)
        stays = all_same(point.grads[e.i], e.dx)
        should_stay = all_same(elementwise_slopes(point, e.i), e.slopes)
        if stays and not should_stay:
            return (f"yours does not change with {e.point.subject.name_of(j)}, but the slopes do: "
                    "a factor or a term with it is missing")
        if should_stay and not stays:
            return (f"yours changes with {e.point.subject.name_of(j)}, but the slopes do not: a "
                    "factor or a term with it is too much")


def is_not_linear(e):
    """Try a larger g, and one of the other sign."""
    for c in (3.0, -1.0, 1e-3):
        found = e.point.passed.pull(tuple(None if g is None else c * g for g in e.point.g))[e.i]
        if not all_same(np.asarray(found), c * e.dx):
            return (f"for {c:g} g it is not {c:g} times as large: look for a clip, an absolute "
                    "value, or a g that is not used where it should be")


def depends_on_size(e):
    """Make the input smaller: how does the error change?"""
    if not np.isfinite(e.dx).all() or not np.isfinite(e.x).all():
        return None
    errors = {}
    for t in (1.0, 0.2, 0.1, 0.03):
        dx, slopes = both_at(e, t)
        errors[t] = np.abs(dx - slopes) / np.abs(slopes).max(initial=1e-300)
    if errors[0.03].max() > 100 * errors[1.0].max():
        return ("the smaller the input, the larger the error: a constant such as eps, which "
                "matters for small inputs only, is missing or another one")
    clear = errors[0.1] > 1e-5
    orders = np.log2(errors[0.2][clear] / errors[0.1][clear])
    if clear.any() and np.ptp(orders) < 0.5 and abs(np.median(orders)) < 8:
        k = round(float(np.median(orders)))
        like = f"grows like its power {k}" if k > 0 else "is there however small it is"
        return (f"for small {e.point.subject.name_of(e.i)} the error {like}: look at the terms of "
                f"order {max(k, 0)}, one is missing or has another factor")


def both_at(e, t):
    """Return the gradient and the slopes where the input is t times as large."""
    arrays = list(e.point.arrays)
    arrays[e.i] = np.asarray(t * e.x)
    point = Point(e.point.subject, e.point.case._replace(arrays=tuple(arrays)))
    return np.asarray(point.grads[e.i]), elementwise_slopes(point, e.i)


def slopes_for(e, g):
    """Measure the slopes again for another g."""
    return elementwise_slopes(Point(e.point.subject, e.point.case._replace(g=tuple(g))), e.i)


TRIALS = (is_not_linear, takes_other_values)
SLOW_TRIALS = (ignores_an_output, is_reversed, depends_on_others, depends_on_size)
