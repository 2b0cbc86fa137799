"""ZeRO: data parallel training in which no rank keeps what another one has.

Rajbhandari et al. 2020, arXiv:1910.02054. Each rank computes its rows of the batch. With psi
parameters that learn, N ranks, and numbers of four bytes:

    stage   a rank keeps                                         bytes kept            sent
    1       a share of the moments                               8 psi + 8 psi / N     2 psi (N-1)/N
    2       and of the gradients, sent when backprop yields them 4 psi + 12 psi / N    2 psi (N-1)/N
    3       and of the weights, gathered for each block          16 psi / N            3 psi (N-1)/N

The sums of gradients are made in the order of the ranks, so N ranks compute what one process does
that takes N micro-batches. Stages 2 and 3 send gradients once for each micro-batch of a rank.

In stage 3 a block keeps its input alone and runs again on the way back, so there is one place where
its weights are gathered, used and dropped: its call. What is outside of the blocks (embeddings,
head, last norm) is gathered once for a step and is whole, 4 bytes a parameter, while that lasts.
What does not learn stays whole on every rank: of a base it is mapped from the file, which the ranks
of one host share.
"""
import math
import time
from contextlib import contextmanager
from functools import partial

import numpy as np

from gpt.models.trunk import Block
from gpt.settings import ConfigError
from gpt.training.parallel.data_parallel import DataParallel
from gpt.training.parallel.groups import Groups
from gpt.training.parallel.shares import units_of
from gpt.training.parallel.spread import Spread
from gpt.training.parallel.world import all_rows
from gpt.training.step import micro_batches
from minigrad import Tensor, backprop
from minigrad.mode import changed, mode
from minigrad.nn import Module
from minigrad.optim import sum_of_squares
from minigrad.optim.clipping import clip_to_norm


