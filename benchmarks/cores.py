"""Predict a training step on 4, 8, 16 and 48 cores, by a model of its cost checked at 1 and 2.

    python benchmarks/cores.py [small 6x384 gpt2 recipe] [--precision float32] [--rounds 7]

Each call that a step makes is clocked on one thread and on two, in turns; medians count. Of the
time on one thread, n threads take that of the largest share: of a product by the cost that its
cuts are chosen by, packing included, of a kernel of rows by its rows. It is never less than the
time to move its arrays, and to start each thread more costs what the second costs. All else is as
it was: what NumPy computes, small kernels, and the Python between. What memory does on more cores
is not known here: printed are both ends, memory that grows with the cores, and memory as fast as
two threads have it. Two cores are needed.
"""
import argparse
import time
from math import prod

import train_step
from results import HELP, verdict

import numpy as np

SMALL, LARGE = (SIZE for SIZE in train_step.SIZES.values())
GPT2 = dict(n_layer=12, n_head=12, d_model=768, context_length=1024, bias=True)
RECIPE = dict(n_layer=4, n_head=2, d_model=128, context_length=256, look_back=4)
# name -> preset, settings, sequences in a batch, vocabulary
SIZES = {"small": ("gpt2", SMALL[0] | {"bias": False}, SMALL[1], 65),
         "6x384": ("gpt2", LARGE[0] | {"bias": False}, LARGE[1], 65),
         "gpt2": ("gpt2", GPT2, 1, 50257),
         "recipe": ("fast", RECIPE, 4, 1024)}
MORE = 4, 8, 16, 48
PARTS = "even shares", "packing and uneven shares", "memory", "starts", "one thread"
ERROR, ROUND_S = 0.1, 0.5


# ---- the model ----

