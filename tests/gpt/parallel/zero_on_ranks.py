"""On ranks: the steps of ZeRO are those of one process that takes their rows in turn."""
import sys
import tempfile
from pathlib import Path

from runs_of_tasks import Made
from test_zero import check_equal, trained
from world_on_ranks import InTurn

from gpt.training.parallel.world import joined
from gpt.training.parallel.zero import ZERO

# ranks -> task, stage, how many share out a copy, settings
CASES = {2: [("causal", 1, 2, {}), ("causal", 2, 2, {"optimizer": "adamw", "dropout": 0.2}),
             ("causal", 3, 2, {"batch_tokens": 80}), ("prefer", 2, 2, {}), ("reward", 3, 2, {})],
         4: [("causal", 1, 2, {}), ("reward", 2, 2, {}), ("causal", 3, 2, {"optimizer": "adamw"})]}


def check(world, task, stage, shards, more):
    with tempfile.TemporaryDirectory() as folder:
        made, steps = Made(task, Path(folder)), 4
        run = made.run(**more)
        run.way = InTurn(run, world.size)
        expected = trained(run, steps)
        run = made.run(**more)
        run.way = ZERO[stage](run, world, shards)
        found = trained(run, steps)
    if world.rank:                                        # which is told no tensors
        found = *found[:2], {}
    found = world.collect(found)
    check_equal(found, expected)


if __name__ == "__main__":
    world = joined()
    for case in CASES[world.size]:
        check(world, *case)
        if world.rank == 0:
            print("equal:", *case, flush=True)
    sys.exit()
