"""Compare the kernels with PyTorch, and the matrix multiply with OpenBLAS too, on this CPU.

    python benchmarks/kernels.py [SECTION ...] [--threads 1,2] [--seconds 0.5]

Needs torch (`pip install .[bench]`). Each number of threads runs in a process of its own, and the
peers take turns there, round by round, so that a change of the machine's speed meets all of them.
Printed are the times of the best round and, in brackets, the median of the ratios of all rounds;
at the end one line for each target.
"""
import argparse
import functools
import os
import re
import subprocess
import sys
import time
from pathlib import Path

THREADS = os.environ.get("KERNELS_THREADS")
if THREADS:                                            # a process that measures: before imports
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS",
                 "MINIGRAD_THREADS"):
        os.environ[name] = THREADS
    # Peers' idle threads sleep soon, or they would take the core from whoever runs next.
    os.environ |= {"OPENBLAS_THREAD_TIMEOUT": "4", "OMP_WAIT_POLICY": "passive"}

import numpy as np  # noqa: E402

F4 = np.float32


# ---- measuring ----

def compare(ours, peers, seconds, calls=3):
    """Run functions in turn until the time is up.

    Parameters
    ----------
    ours : callable
    peers : dict from a name to a callable
    seconds : float
    calls : int
        Timed calls of each function in a round, of which the fastest counts.

    Returns
    -------
    best : dict from a name to seconds, "ours" among them
    median : dict from a peer's name to the median over rounds of its time by ours
    """
    functions = {"ours": ours, **peers}
    rounds, end = [], time.perf_counter() + seconds * len(functions)
    while len(rounds) < 5 or time.perf_counter() < end:
        rounds.append({name: fastest(function, calls) for name, function in functions.items()})
    best = {name: min(r[name] for r in rounds) for name in functions}
    return best, {name: float(np.median([r[name] / r["ours"] for r in rounds])) for name in peers}


def fastest(function, calls):
    """Return the shortest of some calls, in seconds, after one that warms the caches."""
    function()
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def aligned(*shape):
    """Return random float32 on a cache line, as torch and the engine allocate."""
    size = int(np.prod(shape))
    memory = np.empty(size + 16, F4)
    start = -memory.ctypes.data % 64 // 4
    x = memory[start:start + size].reshape(shape)
    x[...] = np.random.default_rng(0).standard_normal(shape, F4)
    return x


def geometric_mean(ratios):
    return float(np.exp(np.mean(np.log(ratios))))


def row(name, best, median, unit=1e6, text="us"):
    """Print the times and the ratios of one comparison."""
    cells = [f"{peer} {best[peer] * unit:9.1f} {text} {best[peer] / best['ours']:5.2f}x "
             f"({median[peer]:4.2f})" for peer in median]
    print(f"{name:34} ours {best['ours'] * unit:9.1f} {text}   {'   '.join(cells)}", flush=True)


# ---- sections: each yields (name of a target, ratio, target) ----

SHAPES = [(768, 128, 384), (768, 128, 512), (768, 512, 128),
          (4096, 384, 1152), (4096, 384, 1536), (4096, 1536, 384), (4096, 768, 3072)]
FORMS = {"X W": lambda x, w, dy: (x, w), "dY W^T": lambda x, w, dy: (dy, w.T),
         "X^T dY": lambda x, w, dy: (x.T, dy)}


def matmul(seconds):
    """Multiply at the shapes of GPT training (tokens, d_in, d_out), the three forms of a step."""
    import torch

    from minigrad import gemm
    ratios = {"OpenBLAS": [], "torch": []}
    rate = tile_rate()
    print(f"the register tile alone: {rate:.0f} GFLOP/s a core")
    for tokens, d_in, d_out in SHAPES:
        x, w, dy = aligned(tokens, d_in), aligned(d_in, d_out), aligned(tokens, d_out)
        for form, operands in FORMS.items():
            a, b = operands(x, w, dy)
            out = aligned(a.shape[0], b.shape[1])
            ta, tb, tout = map(torch.from_numpy, (a, b, out))
            best, median = compare(
                functools.partial(gemm.matmul, a, b, out),
                {"OpenBLAS": functools.partial(np.matmul, a, b, out=out),
                 "torch": functools.partial(torch.mm, ta, tb, out=tout)}, seconds)
            row(f"{tokens} x {d_in} x {d_out}  {form}", best, median)
            gflops = 2e-9 * tokens * d_in * d_out / best["ours"]
            print(f"{'':34} {gflops:6.1f} GFLOP/s, {gflops / rate / int(THREADS):.0%} of the tile")
            for peer in ratios:
                ratios[peer].append(best[peer] / best["ours"])
    yield "matmul_openblas", geometric_mean(ratios["OpenBLAS"]), 1.05
    yield "matmul_openblas_least", min(ratios["OpenBLAS"]), 0.95
    yield "matmul_torch", geometric_mean(ratios["torch"]), 0.95


