"""Write the verdict on a broken law, and the counterexample as NumPy that can be evaluated."""
import numpy as np

from minigrad.testing.arrays import backwards, is_array
from minigrad.testing.diagnosis import diagnose
from minigrad.testing.laws import LAWS
from minigrad.testing.points import Point
from minigrad.testing.strategies import SizedDraw, make_case

PRINTED = 400                                          # elements at most
SIDES = (3, 5, 11, 19)                                 # of larger cases


def write_verdict(subject, broken, explain):
    """Say which law is broken, where, what might be the reason, and for which inputs."""
    level = "" if subject.is_plain else f" at level {subject.level}"
    lines = [f'{subject.name}{level} breaks the law "{broken.law}": {LAWS[broken.law].text}', ""]
    found = None
    if explain and broken.law in ("slope", "sizes") and not broken.hints:
        found = explanation(subject, broken)
    lines += found or [broken.message]
    lines += [f"Hint: {hint}." for hint in dict.fromkeys(broken.hints)]
    if broken.case is not None:
        lines += ["", "The smallest counterexample found:", *write_case(subject, broken.case)]
    return "\n".join(lines)


def explanation(subject, broken):
    """Say which element of which input is wrong, beside the slopes; None if nothing can be said."""
    try:
        found = diagnose(Point(subject, broken.case), larger_points(subject))
    except Exception:                                  # no reason is worth more than the verdict
        return None
    if found is not None:
        message, rows, hints = found
        broken.hints[:0] = hints
        return [message, rows]
    return None


def larger_points(subject):
    """Make a few more points with sides from 3 to 19, in which less coincides by chance."""
    points = []
    for seed, size in enumerate(() if subject.explicit else SIDES):
        draw = SizedDraw(np.random.default_rng(seed), size, 0)
        case = make_case(subject, draw, 5 * seed)
        points.append(Point(subject, case))
    return points


# ---- the counterexample ----------------------------------------------------------------------

def write_case(subject, case):
    """Write each input, keyword and g on a line of its own."""
    g, other_g = case.g or (), case.other_g or ()
    inputs = [*subject.names, *(f"input_{i}" for i in range(len(subject.names), len(case.arrays)))]
    outputs = ["g"] if len(g) == 1 else [f"g_{i}" for i in range(len(g))]
    others = [f"other_{name}" for name in outputs]
    named = [*zip(inputs, case.arrays), *case.params.items(),
             *zip(outputs, g), *zip(others, other_g)]
    lines, before = [], {}                             # before: id(array) -> name
    for name, x in named:
        known = before.setdefault(id(x), name) if is_array(x) else name
        lines.append(f"    {name} = {written(x) if known == name else known}")
    return lines


def written(x):
    """Write a value as Python; an array with the memory layout that it has."""
    if not is_array(x):
        return repr(x)
    if x.size > PRINTED:
        return f"<array of shape {x.shape}, from {x.min():.3g} to {x.max():.3g}>"
    if x.flags.c_contiguous or x.size < 2:
        return literal(x)
    if 0 in x.strides:
        return f"np.broadcast_to({literal(x[..., :1])}, {x.shape})"
    if min(x.strides) < 0:
        return f"{literal(backwards(x))}[{', '.join(['::-1'] * x.ndim)}]"
    if x.flags.f_contiguous:
        return f"np.asfortranarray({literal(x)})"
    if x.ndim > 1 and x.mT.flags.c_contiguous:
        return f"{literal(x.mT)}.swapaxes(-1, -2)"
    return f"np.repeat({literal(x)}, 2, axis=-1)[..., ::2]"


def literal(x):
    flat = np.ascontiguousarray(x).reshape(x.shape)    # of a number it makes a vector
    text = np.array2string(flat, separator=", ", precision=17, floatmode="unique",
                           threshold=PRINTED + 1)
    text = " ".join(text.split())
    text = text.replace("inf", "np.inf").replace("nan", "np.nan")
    is_usual = x.size and x.dtype in (np.float64, np.int64, np.bool_)
    dtype = "" if is_usual else f", dtype=np.{x.dtype.name.replace('bool', 'bool_')}"
    shape = "" if x.size else f".reshape{x.shape}"
    return f"np.array({text}{dtype}){shape}"
