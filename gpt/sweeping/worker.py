"""A worker of a sweep: a process that trains one job after another, and knows no database.

It is told what to do through a pipe, and says through it what came of it. All that lasts is in the
folder of the run, an ordinary one: the bits of its checkpoints follow from its settings alone,
however often its process or its machine was killed.
"""
import math
import os
import shutil
import signal
import threading
import time
from argparse import Namespace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from gpt.data.cleaning.workers import end_with_parent
from gpt.data.reading import CorpusError
from gpt.settings import ConfigError
from gpt.start import begin
from gpt.sweeping.copies import copy_folder, sharing
from gpt.sweeping.halving import Halving
from gpt.sweeping.space import run_name
from gpt.training import checkpoint
from gpt.training.clock import plan_by_time
from gpt.training.config import TrainConfig
from gpt.training.divergence import Diverged
from gpt.training.folder import Metrics, alone_in, open_run, save, write_manifest
from gpt.training.forecast import flops_per_token, measure_rates
from gpt.training.plan import Plan, due
from gpt.training.step import train_steps
from minigrad.kernels.threads import set_threads

BEAT_S = 1                         # between two signs of life


class Work(NamedTuple):
    """What a worker is to do."""

    spec: dict                     # of the sweep
    settings: dict                 # of this trial
    rung: int
    generation: int
    runs: str                      # the folder of all runs
    n_threads: int


def folder_of(runs, settings, generation):
    """Return where a generation of a trial is trained.

    Each has a folder of its own: an owner that is taken for dead and is not, may write on.
    """
    return Path(runs) / (run_name(settings) + (f"~{generation}" if generation else ""))


def earlier_folder(runs, settings, generation):
    """Return the folder of the latest generation, this one included, that has a checkpoint."""
    for g in range(generation, -1, -1):
        folder = folder_of(runs, settings, g)
        if checkpoint.steps(folder / "checkpoints"):
            return folder
    return None


def remove_earlier(runs, settings, generation):
    """Remove the folders of generations before this one, where it is here and has a checkpoint.

    One that its owner writes to, who was taken for dead and is not, stays until that has ended.
    """
    if not checkpoint.steps(folder_of(runs, settings, generation) / "checkpoints"):
        return
    for g in range(generation):
        folder = folder_of(runs, settings, g)
        try:
            with alone_in(folder):
                shutil.rmtree(folder, ignore_errors=True)
        except ConfigError:
            continue
        except FileNotFoundError:                     # it is gone, or half of it
            pass
        shutil.rmtree(folder, ignore_errors=True)     # what Windows keeps while it is locked


# ---- the process ----

