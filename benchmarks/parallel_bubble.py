"""Measure how long stages of a pipeline wait, beside the formulas of the papers.

    python benchmarks/parallel_bubble.py

Two stages, a core each, with two and with eight micro-batches: from when their passes began and
ended, in the half of the steps that was disturbed least. Beside it what they would have waited if
nothing but these very passes took any time: what is more is ours, what it has more than the formula
is that passes are not alike, which a formula takes them for. Four stages on two cores: as long as
passes of a kind keep the processor of their stage, in its fastest step, laid out by the schedule as
if each stage had one of its own.
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

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:1] = [str(ROOT), str(ROOT / "benchmarks")]      # or gpt would be gpt.py beside this

from gpt.data.corpora import stories  # noqa: E402
from gpt.data.documents import prepare  # noqa: E402
from gpt.training.config import Config  # noqa: E402
from gpt.training.parallel.pipeline import Pipeline  # noqa: E402
from gpt.training.parallel.schedules import (  # noqa: E402
    BACKWARD, FORWARD, INPUT, SCHEDULES, WEIGHT, Pass, Timed, bubble_share, laid_out, mean_seconds)
from gpt.training.parallel.world import joined  # noqa: E402
from gpt.training.plan import Plan  # noqa: E402
from gpt.training.run import Run  # noqa: E402
from gpt.training.step import train_steps  # noqa: E402
from results import verdict  # noqa: E402

STEPS = 12
MICRO_BATCHES = {2: (2, 8), 4: (8,)}                      # by stages
NET = dict(n_layer=8, n_head=4, d_model=256, context_length=128, micro_batch=4, optimizer="adamw",
           tokenizer="char")


class Clocked(Pipeline):
    """A pipeline whose passes are timed by the clock of the processor, too."""

    worked = []                    # (Pass, seconds)

    @contextmanager
    def computing(self, kind, i):
        began = time.thread_time()
        with super().computing(kind, i):
            yield
        self.worked.append((Pass(self.stage, i, kind), time.thread_time() - began))


def steps_of(world, schedule, m):
    """Train a few steps; return what happened in each: {Pass: (began, ended, seconds it worked)}.
    """
    world.events = []
    with tempfile.TemporaryDirectory() as folder:
        data = prepare(stories(200), Config.make(**NET).data, Path(folder))
        batch_tokens = m * NET["micro_batch"] * NET["context_length"]
        config = Config.make(vocab_size=data.tokenizer.vocab_size, batch_tokens=batch_tokens, **NET)
        run = Run.start(config, data, Plan.fixed(1000))
    run.way = Clocked(run, world, world.size, schedule)
    steps = []
    for _ in zip(range(STEPS), train_steps(run)):
        spans = [event[2:] for event in world.events if event[0] == "compute"]
        mine = {each: (*span, worked) for span, (each, worked) in zip(spans, run.way.worked)}
        world.events.clear()
        run.way.worked.clear()
        steps.append({})
        for theirs in world.collect(mine):
            steps[-1] |= theirs
    return steps[1:]                                      # in the first, kernels are loaded


def seen(step):
    """Return a step as it went."""
    return [Timed(each, began, ended) for each, (began, ended, _) in step.items()]


def undisturbed(steps):
    """Return the half of the steps in which stages waited least for a processor."""
    return [seen(step) for step in sorted(steps, key=delay)[:len(steps) // 2]]


def delay(step):
    """Return how many times as long as they worked the passes of a step took."""
    took, work = np.sum([(ended - began, worked) for began, ended, worked in step.values()], axis=0)
    return took / work


def clocked(steps, schedule, n_stages, m):
    """Return a step of passes that take as long as those of their stage and kind work at best."""
    times = defaultdict(list)
    for step in steps:
        for key, s in mean_seconds(worked(step)).items():
            times[key].append(s)
    best = {key: min(means) for key, means in times.items()}
    return [*laid_out(SCHEDULES[schedule], n_stages, m, lambda each: best[each.stage, each.kind])]


def worked(step):
    """Return the passes of a step, as long as they kept the processor."""
    return [Timed(each, 0.0, s) for each, (*_, s) in step.items()]


def message_s(world, n=100):
    """Return how long what a stage hands to the next is under way."""
    stream, times = np.zeros(NET["micro_batch"] * NET["context_length"] * NET["d_model"],
                             np.float32), []
    for _ in range(n):
        world.comm.Barrier()
        began = time.perf_counter()
        if world.rank == 0:
            world.send(stream, 1).wait()
            world.receive(stream, 1)
        if world.rank == 1:
            world.receive(stream, 0)
            world.send(stream, 0).wait()
        times.append((time.perf_counter() - began) / 2)
    return world.share(median(times))


def formula(schedule, n_stages, m, seconds):
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
    return idle / (m * whole + idle)


def on_ranks():
    """Measure all schedules, as one of the ranks; the first says what was found."""
    world = joined()
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[world.rank % len(cores)]})
    n_stages, late_s = world.size, message_s(world)
    for m in MICRO_BATCHES[n_stages]:
        by_clocks, as_it_went = {}, {}
        for schedule in SCHEDULES:
            steps = steps_of(world, schedule, m)
            timeline = clocked(steps, schedule, n_stages, m)
            by_clocks[schedule] = beside_formula(schedule, timeline, n_stages, m)
            as_it_went[schedule] = beside_passes(schedule, undisturbed(steps), n_stages, m, late_s)
        if world.rank == 0:
            tell(f"{n_stages}_stages_{m}_by_clocks", by_clocks)
            if n_stages == 2:
                tell(f"2_stages_{m}", as_it_went)


def beside_formula(schedule, timeline, n_stages, m):
    """Return which share of the time stages wait, and which by the formula."""
    seconds = {x.each: x.ended - x.began for x in timeline}
    return bubble_share(timeline, n_stages), formula(schedule, n_stages, m, seconds)


def beside_passes(schedule, steps, n_stages, m, late_s):
    """Return which share of some steps stages wait, which by the formula, and which if nothing but
    their passes and messages took time."""
    shares, said = zip(*(beside_formula(schedule, step, n_stages, m) for step in steps))
    alone = [bubble_share(anew(step, schedule, n_stages, m, late_s), n_stages) for step in steps]
    return median(shares), median(said), median(alone)


def anew(step, schedule, n_stages, m, late_s):
    """Lay out the passes of a step again, each as long as it was."""
    seconds = {x.each: x.ended - x.began for x in step}
    return laid_out(SCHEDULES[schedule], n_stages, m, seconds.get, late_s)


def tell(name, found):
    for schedule, (share, said, *of_passes) in found.items():
        more = "".join(f", {x:.1%} by its own passes" for x in of_passes)
        print(f"{name}, {schedule}: {share:.1%} waited, {said:.1%} by the formula{more}")
        verdict(f"bubble_{schedule}_{name}_off", abs(share / said - 1), 0.10, at_most=True)
    (late, late_said, *_), (plain, plain_said, *_) = found["zero_bubble"], found["1f1b"]
    verdict(f"bubble_zero_bubble_over_1f1b_{name}", late / plain, 1.10 * late_said / plain_said,
            at_most=True)


def main():
    if "--rank" in sys.argv:
        return on_ranks()
    mpiexec = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or "mpiexec"
    for n_stages in 2, 4:
        words = [mpiexec, "-n", str(n_stages), sys.executable, "-m", "mpi4py", __file__, "--rank"]
        subprocess.run(words, check=True, env=os.environ | {"MINIGRAD_THREADS": "1"})


if __name__ == "__main__":
    main()
