"""The folder of a run: manifest, tokens, metrics, checkpoints; and how its errors are told.

    runs/NAME/
      manifest.json       settings, plan, corpus, machine, results, how to repeat it
      data/               tokenizer.json, train.npy, val.npy
      checkpoints/        the last two and the best
      metrics.jsonl       a line for each step, evaluation and sample
      report.html
"""
import json
import os
import platform
import shutil
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bpe.files import write_whole
from gpt import called
from gpt.data.documents import load_dataset
from gpt.settings import ConfigError
from gpt.training import checkpoint
from gpt.training.checkpoint import CheckpointError
from gpt.training.config import Config
from gpt.training.divergence import Diverged
from gpt.training.run import Run, below


def new_folder(name, root="runs"):
    """Make an empty folder for a run: NAME, or NAME-2 and so on where that is taken."""
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
            raise Diverged(f"{error}; the last good checkpoint is that of step {saved[-1]} in "
                           f"{folder}; try a smaller --learning_rate") from None
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
        print(f"stopped; step {saved[-1]} is saved; go on with: {called('train')} "
              f"--resume {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)


def open_run(folder, step=None):
    """Load a run to go on with it.

    Returns
    -------
    run : Run
    """
    check_folder(folder)
    tensors, facts = checkpoint.load(Path(folder) / "checkpoints", step)
    return Run.resume(tensors, facts, load_dataset(Path(folder) / "data"))


def open_model(folder, step=None):
    """Load a run to use it: the checkpoint of the best validation loss unless told.

    Returns
    -------
    model : Module
    data : Dataset
    config : Config
    step : int
        Of the checkpoint.
    """
    check_folder(folder)
    kept = Path(folder) / "checkpoints"
    tensors, facts = checkpoint.load(kept, step)
    best = facts["best_step"]
    if step is None and best != facts["step"] and best in checkpoint.steps(kept):
        tensors, facts = checkpoint.load(kept, best)
    config = Config.from_dict(facts["config"])
    model = config.new_net(np.random.default_rng(0))
    model.load_state_dict(below(tensors, "model"))
    return model, load_dataset(Path(folder) / "data"), config, facts["step"]


def save(run, folder):
    """Write a checkpoint of a run, keeping the best one."""
    checkpoint.save(Path(folder) / "checkpoints", run.step, run.tensors(), run.facts(),
                    keep={run.best_step})


def check_folder(folder):
    if not Path(folder).is_dir():
        known = ", ".join(sorted(str(p.parent) for p in Path("runs").glob("*/manifest.json")))
        remedy = f"choose one of {known}" if known else "train one with train.py"
        raise ConfigError(f"there is no run {folder}: {remedy}")


# ---- what is written down ----

def write_manifest(folder, **facts):
    """Add facts to the manifest."""
    path = Path(folder) / "manifest.json"
    known = read_manifest(folder)
    text = json.dumps({**known, **facts}, indent=1, default=str)
    try:
        write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error}") from error


def read_manifest(folder):
    try:
        return json.loads((Path(folder) / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return {}


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
        write_whole(self.path, lambda path: path.write_text(
            "".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8"))
        self.file = open(self.path, "a", encoding="utf-8")

    def write(self, **row):
        try:
            self.file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise CheckpointError(f"{self.path} cannot be written: {error}; make room, then "
                                  "resume") from error

    def flush(self):
        self.file.flush()

    def close(self):
        self.file.close()


def read_metrics(folder):
    """Return the rows of `metrics.jsonl`; a last line that was cut off is left out."""
    rows = []
    try:
        text = (Path(folder) / "metrics.jsonl").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return rows
    for line in text.splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows
