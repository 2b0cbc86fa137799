"""What a failure says: the case that is shown breaks the law, and the reason is named."""
import numpy as np
import pytest
from hypothesis import settings
from wrong_pairs import WRONG, softmax

from minigrad import OPS
from minigrad.testing import GradientError, check_op, mutate_op, verdict
from minigrad.testing.adapters import Subject, judging, op_of_pair
from minigrad.testing.diagnosis import diagnose
from minigrad.testing.points import Point
from minigrad.testing.strategies import Case


def failure(*args, **options):
    with pytest.raises(GradientError) as caught:
        check_op(*args, **options)
    return caught.value


# ---- the counterexample ----------------------------------------------------------------------

def evaluated(error):
    """Run the printed counterexample and return its names."""
    text = str(error).split("The smallest counterexample found:\n")[1]
    names = {}
    exec("\n".join(line.strip() for line in text.splitlines()), {"np": np}, names)
    return names


def breaks(law, forward, vjp, names):
    """Say whether a pair breaks a law at the inputs and g that were printed."""
    g, other = (tuple(names.pop(name) for name in [*names] if name.split("_")[0] == first)
                for first in ("g", "other"))
    arrays = tuple(names.values())

    def grads(g):
        copies = [np.array(x) for x in arrays]
        found = vjp(g[0] if len(g) == 1 else g, *copies)
        return [dx for dx in found if dx is not None]
    before = [np.array(part, order="C") for part in g]
    with np.errstate(all="ignore"):
        out, found = forward(*arrays), grads(g)
        changed = any(not np.array_equal(a, b) for a, b in zip(g, before))
        if law == "purity":
            return changed or not all(map(np.array_equal, found, grads(g)))
        if law == "finite":
            return not all(np.isfinite(x).all() for x in (out, *found))
        if law == "linearity":
            mixed = grads(tuple(2 * a - 3 * b for a, b in zip(g, other)))
            return not all(np.allclose(m, 2 * a - 3 * b, 1e-9, 0)
                           for m, a, b in zip(mixed, found, grads(other)))
        if law == "layout":
            return not all(map(np.allclose, found, grads(before)))
        if law == "float32":
            assert all(x.dtype == np.float32 for x in arrays if x.dtype.kind == "f")
            return any(dx.dtype != np.float32 for dx in found)
        if law == "slope":
            subject = Subject(op_of_pair(forward, vjp, "()->()", None, {}), is_plain=True)
            return diagnose(Point(subject, Case(arrays, {}, 0, g))) is not None
    return law == "shapes" and any(dx.shape != x.shape for dx, x in zip(found, arrays))


SINE = [("layout", lambda g, x: (g.ravel(order="K").reshape(g.shape) * np.cos(x),)),
        ("linearity", lambda g, x: (np.clip(g, -5e3, 5e3) * np.cos(x),)),
        ("finite", lambda g, x: (g * np.cos(x) + 0 * np.exp(x),)),
        ("slope", lambda g, x: (g * np.cos(x) * (x / x),)),
        ("float32", lambda g, x: ((g * np.cos(x)).astype(np.float64),)),
        ("purity", lambda g, x: (np.multiply(g, np.cos(x), out=g),))]
PAIRS = [*((name, *args, options) for name, args, options in WRONG),
         *((f"sin: {law}", np.sin, vjp, "(n)->(n)", {}) for law, vjp in SINE)]


@pytest.mark.parametrize("name, forward, vjp, signature, options",
                         [(*case[:3], case[3] if len(case) > 4 else None, case[-1])
                          for case in PAIRS], ids=[case[0] for case in PAIRS])
def test_the_printed_counterexample_breaks_the_law(name, forward, vjp, signature, options):
    error = failure(forward, vjp, signature, **options)
    names = evaluated(error)
    assert breaks(error.law, forward, vjp, names), error
    if name.startswith("sin: ") and name[5:] in dict(SINE):
        assert error.law == name[5:]


# ---- the reason ------------------------------------------------------------------------------

THOROUGH = settings.get_profile("thorough").max_examples == settings().max_examples


def two_outputs(x):
    return np.sin(x), x * x

NAMED = [
    (two_outputs, lambda g, x: (g[0] * np.cos(x),), "(n)->(n),(n)", {},
     "output 1, which is ignored"),
    (two_outputs, lambda g, x: (g[1] * np.cos(x) + 2 * x * g[0],), "(n)->(n),(n)", {},
     "exchanged"),
    (lambda x: np.cumsum(x, axis=-1), lambda g, x: (np.cumsum(g, axis=-1),), "(n)->(n)", {},
     "the order along axis -1 is reversed"),
    (np.tanh, lambda g, x: (g * (1 - x * x),), "()->()", {},
     "with the output in place of input 0 (x) it is right"),
    (np.sqrt, lambda g, x: (g / 2 / np.sqrt(x),), "()->()", {}, "outside of the domain"),
    (lambda x, y: x - y, lambda g, x, y: (-g, g), "(),()->()", {"batched": ()}, "sign"),
    (lambda x, y: x * y, lambda g, x, y: (g, g * x), "(n),(n)->(n)", {"batched": ()},
     "input 1 (y) is 1 times the slope: that is a factor too few"),
    (lambda x: x ** 3, lambda g, x: (2 * g * x,), "()->()", {},
     "input 0 (x) is 0.6667 times the slope: that is a factor too few"),
    (np.log, lambda g, x: (g / x + g * x,), "()->()", {"domain": "positive"}, "1 times g times")]

@pytest.mark.parametrize("forward, vjp, signature, options, words", NAMED)
def test_usual_mistakes_get_a_name_at_every_seed(forward, vjp, signature, options, words):
    for seed in range(20 if THOROUGH else 2):
        error = failure(forward, vjp, signature, seed=seed, **options)
        assert words in str(error), error


def test_a_broadcast_input_of_a_wrong_sign_gets_a_verdict():
    for seed in range(10):
        error = failure(lambda x, y: x - y, lambda g, x, y: (-g, g), "(),()->()", seed=seed)
        assert error.law in ("shapes", "slope") and error.hints


def test_a_reason_that_cannot_be_found_does_not_hide_the_verdict(monkeypatch):
    def broken(*args):
        raise IndexError("somewhere in the search for a reason")
    monkeypatch.setattr(verdict, "diagnose", broken)
    error = failure(softmax, lambda g, x: (g,), "(n)->(n)")
    assert error.law == "slope" and "your backward says" in str(error)


@pytest.mark.parametrize("name", sorted(OPS) if THOROUGH else ["mul", "embedding", "split"])
def test_the_search_for_a_reason_never_fails(name):
    for mutant in mutate_op(OPS[name])[::1 if THOROUGH else 4]:
        if mutant.law == "slope":
            subject = Subject(mutant.op)
            with judging():
                points = verdict.larger_points(subject)
                for k, point in enumerate(points):
                    diagnose(point, points[:k])
