"""The calls of one computation, written down: what `replay` makes again."""
import ctypes
import inspect
import sys
import threading
from contextlib import contextmanager

import numpy as np

from minigrad.kernels import jit, memory, threads
from minigrad.mode import listen, read, watch
from minigrad.tensor import backprop

_recording = threading.Lock()


def added(so_far, dx, ours=False):
    """Add gradients as `tensor.add_gradients` does, but with `jit.run`."""
    if so_far is None:
        return dx, ours
    g, owned = so_far
    if type(dx) is tuple:
        return tuple(b if a is None else a if b is None else added((a, False), b)[0]
                     for a, b in zip(g, dx)), False
    out = g if owned else memory.empty_like(g)
    jit.run(np.add, g, dx, out)
    return out, True


class Recording:
    """The calls of one computation, and the memory they work in."""

    def __init__(self, parameters, backward, rng, arrays):
        self.parameters, self.backward, self.rng = parameters, backward, rng
        self.inputs = [x if x is None else np.array(x, order="C") for x in arrays]
        self.leaves = frozenset(self.parameters)
        self.data = [(x.data, x.requires_grad) for x in self.parameters]
        self.thread = threading.get_ident()
        self.calls, self.gradients, self.obstacle = [], [], None

    @contextmanager
    def listening(self):
        """Write down the calls of `jit.run` inside the block; one thread does at a time."""
        with _recording:
            jit.recorder = self.note
            try:
                with listen(self.hear), watch(self.look), read(backprop_noting_sums):
                    yield
            finally:
                jit.recorder = None

    def note(self, function, args):
        """Write down a call; what it works in is not kept from being used again."""
        if threading.get_ident() == self.thread:
            self.calls.append((function, tuple(unowned(x) for x in args)))

    def hear(self, op, level, arrays, params):
        """Notice an operation that decides by values outside of `jit.run`."""
        if not op.replayed or level != "fast" and "fast" in op.bodies:
            self.obstacle = self.obstacle or (
                f"{op.name} runs its formula" if op.replayed else
                f"{op.name} is an operation that cannot be replayed")

    def look(self, node):
        if any(x.op is None and x not in self.leaves for x in node.traced):
            self.obstacle = self.obstacle or "it has a leaf that is no parameter"

    def take_over(self, data):
        """Keep the answer and the gradients, as memory that nobody owns."""
        self.data_of_answer = unowned(data)
        for x in self.parameters if self.backward else ():
            self.gradients.append(unowned(x.grad))
            x.grad = None
        self.calls = [direct(function, args) for function, args in self.calls]
        self.holders = self.held()

    def is_current(self):
        """Whether thread and parameters are what they were."""
        return (self.thread == threading.get_ident()
                and all(x.data is data and x.requires_grad == wanted
                        for x, (data, wanted) in zip(self.parameters, self.data)))

    def is_alone(self):
        """Whether nobody else holds a gradient."""
        return self.held() == self.holders

    def held(self):
        """Count who holds each gradient."""
        return [sys.getrefcount(g) for g in self.gradients if g is not None]

    def hand_out(self):
        for x, g in zip(self.parameters, self.gradients):
            x.grad = g

    def run(self, arrays, rng):
        """Do it again for other arrays."""
        for mine, x in zip(self.inputs, arrays):
            if mine is not None:
                np.copyto(mine, x)
        if rng:
            copied_state(rng, self.rng)
        threads.enter_pool()
        for function, args in self.calls:
            function(*args)
        if rng:
            copied_state(self.rng, rng)

    def answer(self):
        return self.data_of_answer.item() if self.backward else self.data_of_answer.copy()


def backprop_noting_sums(root, g=None, **how):
    """Run `backprop`, adding with `jit.run`."""
    return backprop(root, g, add=added, **how)


def unowned(x):
    """Return an array in the same place that does not keep its pool from using it again."""
    if type(x) is not np.ndarray:
        return x
    block = (x.base if type(x.base) is np.ndarray else x).base
    if not isinstance(block, ctypes.Array):               # not of a pool
        return x
    place = x.__array_interface__["data"][0] - ctypes.addressof(block)
    view = np.ndarray(x.shape, x.dtype, block, place, x.strides)
    view.flags.writeable = x.flags.writeable
    return view


def direct(function, args):
    """Return a call that skips Numba's choice of a compiled version, if there is only one.

    That is 2 % of a small step. Arguments of `*args` are one tuple there.
    """
    if len(getattr(function, "overloads", ())) != 1:
        return function, args
    (compiled,), code = function.overloads.values(), function.py_func.__code__
    if code.co_flags & inspect.CO_VARARGS:
        args = (*args[:code.co_argcount], args[code.co_argcount:])
    return compiled.entry_point, args


def copied_state(source, target):
    """Bring a generator to where another is, and return it."""
    target.bit_generator.state = source.bit_generator.state
    return target
