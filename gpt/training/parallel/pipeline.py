"""A pipeline: each rank has some blocks of the net alone, and takes micro-batches through them.

Activations go up from stage to stage and their gradients down again, in the order of a schedule;
nothing else but these is sent while a step goes on. Rank r has stage r mod p of copy r // p: each
copy has rows of the batch of its own, and the gradients of a stage are added up over the copies.
"""
import math
from contextlib import contextmanager
from copy import copy

import numpy as np

from gpt.training.parallel import costs
from gpt.training.parallel.data_parallel import DataParallel, buckets
from gpt.training.parallel.later import leaves
from gpt.training.parallel.schedules import (
    BACKWARD, FORWARD, INPUT, SCHEDULES, WEIGHT, bubble_share, laid_out, most_alive)
from gpt.training.parallel.stages import (
    Passed, check_cut, cuts_of, drop, memories, owners, staged)
from gpt.training.parallel.world import Outbox
from gpt.training.plan import batch_shape
from gpt.training.step import micro_batches
from minigrad import Tensor
from minigrad.mistakes import mark_written
from minigrad.mode import changed
from minigrad.optim.clipping import clip_to_norm, squares

FILLED = 4                         # micro-batches for each stage, unless the settings say another
GRADIENT, STREAM, DRAWN, SHARED, KEPT = range(5)        # what a message is


