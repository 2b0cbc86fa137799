"""Measure how long stages of a pipeline wait, beside the formulas of the papers.

    python benchmarks/parallel_bubble.py

Two stages, a core each: from when their passes began and ended, in the step that was disturbed
least. Four stages: as long as each pass kept its processor, laid out by the schedule as if each had
one of its own. The net is cut evenly, so that what is measured is the schedule.
"""
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, median

ROOT = Path(__file__).resolve().parent.parent
sys.path[:1] = [str(ROOT), str(ROOT / "benchmarks")]      # or gpt would be gpt.py beside this

from gpt.data.corpora import stories  # noqa: E402
from gpt.data.documents import prepare  # noqa: E402
from gpt.training.config import Config  # noqa: E402
from gpt.training.parallel.pipeline import Pipeline  # noqa: E402
from gpt.training.parallel.schedules import (  # noqa: E402
    BACKWARD, FORWARD, INPUT, SCHEDULES, WEIGHT, Pass, Timed, bubble_share, laid_out)
from gpt.training.parallel.world import joined  # noqa: E402
from gpt.training.plan import Plan  # noqa: E402
from gpt.training.run import Run  # noqa: E402
from gpt.training.step import train_steps  # noqa: E402
from results import verdict  # noqa: E402

MICRO_BATCHES, STEPS = 8, 8
NET = dict(n_layer=8, n_head=4, d_model=256, context_length=128, micro_batch=2, optimizer="adamw",
           batch_tokens=2 * MICRO_BATCHES * 128, tokenizer="char")


class Clocked(Pipeline):
    """A pipeline whose passes are timed by the clock of the processor, too."""

    kept_s = None                  # Pass -> seconds, a list

    @contextmanager
    def computing(self, kind, i):
        began = time.thread_time()
        with super().computing(kind, i):
            yield
        self.kept_s[Pass(self.stage, i, kind)].append(time.thread_time() - began)


def steps_of(world, schedule):
    """Train a few steps; return the timeline of each, and how long each pass kept its processor."""
    world.events = []
    with tempfile.TemporaryDirectory() as folder:
        data = prepare(stories(200), Config.make(**NET).data, Path(folder))
        config = Config.make(vocab_size=data.tokenizer.vocab_size, **NET)
        run = Run.start(config, data, Plan.fixed(1000))
    run.way = Clocked(run, world, world.size, schedule)
    run.way.kept_s = defaultdict(list)
    timelines = []
    for _ in zip(range(STEPS), train_steps(run)):
        mine = [timed(run.way.stage, *event) for event in world.events if event[0] == "compute"]
        world.events.clear()
        timelines.append(sum(world.collect(mine), []))
    kept = {}
    for theirs in world.collect(run.way.kept_s):
        kept |= {each: median(times[1:]) for each, times in theirs.items()}
    return timelines[1:], kept                            # in the first, kernels are loaded


def timed(stage, _, name, began, ended):
    kind, i = name.rsplit(" ", 1)
    return Timed(Pass(stage, int(i), kind), began, ended)


def length(timeline):
    return max(x.ended for x in timeline) - min(x.began for x in timeline)


def formula(schedule, n_stages, seconds):
    """Return the share of time in which a stage waits, by the papers, for the mean passes."""
    kinds = defaultdict(list)
    for each, s in seconds.items():
        kinds[each.kind].append(s)
    of = {kind: fmean(times) for kind, times in kinds.items()}
    if schedule == "zero_bubble":                         # Qi et al. 2024, table 2
        whole = of[FORWARD] + of[INPUT] + of[WEIGHT]
        idle = (n_stages - 1) * (whole - 2 * of[WEIGHT])
    else:                                                 # Narayanan et al. 2021, 2.2.1
        whole = of[FORWARD] + of[BACKWARD]
        idle = (n_stages - 1) * whole
    return idle / (MICRO_BATCHES * whole + idle)


def on_ranks():
    """Measure all schedules, as one of the ranks; the first says what was found."""
    world = joined()
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[world.rank % len(cores)]})
    shares, wanted = {}, {}
    for schedule in SCHEDULES:
        timelines, kept = steps_of(world, schedule)
        if world.size == 2:
            best = min(timelines, key=length)
            seconds = {x.each: x.ended - x.began for x in best}
        else:
            seconds = kept
            best = [*laid_out(SCHEDULES[schedule], world.size, MICRO_BATCHES, kept.get)]
        shares[schedule] = bubble_share(best, world.size)
        wanted[schedule] = formula(schedule, world.size, seconds)
    if world.rank == 0:
        tell(world.size, shares, wanted)


def tell(n_stages, shares, wanted):
    for schedule, share in shares.items():
        print(f"{n_stages} stages, {schedule}: {share:.1%} waited, {wanted[schedule]:.1%} by the "
              "formula")
        off = abs(share / wanted[schedule] - 1)
        verdict(f"bubble_{schedule}_{n_stages}_stages_off", off, 0.10, at_most=True)
    saved = shares["zero_bubble"] / shares["1f1b"]
    said = wanted["zero_bubble"] / wanted["1f1b"]
    verdict(f"bubble_zero_bubble_over_1f1b_{n_stages}_stages", saved, said * 1.10, at_most=True)


def main():
    if "--rank" in sys.argv:
        return on_ranks()
    mpiexec = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or "mpiexec"
    for n_stages in 2, 4:
        words = [mpiexec, "-n", str(n_stages), sys.executable, "-m", "mpi4py", __file__, "--rank"]
        subprocess.run(words, check=True, env=os.environ | {"MINIGRAD_THREADS": "1"})


if __name__ == "__main__":
    main()
