"""A pipeline: each rank has some blocks of the net alone, and takes micro-batches through them.

Activations go up from stage to stage and their gradients down again, in the order of a schedule;
nothing else but these is sent while a step goes on. Rank r has stage r mod p of copy r // p: each
copy has rows of the batch of its own, and the gradients of a stage are added up over the copies.
"""
import math
from contextlib import contextmanager
from copy import copy

import numpy as np

from gpt.models.lora import dropping
from gpt.settings import ConfigError
from gpt.training.parallel.later import leaves
from gpt.training.parallel.schedules import BACKWARD, FORWARD, INPUT, SCHEDULES, WEIGHT
from gpt.training.parallel.stages import (
    check_cut, cuts_of, drop, owners, owners_of_tensors, staged)
from gpt.training.parallel.world import even_cuts
from gpt.training.step import OneProcess, micro_batches
from minigrad import Tensor
from minigrad.mistakes import mark_written
from minigrad.mode import changed
from minigrad.optim.clipping import multiply, squares

FILLED = 4                         # micro-batches for each stage, unless the settings say another
GRADIENT, STREAM, DRAWN, SHARED, KEPT = range(5)        # what a message is


class Pipeline(OneProcess):
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
        super().__init__(run)
        check_cut(run.config, n_stages)
        if world.size % n_stages:
            raise ConfigError(f"stages is {n_stages}, but there are {world.size} ranks, which is "
                              f"no multiple: start {n_stages * max(1, world.size // n_stages)}")
        self.world, self.n_stages, self.schedule = world, n_stages, SCHEDULES[schedule]
        self.copy, self.stage = divmod(world.rank, n_stages)
        first = self.copy * n_stages
        self.row = world.part([*range(first, first + n_stages)])        # the stages of one copy
        self.copies = world.part([*range(self.stage, world.size, n_stages)])
        self.is_first, self.is_last = self.stage == 0, self.stage == n_stages - 1
        self.cut()

    def cut(self):
        """Keep what belongs to this stage, and drop all else."""
        run = self.run
        cuts = cuts_of(run.model, self.n_stages)
        self.owner = owners(run.model, cuts)
        self.part = copy(run)
        self.part.model, self.net = staged(run.model, *cuts[self.stage:self.stage + 2])
        tied = run.config.model.tie_weights and self.n_stages > 1
        self.shared = self.net.token_embedding.weight if tied else None
        drop(run, self.owner, self.stage, but={self.shared} if self.is_last else ())

    def renew(self):
        """Note what learns from now on."""
        learning = [self.owner[x] for x in self.run.trained]
        lowest = min(learning)
        self.hears, self.tells = self.stage >= lowest, self.stage > lowest
        self.learnt = [x for x in self.run.trained if self.owner[x] == self.stage]

    # ---- a step ----

    def gradients(self, batch, n):
        rows = self.rows(batch)
        part = batch.rows_of(rows)
        self.parts = [*micro_batches(self.run, part, rows.start, self.size_of(part))]
        self.n, self.loss = n, 0.0
        self.alive, self.later, self.sent = {}, {}, []
        take = {FORWARD: self.forward, BACKWARD: self.backward,
                INPUT: self.backward, WEIGHT: self.weights}
        for _, i, kind in self.schedule(self.stage, self.n_stages, len(self.parts)):
            if kind == INPUT:
                self.later[i] = []
            take[kind](i)
        self.finish()
        self.add_copies()
        return sum(self.world.collect(self.loss))

    def rows(self, batch):
        """Return which rows of a batch this copy takes, groups that belong together staying so."""
        group = 1 if batch.together is None else int(batch.together)
        cuts = even_cuts(len(batch.ids) // group, self.copies.size)
        return slice(cuts[self.copy] * group, cuts[self.copy + 1] * group)

    def size_of(self, batch):
        """Return how many rows a micro-batch has."""
        if self.run.config.train.micro_batch:
            return self.run.micro_batch(batch)
        return max(1, len(batch.ids) // (FILLED * self.n_stages))

    def forward(self, i):
        """Take a micro-batch through the blocks of this stage, and pass on what comes out."""
        batch, rng = self.parts[i]
        x = None if self.is_first else self.from_before(batch, rng)
        with self.computing(FORWARD, i):
            out = self.through(x, batch, rng)
        if self.is_last:
            self.loss += out.item()
        else:
            self.send(place_of(rng), self.stage + 1, DRAWN)
            self.send(out.data, self.stage + 1, STREAM)
        self.alive[i] = x, out

    def from_before(self, batch, rng):
        """Receive the stream from the stage before, and what its dropout left of the numbers."""
        config, width = self.run.config, batch.ids.shape
        place = self.row.receive(place_of(rng), self.stage - 1, DRAWN)
        put_at(rng, place)
        data = np.empty((*width, config.model.d_model), self.dtype)     # (B, T, C)
        self.row.receive(data, self.stage - 1, STREAM)
        return Tensor(data, requires_grad=self.tells)

    @property
    def dtype(self):
        return self.net.token_embedding.weight.dtype

    def through(self, x, batch, rng):
        """Return the loss on the last stage, and on others the stream, (B, T, C)."""
        self.net.received = x
        with changed("recomputing", self.run.config.train.recompute):
            if self.is_last:
                return self.part.loss(batch, self.n, rng)
            with dropping(self.net, rng):
                return self.net.stream(batch, rng=rng)

    def backward(self, i):
        """Take a micro-batch back: add the gradients of parameters, and pass on that of x."""
        x, out = self.alive.pop(i)
        if not self.hears:
            return
        g = None
        if not self.is_last:
            g = self.row.receive(np.empty_like(out.data), self.stage + 1, GRADIENT)
        with self.computing(INPUT if i in self.later else BACKWARD, i):
            found = leaves(out, g, self.later.get(i), now={self.net.token_embedding.weight})
            for leaf, g in found:
                if leaf is x:
                    dx = g
                else:
                    self.add(leaf, g)
        if self.tells:
            self.send(dx, self.stage - 1, GRADIENT)

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
            self.send(g, 0, SHARED)
            return
        if leaf is self.shared:
            g += self.row.receive(np.empty_like(g), self.n_stages - 1, SHARED)
        if leaf.grad is None:
            leaf.grad = g
        else:
            leaf.grad += g

    def computing(self, kind, i):
        return self.row.doing("compute", f"{kind} {i}")

    def send(self, x, to, tag):
        x = np.ascontiguousarray(x)
        request = self.row.send(x, to, tag)
        self.sent.append((request, x))                 # x stays as it is until it has arrived

    def finish(self):
        """Wait until all that was sent has arrived."""
        for request, _ in self.sent:
            request.wait()
        self.sent = []

    def add_copies(self):
        """Add up the gradients of this stage over the copies."""
        if self.copies.size == 1:
            return
        mine = {i for i, x in enumerate(self.learnt) if x.grad is not None}
        some = [self.learnt[i] for i in sorted(set().union(*self.copies.collect(mine)))]
        for x in some:
            if x.grad is None:                         # of a copy without rows
                x.grad = np.zeros_like(x.data)
        flat = self.copies.sum(np.concatenate([x.grad.reshape(-1) for x in some]))
        cuts = np.cumsum([x.size for x in some])[:-1]
        for x, g in zip(some, np.split(flat, cuts)):
            x.grad = g.reshape(x.shape)

    # ---- clipping and the update ----

    def norm(self, max_norm):
        gradients = [x.grad for x in self.learnt if x.grad is not None]
        parts = self.row.collect(squares(gradients))   # pieces in the order of one process
        norm = math.sqrt(np.concatenate(parts).sum())
        if not math.isfinite(norm):
            raise FloatingPointError(f"the norm of the gradients is {norm}")
        if norm > max_norm:
            for g in gradients:
                multiply(g, max_norm / norm)
        return norm

    def update(self, rate):
        super().update(rate)
        if self.shared is None:
            return
        weight = self.shared.data
        if self.is_first:
            self.send(weight, self.n_stages - 1, SHARED)
        if self.is_last:
            self.row.receive(weight, 0, SHARED)
            mark_written(weight)
        self.finish()

    # ---- the whole ----

    def tensors(self):
        """Return what a checkpoint holds, whole on rank 0; the other ranks send what they have."""
        known = super().tensors()
        if self.copy == 0:
            for name, stage in owners_of_tensors(self.run, self.owner).items():
                known[name] = self.brought(known[name], stage)
        return known

    def brought(self, x, stage):
        """Return an array that a stage has; on rank 0 alone it is whole."""
        if stage == 0:
            return x
        if self.stage == stage:
            self.row.send(np.ascontiguousarray(x), 0, KEPT).wait()
        if self.stage == 0:
            return self.row.receive(np.empty(x.shape, x.dtype), stage, KEPT)
        return x

    @contextmanager
    def whole(self):
        """Within the block rank 0 has all of the weights, to measure and to write with."""
        before = {x: x.data for x in self.owner}
        if self.copy == 0:
            for x, stage in self.owner.items():
                x.data = self.brought(x.data, stage)
        try:
            yield
        finally:
            for x, data in before.items():
                x.data = data


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
