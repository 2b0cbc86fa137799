"""Kill processes of sweeps at random moments, and compare their tables with an undisturbed one.

    python benchmarks/sweep_faults.py FOLDER --sweeps 10                   one machine, 3 workers
    python benchmarks/sweep_faults.py FOLDER --sweeps 10 --storage postgresql://lab/faults
                                                                           3 machines, 1 worker each

Five times in each something is killed (SIGKILL): a worker, or a machine, which is started again.
Right are: the same values, bit for bit; no job done twice; no run that goes on before its last
checkpoint.
"""
import argparse
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:1] = [str(ROOT), str(ROOT / "benchmarks")]      # or gpt would be gpt.py beside this

from gpt.data.corpora import stories  # noqa: E402
from gpt.sweeping.table import DONE, Table  # noqa: E402

GRID = "0.001..0.1:log:9"
WORDS = ["text.txt", "--n_layer", "1", "--n_head", "2", "--d_model", "32", "--context_length", "32",
         "--batch_tokens", "256", "--tokenizer", "char", "--eval_tokens", "256", "--evaluations",
         "8", "--steps", "540", "--learning_rate", GRID, "--halve", "3", "--rungs",
         "3", "--grace", "30"]
BEGUN = re.compile(r"(\S+): step (\d+) to \d+")


class Machine:
    """A command that is started again when it is killed."""

    def __init__(self, folder, words, lines):
        self.folder, self.words, self.lines = folder, words, lines
        self.start()

    def start(self):
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen([sys.executable, "-m", "gpt", "sweep", *self.words],
                                        cwd=self.folder, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True, env=env)
        threading.Thread(target=self.read, args=(self.process.stdout,), daemon=True).start()

    def read(self, out):
        for line in out:
            self.lines.append((time.monotonic(), line.rstrip()))

    def processes(self):
        """Return its own number, and those of its workers."""
        pid = self.process.pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            workers = [int(child) for child in children if b"spawn_main" in
                       Path(f"/proc/{child}/cmdline").read_bytes()]
        except OSError:
            workers = []
        return pid, workers


def trial_of(name):
    """Return the trial that a folder is of: its name without the generation."""
    return name.partition("~")[0]


def saved(folder, name):
    """Return the newest checkpoint of each trial."""
    found = {}
    for path in folder.glob(f"sweeps/{name}/runs/*/checkpoints/step-*.json"):
        trial = trial_of(path.parent.parent.name)
        found[trial] = max(found.get(trial, 0), int(path.stem[5:]))
    return found


def disturbed(folder, name, storage, n_machines, kills, rng, limit_s, words=WORDS):
    """Run a sweep with kills; return what is to be told of it, and its table."""
    words = [*words, "--name", name, "--workers", str(3 // n_machines)]
    words += ["--storage", storage] if storage else []
    lines, began = [], time.monotonic()
    machines = [Machine(folder, words, lines) for _ in range(n_machines)]
    done, known, killed = 0, {}, []                   # known: (when, checkpoints then)
    due = began + rng.uniform(*FIRST)
    while any(each.process.poll() is None for each in machines):
        time.sleep(0.05)
        now = time.monotonic()
        if now - began > limit_s:
            break
        if done < kills and now > due and any(" after step " in line or ": step " in line
                                              for _, line in lines):
            alive = [each for each in machines if each.process.poll() is None]
            if not alive:
                break
            each = rng.choice(alive)
            pid, workers = each.processes()
            if not workers:                           # it has just been started again
                continue
            whole = rng.random() < 0.3
            victim = pid if whole else rng.choice(workers)
            known = saved(folder, name)
            os.kill(victim, signal.SIGKILL)
            killed.append((time.monotonic(), known, "machine" if whole else "worker"))
            if whole:
                each.process.wait()
                each.start()
            done, due = done + 1, time.monotonic() + rng.uniform(*BETWEEN)
    hung = [each for each in machines if each.process.poll() is None]
    for each in hung:
        each.process.kill()
    time.sleep(0.2)
    return lines, killed, len(hung), [each.process.returncode for each in machines], \
        time.monotonic() - began


FIRST, BETWEEN = (0.0, 2.0), (0.3, 2.5)               # seconds before a kill


def repeated(lines, killed):
    """Count the runs that went on before a checkpoint that was whole when a process was killed."""
    bad = 0
    for when, line in lines:
        found = BEGUN.match(line)
        before = [known for at, known, _ in killed if at < when]
        if found and before:
            known = before[-1]
            bad += int(found[2]) < known.get(trial_of(found[1]), 0)
    return bad


def table_of(folder, name, storage):
    os.chdir(folder)
    storage = storage or f"sqlite:///sweeps/{name}/sweep.db"
    with closing(Table(storage, name, create=False)) as table:
        done = [job for job in table.jobs() if job.state == DONE]
    values = {(job.settings["learning_rate"], job.rung): job.value for job in done}
    twice = sum(n > 1 for n in Counter((job.trial, job.rung) for job in done).values())
    return values, twice


def undisturbed(folder, words=WORDS):
    """Return the table of the sweep that nobody kills; it is made once in a folder."""
    if not (folder / "sweeps" / "still" / "sweep.html").exists():
        disturbed(folder, "still", None, 1, 0, random.Random(0), 600, words)
    right, _ = table_of(folder, "still", None)
    print(f"undisturbed: {len(right)} jobs", flush=True)
    return right


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sweeps", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="number, and seed, of the first")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--storage")
    parser.add_argument("--limit_s", type=float, default=300)
    args = parser.parse_args()
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "text.txt").write_bytes(stories(100).documents[0])
    n_machines = 3 if args.storage else 1
    right = undisturbed(folder)
    for seed in range(args.first, args.first + args.sweeps):
        name = f"{'pg' if args.storage else 'sqlite'}-{seed}"
        lines, killed, hung, codes, seconds = disturbed(
            folder, name, args.storage, n_machines, args.kills, random.Random(seed), args.limit_s)
        values, twice = table_of(folder, name, args.storage)
        kinds = Counter(kind for _, _, kind in killed)
        print(f"{name}: {'same' if values == right else 'OTHER'} table, {len(values)} jobs, kills "
              f"{dict(kinds)}, done twice {twice}, went on too early {repeated(lines, killed)}, "
              f"hung {hung}, exits {codes}, {seconds:.0f} s", flush=True)
        (folder / f"{name}.log").write_text("\n".join(line for _, line in lines))


if __name__ == "__main__":
    main()