class Pipeline(DataParallel):
    """How the work of a step is done where each rank has a stage of the net.

    Parameters
    ----------
    run : Run
        Whole, as it was started or resumed; what other stages have is dropped from it.
    world : World
    n_stages : int
    schedule : str
        A key of SCHEDULES.

    Raises
    ------
    ConfigError
        If the net cannot be cut so, or the ranks are not a multiple of the stages.
    """

    def __init__(self, run, world, n_stages, schedule="1f1b"):
        super().__init__(run, world)
        check_cut(run.config, n_stages, world.size)
        self.n_stages, self.schedule = n_stages, schedule
        self.n_copies = world.size // n_stages
        self.copy, self.stage = divmod(world.rank, n_stages)
        first = self.copy * n_stages
        self.row = world.part([*range(first, first + n_stages)])        # the stages of one copy
        self.out = Outbox(self.row)
        copies = world.part([*range(self.stage, world.size, n_stages)])
        self.alike = DataParallel(run, copies)         # the copies of this stage
        self.is_first = self.stage == 0
        self.is_last = self.stage == n_stages - 1
        self.cut()

    def on(self, run):
        other = copy(self)
        other.run, other.alike = run, self.alike.on(run)
        other.cut()
        return other

    def described(self):
        m = self.n_micro_batches
        layout = laid_out(SCHEDULES[self.schedule], self.n_stages, m)
        waits = bubble_share(layout, self.n_stages)
        blocks = ", ".join(map(str, np.diff(self.cuts)))
        yield (f"pipeline: {self.n_copies} x {self.n_stages} stages of {blocks} blocks, "
               f"{self.schedule}, {m} micro-batches; a stage waits {waits:.0%} of the time, if all "
               "are as fast")
        yield from self.world.watch.described() if self.world.watch else ()

    @property
    def shares(self):
        mine, size = 0, 0
        for x, stage in self.owner.items():
            mine += x.size * (stage == self.stage)
            size += x.size
        return [mine / size] * 3

    @property
    def micro_batches_kept(self):
        order = SCHEDULES[self.schedule](self.stage, self.n_stages, self.n_micro_batches)
        return most_alive(order) / self.n_stages

    @property
    def n_micro_batches(self):
        """How many micro-batches a copy takes in a step, where all rows are as long as can be."""
        B, _ = batch_shape(self.run.config.train, self.run.width, 1.0)
        return -(-B // self.n_copies // self.rows(B))

    def rows(self, B):
        """Return how many of B rows are computed at a time."""
        of_copy = -(-B // self.n_copies)
        filling = max(1, of_copy // (FILLED * self.n_stages))
        return self.run.config.train.micro_batch or filling

    def cut(self):
        """Keep what belongs to this stage, and drop all else."""
        run = self.run
        self.cuts = cuts_of(run.model, self.n_stages)
        start, stop = self.cuts[self.stage:self.stage + 2]
        self.owner = owners(run.model, self.cuts)
        self.part = copy(run)
        self.part.model, self.net = staged(run.model, start, stop)
        tied = run.config.model.tie_weights and self.n_stages > 1
        self.shared = self.net.token_embedding.weight if tied else None
        self.drop_others()

    def drop_others(self):
        """Free what other stages have."""
        drop(self.run, self.owner, self.stage, but={self.shared} if self.is_last else ())

    def renew(self):
        """Note what learns from now on."""
        stages = [self.owner[x] for x in self.run.trained]
        self.hears = self.stage >= min(stages)         # of gradients, and tells the stage before
        self.tells = self.stage > min(stages)
        self.learnt = [x for x in self.run.trained if self.owner[x] == self.stage]

    # ---- a step ----

    def gradients(self, batch, n, first=0):
        size = None if self.run.config.train.micro_batch else self.rows(len(batch.ids))
        batch, first = batch.share(self.copy, self.n_copies)
        self.parts = [*micro_batches(self.run, batch, first, size)]
        self.n, self.loss = np.asarray(n), 0.0
        self.alive, self.later = {}, {}
        take = {FORWARD: self.forward, BACKWARD: self.backward,
                INPUT: self.backward_but_weights, WEIGHT: self.weights}
        schedule = SCHEDULES[self.schedule]
        for _, i, kind in schedule(self.stage, self.n_stages, len(self.parts)):
            take[kind](i)
        self.out.finish()
        return self.over_copies()

    def forward(self, i):
        """Take a micro-batch through the blocks of this stage, and pass on what comes out."""
        batch, rng = self.parts[i]
        x = None if self.is_first else self.from_before(batch, rng)
        with self.computing(FORWARD, i):
            out = self.through(x, batch, rng)
        if self.is_last:
            self.loss += out.item()
        else:
            self.out.send(place_of(rng), self.stage + 1, DRAWN)
            self.out.send(out.data, self.stage + 1, STREAM)
        self.alive[i] = x, out

    def from_before(self, batch, rng):
        """Receive the stream from the stage before, and what its dropout left of the numbers."""
        before, width = self.stage - 1, self.run.config.model.d_model
        place = self.row.receive(place_of(rng), before, DRAWN)
        put_at(rng, place)
        data = np.empty((*batch.ids.shape, width), self.dtype)                  # (B, T, C)
        self.row.receive(data, before, STREAM)
        return Tensor(data, requires_grad=self.tells)

    @property
    def dtype(self):
        return self.net.token_embedding.weight.dtype

    def through(self, x, batch, rng):
        """Return the loss on the last stage, and on others the stream, (B, T, C)."""
        self.net.received = x
        with changed("recomputing", self.run.config.train.recompute):
            try:
                return self.part.loss(batch, self.n, rng)
            except Passed as passed:
                return passed.stream

    def backward_but_weights(self, i):
        """Take a micro-batch back, and put the gradients of the weights off."""
        self.later[i] = []
        self.backward(i, INPUT)

    def backward(self, i, kind=BACKWARD):
        """Take a micro-batch back: add the gradients of parameters, and pass on that of x."""
        x, out = self.alive.pop(i)
        if not self.hears:
            return
        dout = None if self.is_last else self.from_behind(out)
        now = {self.net.token_embedding.weight}        # where it is tied, the first waits for it
        with self.computing(kind, i):
            for leaf, g in leaves(out, dout, self.later.get(i), now):
                if leaf is x:
                    dx = g
                else:
                    self.add(leaf, g)
        if self.tells:
            self.out.send(dx, self.stage - 1, GRADIENT)

    def from_behind(self, out):
        """Receive the gradient of what was passed on."""
        dout = np.empty_like(out.data)                                          # (B, T, C)
        return self.row.receive(dout, self.stage + 1, GRADIENT)

    def weights(self, i):
        """Add the gradients of weights that were put off."""
        with self.computing(WEIGHT, i):
            for layer, g in self.later.pop(i):
                for leaf, dx in layer.leaves(g):
                    self.add(leaf, dx)

    def add(self, leaf, g):
        """Add to the gradient of a parameter; of a tied one the first stage has all.

        For each micro-batch the part of the unembedding comes first, as in one process.
        """
        if leaf is self.shared and self.is_last:
            self.out.send(g, 0, SHARED)
            return
        if leaf is self.shared:
            of_head = np.empty_like(g)                                          # (V, C)
            g += self.row.receive(of_head, self.n_stages - 1, SHARED)
        if leaf.grad is None:
            leaf.grad = g
        else:
            leaf.grad += g

    def computing(self, kind, i):
        return self.row.doing("compute", f"{kind} {i}")

    def over_copies(self):
        """Add up the gradients of this stage over the copies, and return the loss of all."""
        is_there = [x.grad is not None for x in self.run.trained]
        loss, found = self.alike.counted(self.loss, is_there)
        for some in buckets(found):
            self.alike.add_up(some)
        return self.row.share(loss, self.n_stages - 1)

    def traffic(self, stage):
        """Return what a rank of a stage sent in this step by the formulas, in bytes."""
        width, n_parts = self.dtype.itemsize, len(self.parts)
        psi = sum(x.size for x in self.run.trained if self.owner[x] == stage)
        tokens = sum(part.ids.size for part, _ in self.parts)
        stream = width * tokens * self.run.config.model.d_model
        tied = 0 if self.shared is None else width * self.shared.size
        of_table = {self.n_stages - 1: n_parts * tied, 0: tied}    # gradients, and the table back
        return (costs.border_traffic(stream / n_parts, n_parts, stage, self.n_stages)
                + costs.all_reduce(width * psi, self.n_copies) + of_table.get(stage, 0))

    # ---- clipping and the update ----

    def norm(self, max_norm):
        gradients = [x.grad for x in self.learnt if x.grad is not None]
        parts = self.row.collect(squares(gradients))   # pieces in the order of one process
        norm = math.sqrt(np.concatenate(parts).sum())
        return clip_to_norm(gradients, norm, max_norm)

    def update(self, rate):
        super().update(rate)
        if self.shared is None:
            return
        weight = self.shared.data
        if self.is_first:
            self.out.send(weight, self.n_stages - 1, SHARED)
        if self.is_last:
            self.row.receive(weight, 0, SHARED)
            mark_written(weight)
        self.out.finish()

    # ---- the whole ----

    @contextmanager
    def at_hand(self, all_of_it=False):
        if not all_of_it:
            yield
            return
        for x, stage in self.owner.items():
            mine = x.data if stage == self.stage else None
            x.data = self.row.share(mine, stage)
        yield
        self.drop_others()

    @contextmanager
    def whole(self):
        if self.copy == 0:
            for x, stage in self.owner.items():
                x.data = self.brought(x.data, stage)
            for memory, stage in memories(self.run, self.owner):
                for name, x in memory.items():
                    memory[name] = self.brought(x, stage)
        yield
        self.drop_others()
        self.world.meet()

    def brought(self, x, stage):
        """Return an array that a stage has: on rank 0 it is there, too."""
        if self.stage == stage > 0:
            self.row.send(np.ascontiguousarray(x), 0, KEPT).wait()
        if self.is_first and stage > 0:
            whole = np.empty(x.shape, x.dtype)
            return self.row.receive(whole, stage, KEPT)
        return x


# ---- where a generator stands ----

def place_of(rng):
    """Return where a generator stands that has drawn whole words alone: (2,) uint64."""
    state = rng.bit_generator.state["state"]["state"]
    return np.array(divmod(state, 2 ** 64), np.uint64)


def put_at(rng, place):
    """Let a generator that began alike go on from where another stood."""
    high, low = map(int, place)
    known = rng.bit_generator.state
    known["state"]["state"] = high * 2 ** 64 + low
    rng.bit_generator.state = known
