"""Time a training step beside a process that computes without end: threads as a run chooses them.

    python benchmarks/busy.py [small 6x384] [--rounds 6] [--seconds 4] [--busy 1]

The sizes are those of our_steps.py. There are three sides, each in a process of its own: one
thread, all threads, and `ours`, which changes between them as `train.py` does. They take turns,
some seconds each, beside the same busy process. The ratio is the time of a step of ours by that of
the better of the two others, over all rounds.
"""
import argparse
import subprocess
import sys
import time
from typing import NamedTuple

from our_steps import SIZES, Ours
from results import HELP, verdict

TARGET = 1.25
USUAL = "small", "6x384"
WARM_STEPS = 4                     # with each number of threads: steps are recorded and checked
ENDLESS = [sys.executable, "-c", "while True: pass"]


# ---- a side, in its process ----

def side(name, size):
    """Read numbers of seconds, take steps for so long, and write their time, number and threads."""
    from gpt.training.threads import choose_threads, compare, numbers_to_try
    from minigrad.kernels import threads
    most = threads.most_threads()
    numbers = {"one": [1], "all": [most], "ours": numbers_to_try(most)}[name]
    steps = records(size)
    for n in numbers * WARM_STEPS:
        threads.set_threads(n)
        next(steps)
    found = compare(steps, numbers)
    choices = choose_threads(min(found, key=found.get), numbers)
    choice = next(choices)
    for line in sys.stdin:
        n, seconds = 0, 0.0
        while seconds < float(line):
            threads.set_threads(choice.n_threads)
            elapsed_s = next(steps).elapsed_s
            n, seconds, choice = n + 1, seconds + elapsed_s, choices.send(elapsed_s)
        print(seconds, n, choice.best, flush=True)


class Record(NamedTuple):
    elapsed_s: float


def records(size):
    """Take steps without end."""
    step = Ours(SIZES[size])
    while True:
        began = time.perf_counter()
        step()
        yield Record(time.perf_counter() - began)


class Side:
    """A process that takes steps when it is told to."""

    def __init__(self, name, size):
        self.process = subprocess.Popen([sys.executable, __file__, "--side", name, size], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.seconds = self.steps = self.threads = 0

    def take(self, seconds):
        """Return the time of a step."""
        print(seconds, file=self.process.stdin, flush=True)
        took, steps, self.threads = map(float, self.process.stdout.readline().split())
        self.seconds, self.steps = self.seconds + took, self.steps + steps
        return took / max(1, steps)


# ---- all of them ----

def measure(size, args):
    sides = {name: Side(name, size) for name in ("one", "all", "ours")}
    busy = [subprocess.Popen(ENDLESS) for _ in range(args.busy)]
    try:
        for each in sides.values():
            each.take(0)
        for _ in range(args.rounds):
            found = {name: each.take(args.seconds) for name, each in sides.items()}
            print(f"{size}: " + ", ".join(f"{name} {1e3 * s:.0f} ms" for name, s in found.items())
                  + f" ({sides['ours'].threads:.0f} threads)", flush=True)
    finally:
        for process in (*busy, *(each.process for each in sides.values())):
            process.kill()
            process.wait()
    one, all_, ours = (each.seconds / each.steps for each in sides.values())
    verdict(f"busy-{size}", ours / min(one, all_), TARGET, at_most=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=HELP)
    parser.add_argument("sizes", nargs="*", metavar="SIZE",
                        help=f"which to run: {', '.join(SIZES)} (default: "
                        f"{' '.join(USUAL)})")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=4, help="of a turn (default: 4)")
    parser.add_argument("--busy", type=int, default=1, help="busy processes (default: 1)")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    args = parser.parse_args()
    unknown = set(args.sizes) - set(SIZES)
    if unknown:
        parser.error(f"no size {unknown.pop()!r}: there are {', '.join(SIZES)}")
    if args.side:
        return side(args.side, *args.sizes)
    for size in args.sizes or USUAL:
        measure(size, args)


if __name__ == "__main__":
    main()
