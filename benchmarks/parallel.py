"""Training on ranks: how fast, and what is left after kills.

    python benchmarks/parallel.py speed              2 ranks x 1 thread beside 1 process x 2 threads
    python benchmarks/parallel.py faults --kills 20  kill -9 of ranks at random moments, then resume
    python benchmarks/parallel.py memory             what ZeRO keeps and sends: `parallel_memory.py`

Needs the `mpi` extra, 2 cores, and mpiexec beside this Python. Sides alternate, since a machine's
speed drifts; a ratio is the median of the rounds'. Each line that counts is NAME RATIO target
TARGET ok|short.
"""
import argparse
import hashlib
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:1] = [str(ROOT), str(ROOT / "benchmarks")]      # or gpt would be gpt.py beside this

from parallel_memory import memory_and_bytes  # noqa: E402
from results import verdict  # noqa: E402

from gpt.data.corpora import stories  # noqa: E402
from gpt.data.documents import prepare  # noqa: E402
from gpt.training import checkpoint  # noqa: E402
from gpt.training.config import Config  # noqa: E402
from gpt.training.parallel.data_parallel import DataParallel  # noqa: E402
from gpt.training.parallel.world import Alone, joined  # noqa: E402
from gpt.training.plan import Plan  # noqa: E402
from gpt.training.run import Run  # noqa: E402
from gpt.training.step import OneProcess, train_steps  # noqa: E402

MPIEXEC = Path(sys.executable).parent / "mpiexec"
LARGE = dict(n_layer=6, d_model=384, n_head=6, context_length=256, batch_tokens=4096)


def on_ranks(n, *words):
    """Return the command line that starts a Python file on n ranks."""
    return [str(MPIEXEC), "-n", str(n), sys.executable, "-m", "mpi4py", *map(str, words)]


def environment(n_threads):
    return {**os.environ, "PYTHONPATH": str(ROOT), "MINIGRAD_THREADS": str(n_threads)}


# ---- speed ----

class Side:
    """A process, or some ranks, that take steps when they are told to."""

    def __init__(self, command, n_threads):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env=environment(n_threads))

    def take(self, n):
        """Take n steps, or none and end; return the seconds of one."""
        print(n, file=self.process.stdin, flush=True)
        return n and float(self.process.stdout.readline()) / n


def side(ranks):
    """Be such a side: read numbers of steps, take them, and write the seconds."""
    world = joined() if ranks else Alone()
    data = prepare(stories(2000), Config.make(tokenizer="char").data, tempfile.mkdtemp())
    run = Run.start(Config.make(vocab_size=data.tokenizer.vocab_size, **LARGE), data,
                    Plan.fixed(10 ** 6))
    run.way = (DataParallel if ranks else OneProcess)(run, world)
    steps = train_steps(run)
    while True:
        asked = int(input()) if world.rank == 0 else None
        world.meet()                                  # who waits leaves the others the cores
        n = world.share(asked)
        if not n:
            return
        began = time.perf_counter()
        for _ in range(n):
            next(steps)
        if world.rank == 0:
            print(time.perf_counter() - began, flush=True)


def speed(rounds, n=2):
    """Compare two ranks of a thread with one process of two threads."""
    ranks = Side(on_ranks(2, __file__, "side", "--ranks"), 1)
    one = Side([sys.executable, __file__, "side"], 2)
    times = []
    for each in (ranks, one):
        each.take(5)                                  # from then on they are replayed
    for _ in range(rounds):
        times.append((ranks.take(n), one.take(n)))
        print(f"a step takes 2 ranks {times[-1][0]:.3f} s, 2 threads {times[-1][1]:.3f} s",
              flush=True)
    for each in (ranks, one):
        each.take(0)
    verdict("parallel-2-ranks-beside-2-threads", statistics.median(b / a for a, b in times), 0.9)


# ---- faults ----

WORDS = ["stories", "--tokenizer", "char", "--n_layer", "1", "--d_model", "32", "--context_length",
         "32", "--batch_tokens", "256", "--steps", "200", "--evaluations", "20", "--eval_tokens",
         "512", "--plain"]
