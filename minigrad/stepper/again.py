"""Compute a recorded expression once more: at another level, or with one element nudged."""
import sys
from collections import ChainMap

import numpy as np

from minigrad.mode import use
from minigrad.stepper.recording import Recorder
from minigrad.tensor import Tensor


def replay(t, level=None):
    """Compute the recorded expression again, on leaves of its own.

    Parameters
    ----------
    t : Record
    level : str, optional
        Another body for the ops: a fused op becomes its parts at "parts".

    Returns
    -------
    again : Recorder
        Of the forward pass; its `read` runs the backward pass.
    root : Tensor
    """
    again = Recorder(type(t)(), sys._getframe())
    live = {}                                         # int -> Tensor, or a tuple of them
    with use(level or t.level), again.block():
        for node in t.nodes:
            live[node.id] = remake(again, node, live)
    return again, live[t.root]


def remake(again, node, live):
    again.origin = node
    if node.op is None:
        x = Tensor(np.array(node.value), node.requires_grad)
        again.label(again.add(x, node.place), node.label)
        return x
    args = node.given(live)
    if node.op.name == "pick":
        outputs, i = args
        x = outputs[i]
    else:
        x = node.op(*args, **node.params)
    if not isinstance(x, Tensor):
        return tuple(x)
    if not node.unnamed:
        again.label(again.node_of(x), node.label)
    return x


def at_level(t, level):
    """Record the same expression, both passes, at another level."""
    again, root = replay(t, level)
    for _ in again.read(root, t.root_g):
        pass
    return again.record


# ---- one element nudged ----------------------------------------------------------------------

def slope(t, node, index, h):
    """Nudge one element of a node by +-h, run the rest again, and return (L+ - L-) / 2h.

    Everything is computed in float64, from `t.exact`.
    """
    with use("reference"):
        above, below = nudged(t, node, index, h), nudged(t, node, index, -h)
    return float((above - below) / (2 * h))


def nudged(t, start, index, h):
    """Compute the root again with another value at one node."""
    x = t.exact[start].copy()
    x[index] += h
    changed = {start: x}
    for node in t.nodes[start + 1:]:
        if any(i in changed for i in node.refs):
            changed[node.id] = compute(node, ChainMap(changed, t.exact))
    out = changed.get(t.root, t.exact[t.root])
    return np.sum(out if t.root_g is None else out * t.root_g)


def in_float64(t):
    """Compute the values of all nodes in float64: {id: value}."""
    exact = {}
    for node in t.nodes:
        exact[node.id] = compute(node, exact) if node.op else widened(node.value)
    return exact


def compute(node, values):
    args = map(widened, node.given(values))
    params = {name: widened(x) for name, x in node.params.items()}
    out, _ = node.op.forward(*args, **params)
    return out if type(out) is tuple else np.asarray(out)


def widened(x):
    is_single = getattr(x, "dtype", None) == np.float32
    return x.astype(np.float64) if is_single else x