def tile_rate():
    """Measure the register tile alone, operands in the nearest cache: GFLOP/s of one core."""
    from minigrad import gemm, jit
    from minigrad.microkernel import ROWS, VECTORS, lanes
    width, kc = VECTORS * lanes(F4), 256
    a, b, c = aligned(ROWS, kc), aligned(kc, width), aligned(ROWS, width)

    def tiles():
        for _ in range(50):
            _tiles(a, b, c, 20)

    @jit.kernel
    def _tiles(a, b, c, n):
        for _ in range(n):
            gemm._tile(VECTORS, kc, gemm.at(a, 0), kc, 1, gemm.at(b, 0), width, gemm.at(c, 0),
                       width, False, gemm.at(a, 0), 0)
    rate = 50 * 20 * 2e-9 * ROWS * width * kc / min(fastest(tiles, 20) for _ in range(5))
    return rate


def ladder(seconds):
    """Run the rungs of chapter 12, on one thread."""
    from minigrad import gemm, jit
    jit.set_threads(1)
    page = Path(__file__).parent.parent / "docs" / "learn" / "12_making_it_fast.md"
    names = {}
    for code in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
        if ">>>" not in code:
            exec(code, names)
    a, b, c = aligned(768, 512), aligned(512, 512), aligned(768, 512)
    rungs = {name: functools.partial(names[name], a, b, c)
             for name in ("loops", "order", "blocks", "registers")}
    rungs["OpenBLAS"] = functools.partial(np.matmul, a, b, out=c)
    best, _ = compare(functools.partial(gemm.matmul, a, b, c), rungs, seconds)
    for name, elapsed in best.items():
        print(f"{name:12} {2e-9 * 768 * 512 * 512 / elapsed:6.1f} GFLOP/s")
    print(f"{'tile':12} {tile_rate():6.1f} GFLOP/s")
    return []


SECTIONS = {function.__name__: function for function in (matmul, ladder)}


# ---- running ----

def measure(sections, seconds):
    """Run sections in this process and print their targets."""
    import torch
    torch.set_num_threads(int(THREADS))
    targets = []
    for name in sections:
        print(f"\n{name}, {THREADS} thread{'s' * (THREADS != '1')}", flush=True)
        targets += SECTIONS[name](seconds)
    for name, ratio, target in targets:
        verdict = "ok" if ratio >= target else "short"
        print(f"TARGET {name}_{THREADS}t {ratio:.2f} target {target} {verdict}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION",
                        help=f"which to run: {', '.join(SECTIONS)} (default: all)")
    parser.add_argument("--threads", default="1,2", help="numbers of threads (default: 1,2)")
    parser.add_argument("--seconds", type=float, default=0.5,
                        help="time for each function of a comparison (default: 0.5)")
    args = parser.parse_args()
    unknown = set(args.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no section {unknown.pop()!r}: there are {', '.join(SECTIONS)}")
    if THREADS:
        return measure(args.sections or SECTIONS, args.seconds)
    targets = []
    for threads in args.threads.split(","):
        child = subprocess.Popen([sys.executable, *sys.argv], text=True, stdout=subprocess.PIPE,
                                 env=os.environ | {"KERNELS_THREADS": threads})
        for line in child.stdout:
            if line.startswith("TARGET "):
                targets.append(line.removeprefix("TARGET "))
            else:
                print(line, end="", flush=True)
        if child.wait():
            return child.returncode
    print("\n" + "".join(targets), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
