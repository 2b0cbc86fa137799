"""Time a training step of a GPT through `Tensor.backward`, against PyTorch at its best.

    python benchmarks/train_step.py [ROW ...] [--threads 2,1] [--runs 5] [--rounds 3]

A step is loss, backward, clipping of the gradients and the optimizer, on one batch in memory. The
model is nanoGPT's on both sides (there with torch's exact GELU, here with GPT-2's, by tanh), and in
the row `recipe` the net and the optimizers of the preset `fast`, written in PyTorch in recipe.py.
Each side is a process of its own, and they take turns; of a run the ratio is the median of the
rounds', of all runs, whose processes are new, their median. It is taken by the clock, and on one
thread by the time of the processor. Where there are several peers, the fastest counts. Rows that
are named are measured where they have no target, too.

Other rows look at our steps alone: the rate of products inside a step by that of the same products
one by one, the part of a step outside kernels, and the part of its optimizers. Needs torch
(`pip install .[bench]`). `fastest` in this file says what was tried for PyTorch.
"""
# ruff: noqa: I001
from processes import Side, pytorch, run_each, serve, turns  # (first: it sets how threads wait)

import argparse
import statistics
import sys
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
from our_steps import CLOCKS, SIZES, Ours, batch_of, seconds
from results import HELP, THREADS, machine, verdict

AUTOCAST = "eager bfloat16", "compiled bfloat16"
COMPILED = "compiled float32", "compiled bfloat16"


class Row(NamedTuple):
    size: str
    precision: str                 # ours
    peers: tuple                   # the sides that we are compared with
    targets: dict                  # by the number of threads
    asked: str = "step"            # of our side; without peers what it answers is judged
    at_most: bool = False


ROWS = {"small-bfloat16": Row("small", "bfloat16", COMPILED, {"2": 2.5}),
        "6x384-bfloat16": Row("6x384", "bfloat16", AUTOCAST, {"2": 1.5}),
        "8x512-bfloat16": Row("8x512", "bfloat16", AUTOCAST, {"2": 1.3}),
        "gpt2-bfloat16": Row("gpt2", "bfloat16", AUTOCAST, {"2": 1.4}),
        "small-float32": Row("small", "float32", COMPILED[:1], {"2": 1.4, "1": 1.25}),
        "6x384-float32": Row("6x384", "float32", COMPILED[:1], {"2": 1.15}),
        "gpt2-float32": Row("gpt2", "float32", COMPILED[:1], {"2": 1.05}),
        "recipe": Row("recipe", "bfloat16", COMPILED, {"2": 1.5}),
        "products-float32": Row("6x384", "float32", (), {"2": 0.9, "1": 0.9}, "products"),
        "products-bfloat16": Row("6x384", "bfloat16", (), {"2": 0.9, "1": 0.9}, "products"),
        "engine-small": Row("small", "float32", (), {"2": 0.05, "1": 0.05}, "engine", True),
        "engine-6x384": Row("6x384", "float32", (), {"2": 0.01, "1": 0.01}, "engine", True),
        "optimizers": Row("recipe", "bfloat16", (), {"2": 0.12, "1": 0.12}, "optimizers", True)}


# ---- PyTorch ----

def fastest(name):
    """Choose the settings of the compiler that are the fastest at a size.

    Tried on Zen 5 on one thread, in milliseconds of the processor, beside other programs that made
    them vary by a tenth. Of a small step: MKL as on Intel, 52 to 28 eager in float32 and 49 to 26
    compiled; memory kept and on huge pages, 28.5 to 25.7; cpp_wrapper, 50.7 to 49.0 and in bfloat16
    42.3 to 39.7; max_autotune, without freezing, 50.7 to 50.1 and 42.3 to 41.4, which is noise;
    THP_MEM_ALLOC_ENABLE, alone or beside these, nothing or a tenth more. Of 6x384 eager: MKL as on
    Intel, 3150 to 1415 and in autocast 1150 to 920. The compiler's settings are untried there.
    """
    import torch._inductor.config
    torch._inductor.config.cpp_wrapper = name in ("small", "recipe")


