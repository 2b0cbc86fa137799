"""What a record is made of: its nodes, and the events of both passes in their order."""
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from minigrad.stepper.numbers import Numbers
from minigrad.stepper.places import Place
from minigrad.tensor import Op


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


@dataclass(eq=False)
class Record:
    """A forward and a backward pass.

    Attributes
    ----------
    level : str
        The body that the ops ran.
    nodes : list of Node
        In the order in which they were made; a leaf comes before its first user.
    events : list of Event
    root, root_g : int or None, array or None
        Where the last backward pass started, and with what.
    """
    level: str = ""
    nodes: list = field(default_factory=list)
    events: list = field(default_factory=list)
    root: int | None = None
    root_g: np.ndarray | None = None
