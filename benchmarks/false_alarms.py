"""Does the gradient tester ever complain about a right op? Thousands of examples, in parts.

    python benchmarks/false_alarms.py [--examples 10000] [--log FILE] [--seconds 600]

Each part is 250 examples of one op at one level, with a seed of its own. Finished parts are
written to the log and skipped by the next run, so the work can be stopped and resumed at will. A
change to the tester starts all anew, a change to the file of an op that op. The examples of an op
are shared by its levels.
"""
import argparse
import hashlib
import json
import time
from pathlib import Path

from results import HELP, verdict

import minigrad.testing
from minigrad import OPS
from minigrad.testing import GradientError, check_op
from minigrad.testing.adapters import levels

GPT = ("embedding", "rotary", "qk_rotary", "matmul", "linear", "attention", "self_attention",
       "softmax", "gelu", "relu_squared",
       "swiglu", "layer_norm", "rms_norm", "add_layer_norm", "add_rms_norm", "cross_entropy",
       "linear_cross_entropy")
PART = 250


def source_hash(op):
    """Identify the code of an op (the file that it stands in) and of the tester."""
    tester = sorted(Path(minigrad.testing.__file__).parent.glob("*.py"))
    digest = hashlib.sha256()
    for path in (Path(op.forward.__code__.co_filename), *tester):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def parts_of(names, examples):
    """Yield (op, level, seed) so that every op has `examples` examples, all levels as many."""
    for seed in range(-(-examples // PART)):
        for name in names:
            bodies = levels(OPS[name])
            yield name, bodies[seed % len(bodies)], seed


def run_part(name, level, seed):
    start = time.perf_counter()
    alarm = None
    try:
        report = check_op(OPS[name], level=level, max_examples=PART, seed=seed + 1, verbose=False)
        kinks = report.kinks
    except GradientError as error:
        alarm, kinks = str(error), 0.0
    return {"op": name, "level": level, "seed": seed, "source": source_hash(OPS[name]),
            "alarm": alarm, "kinks": kinks, "elapsed_s": time.perf_counter() - start}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], epilog=HELP)
    parser.add_argument("--examples", type=int, default=10_000, metavar="N")
    parser.add_argument("--log", type=Path, default=Path("false_alarms.jsonl"))
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after these")
    parser.add_argument("--ops", nargs="+", default=GPT, metavar="OP")
    options = parser.parse_args()
    lines = options.log.read_text(encoding="utf-8").splitlines() if options.log.exists() else []
    done = {(part["op"], part["level"], part["seed"], part["source"]): part
            for part in map(json.loads, lines)}
    start, results = time.perf_counter(), []
    for name, level, seed in parts_of(options.ops, options.examples):
        part = done.get((name, level, seed, source_hash(OPS[name])))
        if part is None:
            if time.perf_counter() - start > options.seconds:
                continue
            part = run_part(name, level, seed)
            with options.log.open("a", encoding="utf-8") as log:
                log.write(json.dumps(part) + "\n")
        results.append(part)
    report(options, results)


def report(options, results):
    for name in options.ops:
        own = [part for part in results if part["op"] == name]
        counts = {level: PART * sum(part["level"] == level for part in own)
                  for level in levels(OPS[name])}
        print(f"{name:22} {PART * len(own):6} examples {counts}, "
              f"{sum(part['alarm'] is not None for part in own)} alarms")
    for part in results:
        if part["alarm"]:
            print(f"\n{part['op']} at {part['level']}, seed {part['seed']}:\n{part['alarm']}")
    alarms = sum(part["alarm"] is not None for part in results)
    fewest = min(PART * sum(part["op"] == name for part in results) for name in options.ops)
    print()
    verdict("false_alarms", alarms, 0, at_most=True)
    verdict("fewest_examples", fewest, options.examples)


if __name__ == "__main__":
    main()
