"""On ranks: what a world says, and that steps are those of one process."""
import tempfile
from itertools import islice
from pathlib import Path

import numpy as np
from runs_of_tasks import Made

from gpt.training.parallel.data_parallel import DataParallel, Overlapping
from gpt.training.parallel.world import even_cuts, joined
from gpt.training.step import OneProcess, train_steps


class InTurn(OneProcess):
    """One process that takes the rows of each of n ranks, one after another."""

    def __init__(self, run, n):
        super().__init__(run)
        self.n = n

    def gradients(self, batch, n):
        shares = [batch.share(i, self.n) for i in range(self.n)]
        return sum(super(InTurn, self).gradients(part, n, first) for part, first in shares)


def added(arrays):
    total = arrays[0].copy()
    for x in arrays[1:]:
        total += x
    return total


def check_sums(world, size=1003):
    """Whoever sums does it in the order of the ranks: then, and only then, bits are the same."""
    x = np.random.default_rng(world.rank).standard_normal(size).astype(np.float32)
    parts = world.collect(x.copy())
    expected = added(parts)
    assert (added(parts[::-1]) != expected).any() or world.size < 3
    before = world.sent_bytes
    assert world.sum(x.copy()).tobytes() == expected.tobytes()
    ours = world.sent_bytes - before
    assert sum(world.collect(ours)) == 2 * (world.size - 1) * x.nbytes       # of a ring
    cuts = [0, *(size - 10 * i for i in range(world.size - 1, 0, -1)), size]
    out = np.empty(cuts[world.rank + 1] - cuts[world.rank], np.float32)
    world.scatter_sum(x, cuts, out)
    whole = np.zeros_like(x)
    whole[cuts[world.rank]:cuts[world.rank + 1]] = out
    assert world.gather(whole, cuts).tobytes() == expected.tobytes()
    begun = [world.begin_sum(part.copy()) for part in (x, x)]
    while not all(sum.look() for sum in begun):
        pass
    assert all(sum.x.tobytes() == expected.tobytes() for sum in begun)


def check_messages(world):
    assert world.share({"from": world.rank}) == {"from": 0}
    assert world.collect(world.rank) == [*range(world.size)]
    after, before = (world.rank + 1) % world.size, (world.rank - 1) % world.size
    request = world.send(np.full(3, world.rank), after, tag=1)
    assert (world.receive(np.empty(3, np.int64), before, tag=1) == before).all()
    request.wait()
    if world.rank < 2:
        pair = world.part([0, 1])
        assert pair.size == 2 and pair.sum(np.ones(3)).tolist() == [2, 2, 2]
    world.meet()
    assert even_cuts(7, 3) == [0, 2, 4, 7]


def check_events(world):
    world.events = []
    world.sum(np.ones(10))
    kinds = [(kind, name) for kind, name, *_ in world.events]
    assert kinds == [(kind, name) for name in ("scatter_sum", "gather")
                     for kind in ("wait", "communicate")]
    assert all(began <= ended for *_, began, ended in world.events)
    world.events = None


def check_steps(world, way, **changes):
    with tempfile.TemporaryDirectory() as folder:
        made, found = Made("causal", Path(folder)), []
        for maker in (lambda run: InTurn(run, world.size), lambda run: way(run, world)):
            run = made.run(**changes)
            run.way = maker(run)
            records = [record.loss for record in islice(train_steps(run), 6)]
            found.append((records, {name: x.tobytes() for name, x in run.tensors().items()}))
        assert found[0] == found[1]


if __name__ == "__main__":
    world = joined()
    check_sums(world)
    check_messages(world)
    check_events(world)
    check_steps(world, DataParallel)
    check_steps(world, Overlapping, optimizer="adamw", dropout=0.1)
    if world.rank == 0:
        print("all is equal", flush=True)
