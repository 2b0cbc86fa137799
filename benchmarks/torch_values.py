"""Are values and gradients torch's? Every operation, on generated inputs and special values.

    python benchmarks/torch_values.py [exp softmax ...] [--examples 40] [--seed 0]

Each example runs at the levels reference, parts and fast, the last with kernels from one element
on, in float64 and float32; a few have sides of 255, 256 and 257, at which kernels take over. Then
single elements of one input become special values. Needs torch (extra `bench`).

A difference is relative to the largest element, in a gradient at least to 2, about the largest of
the gradient from above, and in a value of an operation on single numbers to each element.
Float32 is compared with torch's float32 and with its float64 on the same numbers, and must be near
one of them. What is not finite must be so in the same places, infinite with the same sign; in a
gradient inf and nan count as one, and that of an input that is nan itself is not compared (torch's
is 0, g or nan, and differs with the size of the array).
"""
import argparse
import inspect
import sys
import warnings
from typing import NamedTuple

import numpy as np
from results import HELP, verdict
from torch_counterparts import CALM, COMPOSED, NORMS, ROUGH, THEIRS, WHY, helpers

import minigrad
from minigrad import OPS, Tensor, use
from minigrad.kernels.rows import kernels_from
from minigrad.testing import domains
from minigrad.testing.adapters import Subject
from minigrad.testing.strategies import Draw, SizedDraw, make_case

LIMITS = {"float64": 1e-12, "float32": 1e-5}
SPECIAL = [-np.inf, np.inf, np.nan, -0.0, 0.0, 1.0, -1.0, 1e20, -1e20, 1e-20, -40.0, 88.0, 700.0,
           1e200, -1e200, 1e-200]
SIDES = (255, 256, 257)
LARGEST_G = 2.0                                       # about that of a few normal numbers


# ---- examples --------------------------------------------------------------------------------

class Example(NamedTuple):
    """What a function is called with, the gradient of its outputs, and what is special in it."""
    args: tuple
    params: dict
    g_seed: int
    label: str = ""


