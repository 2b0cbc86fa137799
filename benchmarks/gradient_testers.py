"""Which wrong backward passes do which gradient testers notice?

    python benchmarks/gradient_testers.py [--examples 40] [--ops softmax matmul ...]

The mutants of `minigrad.testing` are checked by torch's gradcheck (the real one, with its
defaults, through a torch.autograd.Function) and by the rules of HIPS/autograd and minitorch,
restated here for plain pairs: on one example with normal values, and on generated ones. The rules
without mutants show false alarms, also at the kink of relu. Prints a table in Markdown.
"""
import argparse
import warnings
from collections import Counter

import numpy as np
import torch
from results import HELP, verdict

from minigrad import OPS
from minigrad.testing import GradientError, check_op, mutate_op
from minigrad.testing.adapters import Broken, Subject, judging, op_of_pair
from minigrad.testing.points import Point
from minigrad.testing.strategies import SizedDraw, make_case

OPS_COMPARED = ("add", "attention", "cross_entropy", "embedding", "exp", "gelu", "layer_norm",
                "linear", "linear_cross_entropy", "logsumexp", "matmul", "mul", "rms_norm",
                "rotary", "softmax", "swiglu", "tanh")
MOST = 150                                             # elements, for those that loop over them


# ---- the rules: each raises or returns False where it sees a mistake -------------------------

def torch_gradcheck(point, subject):
    """torch.autograd.gradcheck with its defaults: eps 1e-6, atol 1e-5, rtol 1e-3."""
    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *tensors):
            passed = subject.run(with_floats(point, [t.numpy().copy() for t in tensors]),
                                 point.params)
            ctx.pull = passed.pull
            outputs = tuple(torch.from_numpy(np.array(y)) for y in passed.outputs)
            return outputs if len(outputs) > 1 else outputs[0]

        @staticmethod
        def backward(ctx, *g):
            grads = ctx.pull(tuple(part.numpy() for part in g))
            return tuple(torch.from_numpy(np.array(grads[i])) for i in point.moving)
    tensors = [torch.from_numpy(point.arrays[i].copy()).requires_grad_() for i in point.moving]
    return torch.autograd.gradcheck(Function.apply, tensors)


def hips_autograd(point, subject):
    """One random direction and a random g, central difference of step 1e-6, tolerance 1e-6."""
    rng, eps = point.rng, 1e-6
    for i in point.moving:
        v = rng.normal(size=point.arrays[i].shape)
        g = tuple(rng.normal(size=y.shape) for y in point.outputs)
        moved = [outputs_at(point, subject, i, sign * eps / 2 * v) for sign in (1, -1)]
        numeric = sum(np.sum(part * (a - b) / eps) for part, a, b in zip(g, *moved))
        dx = subject.run(point.arrays, point.params).pull(g)[i]
        if dx.shape != point.arrays[i].shape or dx.dtype != point.arrays[i].dtype:
            return False
        exact = np.sum(dx * v)
        if not (abs(exact - numeric) < 1e-6 or abs(exact - numeric) / abs(exact + numeric) < 1e-6):
            return False
    return True


def minitorch_grad_check(point, subject):
    """The sum of the outputs, one random element, step 1e-6, tolerance 1e-2."""
    rng, ones = point.rng, tuple(np.ones_like(y) for y in point.outputs)
    for i in point.moving:
        at = tuple(rng.integers(n) for n in point.arrays[i].shape)
        step = np.zeros_like(point.arrays[i])
        step[at] = 1e-6
        up, down = (outputs_at(point, subject, i, sign * step) for sign in (1, -1))
        numeric = sum((a - b).sum() for a, b in zip(up, down)) / 2e-6
        dx = subject.run(point.arrays, point.params).pull(ones)[i]
        if not np.allclose(dx[at], numeric, 1e-2, 1e-2):
            return False
    return True


def with_floats(point, floats):
    arrays = list(point.arrays)
    for i, x in zip(point.moving, floats):
        arrays[i] = x
    return arrays


def outputs_at(point, subject, i, step):
    arrays = list(point.arrays)
    arrays[i] = arrays[i] + step
    return subject.run(arrays, point.params).outputs


