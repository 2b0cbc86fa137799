"""On ranks: the steps of ZeRO are those of one process that takes their rows in turn."""
import sys
import tempfile
from pathlib import Path

from runs_of_tasks import Made
from test_zero import check_equal, trained
from world_on_ranks import InTurn

from gpt.training.parallel.world import joined
from gpt.training.parallel.zero import ZERO

CASES = [("causal", 1, {}), ("causal", 2, {"optimizer": "adamw", "dropout": 0.2}),
         ("causal", 3, {"batch_tokens": 80}), ("prefer", 2, {}), ("reward", 3, {})]


def check(world, task, stage, more):
    with tempfile.TemporaryDirectory() as folder:
        made, steps = Made(task, Path(folder)), 4
        run = made.run(**more)
        run.way = InTurn(run, world.size)
        expected = trained(run, steps)
        run = made.run(**more)
        run.way = ZERO[stage](run, world)
        found = trained(run, steps)
    if world.rank:                                        # which is told no tensors
        found = *found[:2], {}
    found = world.collect(found)
    check_equal(found, expected)


if __name__ == "__main__":
    world = joined()
    for task, stage, more in CASES:
        check(world, task, stage, more)
        if world.rank == 0:
            print("equal:", task, stage, flush=True)
    sys.exit()
