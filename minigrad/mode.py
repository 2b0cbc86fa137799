"""The few things that are set for the length of a `with` block, not passed as arguments."""
import os
import threading
from contextlib import contextmanager

LEVELS = ("fast", "reference", "parts")


class Mode(threading.local):
    """What holds in one thread; another one is not touched by a `with` block here."""

    level = os.environ.get("MINIGRAD_LEVEL", "fast")  # which body of an op runs
    recording = True                                  # False inside no_grad()
    rounding = False                                  # whether many rows by blocks have 8 bits
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


def rounding():
    """Multiply many rows by weights in blocks as integers of 8 bits: `with rounding():`.

    For reading what nothing is learnt from: in half of the time, at a mean KL of 0.003 nats a
    token (SmolLM2 in blocks of 4 bits).
    """
    return changed("rounding", True)


def use(level):
    """Choose the body that every op runs: `with use("reference"):`, "parts" or "fast"."""
    if level not in LEVELS:
        raise ValueError(f"level is {level!r}, but there are only {', '.join(LEVELS)}")
    return changed("level", level)


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
