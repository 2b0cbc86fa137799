"""Time train.py from the command to its first step, the very first time and later.

    python benchmarks/start.py [FILE]          on a text of yours, or the plays (2 minutes)

Run it in an environment as the README makes it: each further package takes its share of a start,
as Numba asks all of them for extensions. Beside it stands what no program of Numba's can do
without: the start of one with a single kernel, which is in the cache. The speed of the machine is
told by a loop in Python. Besides the usual settings, wide ones with --precision bfloat16 are taken.
"""
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:1] = [str(ROOT), str(ROOT / "benchmarks")]      # or gpt would be gpt.py beside this

from results import verdict  # noqa: E402

from gpt.data.corpora import CorpusError, load_corpus  # noqa: E402

TIMES = 9
WIDE = "--n_layer 2 --d_model 384 --n_head 6 --batch_tokens 2048 --precision bfloat16".split()
ONE_KERNEL = """
import numba
import numpy as np
@numba.njit(cache=True)
def total(x):
    s = 0.0
    for i in range(x.size):
        s += x[i]
    return s
total(np.ones(100))
"""


def seconds_until(line_begin, command, env):
    """Run a command until it prints a line, then stop it; "" is at its end."""
    began = time.perf_counter()
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, encoding="utf-8") as process:
        for line in process.stdout:
            if line_begin and line.startswith(line_begin):
                seconds = time.perf_counter() - began
                process.send_signal(signal.SIGINT if os.name == "posix" else signal.SIGTERM)
                process.communicate()
                return seconds
        errors = process.stderr.read()
    if line_begin or process.returncode:
        raise SystemExit(errors)
    return time.perf_counter() - began


def python_loop():
    began, total = time.perf_counter(), 0
    for i in range(3_000_000):
        total += i
    return time.perf_counter() - began


def main():
    if len(sys.argv) > 2 or sys.argv[1:2] in (["-h"], ["--help"]):
        print(__doc__)
        return
    try:
        corpus = load_corpus(sys.argv[1:])
    except CorpusError as error:
        print(f"start.py: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        text = Path(folder, "text.txt")
        text.write_bytes(b"\n".join(corpus.documents))
        env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "",
               "NUMBA_CACHE_DIR": "", "BPE_CACHE_DIR": os.path.join(folder, "tokenizer")}
        script = Path(folder, "one_kernel.py")
        script.write_text(ONE_KERNEL, encoding="utf-8")
        command = [sys.executable, "-u", str(ROOT / "train.py"), str(text), "--plain", "--runs",
                   folder]
        starts = {}                                           # what is added to names -> seconds
        for name, flags in (("", []), ("-bfloat16", WIDE)):
            apart = env | {"MINIGRAD_CACHE_DIR": os.path.join(folder, f"kernels{name}")}
            starts[name] = [seconds_until("step 1/", [*command, *flags], apart)
                            for _ in range(TIMES + 1)]
        _, *floor = [seconds_until("", [sys.executable, str(script)], env)
                     for _ in range(TIMES + 1)]
    loop = statistics.median(python_loop() for _ in range(TIMES))
    print(f"a single kernel: {min(floor):.2f} to {max(floor):.2f} s; 3 million additions in "
          f"Python: {loop:.2f} s")
    for name, (first, *later) in starts.items():
        print(f"later starts{name}: {min(later):.2f} to {max(later):.2f} s")
        verdict(f"very-first-step{name}-s", first, 15, at_most=True)
        verdict(f"first-step{name}-s", statistics.median(later), 1.5, at_most=True)


if __name__ == "__main__":
    main()
