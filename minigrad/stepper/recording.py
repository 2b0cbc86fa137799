"""Write a record while the engine works: a node when it is made, an event when a gradient flows.

The record is what `watch` reports and what `backprop` yields; nothing is computed a second way.
"""
import sys
from collections import Counter
from contextlib import contextmanager
from time import perf_counter

import numpy as np

from minigrad.mode import mode, read, watch
from minigrad.stepper.events import Event, Node, Ref
from minigrad.stepper.formula import forward_formula, input_names, saved_values, vjp_formula
from minigrad.stepper.numbers import numbers
from minigrad.stepper.places import Places
from minigrad.tensor import Tensor, add_gradients, backprop, needs_grad


class Recorder:
    """What stands between the engine and a record.

    Parameters
    ----------
    record : minigrad.stepper.events.Record
        Empty; it is filled.
    home : frame
        Of the block that is recorded.
    """

    def __init__(self, record, home):
        self.record, self.places = record, Places(home)
        self.ids = {}                                 # Tensor -> int
        self.labels = Counter()                       # how many nodes wanted a name
        self.held = []                                # while memory lives, its id is its own
        self.origin = None                            # in a replay, the node that is made again
        self.mark = 0.0                               # when the last node had been taken down

    @contextmanager
    def block(self):
        """Record what happens in a `with` block."""
        self.record.level, self.mark = mode.level, perf_counter()
        try:
            with watch(self.made), read(self.read):
                yield self.record
        finally:
            self.name(self.ids)
            self.places.close()
            self.held.clear()

    # ---- forward ----

    def made(self, tensor):
        """Take down a node that the engine has just recorded."""
        seconds = perf_counter() - self.mark
        place = self.places.of(sys._getframe(2), self.origin)
        inputs = [x for x in tensor.inputs if isinstance(x, Tensor)]
        for x in inputs:
            if x not in self.ids:
                self.add_leaf(x, place)
        self.name(x for x in inputs if self.node_of(x).unnamed)
        node = self.add(tensor, place)
        node.forward_s, node.saved = seconds, self.kept(tensor)
        arrays = [x.data if isinstance(x, Tensor) else x for x in tensor.inputs]
        node.names = input_names(tensor.op, len(arrays))
        if not node.several:
            formulas = forward_formula(tensor.op, arrays, tensor.params)
            node.formula, node.with_numbers = formulas
        self.record.events.append(Event("make", node.id))
        self.mark = perf_counter()

    def node_of(self, x):
        return self.record.nodes[self.ids[x]]

    def add_leaf(self, x, place):
        if x.op is not None:
            raise ValueError(f"the result of {x.op.name}, shape {x.shape}, was computed before "
                             "the trace began: compute it inside the with block, or use its "
                             ".detach()")
        return self.add(x, place)

    def add(self, x, place):
        """Give a tensor its place in the record."""
        n = len(self.record.nodes)
        args = tuple(Ref(self.ids[a]) if isinstance(a, Tensor) else a for a in x.inputs)
        value = x.data if x.op else np.array(x.data)
        node = Node(n, x.op, args, x.params or {}, value, x.requires_grad, place, f"%{n}")
        if self.origin:
            node.origin = self.origin.id
        self.record.nodes.append(node)
        self.ids[x] = n
        return node

    def kept(self, tensor):
        """List the memory that a node keeps alive for its vjp, but for the leaves' own."""
        self.held.append(tensor.saved)
        leaves = {id(memory_of(x.data)) for x in self.ids if x.op is None}
        made = [x for x in tensor.inputs if isinstance(x, Tensor) and x.op]
        arrays = [*tensor.saved, *(x.data for x in made)]
        owners = [memory_of(x) for x in arrays if isinstance(x, np.ndarray)]
        blocks = {id(x): x.nbytes for x in owners if id(x) not in leaves}
        return tuple(blocks.items())

    def name(self, tensors):
        """Label tensors by the variables that hold them now."""
        made_in = {x: x.op and self.node_of(x).place.group for x in tensors}
        for x, name in self.places.name(made_in).items():
            self.label(self.node_of(x), name)

    def label(self, node, name):
        if node.unnamed:
            self.labels[name] += 1
            n = self.labels[name]
            node.label = name if n == 1 else f"{name} #{n}"

    # ---- backward ----

    def read(self, root, g=None, *, retain_graph=False, add=add_gradients, **how):
        """Run backprop, take down every contribution, and pass the steps on."""
        if root not in self.ids:
            self.add_leaf(root, self.places.of(sys._getframe(2)))
        self.record.root = self.ids[root]
        self.record.root_g = None if g is None else np.asarray(g)
        self.name([root])
        add, totals = Noted(add), {}
        steps = backprop(root, g, retain_graph=retain_graph, add=add, **how)
        for seconds, step in clocked(steps):
            self.node_of(step.node).backward_s += seconds - add.noting_s
            arrived = numbers(step.g)
            if step.node is root:
                start = Event("start", self.record.root, g=arrived, total=arrived)
                self.record.events.append(start)
            if step.node.op is None:
                self.record.events.append(self.left(step, arrived))
            self.record.events.extend(self.sends(step, arrived, add.noted, totals))
            add.clear()
            yield step

    def left(self, step, arrived):
        """Describe what a gradient does to the one that its leaf has already."""
        had = step.node.grad
        before = None if had is None else numbers(had)
        total = arrived if had is None else numbers(had + step.g)
        return Event("leaf", self.ids[step.node], g=arrived, before=before, total=total)

    def sends(self, step, arrived, noted, totals):
        """Describe the contributions of one step, in the order in which they were added."""
        node, g, grads = step
        values = saved_values(node) if node.op else {}
        inputs = enumerate(zip(node.inputs, grads))
        targets = [(i, x, dx) for i, (x, dx) in inputs if dx is not None and needs_grad(x)]
        for (i, x, dx), (had, sent, total) in zip(targets, noted):
            stretched = type(dx) is not tuple and dx.shape != sent.shape
            to = self.ids[x]
            event = Event("send", self.ids[node], to, i, arrived)
            formula, with_numbers = vjp_formula(node.op, i, g, values)
            yield event._replace(
                raw=numbers(dx) if stretched else None, sent=sent,
                before=totals.get(to) if had else None, total=total,
                formula=formula, with_numbers=with_numbers)
            totals[to] = total


class Noted:
    """A way to add gradients that notes what it was given and what came out.

    Attributes
    ----------
    noted : list of (bool, Numbers, Numbers)
        Whether there was a sum, what was added, and the sum after it; since the last `clear`.
    noting_s : float
        Seconds that the notes took.
    """

    def __init__(self, add):
        self.add = add
        self.clear()

    def clear(self):
        self.noted, self.noting_s = [], 0.0

    def __call__(self, so_far, dx, ours=False):
        start = perf_counter()
        had, sent = so_far is not None, numbers(dx)
        between = perf_counter()
        total = self.add(so_far, dx, ours)
        after = perf_counter()
        self.noted.append((had, sent, numbers(total[0])))
        self.noting_s += between - start + perf_counter() - after
        return total


def memory_of(x):
    while isinstance(x.base, np.ndarray):
        x = x.base
    return x


def clocked(steps):
    """Yield (seconds that it took, step)."""
    while True:
        start = perf_counter()
        step = next(steps, None)
        if step is None:
            return
        yield perf_counter() - start, step
