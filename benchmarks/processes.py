"""Set how threads wait; run a benchmark once for each number of them. To be imported first."""
import os
import subprocess
import sys

from results import THREADS

# Idle threads wait for a moment (2 ms), as minigrad's do by themselves, and then sleep, or they
# would take the core from the peer, whose threads are others.
os.environ |= {"OPENBLAS_THREAD_TIMEOUT": "4", "GOMP_SPINCOUNT": "100000"}

if THREADS:
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS",
                 "MINIGRAD_THREADS"):
        os.environ[name] = THREADS


def run_each(threads):
    """Run this command again for each number in "1,2"; print the targets last.

    Returns
    -------
    int
        The exit status of the first that failed, or 0; 2 if these are no numbers.
    """
    targets, numbers = [], threads.split(",")
    if not all(number.isdigit() and int(number) for number in numbers):
        print(f"--threads is {threads!r}, but must be numbers like 1,2", file=sys.stderr)
        return 2
    for number in numbers:
        child = subprocess.Popen([sys.executable, *sys.argv], text=True, stdout=subprocess.PIPE,
                                 env=os.environ | {"BENCHMARK_THREADS": number})
        for line in child.stdout:
            if line.startswith("TARGET "):
                targets.append(line.removeprefix("TARGET "))
            else:
                print(line, end="", flush=True)
        if child.wait():
            return child.returncode
    print("\n" + "".join(targets), end="")
    return 0
