"""Predict a training step on 4, 8, 16 and 48 cores, by a model of its cost checked at 1 and 2.

    python benchmarks/cores.py [small 6x384 gpt2 recipe] [--precision float32] [--best]

Each call is clocked on one thread and on two. Of its time on one, n threads take what the largest
share costs, a product's with packing; at least the time to move its arrays; and a start for each
thread more. NumPy, small kernels and Python stay. Memory grows with n, or stays as two have it.
"""
import argparse
import time
from functools import partial

from results import HELP, verdict

import numpy as np
from our_steps import SIZES, Ours, seconds

from minigrad.kernels import gemm, jit, on_tiles, threads
from minigrad.ops.elementwise import _add

NAMES = "small", "recipe", "6x384", "gpt2"
MORE, ROUNDS = (4, 8, 16, 48), 7
PARTS = "even shares", "packing and uneven shares", "memory", "starts", "one thread"


def largest_share(function, args, n):
    """Return the part of a call's work that one of n threads has at least."""
    if args[0] is True:                                   # a kernel of rows, on all threads
        return -(-args[1] // n) / args[1]
    return cost(args, n) / cost(args, 1) if function.__name__ == "_products" else 1


def cost(args, n):
    """Return what the largest share of a product costs, cut for n threads."""
    a, c = args[1], args[3]
    if c.ndim == 2:
        return on_tiles.share_cost(on_tiles.best_cuts(*c.shape, n)[1])
    stack, packed = c.shape[0] * c.shape[1], a.strides[-1] != a.itemsize
    cuts = gemm.best_cuts((stack, *a.shape[2:], c.shape[3]), packed, n, c.dtype)[1]
    return gemm.share_cost(stack, cuts, packed)


def n_bytes(function, args):
    """Count the bytes of the arrays that a call reads and writes."""
    args = args[2] if isinstance(args[-1], tuple) else args
    args = args[1:4] if function.__name__ == "_products" else args
    arrays = [x for x in args if isinstance(x, np.ndarray)]
    if len(arrays) == 5 and arrays[0].shape[1:] == (3,):  # `pieces`: a table of addresses
        return arrays[1][:, 0].sum() * (arrays[1].shape[1] - 1) * arrays[3].itemsize
    return sum(x.nbytes for x in arrays)


def predicted(calls, seconds, n, start, speed, of_one):
    """Predict the seconds of a step on n threads, which move `speed` bytes a second, by PARTS."""
    shares, sizes = np.array([(shares[n], size) for shares, size in calls]).T
    spread = shares < 1
    one, shares = seconds[:-1][spread], shares[spread]
    moving = np.minimum(sizes[spread], one * of_one) / speed        # at most, as it may be cached
    waits = np.maximum(0, moving - one * shares)
    parts = sum(one / n), sum(one * (shares - 1 / n)), sum(waits), start * (n - 1) * len(one)
    return np.array([*parts, sum(seconds) - sum(one)])


def machine(typical):
    """Measure bytes a second on 1 and 2 threads, and the seconds that a second thread costs."""
    large, took = np.ones((3, 1 << 23), np.float32), []
    for n in ROUNDS * (1, 2):
        threads.set_threads(n)
        threads.enter_pool()
        for x, calls in (large, 4), (large[:, :2048], 1000):
            add = partial(_add.driver, n == 2, x.shape[1] // 1024, *x)
            took.append(seconds(add, calls))
    (moving, one), (of_two, two) = typical(np.reshape(took, (-1, 2, 2)), axis=0)
    return large.nbytes / np.array([moving, of_two]), two - one


def calls_of(step):
    """Return the largest shares and the bytes of its calls; let all of them go by `jit.run`."""
    calls, run = [], jit.run
    for n in (1, 2):
        threads.set_threads(n)
        seconds(step, 4)                       # replayed from then on
    for found in (attempt.recording for attempt in step.gradients.attempts.values()):
        found.calls = [(lambda *call: jit.run(*call), (f, *args)) for f, args in found.calls]
    def noted(function, *args):
        run(function, *args)
        shares = {n: largest_share(function, args, n) for n in (2, *MORE)}
        calls.append((shares, n_bytes(function, args)))
    jit.run = noted
    step()
    jit.run = run
    return calls


def clocked(step, typical, rounds=ROUNDS):
    """Return the seconds of each call without those it makes, and between, on 1 and 2 threads."""
    times, run, found = {1: [], 2: []}, jit.run, []
    def clock(*call):
        before, began = len(found), time.perf_counter()
        run(*call)
        found.append(time.perf_counter() - began - sum(found[before:]))
    jit.run = clock
    for n in rounds * (1, 2):
        threads.set_threads(n)
        end = time.perf_counter() + 0.5
        while time.perf_counter() < end:
            found.clear()
            wall = seconds(step, 1)
            times[n].append([*found, wall - sum(found)])
    jit.run = run
    return [typical(times[n], axis=0) for n in times]


def report(label, calls, one, two, speeds, start):
    """Print what is measured of a size and what is predicted; judge the check at two."""
    error = sum(predicted(calls, one, 2, start, *speeds[::-1])) / sum(two) - 1
    print(f"{label}: {sum(one) * 1e3:.1f} ms on one thread, {sum(two) * 1e3:.1f} on two: predicted "
          f"{error:+.1%}; GB/s {speeds / 1e9}, a start {start * 1e6:.1f} us")
    for n in MORE:
        for memory, speed in ("grows", speeds[1] * n / 2), ("stays", speeds[1]):
            found = predicted(calls, one, n, start, speed, speeds[0])
            bounds = [f"{part} {x:.0%}" for part, x in zip(PARTS, found / sum(found))]
            print(f"    {n}, memory {memory}: {sum(one) / sum(found):.1f} times as fast;", *bounds)
    verdict(f"cores-{label}-2t", abs(error), 0.1, at_most=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=HELP)
    parser.add_argument("sizes", nargs="*", help=f"of {', '.join(NAMES)} (default: all)")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--best", dest="typical", action="store_const", default=np.median,
                        const=np.min, help="take the fastest, not the median: on a busy machine")
    args = parser.parse_args()
    if unknown := set(args.sizes) - set(NAMES):
        parser.error(f"no size {unknown.pop()!r}: there are {', '.join(NAMES)}")
    for name in args.sizes or NAMES:
        step = Ours(SIZES[name], args.precision)
        calls, times = calls_of(step), clocked(step, args.typical)
        report(f"{name}-{args.precision}", calls, *times, *machine(args.typical))


if __name__ == "__main__":
    main()
