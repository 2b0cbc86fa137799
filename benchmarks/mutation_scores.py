"""How many wrong backward passes does check_op notice, and how often does it say what is wrong?

    python benchmarks/mutation_scores.py [--seeds 20] [--ops softmax ...] [--own-law] [--explain]

Each seed is one call of check_op with its default number of examples: on the mutants of
`minigrad.testing` for the ops below, and on a fixed list of pairs written by hand
(tests/minigrad/wrong_pairs.py). With --explain the counterexample is made small and the reason is
sought, which takes longer: counted is whether a pattern was named.
"""
import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "minigrad"))

from results import HELP, verdict  # noqa: E402
from wrong_pairs import WRONG  # noqa: E402

from minigrad import OPS  # noqa: E402
from minigrad.testing import GradientError, check_op, mutate_op  # noqa: E402

CHECKED = ("add", "attention", "cross_entropy", "embedding", "exp", "gelu", "layer_norm", "linear",
           "linear_cross_entropy", "log_softmax", "logsumexp", "matmul", "mul", "rms_norm",
           "rotary", "softmax", "swiglu", "tanh")


def judge(args, options, seed, explain):
    """Return whether the pass was refused, and whether a reason was given."""
    try:
        check_op(*args, **options, seed=seed, shrink=explain, verbose=False)
    except GradientError as error:
        known = [hint for hint in error.hints if not hint.startswith("no known pattern")]
        return True, bool(known)
    return False, False


def score(targets, seeds, explain, show):
    """Count over all targets and seeds: refused, explained, all."""
    counts, missed = [0, 0, 0], []
    for name, args, options in targets:
        found = [judge(args, options, seed, explain) for seed in range(seeds)]
        refused, named = (sum(column) for column in zip(*found))
        counts = [counts[0] + refused, counts[1] + named, counts[2] + seeds]
        if refused < seeds or explain and named < seeds:
            missed.append(f"    {name}: refused {refused}, explained {named} of {seeds}")
    if show:
        print(*missed, sep="\n")
    return counts


def mutants(names, own_law):
    for name in names:
        for mutant in mutate_op(OPS[name]):
            laws = {"laws": [mutant.law]} if own_law else {}
            yield f"{name}: {mutant.name}", (mutant.op,), laws


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], epilog=HELP)
    parser.add_argument("--seeds", type=int, default=20, metavar="N")
    parser.add_argument("--ops", nargs="*", default=CHECKED, metavar="OP")
    parser.add_argument("--explain", action="store_true")
    parser.add_argument("--own-law", action="store_true",
                        help="hold a mutant to the one law that is meant for it")
    options = parser.parse_args()
    start = time.perf_counter()
    ours = mutants(options.ops, options.own_law)
    for label, targets in (("mutants", ours), ("fixed_list", WRONG)):
        refused, named, total = score(targets, options.seeds, options.explain, True)
        if not total:
            continue
        print(f"{label}: {refused} of {total} refused" + f", {named} explained" * options.explain)
        verdict(f"{label}_refused", refused / total, 1)
        if options.explain:
            verdict(f"{label}_explained", named / total, 0.8)
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
