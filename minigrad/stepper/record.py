"""Record every event of both passes, and step through them: the backprop stepper.

    with trace() as t:
        loss = f(x, w)
        loss.backward()
    t.html("step.html"); t.terminal(); print(t.text())

`python -m minigrad.stepper expr.py:f` does it for a function of yours. A step is one contribution:
forward, a node is made; backward, one gradient flows along one edge and is added.
"""
import sys
from functools import cache, cached_property
from html import escape
from pathlib import Path

from minigrad.mode import LEVELS
from minigrad.stepper import (
    again, columns, cost, example, html_page, layout, naming, terminal, words)
from minigrad.stepper.events import Record
from minigrad.stepper.recording import Recorder
from minigrad.tensor import Tensor


def trace():
    """Record what happens in a `with` block.

    Returns
    -------
    t : Trace
        To be used as `with trace() as t:`. It keeps every array of the forward pass.
    """
    return Recorder(Trace(), sys._getframe(1)).block()


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


class Trace(Record):
    """The record of a forward and a backward pass, to be read."""

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

    def _repr_html_(self):
        """Show the page in a notebook."""
        text = escape(html_page.page(self, (self.level,), doubled()))
        return f'<iframe srcdoc="{text}" width="100%" height="700"></iframe>'

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
        return again.slope(self, node, index, h)

    def at_level(self, level):
        """Return the record of the same expression, both passes, run at another level."""
        if level not in self.levels:
            self.levels[level] = again.at_level(self, level)
        return self.levels[level]

    @cached_property
    def levels(self):
        """The records at other levels, kept with their times: pages come out alike."""
        return {}

    @cached_property
    def exact(self):
        """The values of all nodes, computed in float64: {id: value}."""
        return again.in_float64(self)

    @cached_property
    def names(self):
        """What stands at the top of the boxes: ({node: name}, {path of a module: name})."""
        return naming.box_names(self)

    @cached_property
    def pictures(self):
        """Where the boxes go: {modules that are one box: Graph}, the overview in second place."""
        return layout.pictures(self.nodes, self.groups)

    @cached_property
    def beside(self):
        """Where the boxes of all nodes go with blocks beside each other, None without blocks."""
        return columns.beside(self.nodes, self.groups)

    @cached_property
    def costs(self):
        """What each node costs: a list of Cost."""
        return cost.of_nodes(self)

    @cached_property
    def groups(self):
        """The modules around each node, the outermost first."""
        return layout.inner_groups(self.nodes)


@cache
def doubled():
    """Trace the example that every page offers at one click."""
    return record(example.doubled, a=Tensor(1.0, requires_grad=True))