def largest_share(function, args, n):
    """Return the part of a call's work that falls to one of n threads at least."""
    from minigrad.kernels import gemm, on_tiles
    if function.__name__ == "_products" and function.__module__ == on_tiles.__name__:
        cost = [on_tiles.best_cuts(*args[3].shape, count)[0] for count in (n, 1)]
    elif function.__name__ == "_products":
        a, c = args[1], args[3]
        sizes = prod(c.shape[:2]), c.shape[2], a.shape[3], c.shape[3]
        packed = a.strides[-1] != a.itemsize
        cost = [gemm.best_cuts(sizes, packed, count, c.dtype)[0] for count in (n, 1)]
    elif args[0] is True:                                 # a kernel of rows, on all threads
        cost = -(-args[1] // n), args[1]
    else:
        return 1
    return cost[0] / cost[1]


def n_bytes(function, args):
    """Count the bytes of the arrays that a call reads and writes."""
    if function.__name__ == "_products":
        return sum(x.nbytes for x in args[1:4])
    arrays = [x for x in flat(args) if isinstance(x, np.ndarray)]
    if len(arrays) == 5 and arrays[0].shape[1:] == (3,):  # `pieces`: a table of addresses
        _, table, _, like, _ = arrays
        return table[:, 0].sum() * (table.shape[1] - 1) * like.itemsize
    return sum(x.nbytes for x in arrays)


def flat(args):
    """List arguments, those of inner tuples too."""
    return [y for x in args for y in (flat(x) if isinstance(x, tuple) else [x])]


def predicted(call, seconds, n, slower, start):
    """Predict the seconds of a call on n threads, by PARTS.

    `slower` is the part of a time on one thread that n take to move the same bytes, and `moving`
    how long one takes.
    """
    function, args, moving = call
    share = largest_share(function, args, n)
    if share == 1:
        return 0, 0, 0, 0, seconds
    waits = max(0, min(moving, seconds) * slower - seconds * share)
    return seconds / n, seconds * (share - 1 / n), waits, start * (n - 1), 0


# ---- measuring ----

def machine(typical):
    """Measure bytes a second on 1 and 2 threads, and the seconds that a second thread costs."""
    from minigrad.kernels import threads
    from minigrad.kernels.rows import row_kernel

    @row_kernel(small=0)
    def add(start, stop, x, y, out):
        for row in range(start, stop):
            for i in range(x.shape[1]):
                out[row, i] = x[row, i] + y[row, i]

    def seconds(arrays, calls, rounds=15):
        took = {1: [], 2: []}
        for n in rounds * (1, 2):
            threads.set_threads(n)
            add(len(arrays[0]), *arrays)
            began = time.perf_counter()
            for _ in range(calls):
                add(len(arrays[0]), *arrays)
            took[n].append((time.perf_counter() - began) / calls)
        return [typical(took[n]) for n in took]
    large, little = (np.ones((3, rows, width), np.float32) for rows, width in ((8192, 4096), (2, 1)))
    one, two = seconds(little, 1000)
    return [large.nbytes / s for s in seconds(large, 1)], two - one


def recorded(step):
    """Make steps until they are replayed, with one thread and with two."""
    from minigrad.kernels import threads
    for n in (1, 2):
        threads.set_threads(n)
        train_step.seconds(step, 4)
    return step


def clocked_steps(step, rounds, typical):
    """Return a step's calls on two threads; the seconds of each, and between, on 1 and on 2."""
    from minigrad.kernels import jit, threads
    calls, run = [], jit.run

    def clocked(function, *args):
        began = time.perf_counter()
        function(*args)
        calls.append((function, args, time.perf_counter() - began))
    for attempt in step.replay.attempts.values():
        made = attempt.recording.calls
        attempt.recording.calls = [(clocked, (function, *args)) for function, args in made]
    times, jit.run = {1: [], 2: []}, clocked
    for n in rounds * (1, 2):
        threads.set_threads(n)
        end = time.perf_counter() + ROUND_S
        while not calls or time.perf_counter() < end:
            calls.clear()
            wall = train_step.seconds(step, 1)
            inside = [seconds for _, _, seconds in calls]
            times[n].append([*inside, wall - sum(inside)])
    jit.run = run
    return [call[:2] for call in calls], *(typical(times[n], axis=0) for n in times)


def make(name):
    """Return a function that makes a step of this size."""
    from gpt.training.config import Config
    preset, settings, B, vocabulary = SIZES[name]
    config = Config.make(preset, vocab_size=vocabulary, **settings)
    ids = np.random.default_rng(0).integers(0, vocabulary, (2, B, settings["context_length"]))
    return train_step.step_of(config, *ids)


def report(name, label, measured, speeds, start):
    """Print what was measured of one size and what is predicted; judge the check at two."""
    calls, seconds, of_two = measured
    one, two = sum(seconds), sum(of_two)
    calls = [(*call, n_bytes(*call) / speeds[0]) for call in calls]

    def step(n, slower):
        parts = [predicted(*each, n, slower, start) for each in zip(calls, seconds)]
        parts = np.sum(parts, axis=0)
        parts[-1] += seconds[-1]                          # the Python between them
        return parts
    check = step(2, speeds[0] / speeds[1]).sum()
    print(f"| {label} | {one * 1e3:.1f} | {two * 1e3:.1f} | {check * 1e3:.1f} "
          f"| {100 * (check / two - 1):+.1f} % |", end="")
    bounds = []
    for n in MORE:
        ends = [step(n, speeds[0] / speeds[1] * ratio) for ratio in (2 / n, 1)]
        print(" {:.1f} to {:.1f} |".format(*sorted(one / x.sum() for x in ends)), end="")
        bounds += [(n, which, x) for which, x in zip(("grows", "stays"), ends)]
    print()
    for n, which, x in bounds:
        shares = ", ".join(f"{part} {100 * y / x.sum():.0f} %" for part, y in zip(PARTS, x))
        print(f"    {n} cores, memory {which}: {shares}")
    verdict(f"cores-{label}-2t", abs(check / two - 1), ERROR, at_most=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=HELP)
    parser.add_argument("sizes", nargs="*", metavar="SIZE", default=[],
                        help=f"which to run: {', '.join(SIZES)} (default: all)")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--best", action="store_true",
                        help="of each call take not the median but the best: on a busy machine")
    args = parser.parse_args()
    unknown = set(args.sizes) - set(SIZES)
    if unknown:
        parser.error(f"no size {unknown.pop()!r}: there are {', '.join(SIZES)}")
    import minigrad
    typical = np.min if args.best else np.median
    speeds, start = machine(typical)
    print(f"memory {speeds[0] / 1e9:.1f} and {speeds[1] / 1e9:.1f} GB/s on 1 and 2 threads, "
          f"the second thread's start {start * 1e6:.1f} us")
    with minigrad.use(precision=args.precision):
        for name in args.sizes or SIZES:
            measured = clocked_steps(recorded(make(name)), args.rounds, typical)
            label = name + (args.precision != "float32") * f"-{args.precision}"
            report(name, label, measured, speeds, start)


if __name__ == "__main__":
    main()
