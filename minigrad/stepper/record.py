"""Record every event of both passes, and step through them: the backprop stepper.

    with trace() as t:
        loss = f(x, w)
        loss.backward()
    t.html("step.html"); t.terminal(); print(t.text())

`python -m minigrad.stepper expr.py:f` does it for a function of yours. A step is one contribution:
forward, a node is made; backward, one gradient flows along one edge and is added. The record is
what `watch` reports and what `backprop` yields; nothing is computed a second way.
"""
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np

from minigrad.mode import LEVELS, mode, read, use, watch
from minigrad.stepper import example, html_page, terminal, words
from minigrad.stepper.formula import forward_formula, input_names, saved_values, vjp_formula
from minigrad.stepper.frame import frame
from minigrad.stepper.numbers import Numbers, numbers
from minigrad.stepper.places import Place, Places
from minigrad.tensor import Op, Tensor, add_gradients, backprop, needs_grad


class Ref(NamedTuple):
    """An input that is a node of the record."""
    id: int


@dataclass
class Node:
    """A tensor as it was recorded: a leaf, or the result of an op."""
    id: int
    op: Op | None
    args: tuple                                       # a Ref for each tensor, else the value
    params: dict
    value: np.ndarray = field(repr=False)             # a leaf's is a copy
    requires_grad: bool
    place: Place
    label: str                                        # unique
    formula: str = ""
    with_numbers: str = ""
    names: tuple = ()                                 # of the inputs, as the op calls them
    saved: tuple = ()                                 # (memory, bytes) kept for the vjp
    forward_s: float = 0.0                            # since the node before was made
    backward_s: float = 0.0                           # of its vjp and the adding
    origin: int = -1                                  # in a replay, the node that this is (part of)

    @property
    def refs(self):
        return [x.id for x in self.args if isinstance(x, Ref)]


class Event(NamedTuple):
    """One step of the record."""
    kind: str                                         # "make", "start", "send" or "leaf"
    node: int                                         # that acts
    to: int = -1                                      # that receives
    place: int = -1                                   # which input of `node` that is
    g: Numbers | None = None                          # d(root)/d(node), as it arrived
    raw: Numbers | None = None                        # from the vjp, if broadcasting was undone
    sent: Numbers | None = None                       # the contribution
    before: Numbers | None = None                     # the sum before it, None for the first
    total: Numbers | None = None                      # and after it
    formula: str = ""
    with_numbers: str = ""


def trace():
    """Record what happens in a `with` block.

    Returns
    -------
    t : Trace
        To be used as `with trace() as t:`. It keeps every array of the forward pass.
    """
    return Trace(sys._getframe(1))


