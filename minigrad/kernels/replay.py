"""Take a training step again without the Python between its kernels.

A step of fixed shapes calls the same kernels with the same memory every time. `Replay` takes it
once through `Tensor.backward`, writes down every call of `jit.run`, and from then on makes these
calls and no others. In a small model that is a fifth of the time, in a large one a fiftieth.

Nothing is believed: before a recording is used, its loss and gradients for other values of the
inputs must be those of an ordinary step, bit for bit. Whenever that fails, or something is not
as it was, the step is an ordinary one.
"""
import ctypes
import functools
import inspect
import sys
import threading
from contextlib import contextmanager
from hashlib import sha256

import numpy as np

from minigrad import ops
from minigrad.kernels import jit, memory, threads
from minigrad.mode import mode, read, watch
from minigrad.tensor import Tensor, backprop, pick

LOSSES = {ops.cross_entropy, ops.linear_cross_entropy}                 # with which a step ends
pick.replayed = True


class Replay:
    """Compute a loss and its gradients, from the third time on by replaying the kernels.

    Parameters
    ----------
    function : callable
        From arrays to the loss, a Tensor; nothing else may come from it. It is not called in a
        replay: it may use the values of its arrays and parameters through operations only, and
        all else that it uses, such as numbers, stays as it was.
    parameters : iterable of Tensor
        The leaves that get a gradient.

    Raises
    ------
    TypeError
        If a parameter is no Tensor, or, in a step, the loss is none.

    Notes
    -----
    The gradients of a replay are in the same arrays as those of the last one; while somebody
    else holds one of these, steps are ordinary ones. CUDA graphs, which torch can record, work
    in the same way.
    """

    def __init__(self, function, parameters):
        self.function, self.parameters = function, tuple(parameters)
        for x in self.parameters:
            if not isinstance(x, Tensor):
                raise TypeError(f"a parameter is {x!r:.60}, but must be a Tensor: give "
                                "model.parameters()")
        self.shapes = self.recording = self.next = None

    def __call__(self, *arrays):
        """Compute the loss, and add the gradients to those in `.grad`.

        Parameters
        ----------
        *arrays : array_like
            What the function takes, of any shapes; it is recorded anew when these change.

        Returns
        -------
        float
        """
        arrays = [np.asarray(x) for x in arrays]
        shapes = [(x.shape, x.dtype) for x in arrays]
        if shapes != self.shapes:
            self.shapes, self.recording, self.next = shapes, None, Replay.prepare
        if not self.possible():
            return self.step(arrays)
        return self.next(self, arrays)

    def prepare(self, arrays):
        """Take an ordinary step, in which kernels may still be compiled."""
        self.next = Replay.record
        return self.step(arrays)

    def possible(self):
        """Whether there are kernels, nobody looks at the operations, and no gradient is there."""
        return (jit.COMPILED and mode.level == "fast" and mode.recording and not mode.watchers
                and not mode.reader and all(x.grad is None for x in self.parameters))

    def step(self, arrays):
        """Take an ordinary step."""
        return self.forward_backward(arrays).item()

    def forward_backward(self, arrays):
        loss = self.function(*arrays)
        if not isinstance(loss, Tensor):
            raise TypeError(f"the function returned {loss!r:.60}, but must return the loss, a "
                            "Tensor: leave out .item() and float()")
        loss.backward()
        return loss

    def record(self, arrays):
        """Take an ordinary step, and write it down."""
        memory.trim()                                    # its memory will be the recording's
        found = Recording(arrays, self.parameters)
        with found.listening():
            loss = self.forward_backward(found.inputs)
        self.next = Replay.step
        if found.finish(loss):
            self.recording, self.next = found, Replay.confirm
        return loss.item()

    def confirm(self, arrays):
        """Replay for the same numbers in another order, and compare that with an ordinary step."""
        others = [x.reshape(-1)[::-1].reshape(x.shape).copy() for x in arrays]
        same = [np.array_equal(x, mine) for x, mine in zip(others, self.recording.inputs)]
        if any(same) or not self.recording.ready():
            return self.step(arrays)
        with memory.apart(self.recording.pool):
            results = [self.values_of(take, others) for take in (self.step, self.recording.run)]
        if results[0] != results[1]:
            self.recording, self.next = None, Replay.step
            return self.step(arrays)
        self.next = Replay.replay
        return self.recording.run(arrays)

    def values_of(self, take, arrays):
        """Return digests of the loss and of all gradients of a step."""
        loss = np.float64(take(arrays))
        values = [sha256(x.tobytes()).digest()
                  for x in (loss, *(x.grad for x in self.parameters)) if x is not None]
        for x in self.parameters:
            x.grad = None
        return values

    def replay(self, arrays):
        """Replay the step, if all is as it was."""
        return (self.recording.run if self.recording.ready() else self.step)(arrays)


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
    """The calls of one step, and the memory they work in."""

    def __init__(self, arrays, parameters):
        self.inputs = [np.array(x, order="C") for x in arrays]
        self.parameters, self.leaves = parameters, frozenset(parameters)
        self.data = [(x.data, x.requires_grad) for x in parameters]
        self.origin = threads.n_threads(), threading.get_ident()
        self.calls, self.sound, self.last = [], True, None

    @contextmanager
    def listening(self):
        """Write down all calls in the block, and take its memory from a pool of our own."""
        with memory.apart() as self.pool, watch(self.look), \
                read(functools.partial(backprop, add=added)):
            jit.recorder = self.note
            try:
                yield
            finally:
                jit.recorder = None

    def note(self, function, args):
        if threading.get_ident() == self.origin[1]:
            self.calls.append((function, tuple(unowned(x) for x in args)))

    def look(self, node):
        """Notice what cannot be replayed; a loss ends the step, so that its gradient is 1."""
        leaves = {x for x in node.traced if x.op is None}
        self.sound &= node.op.replayed and self.last not in LOSSES
        self.sound &= leaves <= self.leaves
        self.last = node.op

    def finish(self, loss):
        """Take over the gradients; return whether nothing else is left that a replay writes to."""
        self.loss, self.gradients = loss.data, []
        for x in self.parameters:
            self.gradients.append(unowned(x.grad))
            x.grad = None
        self.holders = self.held()
        self.hand_out()
        self.calls = [direct(function, args) for function, args in self.calls]
        return self.sound and self.last in LOSSES and not self.pool.leases

    def ready(self):
        """Whether all is as it was, and nobody holds a gradient."""
        return (self.origin == (threads.n_threads(), threading.get_ident())
                and all(x.data is data and x.requires_grad == wanted
                        for x, (data, wanted) in zip(self.parameters, self.data))
                and self.held() == self.holders)

    def held(self):
        """Count who holds each gradient."""
        return [sys.getrefcount(g) for g in self.gradients if g is not None]

    def hand_out(self):
        for x, g in zip(self.parameters, self.gradients):
            x.grad = g

    def run(self, arrays):
        """Do it again for other arrays, and return the loss."""
        for mine, x in zip(self.inputs, arrays):
            np.copyto(mine, x)
        threads.enter_pool()
        for function, args in self.calls:
            function(*args)
        self.hand_out()
        return self.loss.item()


def unowned(x):
    """Return an array in the same place that does not keep its pool from using it again."""
    if type(x) is not np.ndarray:
        return x
    memory = (x.base if type(x.base) is np.ndarray else x).base
    if not isinstance(memory, ctypes.Array):              # not of a pool
        return x
    place = x.__array_interface__["data"][0] - ctypes.addressof(memory)
    view = np.ndarray(x.shape, x.dtype, memory, place, x.strides)
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
