"""What a record says of memory and of work."""
from collections import Counter
from typing import NamedTuple

import numpy as np

from minigrad.stepper.counting import count_op, shapes
from minigrad.stepper.events import Ref
from minigrad.stepper.layout import paths


class Block(NamedTuple):
    """A piece of memory that is kept for the backward pass."""
    node: int                                         # the first that keeps it
    nbytes: int
    made: int                                         # the event from which on it is kept
    freed: int                                        # the event after which it is not


class Memory(NamedTuple):
    """The memory that the backward pass needs, event by event."""
    blocks: list
    kept: list                                        # bytes of blocks that live after each event
    waiting: list                                     # bytes of gradients that wait for their turn

    @property
    def peak(self):
        """The event with the most, and how much that is."""
        total = np.add(self.kept, self.waiting)
        place = int(total.argmax())
        return place, int(total[place])


def memory(t):
    """Follow what the nodes keep for their vjps, and what waits to be passed on.

    Parameters and other leaves live on anyway and are not counted.
    """
    n = len(t.events)
    blocks = kept_blocks(t)
    change = np.zeros(n + 2, np.int64)
    for block in blocks:
        change[block.made] += block.nbytes
        change[block.freed + 1] -= block.nbytes
    kept = np.cumsum(change)[:n].tolist()
    return Memory(blocks, kept, waiting_bytes(t))


def kept_blocks(t):
    """List what is kept; what several nodes keep counts once, and is freed with the last."""
    made, last_sent = last(t.events, "make"), last(t.events, "send")
    blocks = {}                                       # memory -> Block
    for node in t.nodes:
        freed = last_sent.get(node.maker, len(t.events))
        for memory_id, nbytes in node.saved:
            new = Block(node.id, nbytes, made[node.maker], freed)
            block = blocks.setdefault(memory_id, new)
            blocks[memory_id] = block._replace(freed=max(block.freed, freed))
    return sorted(blocks.values(), key=lambda block: block.made)


def last(events, *kinds):
    """Find the last event of some kinds in which each node acts: {id: place}."""
    return {e.node: i for i, e in enumerate(events) if e.kind in kinds}


def waiting_bytes(t):
    """Sum the gradients that have arrived somewhere and are not yet used up."""
    waiting, out = {}, []
    last_act = last(t.events, "send", "leaf")
    for i, event in enumerate(t.events):
        if event.kind == "start":
            waiting = {event.node: event.g.nbytes}
        elif event.kind == "send":
            waiting[event.to] = event.total.nbytes
        if last_act.get(event.node) == i:
            for x in [x for x in waiting if t.nodes[x].maker == event.node]:
                del waiting[x]
        out.append(sum(waiting.values()))
    return out


def flops(t):
    """Count the operations of every node, once for the same shapes: {id: (forward, backward)}."""
    values = [node.value for node in t.nodes]
    found, known = {}, {}
    for node in t.nodes:
        if node.op:
            args = node.given(values)
            wants = [isinstance(x, Ref) and t.nodes[x.id].requires_grad for x in node.args]
            key = node.op, shapes(args), shapes([*node.params.items()]), shapes(wants)
            if key not in known:
                known[key] = count_op(node.op, args, node.params, wants)
            found[node.id] = known[key]
    return found


class Cost(NamedTuple):
    """What a node, or a module, costs."""
    parameters: int = 0                               # numbers, each counted where it is first used
    forward: int = 0                                  # floating-point operations
    backward: int = 0
    kept: int = 0                                     # bytes, until the backward pass

    def __add__(self, other):
        return Cost(*map(sum, zip(self, other)))


def of_nodes(t):
    """Say what each node costs: a list of Cost."""
    work, kept = flops(t), Counter()
    for block in kept_blocks(t):
        kept[block.node] += block.nbytes
    found = []
    for node in t.nodes:
        size = 0 if node.op else node.value.size
        found.append(Cost(size, *work.get(node.id, (0, 0)), kept[node.id]))
    return found


def of_modules(t):
    """Add up what the nodes of each module cost: {path: Cost}; the path of the whole is empty."""
    found = {}
    for cost, group in zip(t.costs, t.groups):
        for path in ["", *paths(group)]:
            found[path] = found.get(path, Cost()) + cost
    return found


def parameters_bytes(t):
    """Sum the leaves that a gradient flows to."""
    leaves = [node for node in t.nodes if node.op is None]
    return sum(leaf.value.nbytes for leaf in leaves if leaf.requires_grad)
