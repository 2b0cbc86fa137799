"""The folder of a run: manifest, tokens, metrics, checkpoints; and how its errors are told.

    runs/NAME/
      manifest.json       settings, plan, corpus, machine, results, how to repeat it
      data/               tokenizer.json, train.npy, val.npy
      checkpoints/        the last two and the best
      metrics.jsonl       a line for each step, evaluation and sample
      plan.json           what repeats it: all settings, and the plan that was followed
      report.html
"""
import errno
import io
import json
import os
import platform
import shutil
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bpe.files import write_text
from gpt import called
from gpt.settings import ConfigError
from gpt.training import checkpoint
from gpt.training.checkpoint import below
from gpt.training.divergence import Diverged
from gpt.training.run import Run
from gpt.training.tasks import task_named

try:
    import fcntl
except ImportError:                                   # Windows
    import msvcrt
    fcntl = None


def new_folder(name, root="runs"):
    """Make an empty folder for a run: NAME, or NAME-2 and so on where that is taken.

    Raises
    ------
    ConfigError
        If none can be made there.
    """
    i = 1
    while True:
        folder = Path(root) / (name if i == 1 else f"{name}-{i}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            i += 1
        except OSError as error:
            raise ConfigError(f"{folder} cannot be made: {error}; say where with --runs") from error


# ---- while a run goes on ----

@contextmanager
def alone_in(folder):
    """Keep the folder of a run from other processes, and clear what a killed one left half written.

    The lock is the system's, on a file that a run never writes again: it ends with the process.

    Raises
    ------
    ConfigError
        If another process has it.
    """
    with open(Path(folder) / "data" / "tokenizer.json", "rb+") as file:
        if is_locked(file):
            raise ConfigError(f"another process trains in {folder}: stop that one first, or begin "
                              "another run")
        for pattern in "*.partial", "checkpoints/.tmp*":   # the latter of earlier versions
            for path in Path(folder).rglob(pattern):
                path.unlink(missing_ok=True)
        yield


def is_locked(file):
    """Lock a file, far behind its end; tell whether somebody else has. (Some disks know no locks.)
    """
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            file.seek(1 << 30)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except OSError as error:
        return error.errno in (errno.EACCES, errno.EAGAIN)
    return False


@contextmanager
def kept_if_begun(folder):
    """Remove the folder of a run that ends before its first checkpoint; of another, say what is.

    Ctrl-C ends it at once, by no exception: a compiler that is at work may swallow one.
    """
    def leave(number, frame):
        say_how_to_go_on(folder)
        sys.stdout.flush()
        os._exit(130)
    before = signal.signal(signal.SIGINT, leave)
    try:
        yield
    except KeyboardInterrupt:                         # the second one in `interruptible`
        say_how_to_go_on(folder)
        raise
    except Diverged as error:
        saved = checkpoint.steps(folder / "checkpoints")
        if saved:
            raise Diverged(f"{error}; the checkpoint of step {saved[-1]} is in {folder}; try a "
                           "smaller --learning_rate") from None
        shutil.rmtree(folder, ignore_errors=True)
        raise
    except BaseException:
        if not checkpoint.steps(folder / "checkpoints"):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        signal.signal(signal.SIGINT, before)


def say_how_to_go_on(folder):
    saved = checkpoint.steps(folder / "checkpoints")
    if saved:
        print(f"stopped; step {saved[-1]} is saved; go on with: "
              f"{called('train', '--resume', folder)}")
    else:
        shutil.rmtree(folder, ignore_errors=True)


def check_folder(folder):
    """Refuse a folder that is not there, and name those that are."""
    if not Path(folder).is_dir():
        known = ", ".join(sorted(str(p.parent) for p in Path("runs").glob("*/manifest.json")))
        remedy = f"choose one of {known}" if known else "train one with train.py"
        raise ConfigError(f"there is no run {folder}: {remedy}")


def open_run(folder, step=None, weights_for=lambda facts: None):
    """Load a run to go on with it.

    Parameters
    ----------
    folder : path
    step : int, optional
        Of its checkpoint; the last one unless given.
    weights_for : callable
        (facts) -> the weights of the base, if the checkpoint lacks them.

    Returns
    -------
    run : Run

    Raises
    ------
    ConfigError, CheckpointError, CorpusError
        If there is no such run, or what it needs is not as it was written.
    """
    check_folder(folder)
    if not (Path(folder) / "checkpoints").is_dir():
        raise ConfigError(f"{folder} is no run that can go on: it has no folder checkpoints")
    tensors, facts = checkpoint.load(Path(folder) / "checkpoints", step)
    task = task_named(facts["config"]["train"].get("task", "causal"))   # earlier ones had no other
    data = task.load(Path(folder) / "data", facts.get("data_sha256"))
    return Run.resume(tensors, facts, data, weights_for(facts))


def save(run, folder):
    """Write a checkpoint of a run, keeping the best one."""
    checkpoint.save(Path(folder) / "checkpoints", run.step, run.tensors(), run.facts(),
                    keep={run.best_step})


def use_best(run, folder):
    """Give a run that is over the weights of the best validation loss."""
    if run.best_step not in (0, run.step):
        tensors, _ = checkpoint.load(Path(folder) / "checkpoints", run.best_step)
        run.kept.load_state_dict(below(tensors, "model"))


# ---- disk ----

KEPT = 4                           # checkpoints at a time: the last two, the best, and a new one
ROW_BYTES = 250                    # of the metrics, a step
REPORT_BYTES = 1 << 20


def disk_bytes(run):
    """Predict what a run writes into its folder, at most, beside the tokens that are there."""
    return KEPT * run.way.n_bytes() + ROW_BYTES * run.plan.steps + REPORT_BYTES


def free_disk_bytes(folder):
    """Return what can still be written into a folder."""
    return shutil.disk_usage(folder).free


def check_disk(run, folder):
    """Refuse a run whose checkpoints have no room."""
    kept = (Path(folder) / "checkpoints").glob("*")
    needed = disk_bytes(run) - sum(path.stat().st_size for path in kept)
    free = free_disk_bytes(folder)
    if needed > free:
        raise ConfigError(f"the checkpoints of this run take {needed / 1e6:,.0f} MB, but "
                          f"{free / 1e6:,.0f} MB are free in {folder}: make room, or say where "
                          "with --runs")


# ---- what is written down ----

def write_manifest(folder, **facts):
    """Add facts to the manifest."""
    path = Path(folder) / "manifest.json"
    known = read_manifest(folder)
    text = json.dumps({**known, **facts}, indent=1, default=str)
    try:
        write_text(path, text)
    except OSError as error:
        go_on_without(path, error)


def read_manifest(folder):
    """Return what the manifest holds; nothing of one that is damaged or not there."""
    try:
        facts = json.loads((Path(folder) / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def go_on_without(path, error):
    """Say that a file is not written: one that only tells of a run never stops it."""
    print(f"{path} cannot be written: {error}", file=sys.stderr)


def machine():
    """Describe the machine and the versions, for the manifest."""
    return {"python": platform.python_version(), "numpy": np.__version__,
            "system": platform.platform(), "processor": processor(), "cores": os.cpu_count()}


def processor():
    """Return the processor's name, as far as the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


class Metrics:
    """`metrics.jsonl`: one JSON object a line, each with its step.

    Parameters
    ----------
    folder : path
    step : int
        Where the run goes on: lines of later steps, which a lost process wrote, are dropped.
    """

    def __init__(self, folder, step=0):
        self.path = Path(folder) / "metrics.jsonl"
        kept = [row for row in read_metrics(folder) if row["step"] <= step] if step else []
        text = "".join(json.dumps(row) + "\n" for row in kept)
        try:
            write_text(self.path, text)
            self.file = open(self.path, "a", encoding="utf-8")
        except OSError as error:
            go_on_without(self.path, error)
            self.file = io.StringIO()

    def write(self, **row):
        self.tell(self.file.write, json.dumps(row) + "\n")

    def flush(self):
        self.tell(self.file.flush)

    def close(self):
        self.tell(self.file.close)

    def tell(self, do, *args):
        try:
            do(*args)
        except OSError as error:
            go_on_without(self.path, error)


def read_metrics(folder):
    """Return the rows of `metrics.jsonl`; lines that are cut off or damaged are left out."""
    try:
        text = (Path(folder) / "metrics.jsonl").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    rows = map(row_of, text.splitlines())
    return [row for row in rows if row]


def row_of(line):
    """Return what a line holds, if that is a row: a dict with its step."""
    try:
        row = json.loads(line)
        return row if isinstance(row["step"], int) else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
