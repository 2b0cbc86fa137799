"""Hints found by running the passes again: with other values, another g, in another order."""
import numpy as np

from minigrad.testing.arrays import all_finite, each, is_float, replaced
from minigrad.testing.evidence import all_same, elementwise_slopes


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
    point, saved = e.point, e.point.passed.saved
    for k, s in enumerate(saved):
        for name, other in named_arrays(point) if is_float(s) else ():
            if other.shape != s.shape or np.array_equal(other, s):
                continue
            found = e.pull(point.g, replaced(saved, k, other))
            if found is not None and all_same(found, e.slopes):
                names = [n for n, a in named_arrays(point) if np.array_equal(a, s)]
                taken = names[0] if names else f"saved array {k}"
                return (f"with {name} in place of {taken} it is right: the one was taken for the "
                        "other")


def ignores_an_output(e):
    """Compare with the slopes of some of the outputs only."""
    g = e.point.g
    for k, part in enumerate(g if len(g) > 1 else ()):
        if part is None:
            continue
        without = replaced(g, k, 0 * part)
        if all_same(e.dx, slopes_for(e, without)):
            return (f"it is right but for output {k}, which is ignored: add what its gradient "
                    f"g[{k}] contributes")
    shapes = [np.shape(part) for part in g]
    if len(g) == 2 and shapes[0] == shapes[1] and all_same(e.dx, slopes_for(e, g[::-1])):
        return "it is right if the outputs change places: their gradients are exchanged"


def is_reversed(e):
    """Compare with the slopes for a g that runs backwards, read backwards."""
    several = len(e.point.g) > 1
    if several or e.g.ndim != e.x.ndim:
        return None
    for axis, n in enumerate(e.x.shape):
        dx = np.flip(e.dx, axis)
        g = np.flip(e.g, axis)
        if n > 1 and all_same(dx, slopes_for(e, (g,))):
            return (f"the order along axis {axis - e.x.ndim} is reversed: what runs forwards in "
                    "the forward pass runs backwards in the backward pass")


def depends_on_others(e):
    """Change one input: do yours and the slopes agree in whether that matters?"""
    for j in e.point.moving:
        dx, slopes = both_at(e, j, 1.5)
        name = e.point.subject.name_of(j)
        stays = all_same(dx, e.dx)
        should_stay = all_same(slopes, e.slopes)
        if stays and not should_stay:
            return (f"yours does not change with {name}, but the slopes do: "
                    "a factor or a term with it is missing")
        if should_stay and not stays:
            return (f"yours changes with {name}, but the slopes do not: a "
                    "factor or a term with it is too much")


def is_not_linear(e):
    """Try a larger g, and one of the other sign."""
    for c in (3.0, -1.0, 1e-3):
        found = e.pull(each(lambda g, c=c: c * g, e.point.g))
        if not all_same(found, c * e.dx):
            return (f"for {c:g} g it is not {c:g} times as large: look for a clip, an absolute "
                    "value, or a g that is not used where it should be")


def depends_on_size(e):
    """Make the input smaller: how does the error change?"""
    if not all_finite(e.dx) or not all_finite(e.x):
        return None
    errors = {t: error_at(e, t) for t in (1.0, 0.2, 0.1, 0.03)}
    if errors[0.03].max() > 100 * errors[1.0].max():
        return ("the smaller the input, the larger the error: a constant such as eps, which "
                "matters for small inputs only, is missing or another one")
    clear = errors[0.1] > 1e-5
    if not clear.any():
        return None
    growth = errors[0.2] / errors[0.1]
    orders = np.log2(growth[clear])
    order = float(np.median(orders))
    if np.ptp(orders) < 0.5 and abs(order) < 8:
        k = round(order)
        like = f"grows like its power {k}" if k > 0 else "is there however small it is"
        return (f"for small {e.point.subject.name_of(e.i)} the error {like}: look at the terms of "
                f"order {max(k, 0)}, one is missing or has another factor")


def error_at(e, t):
    """Return the error where the input is t times as large, beside the largest slope."""
    dx, slopes = both_at(e, e.i, t)
    largest = np.abs(slopes).max(initial=1e-300)
    return np.abs(dx - slopes) / largest


def both_at(e, j, t):
    """Return the gradient and the slopes where input j is t times as large."""
    arrays = e.point.arrays
    larger = np.asarray(t * arrays[j])
    point = e.elsewhere(arrays=replaced(arrays, j, larger))
    dx = np.asarray(point.grads[e.i])
    return dx, elementwise_slopes(point, e.i)


def slopes_for(e, g):
    """Measure the slopes again for another g."""
    return elementwise_slopes(e.elsewhere(g=tuple(g)), e.i)


TRIALS = (is_not_linear, takes_other_values)
SLOW_TRIALS = (ignores_an_output, is_reversed, depends_on_others, depends_on_size)