def torch_step(name, how, precision):
    import torch
    torch.set_num_threads(int(THREADS))
    torch.manual_seed(0)
    size, compiled = SIZES[name], how == "compiled"
    fastest(name)
    ids, targets = map(torch.from_numpy, batch_of(size))
    model, update = peers(size, compiled)
    call = torch.compile(model) if compiled else model
    narrow = precision == "bfloat16"

    def step():
        with torch.autocast("cpu", torch.bfloat16) if narrow else nullcontext():
            loss = call(ids, targets)
        loss.backward()
        update()
    return step


def peers(size, compiled):
    """Return the model, and what clips its gradients, changes its weights and drops the former."""
    import torch
    if size.preset == "fast":
        from gpt.training.config import Config
        from recipe import Optimizers, Recipe
        config = Config.make(vocab_size=size.vocabulary, **size.shape)
        model = Recipe(config.model)
        return model, Optimizers(model, config.train, compiled).step
    from nanogpt import NanoGPT
    model = NanoGPT(size.vocabulary, **size.shape)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), fused=True,
                                  weight_decay=0.1)

    def update():
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return model, update


# ---- a side, in its process ----

def side(kind, name, precision):
    """Be a side: of size `name`, ours or PyTorch's eager or compiled."""
    size = SIZES[name]
    step = Ours(size, precision) if kind == "ours" else torch_step(name, kind, precision)
    seconds(step, 4)                                          # compiled, recorded and checked
    many = lambda: [step() for _ in range(size.steps)]
    serve(lambda what: (many, size.steps) if what == "step" else
          (lambda: [CLOCKS[what](step, 3 * size.steps)], 0))


def started(kind, name, precision, env):
    return Side(sys.executable, __file__, "--side", kind, name, precision,
                env={} if kind == "ours" else env)


# ---- all of them ----

def measure(name, row, args):
    """Take the runs of a row, and judge it."""
    kinds = [("ours", row.precision), *(peer.split() for peer in row.peers)]
    env = {} if args.as_shipped or not row.peers else pytorch()
    found = []                                                # a number or some for each run
    for run in range(args.runs):
        sides = [started(kind, row.size, precision, env) for kind, precision in kinds]
        answers = np.array(turns([(one, row.asked) for one in sides], args.rounds, warm=1))
        for one in sides:
            one.close()
        if not row.peers:
            found.append([statistics.median(answers[:, 0, 0])])
            continue
        times = answers[:, :, 1 if THREADS == "1" else 0]     # (rounds, sides)
        found.append(np.median(times[:, 1:] / times[:, :1], axis=0))
        middle = np.median(times, axis=0) * 1e3
        print(f"{name}, {THREADS} threads, run {run + 1}: " + ", ".join(
            f"{' '.join(kind)} {ms:.1f} ms" for kind, ms in zip(kinds, middle)), flush=True)
    for peer, ratios in zip(row.peers or ("itself",), np.transpose(found)):
        print(f"    {peer}: {np.median(ratios):.3f}, of runs {min(ratios):.3f} to "
              f"{max(ratios):.3f}", flush=True)
    if THREADS in row.targets and not args.as_shipped:
        verdict(f"step-{name}", min(np.median(found, axis=0)), row.targets[THREADS], row.at_most)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=HELP)
    parser.add_argument("rows", nargs="*", metavar="ROW",
                        help=f"which to measure: {', '.join(ROWS)} (default: all)")
    parser.add_argument("--threads", default="2,1", help="numbers of threads (default: 2,1)")
    parser.add_argument("--runs", type=int, default=5, help="of new processes (default: 5)")
    parser.add_argument("--rounds", type=int, default=3, help="of a run (default: 3)")
    parser.add_argument("--as_shipped", action="store_true",
                        help="PyTorch in the environment that it comes with: no verdicts")
    parser.add_argument("--side", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        return side(*args.side)
    unknown = set(args.rows) - set(ROWS)
    if unknown:
        parser.error(f"no row {unknown.pop()!r}: there are {', '.join(ROWS)}")
    if not THREADS:
        print(machine(), flush=True)
        return run_each(args.threads)
    for name in args.rows or ROWS:
        if name in args.rows or THREADS in ROWS[name].targets:
            measure(name, ROWS[name], args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
