"""On ranks: stages of a net take the steps of one process, bit for bit, and leave a timeline."""
import tempfile
from collections import Counter
from pathlib import Path

from runs_of_tasks import Made

from gpt.training.parallel.pipeline import Pipeline
from gpt.training.parallel.schedules import SCHEDULES
from gpt.training.parallel.world import joined
from gpt.training.step import train_steps

STEPS = 3
GPT2 = dict(tie_weights=True, position="learned", norm="layer", bias=True, optimizer="adamw")
# number of ranks -> stages, schedule, settings
CASES = {2: [(2, "gpipe", {}), (2, "1f1b", {"dropout": 0.1, **GPT2}), (2, "zero_bubble", {})],
         4: [(4, "zero_bubble", {"dropout": 0.1, **GPT2}), (2, "1f1b", {"micro_batch": 4})]}


def trained(run):
    records = [record._replace(elapsed_s=0) for _, record in zip(range(STEPS), train_steps(run))]
    with run.way.whole():
        return records, {name: x.tobytes() for name, x in run.tensors().items()}


def check(world, made, stages, schedule, settings):
    make = lambda: made.run(batch_tokens=128, **{"micro_batch": 1, **settings})
    run, world.events = make(), []
    run.way = Pipeline(run, world, stages, schedule)
    found = trained(run)
    check_events(world, run.way, schedule)
    if world.rank == 0:
        assert found == trained(make()), (stages, schedule, settings)
        print("equal:", stages, schedule, settings, flush=True)
    world.meet()


def check_events(world, way, schedule):
    """Each pass of each step has left an event."""
    m = 8 // way.n_copies // way.rows(8)
    order = SCHEDULES[schedule](way.stage, way.n_stages, m)
    wanted = Counter(f"{kind} {i}" for _, i, kind in order)
    found = Counter(name for kind, name, *_ in world.events if kind == "compute")
    assert found == Counter({name: STEPS * n for name, n in wanted.items()})
    assert {kind for kind, *_ in world.events} == {"compute", "communicate", "wait"}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        world, made = joined(), Made("causal", Path(folder), n_layer=4)
        for case in CASES[world.size]:
            check(world, made, *case)