def examples_of(name, n, seed):
    """Yield examples of a function: ordinary ones, long ones, and ones with special values."""
    rng = np.random.default_rng([seed, sum(map(ord, name))])
    ordinary = [make_example(name, rng) for _ in range(n)]
    yield from ordinary
    for side in SIDES:
        yield make_example(name, rng, side)
    floats = [e for e in ordinary if any(map(is_float, e.args)) and all(map(np.size, e.args))]
    for value in SPECIAL:
        for e in sorted(floats, key=size_of)[:max(len(floats) // 4, 4)]:
            yield with_special(e, value, rng)


def make_example(name, rng, side=None):
    draw = Draw(rng, rng) if side is None else SizedDraw(rng, side, 0)
    draw.styles = ("normal", "log_scale", "ties")
    seed = int(rng.integers(2**32))
    if name in OPS:
        case = make_case(Subject(OPS[name]), draw, seed)
        while name in NORMS and case.arrays[0].shape[-1:] in ((1,), (2,)):
            case = make_case(Subject(OPS[name]), draw, seed)
        if name in CALM:
            case = case._replace(arrays=[domains.calm(x, "real") for x in case.arrays])
        return Example(tuple(case.arrays), case.params, seed)
    low = 2 if name in ("trace", "tril", "triu") else 1
    x = draw.array(draw.shape(min_dims=low, min_side=1))
    x = np.concatenate([x, x[..., ::-1]], -1) if name == "glu" else x
    if name == "arccosh":
        x = 1.1 + abs(x)
    elif name.startswith("arc") and name != "arctan":
        x = 0.9 * np.tanh(x)
    return Example((x,), {}, seed)


def with_special(example, value, rng):
    """Put a special value into one element of one of the inputs that are floats."""
    places = [i for i, x in enumerate(example.args) if is_float(x) and x.size]
    i = places[rng.integers(len(places))]
    x = example.args[i].copy()
    x.flat[rng.integers(x.size)] = value
    args = (*example.args[:i], x, *example.args[i + 1:])
    return example._replace(args=args, label=f"{value}")


def is_float(x):
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def moving(name, example):
    """Return which arguments should receive a gradient."""
    subject = Subject(OPS[name]) if name in OPS else None
    return [i for i, x in enumerate(example.args)
            if is_float(x) and (subject is None or subject.moves(i, x))]


def size_of(example):
    return sum(np.size(x) for x in example.args)


def converted(example, dtype):
    return example._replace(args=tuple(x.astype(dtype) if is_float(x) else x
                                       for x in example.args))


# ---- both sides ------------------------------------------------------------------------------

def outputs_and_gradients(outputs, example, backward):
    """Return [value, ..., gradient of each float input, ...] as arrays."""
    outputs = outputs if isinstance(outputs, tuple | list) else (outputs,)
    outputs = [y for y in outputs if str(y.dtype).startswith(("float", "torch.float"))]
    rng = np.random.default_rng(example.g_seed)
    g = [rng.normal(size=tuple(y.shape)) for y in outputs]
    grads = backward(outputs, g)
    return [np.asarray(y.detach().numpy()) for y in outputs] + [
        None if dx is None else np.asarray(dx) for dx in grads]


def ours(name, example):
    """Run our function forward and backward."""
    moves = moving(name, example)
    inputs = [Tensor(x, requires_grad=i in moves) if isinstance(x, np.ndarray) else x
              for i, x in enumerate(example.args)]

    def backward(outputs, g):
        for y, g_y in zip(outputs, g):
            if y.requires_grad:
                y.backward(g_y.astype(y.dtype), retain_graph=True)
        return [inputs[i].grad for i in moves]
    function = OPS[name] if name in OPS else getattr(minigrad.ops, name)
    return outputs_and_gradients(function(*inputs, **example.params), example, backward)


def theirs(name, example, names):
    """Run torch's function forward and backward."""
    torch = names["torch"]
    args = [torch.from_numpy(np.array(x)) if isinstance(x, np.ndarray) else x
            for x in example.args]
    inputs = [args[i].requires_grad_() for i in moving(name, example)]
    if name in OPS:
        bound = inspect.signature(OPS[name].forward).bind(*args, **example.params)
        bound.apply_defaults()
        given = dict(bound.arguments)
        for name in "key_lengths", "first":
            if isinstance(given.get(name), np.ndarray):
                given[name] = torch.from_numpy(given[name])
    else:
        given = {"x": args[0]}
    out = eval(THEIRS.get(name) or COMPOSED[name], names, given)

    def backward(outputs, g):
        g = [torch.from_numpy(np.array(part)).to(y.dtype) for part, y in zip(g, outputs)]
        torch.autograd.backward([y for y in outputs], g)
        return [np.zeros(x.shape, np.float64) if x.grad is None else x.grad.numpy()
                for x in inputs]
    return outputs_and_gradients(out, example, backward)


def difference(found, expected, floor=None, each=False):
    """Return the largest difference, relative to the largest element, or to each.

    With a `floor`, which the size of an element counts as at least, it is one of gradients.
    """
    if (found is None) != (expected is None) or np.shape(found) != np.shape(expected):
        return np.inf
    finite = np.isfinite(expected)
    x, y = found[~finite], expected[~finite]
    alike = (x == y) | (np.isnan(x) & np.isnan(y))
    if floor is not None:
        alike |= ~np.isfinite(x) & (np.isnan(x) | np.isnan(y))
    if not alike.all() or not np.isfinite(found[finite]).all():
        return np.inf
    x, y = found[finite].astype(float), expected[finite].astype(float)
    size = np.abs(y) if each else np.abs(y).max(initial=floor or 0)
    with np.errstate(all="ignore"):
        gap = np.abs(x - y) / np.maximum(size, np.finfo(np.float32).tiny)
    return float(gap.max(initial=0))


def compare(name, example, names, each):
    """Yield (difference, dtype, level, ours, theirs) for every dtype and level."""
    for dtype in ("float64", "float32"):
        narrow = converted(example, dtype)
        answers = [theirs(name, narrow, names)]
        if dtype == "float32":
            answers.append([None if x is None else x.astype("float32") for x in theirs(
                name, converted(narrow, "float64"), names)])
        for level in ("reference", "parts", "fast", "fast by size"):
            with use(level.split()[0]), kernels_from(256 if "size" in level else 1):
                found = ours(name, narrow)
            inputs = [narrow.args[i] for i in moving(name, narrow)]
            gaps = [list(gaps_of(found, answer, inputs, each)) for answer in answers]
            yield max(map(min, zip(*gaps)), default=0.0), dtype, level, found, answers[0]


def gaps_of(found, expected, inputs, each):
    """Yield the differences of values, then of gradients, but of those of inputs that are nan."""
    n = len(expected) - len(inputs)
    for i, (x, y) in enumerate(zip(found, expected, strict=True)):
        if i < n:
            yield difference(x, y, each=each)
            continue
        if np.shape(x) == np.shape(y) == inputs[i - n].shape:
            is_number = ~np.isnan(inputs[i - n])
            x, y = x[is_number], y[is_number]
        yield difference(x, y, LARGEST_G)


# ---- the report ------------------------------------------------------------------------------

def examine(name, n, seed, names):
    """Compare one function; return (examples, skipped, largest by dtype, the smallest failures)."""
    each = name in OPS and OPS[name].signature == "()->()" and name not in ROUGH
    count, skipped, largest, failures = 0, 0, dict.fromkeys(LIMITS, 0.0), {}
    for example in examples_of(name, n, seed):
        try:
            theirs(name, example, names)
        except Exception:                             # torch has no answer, as for empty rows
            skipped += 1
            continue
        count += 1
        try:
            found = list(compare(name, example, names, each))
        except Exception as error:
            found = [(np.inf, "float64", "any", f"{type(error).__name__}: {error}", "an answer")]
        for gap, dtype, level, x, y in found:
            labels, only = WHY.get(name, ("", ""))
            if example.label in labels.split() and only in dtype:
                continue
            largest[dtype] = max(largest[dtype], gap)
            if gap > LIMITS[dtype]:
                note_failure(failures, (dtype, example.label), example, level, gap, x, y)
    return count, skipped, largest, failures


def note_failure(failures, kind, example, level, gap, x, y):
    """Keep the smallest example of a kind, with all levels at which it differs."""
    before = failures.get(kind)
    if before and before[0] is example:
        before[1].append(level)
    elif not before or size_of(example) < size_of(before[0]):
        failures[kind] = example, [level], gap, x, y


def write_failure(kind, failure):
    dtype, label = kind
    example, levels, gap, x, y = failure
    shown = ", ".join(map(short, example.args))
    print(f"    {dtype}{f', with {label}' * bool(label)}: {gap:.2g} for ({shown}) "
          f"{example.params or ''} at {', '.join(levels)}")
    print(f"        ours {x if isinstance(x, str) else ', '.join(map(short, x))}")
    print(f"        torch {y if isinstance(y, str) else ', '.join(map(short, y))}")


def short(x):
    """Write an array in a line, a long one by its shape."""
    if isinstance(x, np.ndarray):
        return (f"<{x.shape}>" if x.size > 16 else
                " ".join(np.array2string(x, precision=6, separator=", ").split()))
    return repr(x)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], epilog=HELP)
    parser.add_argument("names", nargs="*", metavar="NAME", help="all unless given")
    parser.add_argument("--examples", type=int, default=40, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--failures", type=int, default=4, metavar="N", help="shown for each")
    options = parser.parse_args()
    try:
        import torch
    except ImportError:
        parser.error("torch is needed: python -m pip install torch")
    names, all_names = helpers(torch), [*sorted(OPS), *sorted(COMPOSED)]
    unknown = [name for name in options.names if name not in all_names]
    if unknown:
        parser.error(f"{unknown[0]} has no counterpart here; there are {', '.join(all_names)}")
    good, chosen = 0, options.names or all_names
    for name in chosen:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            count, skipped, largest, failures = examine(name, options.examples, options.seed,
                                                        names)
        good += not failures and count > 0
        print(f"{name}: {count} examples{f' ({skipped} without an answer)' * bool(skipped)}, "
              f"float64 {largest['float64']:.1e}, float32 {largest['float32']:.1e}, "
              f"{'ok' if not failures else 'short'}", flush=True)
        for kind, failure in [*failures.items()][:options.failures]:
            write_failure(kind, failure)
    ratio = good / len(chosen)
    print()
    verdict("equal_to_torch", ratio, 1)
    return 0 if ratio == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
