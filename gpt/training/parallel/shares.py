"""Parameters end to end in flat arrays, and which part of them each rank has.

A unit is what one optimizer changes of one block. Each unit is cut into a share for each rank (not
all units together): so whenever one is added up or gathered, all ranks have as much to send.
"""
import re

import numpy as np

from gpt.training.parallel.world import even_cuts, slice_of
from minigrad.kernels import memory
from minigrad.optim.muon import Muon


class Unit:
    """Parameters that lie end to end in one flat array, of which each rank has a share.

    Parameters
    ----------
    parameters : list of Tensor
        Of one dtype.
    cuts : list of int
        Where the shares of N ranks begin, and where the last one ends: N + 1.
    rank : int
    block : str
        The name of their block; empty for what is outside of all.
    uncut : bool
        Whether no cut goes through a parameter.

    Attributes
    ----------
    flat : (size,) array or None
        All weights, while they are here: the parameters are views of it.
    share : array
        This rank's share of them.
    sums : (size,) array or None
        Gradients that this rank adds up.
    slopes : array
        This rank's share of the gradients of all.
    """

    def __init__(self, parameters, cuts, rank, block="", uncut=False):
        self.parameters, self.cuts = parameters, cuts
        self.block, self.uncut = block, uncut
        self.mine, self.size = slice_of(cuts, rank), cuts[-1]
        ends = np.cumsum([x.size for x in parameters]).tolist()
        self.begins = dict(zip(parameters, [0, *ends]))
        self.dtype = parameters[0].dtype
        self.flat = self.sums = None
        self.touched = False                              # by a gradient that has not been sent

    def lay_down(self, keep_weights, keep_sums):
        """Move the parameters into flat arrays; keep all weights here, and all gradients, or not.
        """
        flat = np.concatenate([x.data.reshape(-1) for x in self.parameters])
        self.share, self.keep_sums = flat[self.mine], keep_sums
        if keep_sums:
            self.sums = np.zeros_like(flat)
            self.slopes = self.sums[self.mine]
        else:
            self.slopes = np.zeros_like(self.share)
        if keep_weights:
            self.show(flat)
        else:
            self.share = self.share.copy()
            self.drop()

    # ---- weights ----

    def show(self, flat):
        """Make the parameters views of a flat array."""
        self.flat = flat
        for x in self.parameters:
            x.data = self.view(flat, x)

    def gather(self, world):
        """Have all weights here."""
        flat = memory.empty((self.size,), self.dtype)
        flat[self.mine] = self.share
        self.show(world.gather(flat, self.cuts))

    def drop(self):
        """Leave the weights to the ranks; of the parameters their shapes stay.

        A parameter gets another array each time, of what is not a number: so no recording of
        kernel calls takes it for weights that it knows, and nobody else does.
        """
        self.flat = None
        for x in self.parameters:
            nothing = np.full((), np.nan, x.dtype)
            x.data = np.broadcast_to(nothing, x.shape)

    # ---- gradients ----

    def begin(self):
        """Wait for the gradients of those that learn now."""
        self.waiting = {x for x in self.parameters if x.requires_grad}

    def add(self, x, g):
        """Add the gradient of a parameter to the sums."""
        if self.sums is None:
            self.sums = np.zeros(self.size, self.dtype)
        view = self.view(self.sums, x)
        view += g
        self.waiting.discard(x)
        self.touched = True

    def send(self, groups):
        """Add up the sums of all ranks, each rank its share; drop the rest, unless it is kept."""
        mine = self.sums[self.mine]
        groups.add_up(self.sums, self.cuts, mine)
        self.touched = False
        if not self.keep_sums:
            self.slopes += mine
            self.sums = None

    def clear(self):
        """Begin the gradients of another step."""
        (self.sums if self.keep_sums else self.slopes).fill(0)

    # ---- places ----

    def view(self, flat, x):
        """View a parameter in a flat array of all."""
        begin = self.begins[x]
        return flat[begin:begin + x.size].reshape(x.shape)

    def part(self, share, x):
        """View in an array like this rank's share what it has of a parameter, be it nothing."""
        begin = self.begins[x] - self.mine.start
        ends = np.clip([begin, begin + x.size], 0, len(share))
        part = share[slice(*ends)]
        if self.uncut:
            part = part.reshape(-1, *x.shape[1:])
        return part

    def cuts_from(self, x):
        """Return the cuts, counted from where a parameter begins."""
        return [cut - self.begins[x] for cut in self.cuts]


def units_of(model, optimizers, world):
    """Yield the units of a net, for each of its optimizers those of each block."""
    block = {x: block_of(name) for name, x in model.named_parameters()}
    for optimizer in optimizers:
        parameters = [x for group in optimizer.groups for x in group["parameters"]]
        owners = shared_out([x.size for x in parameters], world.size)
        owner = dict(zip(parameters, owners))
        for name in dict.fromkeys(map(block.get, parameters)):
            some = [x for x in parameters if block[x] == name]
            if isinstance(optimizer, Muon):           # which makes whole matrices orthogonal
                some.sort(key=owner.get)
                cuts = cuts_between(some, owner, world.size)
                yield Unit(some, cuts, world.rank, name, uncut=True)
            else:
                size = sum(x.size for x in some)
                yield Unit(some, even_cuts(size, world.size), world.rank, name)


def block_of(name):
    """Return the name of the block that a parameter is in, or nothing.

    >>> block_of("decoder.blocks.3.mlp.expand.weight"), block_of("final_norm.gain")
    ('decoder.blocks.3', '')
    """
    found = re.match(r"(.*\b)?blocks\.\d+(?=\.)", name)
    return found[0] if found else ""


def shared_out(sizes, n):
    """Share things out among n ranks: the largest first, each to a rank that has least.

    >>> shared_out([3, 1, 4, 5], 2)
    [1, 0, 1, 0]
    """
    owners, loads = [0] * len(sizes), [0] * n
    order = np.argsort(sizes, kind="stable")[::-1]
    for i in order:
        owners[i] = loads.index(min(loads))
        loads[owners[i]] += sizes[i]
    return owners


def cuts_between(parameters, owner, n):
    """Return the cuts of parameters that lie in the order of their owners."""
    sizes = [0] * (n + 1)
    for x in parameters:
        sizes[owner[x] + 1] += x.size
    return np.cumsum(sizes).tolist()
