"""The few things that are set for the length of a `with` block, not passed as arguments."""
import os
import threading
from contextlib import contextmanager

LEVELS = ("fast", "reference", "parts")
PRECISIONS = ("float32", "bfloat16", "int8")


class Mode(threading.local):
    """What holds in one thread; another one is not touched by a `with` block here."""

    level = os.environ.get("MINIGRAD_LEVEL", "fast")  # which body of an op runs
    precision = "float32"                             # that large matrices are multiplied in
    recording = True                                  # False inside no_grad()
    recomputing = False                               # whether blocks run anew on the way back
    watchers = ()                                     # called with every node that is recorded
    listeners = ()                                    # called with every body that runs
    reader = None                                     # what stands between backprop and backward
    inputs = frozenset()                              # of the functions being differentiated


mode = Mode()

if mode.level not in LEVELS:
    raise ValueError(f"MINIGRAD_LEVEL is {mode.level!r}: set it to one of {', '.join(LEVELS)}")


@contextmanager
def changed(name, value):
    before = getattr(mode, name)
    setattr(mode, name, value)
    try:
        yield
    finally:
        setattr(mode, name, before)


def no_grad():
    """Compute without recording: `with no_grad():`."""
    return changed("recording", False)


def use(level=None, *, precision=None):
    """Choose the body that every op runs: `with use("reference"):`, "parts" or "fast".

    Parameters
    ----------
    level : {"fast", "reference", "parts"}, optional
    precision : {"float32", "bfloat16", "int8"}, optional
        In what kernels multiply large matrices. "int8" is for many rows by weights in blocks from
        which nothing is learnt: half of the time, at a mean KL of 0.003 nats a token (SmolLM2 in
        blocks of 4 bits). Formulas, those of the other levels, stay in that of their arrays.

    Raises
    ------
    ValueError
        If there is no such level or precision.
    """
    level, precision = level or mode.level, precision or mode.precision
    asked = ("level", level, LEVELS), ("precision", precision, PRECISIONS)
    for name, value, known in asked:
        if value not in known:
            raise ValueError(f"{name} is {value!r}, but there are only {', '.join(known)}")
    return chosen(level, precision)


@contextmanager
def chosen(level, precision):
    with changed("level", level), changed("precision", precision):
        yield


def watch(function):
    """Call `function(node)` whenever an operation is recorded: `with watch(nodes.append):`."""
    return changed("watchers", (*mode.watchers, function))


def listen(function):
    """Call `function(op, level, arrays, params)` for each operation, with the body it takes."""
    return changed("listeners", (*mode.listeners, function))


def read(function):
    """Let `Tensor.backward` take its steps from `function(root, g, retain_graph=...)`.

    That runs `backprop`, with an order and an add of its own, and passes every step on.
    """
    return changed("reader", function)