RANKS, OTHERS = 2, (2, 1, 4)       # what trains, and what goes on afterwards, in turn
TIME_S = 3                         # in which a lost rank must have ended all


def train(ranks, *words, cwd):
    """Start train.py on ranks."""
    return subprocess.Popen(on_ranks(ranks, ROOT / "train.py", *words), cwd=cwd, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(1))


def process_of(launcher, rank):
    """Return the number of the process of a rank, below that of its launcher."""
    below = [launcher]
    for pid in below:                                 # which grows
        try:
            below += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
            if f"\0PMI_RANK={rank}\0" in Path(f"/proc/{pid}/environ").read_text():
                return pid
        except OSError:
            continue
    raise LookupError(f"rank {rank} is not there")


def last_of(folder):
    """Return the digest of the last checkpoint of a run, its step, and its loss."""
    step = checkpoint.steps(folder / "checkpoints")[-1]
    path = folder / "checkpoints" / f"step-{step:08d}.safetensors"
    _, facts = checkpoint.load(folder / "checkpoints")
    return hashlib.sha256(path.read_bytes()).hexdigest(), step, facts["best_loss"]


def lost(name, rank, moment_s, folder):
    """Kill a rank some seconds after the first step; return what went wrong, in words."""
    job = train(RANKS, *WORDS, "--name", name, cwd=folder)
    while not (job.stdout.readline() or "step 1/").startswith("step 1/"):
        pass
    time.sleep(moment_s)
    try:
        os.kill(process_of(job.pid, rank), signal.SIGKILL)
    except LookupError:
        return "it was over before"
    killed = time.monotonic()
    _, wrong = job.communicate()
    took_s = time.monotonic() - killed
    said = [line for line in wrong.splitlines() if line.startswith("train.py:")]
    print(f"  {took_s:.2f} s later: {' | '.join(said)}", flush=True)
    if len(said) != 1 or f"rank {rank} " not in said[0]:
        return f"it said {wrong!r}"
    return "" if took_s < TIME_S else f"it ended after {took_s:.1f} s"


def faults(kills, first, seed=0):
    """Kill ranks in turn, go on with as many or others, and compare with an undisturbed run."""
    right = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        train(RANKS, *WORDS, "--name", "whole", cwd=folder).communicate()
        digest, step, loss = last_of(folder / "runs" / "whole")
        rows = (folder / "runs" / "whole" / "metrics.jsonl").read_text()
        length_s = sum(float(s) for s in re.findall(r'"elapsed_s": ([\d.]+)', rows))
        for i in range(first, first + kills):
            rank, n = i % RANKS, OTHERS[i // RANKS % len(OTHERS)]
            moment_s = random.Random(seed + i).uniform(0, length_s)
            print(f"kill {i}: rank {rank} after {moment_s:.2f} s, then {n} ranks", flush=True)
            wrong = lost(f"kill{i}", rank, moment_s, folder)
            run = folder / "runs" / f"kill{i}"
            train(n, "--resume", str(run), "--plain", cwd=folder).communicate()
            found = last_of(run)
            if n == RANKS and found[:2] != (digest, step):
                wrong = wrong or "the bytes are others"
            if found[1] != step or abs(found[2] / loss - 1) > 1e-6:
                wrong = wrong or f"the loss is {found[2]} at step {found[1]}, not {loss}"
            right += not wrong
            print(f"  {wrong or 'right'}", flush=True)
    verdict("parallel-kills", right / kills, 1.0)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser("speed").add_argument("--rounds", type=int, default=8)
    asked = commands.add_parser("faults")
    asked.add_argument("--kills", type=int, default=20)
    asked.add_argument("--first", type=int, default=0)
    commands.add_parser("memory")
    commands.add_parser("side").add_argument("--ranks", action="store_true")
    args = vars(parser.parse_args())
    {"speed": speed, "faults": faults, "memory": memory_and_bytes,
     "side": side}[args.pop("what")](**args)


if __name__ == "__main__":
    main()