class Zero(DataParallel):
    """How the work of a step is done where each rank owns a share of the state, by its `stage`.

    Parameters
    ----------
    run : Run
        Its optimizers are replaced by those of this rank's share.
    world : World
    shards : int, optional
        How many ranks share out a copy, of which there are world.size / shards: all, unless told.

    Raises
    ------
    ConfigError
        In stage 3, if the net has no blocks that can run twice.
    """

    def __init__(self, run, world, shards=None):
        super().__init__(run, world)
        self.groups = Groups(world, shards or world.size)
        self.near, stage = self.groups.mine, self.stage
        if stage == 3 and not hasattr(run.config.model, "n_head"):
            raise ConfigError("--zero 3 gathers the blocks of a transformer one after another, and "
                              f"the net {run.config.train.net} has none: use --zero 2")
        self.units = [*units_of(run.model, run.optimizers, self.near)]
        self.unit = {x: unit for unit in self.units for x in unit.parameters}
        for unit in self.units:
            unit.lay_down(keep_weights=stage < 3, keep_sums=stage == 1)
        self.parts, self.slopes = {}, {}                  # of this rank, by parameter
        for x, unit in self.unit.items():
            part = unit.part(unit.share, x)
            self.parts[x] = Tensor(part, requires_grad=True)
            self.slopes[x] = unit.part(unit.slopes, x)
        self.indices = [parameters_of(optimizer) for optimizer in run.optimizers]
        whole = run.optimizers
        run.optimizers = [self.over_parts(optimizer) for optimizer in whole]
        if run.step:
            self.take_moments(whole)
        if stage == 3:
            self.spread(run.model)
        self.reached, self.remark = set(), ""

    def on(self, run):
        return type(self)(run, self.world, self.near.size)

    def over_parts(self, optimizer):
        """Make an optimizer of the same groups and settings for this rank's part of each parameter.
        """
        groups = []
        for group in optimizer.groups:
            parts = [self.parts[x] for x in group["parameters"]]
            groups.append({**group, "parameters": parts})
        return type(optimizer)(groups)

    def take_moments(self, whole):
        """Go on with what the optimizers of all parameters remember, those of rank 0."""
        for i, optimizer in enumerate(whole):
            known = optimizer.state_dict()
            for name, x in self.moments(i).items():
                x.take(self.world.share(known[name]))

    def renew(self):
        """There is nothing to begin anew: steps are not recorded."""

    @property
    def recomputes(self):
        return self.stage == 3 or super().recomputes

    @property
    def shares(self):
        share = 1 / self.near.size
        return [share if self.stage >= stage else 1 for stage in (3, 2, 1)]

    def passing_bytes(self):
        block = max(unit.size for unit in self.units)
        rest = sum(unit.size for unit in self.units if not unit.block)
        sizes = {1: 0, 2: block, 3: 3 * block + rest}     # its gradients come, and are added up
        return self.units[0].dtype.itemsize * sizes[self.stage]

    def measure(self, step_s):
        """Find out how long it takes to gather all weights, from the largest unit of them."""
        unit = max(self.units, key=lambda unit: unit.size)
        flat, times = np.zeros(unit.size, unit.dtype), []
        for _ in range(FEW):
            began = time.perf_counter()
            self.near.gather(flat, unit.cuts)
            times.append(time.perf_counter() - began)
        n = sum(unit.size for unit in self.units)
        self.remark = dearly(min(times) * n / unit.size, step_s) if self.stage == 3 else ""

    def described(self):
        where, *others = super().described()
        kept = "moments", "moments and gradients", "moments, gradients and weights"
        copies = f" of its copy, of {self.groups.n}" if self.groups.n > 1 else ""
        yield f"{where}; each keeps 1/{self.near.size} of {kept[self.stage - 1]}{copies}"
        yield from others
        if self.remark:
            yield self.remark

    # ---- gradients ----

    summed = "in shares"

    def gradients(self, batch, n):
        self.reached.clear()
        loss, parts = 0.0, [*self.my_parts(batch)]
        with self.at_hand(), changed("recomputing", self.recomputes):
            for i, (part, rng, counts) in enumerate(parts):
                sends = self.stage > 1 or i == len(parts) - 1
                loss += self.of_part(part, np.asarray(n), rng, counts, sends)
        self.groups.hand_back([unit.slopes for unit in self.units])
        return self.world.sum(np.array([loss])).item()

    def my_parts(self, batch):
        """Yield the micro-batches of this rank, each with its generator, and 1.0 where it counts.

        All ranks have as many, since they send together: one that has fewer rows computes others
        for nothing.
        """
        world = self.world
        most, _ = batch.share(0, world.size)
        missing = len([*micro_batches(self.run, most)])
        mine = batch.share(world.rank, world.size)
        for part, rng in micro_batches(self.run, *mine):
            yield part, rng, 1.0
            missing -= 1
        for _ in range(missing):
            yield batch.cut(slice(batch.group)), np.random.default_rng(0), 0.0

    def of_part(self, part, n, rng, counts, sends):
        """Add up the gradients of a micro-batch; send those of a unit as soon as it has all."""
        for unit in self.units:
            unit.begin()
        loss = self.run.loss(part, n, rng)
        for x, g, _ in (mode.reader or backprop)(loss, counts, retain_graph=False):
            if x in self.unit:
                self.reached.add(x)
                unit = self.unit[x]
                unit.add(x, g)
                if sends and not unit.waiting:
                    unit.send(self.groups)
        for unit in self.units:
            if sends and unit.touched:                    # of which not all have a gradient
                unit.send(self.groups)
        return counts * loss.item()

    def norm(self, max_norm):
        gradients = []
        for x, slope in self.slopes.items():
            if x in self.reached and slope.size:
                self.parts[x].grad = slope
                gradients.append(slope)
        squares = np.array([sum_of_squares(gradients)], np.float64)
        norm = math.sqrt(self.near.sum(squares).item())
        return clip_to_norm(gradients, norm, max_norm)

    def update(self, rate):
        super().update(rate)
        for unit in self.units:
            unit.clear()
            if self.stage < 3:
                self.near.gather(unit.flat, unit.cuts)

    # ---- weights that are not always here ----

    def spread(self, model):
        """Leave the weights to the ranks, and let each block gather its own when it is called."""
        for unit in self.units:
            unit.drop()
        for blocks in lists_of_blocks(model):
            for i, block in enumerate(blocks):
                inside = {*block.parameters()}
                mine = [unit for unit in self.units if inside.intersection(unit.parameters)]
                blocks[i] = Gathering(block, mine, self.near)

    def at_hand(self, all_of_it=False):
        units = [unit for unit in self.units if all_of_it or not unit.block]
        return gathered(units, self.near)

    @contextmanager
    def whole(self):
        """Inside the block rank 0 has all weights; the others give what a checkpoint needs."""
        self.gather_carried()
        here = [unit for unit in self.units if unit.flat is None]
        for unit in here:
            unit.gather(self.near)
            if self.world.rank:
                unit.drop()
        yield
        for unit in here:
            unit.drop()
        self.give() if self.world.rank else self.ask(None)

    def ask(self, name):
        """Say which tensor rank 0 writes next, so that the others give theirs; None for no more."""
        self.world.meet()
        self.world.share(name)

    def give(self):
        """Give rank 0 what it asks for, until that is nothing."""
        tensors = self.tensors()
        while True:
            self.world.meet()
            name = self.world.share(None)
            if name is None:
                return
            tensors[name].tobytes()

    # ---- checkpoints ----

    def tensors(self):
        """Return what a checkpoint holds: of what is spread the bytes, whole, while they are asked.
        """
        found = super().tensors()
        for name, x in self.run.kept.named_parameters():
            found[f"model.{name}"] = self.weight(x)
        for i, _ in enumerate(self.run.optimizers):
            for name, x in self.moments(i).items():
                found[f"optimizer{i}.{name}"] = x
        for name, x in found.items():
            if isinstance(x, Spread) and self.world.rank == 0:
                x.before = partial(self.ask, name)
        return found

    def weight(self, x):
        """Return a weight for a checkpoint: an array, or one that is spread."""
        unit = self.unit.get(x)
        if unit is None or self.stage < 3:
            return x.data
        return self.spread_of(self.parts[x].data, x.shape, x)

    def moments(self, i):
        """Return what an optimizer remembers, by the names that it has in one process."""
        found, optimizer = {}, self.run.optimizers[i]
        for j, x in enumerate(self.indices[i]):
            for name, part in optimizer.memories[j].items():
                shape = x.shape if part.ndim else ()
                found[f"{j}.{name}"] = self.spread_of(part, shape, x)
        return found

    def spread_of(self, part, shape, x):
        """Return what lies as a parameter does, and of which this rank has a part."""
        cuts = self.unit[x].cuts_from(x)
        return Spread(part, shape, cuts, self.near)