RULES = {"torch gradcheck": torch_gradcheck, "HIPS/autograd": hips_autograd,
         "minitorch": minitorch_grad_check}


# ---- the comparison --------------------------------------------------------------------------

def points_of(subject, n, styles):
    """Make n contiguous examples, small enough for rules that loop over all elements."""
    points, seed = [], 0
    while len(points) < n:
        rng = np.random.default_rng([seed, 7])
        draw = SizedDraw(rng, int(rng.integers(2, 20)), int(rng.integers(0, 4)))
        draw.styles, seed = styles, seed + 1
        point = Point(subject, make_case(subject, draw, seed))
        sizes = [point.arrays[i].size for i in point.moving]
        if 0 < min(sizes, default=0) and sum(sizes) <= MOST and point.outputs[0].size:
            points.append(point)
    return points


def notices(rule, points, subject):
    for point in points:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if not rule(point, subject):
                    return True
        except (RuntimeError, ValueError, TypeError, AttributeError, Broken, IndexError):
            return True
    return False


def ours_notices(op):
    try:
        check_op(op, level="reference", shrink=False, verbose=False)
    except GradientError:
        return True
    return False


def compare(names, examples):
    """Count, for each rule, the mutants it notices and the right ops it complains about."""
    caught, by_law, total = Counter(), Counter(), Counter()
    for name in names:
        right = Subject(OPS[name])
        with judging():
            points = {"one": points_of(right, 1, ("normal",)),
                      "many": points_of(right, examples, ("normal", "log_scale", "ties"))}
        for mutant in [None, *mutate_op(OPS[name])]:
            key = "alarms" if mutant is None else "mutants"
            law = "alarms" if mutant is None else mutant.law
            subject = right if mutant is None else Subject(mutant.op)
            total[key] += 1
            total[law] += mutant is not None
            with judging():
                for rule, check in RULES.items():
                    for number, some in points.items():
                        found = notices(check, some, subject)
                        caught[rule, number, key] += found
                        by_law[rule, number, law] += found
            found = ours_notices(subject.op)
            caught["minigrad.testing", "many", key] += found
            by_law["minigrad.testing", "many", law] += found
        print(f"{name}: {total['mutants']} mutants so far", flush=True)
    return caught, by_law, total


def relu_alarms(examples):
    """Let each rule judge a right relu on inputs that include the kink."""
    def forward(x):
        return np.maximum(x, 0)

    def vjp(g, x):
        return g * (x > 0),
    op = op_of_pair(forward, vjp, "()->()", None, {})
    subject = Subject(op, is_plain=True)
    with judging():
        points = points_of(subject, examples, ("ties",))
        return [rule for rule, check in RULES.items() if notices(check, points, subject)] + [
            "minigrad.testing"] * ours_notices(op)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], epilog=HELP)
    parser.add_argument("--examples", type=int, default=40, metavar="N")
    parser.add_argument("--ops", nargs="+", default=OPS_COMPARED, metavar="OP")
    options = parser.parse_args()
    caught, by_law, total = compare(options.ops, options.examples)
    laws = [law for law in by_law_order(by_law) if law != "alarms"]
    print("\n| tester | noticed |", *(f"{law} ({total[law]}) |" for law in laws), "alarms |")
    print("|---|---|" + "---|" * (len(laws) + 1))
    rows = [(rule, number) for rule in RULES for number in ("one", "many")]
    for rule, number in [*rows, ("minigrad.testing", "many")]:
        where = "one example" if number == "one" else (
            f"{options.examples} generated" if rule in RULES else "its own 30")
        print(f"| {rule}, {where} | {caught[rule, number, 'mutants']} of {total['mutants']} |",
              *(f"{by_law[rule, number, law]} |" for law in laws),
              f"{caught[rule, number, 'alarms']} of {total['alarms']} |")
    print("\nfalse alarm at the kink of relu:", ", ".join(relu_alarms(options.examples)) or "none")
    ours = caught["minigrad.testing", "many", "mutants"] / total["mutants"]
    print()
    verdict("mutants_noticed", ours, 1)


def by_law_order(by_law):
    return list(dict.fromkeys(law for _, _, law in by_law))


if __name__ == "__main__":
    main()
