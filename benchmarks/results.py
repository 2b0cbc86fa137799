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


# Of the instructions that a processor knows, those that decide how fast it multiplies.
TELLING = "avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "sve", "i8mm", "bf16"


def machine():
    """Name the processor, what tells its generation where the name does not, and its cores."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        facts = dict(re.findall(r"(\w[\w ]*?)\s*: (.*)", text))
        name = facts["model name"]
    except (OSError, KeyError):
        return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    known = facts.get("flags", facts.get("Features", "")).split()
    flags = ", ".join(flag for flag in TELLING if flag in known)
    return f"{name} (family {facts.get('cpu family', '?')}: {flags}), {os.cpu_count()} cores"


def commit():
    """Name the commit that was measured, with a + where code has changed since."""
    def git(*words):
        return subprocess.run(["git", *words], cwd=FILE.parents[1], capture_output=True, text=True,
                              check=False).stdout.strip()
    changed = git("status", "--short", "-uno", "--", "*.py")
    return git("rev-parse", "--short", "HEAD") + "+" * bool(changed)