class Trace:
    """The record of a forward and a backward pass.

    Attributes
    ----------
    nodes : list of Node
        In the order in which they were made; a leaf comes before its first user.
    events : list of Event
    root, root_g : int or None, array or None
        Where the last backward pass started, and with what.
    level : str
        The body that the ops ran.
    """

    def __init__(self, home=None):
        self.nodes, self.events, self.root, self.root_g = [], [], None, None
        self.level, self.places, self.ids = mode.level, Places(home), {}
        self.origin, self._labels, self._held = None, {}, []
        self._exact, self._levels = None, {}

    def __enter__(self):
        self._block = ExitStack()
        self._block.enter_context(watch(self.made))
        self._block.enter_context(read(self.read))
        self.level, self._mark = mode.level, perf_counter()
        return self

    def __exit__(self, *error):
        self._block.close()
        self.name(self.ids)
        self.places.close()
        self._held.clear()

    # ---- recording ----

    def made(self, tensor):
        """Take down a node that the engine has just recorded."""
        seconds = perf_counter() - self._mark
        place = self.places.of(sys._getframe(2), self.origin)
        inputs = [x for x in tensor.inputs if isinstance(x, Tensor)]
        for x in inputs:
            if x not in self.ids:
                check_leaf(x)
                self.add(x, place)
        self.name(x for x in inputs if self.nodes[self.ids[x]].label.startswith("%"))
        arrays = [x.data if isinstance(x, Tensor) else x for x in tensor.inputs]
        node = self.add(tensor, place, forward_s=seconds, saved=self.kept(tensor),
                        names=input_names(tensor.op, len(arrays)))
        if type(tensor.data) is not tuple:
            node.formula, node.with_numbers = forward_formula(tensor.op, arrays, tensor.params)
        self.events.append(Event("make", node.id))
        self._mark = perf_counter()

    def add(self, x, place, **more):
        """Give a tensor its place in the record."""
        args = tuple(Ref(self.ids[a]) if isinstance(a, Tensor) else a for a in x.inputs)
        value = np.array(x.data) if x.op is None else x.data
        node = Node(len(self.nodes), x.op, args, x.params or {}, value, x.requires_grad, place,
                    f"%{len(self.nodes)}", origin=self.origin.id if self.origin else -1, **more)
        self.nodes.append(node)
        self.ids[x] = node.id
        return node

    def kept(self, tensor):
        """List the memory that a node keeps alive for its vjp, but for the leaves' own."""
        leaves = {id(memory_of(x.data)) for x in self.ids if x.op is None}
        arrays = [s for s in tensor.saved if isinstance(s, np.ndarray)]
        arrays += [x.data for x in tensor.inputs
                   if isinstance(x, Tensor) and x.op and type(x.data) is not tuple]
        blocks = {id(m): (id(m), m.nbytes) for m in map(memory_of, arrays) if id(m) not in leaves}
        self._held.append(tensor.saved)               # while it lives, its id is its own
        return tuple(blocks.values())

    def name(self, tensors):
        """Label tensors by the variables that hold them now."""
        made_in = {x: x.op and self.nodes[self.ids[x]].place.group for x in tensors}
        for x, name in self.places.name(made_in).items():
            self.relabel(self.nodes[self.ids[x]], name)

    def relabel(self, node, name):
        if node.label.startswith("%"):
            n = self._labels[name] = self._labels.get(name, 0) + 1
            node.label = name if n == 1 else f"{name} #{n}"

    def read(self, root, g=None, *, retain_graph=False, add=add_gradients, **how):
        """Run backprop, take down every contribution, and pass the steps on."""
        received, totals, away = [], {}, 0.0

        def add_and_note(so_far, dx, ours=False):
            nonlocal away
            start = perf_counter()
            had, dx_numbers = so_far is not None, numbers(dx)
            between = perf_counter()
            total = add(so_far, dx, ours)
            after = perf_counter()
            received.append((had, dx_numbers, numbers(total[0])))
            away += between - start + perf_counter() - after
            return total

        if root not in self.ids:
            check_leaf(root)
            self.add(root, self.places.of(sys._getframe(2)))
        self.root, self.root_g = self.ids[root], None if g is None else np.asarray(g)
        self.name([root])
        for count, step in enumerate(clocked(backprop(
                root, g, retain_graph=retain_graph, add=add_and_note, **how))):
            seconds, (node, g, grads) = step
            arrived, node_id = numbers(g), self.ids[node]
            if count == 0:
                self.events.append(Event("start", node_id, g=arrived, total=arrived))
            self.nodes[node_id].backward_s += seconds - away
            if node.op is None:
                before = None if node.grad is None else numbers(node.grad)
                total = arrived if before is None else numbers(node.grad + g)
                self.events.append(Event("leaf", node_id, g=arrived, before=before, total=total))
            self.events.extend(self.sends(node, g, arrived, grads, received, totals))
            received.clear()
            away = 0.0
            yield node, g, grads

    def sends(self, node, g, arrived, grads, received, totals):
        """Describe the contributions of one step, in the order in which they were added."""
        values = saved_values(node) if node.op else {}
        targets = [(i, x, dx) for i, (x, dx) in enumerate(zip(node.inputs, grads))
                   if dx is not None and needs_grad(x)]
        for (i, x, dx), (had, sent, total) in zip(targets, received):
            raw = numbers(dx) if type(dx) is not tuple and dx.shape != sent.shape else None
            formulas = vjp_formula(node.op, i, g, values)
            to = self.ids[x]
            yield Event("send", self.ids[node], to, i, arrived, raw, sent,
                        totals.get(to) if had else None, total, *formulas)
            totals[to] = total

    # ---- computing the same once more ----

    def replay(self, level=None):
        """Compute the recorded expression again, on leaves of its own.

        Parameters
        ----------
        level : str, optional
            Another body for the ops: a fused op becomes its parts at "parts".

        Returns
        -------
        again : Trace
            Of the forward pass.
        root : Tensor
        """
        again, live = Trace(sys._getframe()), {}
        with use(level or self.level), again:
            for node in self.nodes:
                live[node.id] = again.remake(node, live)
        return again, live[self.root]

    def remake(self, node, live):
        self.origin = node
        if node.op is None:
            x = Tensor(np.array(node.value), node.requires_grad)
            self.relabel(self.add(x, node.place), node.label)
            return x
        args = [live[a.id] if isinstance(a, Ref) else a for a in node.args]
        x = args[0][node.args[1]] if node.op.name == "pick" else node.op(*args, **node.params)
        if isinstance(x, Tensor) and not node.label.startswith("%"):
            self.relabel(self.nodes[self.ids[x]], node.label)
        return x if isinstance(x, Tensor) else tuple(x)

    def at_level(self, level):
        """Return the record of the same expression, both passes, run at another level."""
        if level not in self._levels:
            again, root = self.replay(level)
            for _ in again.read(root, self.root_g):
                pass
            self._levels[level] = again               # its times too: pages come out alike
        return self._levels[level]

    def slope(self, node, index=(), h=6e-6):
        """Nudge one element of a node by +-h, run the rest again, and return (L+ - L-) / 2h.

        Parameters
        ----------
        node : int
        index : tuple
        h : float
            In the units of the element. Everything is computed in float64.

        Returns
        -------
        float
            What the gradient at that element should be.
        """
        ends = []
        with use("reference"):
            for nudge in (h, -h):
                x = self.exact[node].copy()
                x[index] += nudge
                ends.append(self.rerun(node, x))
        return float((ends[0] - ends[1]) / (2 * h))

    @property
    def exact(self):
        """The values of all nodes, computed in float64."""
        if self._exact is None:
            self._exact = {}
            for node in self.nodes:
                self._exact[node.id] = (in_float64(node.value) if node.op is None
                                        else self.compute(node, self._exact))
        return self._exact

    def compute(self, node, values):
        args = [values[a.id] if isinstance(a, Ref) else in_float64(a) for a in node.args]
        out = node.op.forward(*args, **{k: in_float64(v) for k, v in node.params.items()})[0]
        return out if type(out) is tuple else np.asarray(out)

    def rerun(self, start, value):
        """Compute the root again with another value at one node."""
        changed = {start: value}
        for node in self.nodes[start + 1:]:
            if any(i in changed for i in node.refs):
                values = {i: changed.get(i, self.exact[i]) for i in node.refs}
                changed[node.id] = self.compute(node, values)
        out = changed.get(self.root, self.exact[self.root])
        return np.sum(out if self.root_g is None else out * self.root_g)

    # ---- reading ----

    def text(self):
        """Return the record in words, one line a step."""
        return words.transcript(self)

    def terminal(self, lines=None, write=print):
        """Step through the record in a terminal: n p b c j q, and ? for help.

        Parameters
        ----------
        lines : iterable of str, optional
            Commands; the keyboard's if left out.
        write : callable
            Where the text goes.
        """
        terminal.run(self, lines, write)

    def html(self, path, levels=LEVELS):
        """Write the record as one HTML file that needs nothing else.

        Parameters
        ----------
        path : str or Path
        levels : sequence of str
            Which levels the page can compare with the recorded one.
        """
        text = html_page.page(self, levels, doubled())
        Path(path).write_text(text, encoding="utf-8", newline="\n")


    def svg(self, path, step=None, collapse=None, dark=False):
        """Write one step as a picture, as the page shows it.

        Parameters
        ----------
        path : str or Path
        step : int, optional
            Counted from 1, as in the transcript; the last one unless given.
        collapse : bool, optional
            Whether a module is one box; unless given, where there are more than 40 nodes.
        dark : bool
            For a dark background.

        Raises
        ------
        ValueError
            If there is no such step.
        """
        Path(path).write_text(frame(self, step, collapse, dark), encoding="utf-8", newline="\n")


def check_leaf(x):
    if x.op is not None:
        raise ValueError(f"the result of {x.op.name}, shape {x.shape}, was computed before the "
                         "trace began: compute it inside the with block, or use its .detach()")


@cache
def doubled():
    """Trace the example that every page offers at one click."""
    return record(example.doubled, a=Tensor(1.0, requires_grad=True))


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


def in_float64(x):
    return x.astype(np.float64) if getattr(x, "dtype", None) == np.float32 else x


def record(f, **arguments):
    """Trace f(**arguments) and its backward pass."""
    with trace() as t:
        out = f(**arguments)
        if not isinstance(out, Tensor):
            raise ValueError(f"{f.__name__} returned {type(out).__name__}, but the stepper starts "
                             "from a Tensor: return the loss")
        if t.root is None:
            out.backward()
    return t
