"""Write a record while the engine works: a node when it is made, an event when a gradient flows.

The record is what `watch` reports and what `backprop` yields; nothing is computed a second way.
"""
import sys
from collections import Counter
from contextlib import contextmanager
from itertools import count
from time import perf_counter

import numpy as np

from minigrad.mode import mode, read, watch
from minigrad.stepper.events import ADDED, OVERWROTE, TAKEN, Event, Node, Ref
from minigrad.stepper.formula import forward_formula, input_names, saved_values, vjp_formula
from minigrad.stepper.numbers import numbers
from minigrad.stepper.places import Places
from minigrad.tensor import Tensor, add_gradients, backprop, detach, needs_grad, pick


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
        self.nodes, self.events = record.nodes, record.events
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
        node.forward_s, node.saved = seconds, self.held_by(tensor)
        arrays = [detach(x) for x in tensor.inputs]
        node.names = input_names(tensor.op, len(arrays))
        if not node.several:
            node.formula, node.with_numbers = forward_formula(tensor.op, arrays, tensor.params)
        self.note("make", node.id)
        self.mark = perf_counter()

    def node_of(self, x):
        return self.nodes[self.ids[x]]

    def add_leaf(self, x, place):
        if x.op is not None:
            raise ValueError(f"the result of {x.op.name}, shape {x.shape}, was computed before "
                             "the trace began: compute it inside the with block, or use its "
                             ".detach()")
        return self.add(x, place)

    def add(self, x, place):
        """Give a tensor its place in the record."""
        n = len(self.nodes)
        args = tuple(Ref(self.ids[a]) if isinstance(a, Tensor) else kept(a) for a in x.inputs)
        params = {name: kept(value) for name, value in (x.params or {}).items()}
        value = x.data if x.op else np.array(x.data)
        made = None if type(value) is tuple else numbers(value)
        label = unnamed(self.nodes, n, x.op, args, x.requires_grad)
        node = Node(n, x.op, args, params, value, x.requires_grad, place, label, made)
        if self.origin:
            node.origin = self.origin.id
        self.nodes.append(node)
        self.ids[x] = n
        return node

    def held_by(self, tensor):
        """List the memory that a node keeps alive for its vjp, but for the leaves' own."""
        self.held.append(tensor.saved)
        leaves = memories([x.data for x in self.ids if x.op is None])
        made = [x for x in tensor.inputs if isinstance(x, Tensor) and x.op]
        blocks = memories([*tensor.saved, *outputs(tensor), *(x.data for x in made)])
        return tuple((i, nbytes) for i, nbytes in blocks.items() if i not in leaves)

    def name(self, tensors):
        """Label tensors by the variables that hold them now."""
        made_in = {}                                  # Tensor -> its group, None for a leaf
        for x in tensors:
            made_in[x] = self.node_of(x).place.group if x.op else None
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
        add, totals = Noted(add), {self.record.root: None}
        steps = backprop(root, g, retain_graph=retain_graph, add=add, **how)
        for seconds, step in clocked(steps):
            self.node_of(step.node).backward_s += seconds - add.noting_s
            arrived = numbers(step.g)
            if step.node is root:
                self.note("start", self.ids[root], g=arrived, total=arrived)
            if step.node.op is None:
                self.note_leaf(step.node, step.g, arrived)
            else:
                self.note_sends(step, arrived, iter(add.noted), totals)
            add.clear()
            yield step

    def note(self, kind, i, **more):
        event = Event(kind, i, **more)
        self.record.everything.append(event)
        if kind == "start" or not self.nodes[i].hands_on:
            self.events.append(event)

    def forget_steps(self):
        """Begin the events anew, as before a second backward pass."""
        self.record.everything.clear()
        self.events.clear()

    def note_leaf(self, leaf, g, arrived):
        """Take down what a gradient does to the one that its leaf has already."""
        before, total = None, arrived
        if leaf.grad is not None:
            before, total = numbers(leaf.grad), numbers(leaf.grad + g)
        self.note("leaf", self.ids[leaf], g=arrived, before=before, total=total)

    def note_sends(self, step, arrived, noted, totals):
        """Take down the contributions of one step, in the order in which they were added."""
        node, g, grads = step
        values, i_node = saved_values(node), self.ids[node]
        outputs = range(i_node + 1, i_node + 1 + len(node.data)) if type(g) is tuple else ()
        silent = tuple(i for i in outputs if i not in totals)
        for i, x, dx in zip(count(), node.inputs, grads):
            if dx is None or not needs_grad(x):
                continue
            did, sent, total = next(noted)
            to = self.ids[x]
            before = None if did == TAKEN else totals[to]
            stretched = type(dx) is not tuple and dx.shape != sent.shape
            raw = numbers(dx) if stretched else None
            formula, with_numbers = vjp_formula(node.op, i, g, values)
            self.note("send", i_node, to=to, place=i, g=arrived, raw=raw, sent=sent,
                      before=before, total=total, did=did, silent=silent,
                      formula=formula, with_numbers=with_numbers)
            totals[to] = total


class Noted:
    """A way to add gradients that notes what it was given and what came out.

    Attributes
    ----------
    noted : list of (str, Numbers, Numbers)
        What was done with a contribution, the contribution, the sum after it; since the last
        `clear`.
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
        sent = numbers(dx)
        between = perf_counter()
        total = self.add(so_far, dx, ours)
        after = perf_counter()
        did = TAKEN if so_far is None else OVERWROTE if total[0] is dx else ADDED
        self.noted.append((did, sent, numbers(total[0])))
        self.noting_s += between - start + perf_counter() - after
        return total


def kept(x):
    """Copy arrays, also in tuples, so that the record stays as it is."""
    if isinstance(x, tuple):
        return tuple(map(kept, x))
    return x.copy() if isinstance(x, np.ndarray) else x


def outputs(tensor):
    """Return the arrays that a tensor holds."""
    return tensor.data if type(tensor.data) is tuple else (tensor.data,)


def unnamed(nodes, n, op, args, requires_grad):
    """Label node n until a variable is found that holds it: "%mul_4", "%split_1[0]"."""
    if op is pick:
        outputs, i = args
        return f"{nodes[outputs.id].label}[{i}]"
    return f"%{op.name if op else 'leaf' if requires_grad else 'constant'}_{n}"


def memories(values):
    """Find the memory that arrays live in: {its id: its bytes}."""
    found = {}
    for x in values:
        while isinstance(getattr(x, "base", None), np.ndarray):
            x = x.base
        if isinstance(x, np.ndarray):
            found[id(x)] = x.nbytes
    return found


def clocked(steps):
    """Yield (seconds that it took, step)."""
    while True:
        start = perf_counter()
        step = next(steps, None)
        if step is None:
            return
        yield perf_counter() - start, step
