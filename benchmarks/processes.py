"""Set how threads wait; run a benchmark once for each number of them; let processes take turns.

To be imported first.
"""
import functools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from results import THREADS, verdict

ROUNDS = 7

# Idle threads wait for a moment (2 ms), as minigrad's do by themselves, and then sleep, or they
# would take the core from the peer, whose threads are others.
os.environ |= {"OPENBLAS_THREAD_TIMEOUT": "4", "GOMP_SPINCOUNT": "100000"}

if THREADS:
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS",
                 "MINIGRAD_THREADS"):
        os.environ[name] = THREADS

# ---- what PyTorch's processes begin with ----

KEPT = os.path.join(tempfile.gettempdir(), "minigrad-inductor")


def pytorch():
    """Return the environment in which PyTorch is the fastest.

    Blocks that are free stay with the process, and those of the heap lie on huge pages, as ours
    do. What was compiled once is found by the next process.
    """
    os.makedirs(KEPT, exist_ok=True)
    return {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967296:"
                              "glibc.malloc.trim_threshold=8589934592",
            "TORCHINDUCTOR_CACHE_DIR": KEPT} | mkl_as_on_intel()


def mkl_as_on_intel():
    """Return what makes MKL take its kernels of AVX-512 on processors of AMD, too.

    There it asks a function of its own who made the processor, and is content with less if that
    was not Intel: products in float32 reach 107 GFLOP/s on a core of Zen 5, and 240 otherwise.
    """
    try:
        if "AuthenticAMD" not in Path("/proc/cpuinfo").read_text(encoding="utf-8"):
            return {}
    except OSError:
        return {}
    library = os.path.join(KEPT, "mkl-as-on-intel.so")
    source = "int mkl_serv_intel_cpu_true(void) { return 1; }"
    new = f"{library}.{os.getpid()}"
    try:
        subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", new], input=source,
                       text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"{error}: PyTorch is not at its best on this processor without a C "
                         "compiler called cc: install one") from error
    os.replace(new, library)
    return {"LD_PRELOAD": library}


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


# ---- processes that take turns ----

class Side:
    """A process that does something whenever it is asked."""

    def __init__(self, *command, cwd=None, env=None):
        self.process = subprocess.Popen([*map(str, command)], cwd=cwd, text=True,
                                        env=os.environ | (env or {}),
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.answer()

    def answer(self):
        line = self.process.stdout.readline().split()
        if not line:
            raise SystemExit(f"{self.process.args} has ended")
        return line

    def take(self, what):
        """Return seconds an item: by the clock, and of the processor; or other numbers."""
        print(what, file=self.process.stdin, flush=True)
        return [float(x) for x in self.answer()]

    def close(self):
        """Let it end, and wait until it has."""
        self.process.communicate()


def serve(make):
    """Be a side: for each line of the input do that, and say what an item took.

    `make` returns what to do, and how many items that are; of none what comes of it is said.
    """
    make = functools.cache(make)
    print("ready", flush=True)
    for line in sys.stdin:
        take, n = make(line.strip())
        wall, cpu = time.perf_counter(), time.process_time()
        found = take()
        seconds = time.perf_counter() - wall, time.process_time() - cpu
        print(*([x / n for x in seconds] if n else found), flush=True)


def turns(sides, rounds=ROUNDS, warm=2):
    """Let sides, each of (side, what it is asked), take turns; return the rounds' answers."""
    found = [[one.take(asked) for one, asked in sides] for _ in range(warm + rounds)]
    return found[warm:]


def compared(name, what, target, ours, theirs, rounds=ROUNDS, warm=2):
    """Let two sides, of (side, what it is asked), take turns; judge their time by ours."""
    ratios, ends = [], {}
    for pair in turns((ours, theirs), rounds, warm):
        ratios.append([b / a for a, b in zip(*pair)])
        for who, seconds in zip(("here", what), pair):
            ends.setdefault(who, []).append(seconds)
    by_clock, by_cpu = (statistics.median(x) for x in zip(*ratios))
    for who, found in ends.items():
        wall, cpu = (statistics.median(x) for x in zip(*found))
        print(f"{name}, {who}: {1 / wall:.1f} tokens/s, {1 / cpu:.1f} a CPU-second", flush=True)
    print(f"{name}: {by_clock:.3g} by the clock, {by_cpu:.3g} by the processor")
    verdict(name, by_cpu if THREADS == "1" else by_clock, target)
