"""A net cut into stages, each of which some ranks have alone."""
from bisect import bisect_right
from copy import copy
from itertools import accumulate

import numpy as np

from gpt.models.decoder import GPT
from gpt.models.trunk import Residual
from gpt.settings import ConfigError
from gpt.training.layers import depths


class Stage(GPT):
    """Some blocks of a net, with what stands before the first or behind the last of all.

    Parameters
    ----------
    net : GPT
        All tensors are shared.
    start, stop : int
        Which blocks: blocks[start:stop].
    """

    def __init__(self, net, start, stop):
        vars(self).update(vars(net))
        self.blocks = net.blocks[start:stop]
        self.is_first, self.is_last = start == 0, stop == len(net.blocks)
        self.received = None                       # (B, T, C), from the stage before

    def begin(self, batch, state=None, rng=None):
        if self.is_first:
            return super().begin(batch, state, rng)
        return Residual(self.received)

    def end(self, x):
        if self.is_last:
            return super().end(x)
        raise Passed(x.value)


class Passed(Exception):
    """A stage that is not the last has done its part of a loss: its end, with `stream`.

    So each stage begins with all that a task does before it asks the net.
    """

    def __init__(self, stream):
        self.stream = stream                       # (B, T, C)


def staged(net, start, stop):
    """Return a copy of a net, and the Stage in it: some of its blocks are in the place of all."""
    trunk = trunk_of(net)
    stage = Stage(trunk, start, stop)
    if trunk is net:
        return stage, stage
    other = copy(net)
    other.trunk = stage
    return other, stage


def trunk_of(net):
    """Return what a net can be cut in, a decoder in it or itself; None if there is nothing."""
    trunk = getattr(net, "trunk", net)
    return trunk if isinstance(trunk, GPT) else None


def check_cut(config, n_stages, n_ranks):
    """Refuse settings with which a net cannot be cut into stages, or ranks not share them."""
    train, model = config.train, config.model
    if train.net not in ("decoder", "encoder"):
        raise ConfigError(f"a pipeline is made of the blocks of a transformer, but the net is "
                          f"{train.net}: leave stages out, or take --net decoder")
    if model.position == "relative":
        raise ConfigError("with relative positions all blocks share one table, and no stage has it "
                          "alone: leave stages out, or take --position rotary")
    if train.task == "reward":
        raise ConfigError("the task reward asks the whole net for answers, of which a stage has a "
                          "part: leave stages out")
    if n_stages > model.n_layer:
        raise ConfigError(f"stages is {n_stages}, but the net has {model.n_layer} blocks: use at "
                          f"most {model.n_layer}")
    if n_ranks % n_stages:
        fewer = n_ranks - n_ranks % n_stages
        raise ConfigError(f"stages is {n_stages}, of which {n_ranks} ranks cannot have one each: "
                          f"start {f'{fewer} or ' if fewer else ''}{fewer + n_stages}")


# ---- where to cut ----

def cuts_of(net, n_stages):
    """Return where to cut the blocks of a net, so that the stages take alike long.

    Returns
    -------
    list of int
        Stage s has blocks cuts[s] to cuts[s + 1].
    """
    trunk = trunk_of(net)
    config = trunk.config
    attended = config.n_head * config.head_width * config.context_length
    costs = [matrix_size(block) + attended for block in trunk.blocks]
    costs[-1] += trunk.head.size                       # embeddings are looked up: next to nothing
    return balanced(costs, n_stages)


def matrix_size(module):
    """Return how many products a module takes for a token."""
    matrices = [x for x in module.parameters() if x.ndim > 1]
    return sum(x.size for x in matrices)


def balanced(costs, n_parts):
    """Cut a row of things into parts, none empty, the dearest of which is as cheap as can be.

    Parameters
    ----------
    costs : list of float

    Returns
    -------
    list of int
        Part i is costs[cuts[i]:cuts[i + 1]].

    Examples
    --------
    >>> balanced([1, 1, 1, 1, 1, 2], 2)
    [0, 3, 6]
    """
    total = [0, *accumulate(costs)]
    best = {0: (0, [0])}                               # stop -> (cost of the dearest part, cuts)
    for part in range(n_parts):
        known, best = best, {}
        for stop in range(part + 1, len(total)):
            ways = [(max(dearest, total[stop] - total[start]), [*cuts, stop])
                    for start, (dearest, cuts) in known.items() if start < stop]
            best[stop] = min(ways)
    return best[len(costs)][1]


# ---- who has what ----

def owners(model, cuts):
    """Return {parameter: stage}; what is before the blocks is the first's, the rest the last's."""
    last, found = len(cuts) - 2, {}
    for x, depth in depths(model).items():             # 0 before, block i is i + 1
        block = max(0, depth - 1)
        found[x] = min(last, bisect_right(cuts, block) - 1)
    return found


def memories(run, owner):
    """Yield what the optimizers remember of each parameter, and whose it is: (dict, stage)."""
    for optimizer in run.optimizers:
        parameters = [x for group in optimizer.groups for x in group["parameters"]]
        for x, memory in zip(parameters, optimizer.memories):
            yield memory, owner[x]


def drop(run, owner, stage, but=()):
    """Free what other stages have: in its place are arrays of that shape that take no memory.

    Parameters
    ----------
    owner : dict of Tensor to int
    stage : int
    but : collection of Tensor
        Parameters whose values are kept all the same.
    """
    for x, theirs in owner.items():
        if theirs != stage and x not in but:
            x.data = absent(x.data)
    for memory, theirs in memories(run, owner):
        if theirs != stage:
            for name, x in memory.items():
                memory[name] = absent(x)


def absent(x):
    """Return an array of the shape of x without memory of its own, all zeros, never written."""
    zero = np.zeros((), x.dtype)
    return np.broadcast_to(zero, x.shape)