FEW, DEAR = 3, 0.1         # gatherings that are measured; the share of a step that is told


def dearly(gather_s, step_s):
    """Say that stage 3 takes long, if it does; gather_s is for all weights once."""
    share = gather_s / step_s
    if share < DEAR:
        return ""
    return (f"--zero 3 gathers all weights twice a step, each time in {share:.0%} of the time of a "
            "step, and runs the blocks twice: where they fit into memory, --zero 2 is faster")


class Zero1(Zero):
    """Moments are shared out."""

    stage = 1


class Zero2(Zero):
    """So are gradients."""

    stage = 2


class Zero3(Zero):
    """So are weights."""

    stage = 3

    def by_rows(self, n, compute, piece):
        """Let each rank make all rows: a net that is asked gathers its blocks on all at once."""
        return all_rows(n, compute, piece)


ZERO = {1: Zero1, 2: Zero2, 3: Zero3}


class Gathering(Block):
    """A block of a transformer that has its weights here while it is called, and no longer."""

    def __init__(self, block, units, world):
        vars(self).update(vars(block))
        self.gathered = lambda: gathered(units, world)

    def __call__(self, *args, **named):
        with self.gathered():
            return super().__call__(*args, **named)


@contextmanager
def gathered(units, world):
    """Have the weights of some units here within the block, those that are not here anyhow."""
    missing = [unit for unit in units if unit.flat is None]
    for unit in missing:
        unit.gather(world)
    try:
        yield
    finally:
        for unit in missing:
            unit.drop()


def lists_of_blocks(net):
    """Yield the lists of blocks in a net and in the nets that it is made of."""
    if hasattr(net, "blocks"):
        yield net.blocks
    for part in vars(net).values():
        if isinstance(part, Module):
            yield from lists_of_blocks(part)


def parameters_of(optimizer):
    """Return the parameters of an optimizer in the order of its memories."""
    return [x for group in optimizer.groups for x in group["parameters"]]
