"""What a record is made of: its nodes, and the events of both passes in their order."""
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from minigrad.stepper.numbers import Numbers
from minigrad.stepper.places import Place
from minigrad.tensor import Op, pick


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
    made: Numbers | None = None                       # the value as it was made; of several, None
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

    @property
    def wires(self):
        """Which inputs are nodes: [(place, id)]."""
        return [(i, x.id) for i, x in enumerate(self.args) if isinstance(x, Ref)]

    @property
    def hands_on(self):
        """Whether it is one output of an op with several, and does nothing but to hand it on."""
        return self.op is pick

    @property
    def maker(self):
        """The node of the op that made it: another one if it is one output of several."""
        return self.args[0].id if self.hands_on else self.id

    def given(self, values):
        """Return what the op is called with, where values[i] is that of node i."""
        return [values[x.id] if isinstance(x, Ref) else x for x in self.args]

    @property
    def several(self):
        """Whether it is the result of an op with several outputs: a tuple of arrays."""
        return type(self.value) is tuple

    @property
    def unnamed(self):
        """Whether no variable has been found that holds it."""
        return self.label.startswith("%")


# What a contribution did to the sum of the receiver: it was the first, was added, took its place.
TAKEN, ADDED, OVERWROTE = "taken", "added", "overwrote"


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
    did: str = ""                                     # how it came into the sum: TAKEN or ...
    silent: tuple = ()                                # outputs of `node` that nobody sent to: 0
    formula: str = ""
    with_numbers: str = ""


@dataclass(eq=False)
class Record:
    """A forward and a backward pass.

    Attributes
    ----------
    level : str
        The body that the ops ran.
    nodes : list of Node
        In the order in which they were made; a leaf comes before its first user.
    everything : list of Event
    events : list of Event
        Those to step through: everything but what merely hands on an output of several.
    root, root_g : int or None, array or None
        Where the last backward pass started, and with what.
    """
    level: str = ""
    nodes: list = field(default_factory=list)
    everything: list = field(default_factory=list)
    events: list = field(default_factory=list)
    root: int | None = None
    root_g: np.ndarray | None = None


def backward_pass(events, step):
    """Find the backward pass of a step, or the first one after it: (start, end)."""
    n = len(events)
    starts = [i for i in range(n) if events[i].kind == "start"] + [n, n]
    begun = [start for start in starts if start <= step] or starts[:1]
    first = begun[-1]
    return first, starts[starts.index(first) + 1]
