"""How the other ranks get a run that rank 0 has made, and take part in it.

Rank 0 alone reads the text and the checkpoint, speaks, evaluates and writes. What the others need
they are told, tokens included: they may be on machines that do not see its disk.
"""
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from gpt.settings import ConfigError
from gpt.training.forecast import measured
from gpt.training.parallel.data_parallel import DataParallel, Overlapping
from gpt.training.parallel.pipeline import Pipeline
from gpt.training.parallel.stages import check_cut
from gpt.training.parallel.timeline import steps_noted
from gpt.training.parallel.zero import ZERO
from gpt.training.plan import due
from gpt.training.run import make_optimizers
from gpt.training.step import OneProcess
from gpt.training.threads import on_best_threads

CHUNK = 1 << 24            # bytes of a file that are sent at a time


class Asked(NamedTuple):
    """How the command line wants the work of a step to be shared out."""

    stages: int | None = None
    pipeline: str | None = None
    zero: int | None = None
    shards: int | None = None      # the ranks that share out a copy with zero
    timeline: int | None = None    # the step in which each notes what it does


def way_of(world, asked):
    """Choose how the work of a step is shared out: what is called with the run, and the world."""
    if asked.stages:
        return partial(Pipeline, n_stages=asked.stages, schedule=asked.pipeline or "1f1b")
    if asked.zero:
        return partial(ZERO[asked.zero], shards=asked.shards)
    if world.size == 1:
        return OneProcess
    return Overlapping if len({*world.hosts}) > 1 else DataParallel


def asked_of(args, world):
    """Return what the command line asks for, unless there are too few ranks for it."""
    asked = Asked(args.stages, args.pipeline, args.zero, args.shards, args.timeline)
    if asked.zero and world.size == 1:
        raise ConfigError(f"zero is {asked.zero}, which shares out what is kept, but there is one "
                          "process: start mpiexec -n 2 python -m mpi4py train.py ..., or leave it "
                          "out")
    if asked.timeline and world.size == 1:
        raise ConfigError(f"timeline is {asked.timeline}, which draws what processes do beside "
                          "each other, but there is one: start mpiexec -n 2 python -m mpi4py "
                          "train.py ..., or leave it out")
    if asked.stages and world.size < asked.stages:
        there = "there is one" if world.size == 1 else f"there are {world.size}"
        raise ConfigError(f"stages is {asked.stages}, and each is for a process of its own, but "
                          f"{there}: start mpiexec -n {asked.stages} python -m mpi4py train.py ...")
    if asked.shards and world.size % asked.shards:
        fewer = world.size - world.size % asked.shards
        raise ConfigError(f"shards is {asked.shards}, into which {world.size} ranks cannot be "
                          f"grouped: start {f'{fewer} or ' if fewer else ''}"
                          f"{fewer + asked.shards}")
    return asked


def enlist(run, folder, world, asked):
    """Share a run that rank 0 has made, and its work, with the others; they `take_part`."""
    if world.size == 1:
        return
    if asked.stages:
        check_cut(run.config, asked.stages, world.size)
    world.watch.begin(folder)
    world.meet()
    told = replace(run, data=None, way=None)
    if asked.zero or run.step == 0:
        told.optimizers = []                          # each makes its own: zeros take no memory yet
    world.share((told, run.data.sha256, str(folder), asked))
    with copied(folder / "data", world):
        run.way = way_of(world, asked)(run, world)


def dismiss(world):
    """Tell the others that there is no run any more."""
    if world.size > 1:
        world.meet()
        world.share(None)


def take_part(world):
    """Do what another rank than the first does, run after run."""
    while True:
        world.meet()
        shared = world.share(None)
        if shared is None:
            return
        run, sealed, folder, asked = shared
        world.watch.begin(folder)
        with copied(Path(folder) / "data", world) as there:
            run.data = run.task.load(there, sealed)
            if not run.optimizers:
                run.optimizers = make_optimizers(run.model, run.config.train)
            run.way = way_of(world, asked)(run, world)
            follow(run, asked.timeline)


def follow(run, noted=None):
    """Take the steps of a run, while rank 0 decides, evaluates and saves.

    Whether it does so after a step depends on what is done of the plan alone, not on what is left.
    """
    measured(run)
    if run.step == 0:
        hand_over(run)
    for _ in on_best_threads(steps_noted(run, noted), say=lambda text: None):
        if due(run):
            hand_over(run)
    hand_over(run)                                    # it was stopped, or it is over


def hand_over(run):
    """Let rank 0 have what it evaluates and saves."""
    with run.way.whole():
        run.tensors()


@contextmanager
def copied(folder, world):
    """Send the files of a folder to the hosts that do not have it: the folder here.

    One rank of each of these hosts writes them down, until the run is over.
    """
    if len({*world.hosts}) == 1:
        yield folder
        return
    here = world.hosts[world.rank]
    writes = here != world.hosts[0] and world.hosts.index(here) == world.rank
    with tempfile.TemporaryDirectory() as mine:
        names = world.share(world.rank == 0 and [path.name for path in sorted(folder.iterdir())])
        for name in names:
            send_file(folder / name, writes and Path(mine) / name, world)
        places = world.collect(mine)
        yield folder if here == world.hosts[0] else Path(places[world.hosts.index(here)])


def send_file(source, target, world):
    """Send a file of rank 0 to all, of which some write it."""
    read = open(source, "rb") if world.rank == 0 else None
    written = open(target, "wb") if target else None
    while chunk := world.share(read and read.read(CHUNK)):
        if written:
            written.write(chunk)
    for file in (read, written):
        if file:
            file.close()