def worker(pipe: Connection):
    """Do what comes through the pipe until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)      # the parent is told, and tells
    end_with_parent()
    if hasattr(os, "nice"):
        os.nice(5)                                    # who sits at the machine comes first
    lock = threading.Lock()

    def tell(*message):
        with lock:
            pipe.send(message)
    threading.Thread(target=beat, args=(tell,), daemon=True).start()
    while True:
        try:
            work = pipe.recv()
        except EOFError:
            return
        if work != "stop":                            # which came too late
            tell(*outcome(work, tell, lambda: asked_to_stop(pipe)))


def beat(tell):
    while True:
        try:
            tell("beat")
        except OSError:                               # nobody hears it any more
            return
        time.sleep(BEAT_S)


def asked_to_stop(pipe):
    return pipe.poll() and pipe.recv() == "stop"


def outcome(work, tell, stopping):
    """Do a job; return what came of it, as the parent reads it."""
    began = time.monotonic()
    try:
        found = train(work, tell, stopping)
    except Diverged as error:
        return "done", math.inf, 0, {"seconds": time.monotonic() - began, "diverged": str(error)}
    except ConfigError as error:
        return "impossible", str(error)
    except Exception as error:                        # ours, or a package's
        if of_this_machine(error):
            return "no place", str(error) or "the memory is full"
        return "failed", f"{type(error).__name__}: {error}"
    if found is None:
        return ("stopped",)
    value, step = found
    return "done", value, step, {"seconds": time.monotonic() - began}


def of_this_machine(error):
    """Whether the disk, the memory or a missing text is behind an error: others may do it."""
    while error is not None:
        if isinstance(error, OSError | MemoryError | CorpusError):
            return True
        error = error.__cause__
    return False


# ---- a job ----

def train(work, tell, stopping):
    """Train a trial to its rung.

    Returns
    -------
    (value, step) or None
        What it reached, less being better; None if it was stopped, and saved.
    """
    set_threads(work.n_threads)
    began = time.monotonic()
    folder = folder_of(work.runs, work.settings, work.generation)
    run = opened(work, folder)
    with alone_in(folder):
        pacer = None
        if run.config.train.minutes and run.step == 0:
            pacer = plan_by_time(run, began, measure_rates(run))
        ends = ends_of(work, run)
        if run.step == 0:
            run.plan = run.plan if pacer else Plan.fixed(ends[0])
            save(run, folder)
        before = ends[-2] if work.rung else 0         # of which the job of the rung below has told
        n_tokens = (ends[-1] - before) * run.config.train.batch_tokens
        tell("begun", folder.name, run.step, ends[-1], flops_per_token(run) * n_tokens)
        metrics = Metrics(folder, run.step)
        try:
            for end in ends:
                if run.plan.steps < end:
                    run.plan = run.plan.extended(end)
                if not steps(run, folder, metrics, pacer, stopping):
                    return None
        finally:
            metrics.close()
        value = value_of(run.evaluate())
        write_manifest(folder, sweep={"value": value, "step": run.step})
        return value, run.step


def opened(work, folder):
    """Open the run of a job where it was left, or begin it."""
    source = earlier_folder(work.runs, work.settings, work.generation)
    if source is None:
        return begun(work, folder)
    if source != folder:
        shutil.rmtree(folder, ignore_errors=True)
        copy_folder(source, folder)
    return open_run(folder)


def begun(work, folder):
    """Begin the run of a job."""
    shutil.rmtree(folder, ignore_errors=True)         # of one that was killed before its first save
    spec = work.spec
    given = {**spec["given"], **work.settings}
    if spec["tokens"]:
        batch_tokens = given.get("batch_tokens", TrainConfig.batch_tokens)
        given["steps"] = max(1, spec["tokens"] // batch_tokens)
    args = Namespace(corpus=spec["text"], preset=spec["preset"], given=given, name=folder.name,
                     runs=str(folder.parent), tokenizer=given.get("tokenizer", "auto"))
    shared = folder.parent.with_name("data")
    run, _ = begin(args, lambda line: None, spec["peak_gflops"], sharing(shared))
    return run


def ends_of(work, run):
    """Return the steps at which the rungs end, up to that of the job."""
    train = run.config.train
    if train.minutes:
        return [run.plan.steps]
    halving = Halving(*work.spec["halving"])
    return [halving.steps(rung, train.steps) for rung in range(work.rung + 1)]


def steps(run, folder, metrics, pacer, stopping):
    """Train to the end of the plan; tell whether it was reached."""
    for record in train_steps(run):
        metrics.write(**record._asdict())
        if pacer:
            pacer.step(record.elapsed_s)
            run.plan = pacer.replan(run.plan, run.step)
        stop = stopping()
        if due(run) and run.step < run.plan.steps:    # at its end it is evaluated anyway
            found = run.evaluate()
            metrics.write(step=run.step, val_loss=found.nats_per_token, val_bits=value_of(found))
        if due(run) or stop:
            metrics.flush()
            save(run, folder)
        if stop and run.step < run.plan.steps:
            return False
    return True


def value_of(found):
    """Return what runs are compared by: bits a byte, or nats a target where that is no text."""
    value = found.bits_per_byte if found.n_bytes else found.nats_per_token
    return value if math.isfinite(value) else math.inf
