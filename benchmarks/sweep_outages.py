"""What a sweep of two machines does when one is stopped, the database is gone, or a disk is full.

    python benchmarks/sweep_outages.py FOLDER --storage postgresql://lab/faults \\
        --down "pg_ctl -D DATA stop -m immediate" --up "pg_ctl -D DATA start"

Right is the undisturbed table, each trouble being told in one sentence.
"""
import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:1] = [str(ROOT), str(ROOT / "benchmarks")]      # or gpt would be gpt.py beside this

from gpt.data.corpora import stories  # noqa: E402
from sweep_faults import WORDS, Machine, table_of, undisturbed  # noqa: E402

GRACE_S, GONE_S = 5, 60
FEW = [*WORDS, "--learning_rate", "0.01,0.03,0.1", "--rungs", "2", "--grace", str(GRACE_S)]
TOLD = ("silent", "nobody is at it", "does not answer", "answers again", "tries again", "died",
        "taken by", "another machine", "waiting")


def begun(lines):
    return any(": step " in line for _, line in lines)


def stopped(machines, lines, args):
    """Stop a machine with its worker for three times the grace."""
    pid, workers = machines[0].processes()
    for each in (pid, *workers):
        os.kill(each, signal.SIGSTOP)
    time.sleep(3 * GRACE_S)
    for each in (pid, *workers):
        os.kill(each, signal.SIGCONT)


def worker_stopped(machines, lines, args):
    """Stop a worker alone, which its machine has to notice."""
    _, workers = machines[0].processes()
    os.kill(workers[0], signal.SIGSTOP)


def database_gone(machines, lines, args):
    subprocess.run(shlex.split(args.down), check=True, stdout=subprocess.DEVNULL)
    time.sleep(GONE_S)
    subprocess.run(shlex.split(args.up), check=True, stdout=subprocess.DEVNULL)


def disk_full(machines, lines, args):
    """Let no file of a worker grow beyond some bytes, as if its disk were full."""
    _, workers = machines[0].processes()
    subprocess.run(["prlimit", f"--pid={workers[0]}", "--fsize=2000"], check=True)


def run(folder, name, args, trouble):
    words = [*FEW, "--name", name, "--workers", "1", "--storage", args.storage]
    lines, began = [], time.monotonic()
    machines = [Machine(folder, words, lines) for _ in range(2)]
    while not begun(lines) and time.monotonic() - began < 120:
        time.sleep(0.1)
    trouble(machines, lines, args)
    for each in machines:
        try:
            each.process.wait(timeout=240)
        except subprocess.TimeoutExpired:
            each.process.kill()
            print(f"{name}: a machine did not end")
    time.sleep(0.2)
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--storage", required=True)
    parser.add_argument("--down", required=True)
    parser.add_argument("--up", required=True)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "text.txt").write_bytes(stories(100).documents[0])
    right = undisturbed(folder, FEW)
    for trouble in (stopped, worker_stopped, database_gone, disk_full):
        if args.only and trouble.__name__ not in args.only.split(","):
            continue
        name = f"{trouble.__name__}-{os.getpid()}"
        lines = run(folder, name, args, trouble)
        values, twice = table_of(folder, name, args.storage)
        print(f"{trouble.__name__}: {'same' if values == right else 'OTHER'} table, "
              f"done twice {twice}; told:", flush=True)
        for _, line in lines:
            if any(word in line for word in TOLD):
                print(f"    {line}", flush=True)
        (folder / f"{name}.log").write_text("\n".join(line for _, line in lines))


if __name__ == "__main__":
    main()
