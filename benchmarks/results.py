"""Judge a measurement by its target, and keep it in results.jsonl if the command says `--record`.

Every benchmark says `verdict(name, ratio, target)` for each of its targets, and takes `--record`.
`python benchmarks/table.py` writes what is kept into docs/benchmarks.md.
"""
import datetime
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

FILE = Path(__file__).parent / "results.jsonl"
HELP = "With --record the results are kept in benchmarks/results.jsonl."
THREADS = os.environ.get("BENCHMARK_THREADS")          # in a process that measures
if "--record" in sys.argv:
    sys.argv.remove("--record")
    os.environ["BENCHMARK_RECORD"] = "1"               # for the processes that measure


def verdict(name, ratio, target, at_most=False):
    """Print `NAME RATIO target TARGET ok|short`, and record it if that was asked for.

    Parameters
    ----------
    name : str
        With the number of threads added in a process that measures for one of several.
    ratio : float
    target : float
        The least that is wanted, or the most.
    at_most : bool
    """
    to_parent = "TARGET " if THREADS else ""
    name += f"_{THREADS}t" if THREADS else ""
    word = "ok" if meets(ratio, target, at_most) else "short"
    print(f"{to_parent}{name} {show(ratio)} target {show(target)} {word}", flush=True)
    if "BENCHMARK_RECORD" in os.environ:
        record(name, ratio, target, at_most)


def meets(ratio, target, at_most):
    return ratio <= target if at_most else ratio >= target


def show(number):
    """Write a number with four digits, or as many as a whole one has."""
    return f"{number:.0f}" if abs(number) >= 1000 else f"{number:.4g}"


def record(name, ratio, target, at_most):
    """Add a line to the file of results."""
    line = {"machine": machine(), "date": datetime.date.today().isoformat(), "commit": commit(),
            "script": Path(sys.argv[0]).stem, "name": name, "ratio": float(show(ratio)),
            "target": target, "at_most": at_most}
    with FILE.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


# What tells processors of one name apart: flags of Linux, the widest vectors first.
VECTORS = {"amx_tile": "AMX", "avx512f": "AVX-512", "avx2": "AVX2", "asimd": "NEON"}


def machine(path="/proc/cpuinfo"):
    """Name the processor, its widest vectors and the number of its cores."""
    try:
        said = Path(path).read_text()
    except OSError:
        said = ""
    found = dict(re.findall(r"^(.*?)\s*: (.*)$", said, re.MULTILINE))
    name = found.get("model name") or platform.processor() or platform.machine()
    flags = found.get("flags", found.get("Features", "")).split()
    widest = next((f" ({word})" for flag, word in VECTORS.items() if flag in flags), "")
    return f"{name}{widest}, {os.cpu_count()} cores"


def commit():
    """Name the commit that was measured, with a + where code has changed since."""
    def git(*words):
        return subprocess.run(["git", *words], cwd=FILE.parents[1], capture_output=True, text=True,
                              check=False).stdout.strip()
    changed = git("status", "--short", "-uno", "--", "*.py")
    return git("rev-parse", "--short", "HEAD") + "+" * bool(changed)
