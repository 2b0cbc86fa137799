"""Compute again what was computed before, without the Python between its kernels.

A training step of fixed shapes calls the same kernels with the same memory every time, and so does
a net that writes one more token. `Replay` lets it happen once, writes down every call of `jit.run`,
and from then on makes these calls and no others. In a small model that is a fifth of the time, in
a large one a fiftieth.

Nothing is believed: before a recording is used, its results for other values of the inputs must be
those of an ordinary call, bit for bit. Whenever that fails, or something is not as it was, the
call is an ordinary one.
"""
from contextlib import nullcontext
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from minigrad.kernels import jit, memory, threads
from minigrad.kernels.recording import Recording, copied_state
from minigrad.mode import mode
from minigrad.tensor import Tensor

KEPT = 8                   # recordings that are kept, the last used ones


class Replay:
    """Compute a function of arrays, from the third time of their shapes on by replaying kernels.

    Parameters
    ----------
    function : callable
        From arrays to the loss, a Tensor; without `backward` to an array or Tensor. It is not
        called in a replay: it may use the values of its arrays and parameters through operations
        only, and all else that it uses, such as numbers, stays as it was.
    parameters : iterable of Tensor
        The leaves that it uses; with `backward` they get a gradient.
    backward : bool
        Whether the gradients of the loss are wanted, or the forward pass alone.
    places : tuple of int
        Which of its arrays say where it writes. A recording is not compared at others than those
        that it is called with: who knows what is kept there.

    Attributes
    ----------
    obstacle : str or None
        What keeps the last shapes from being replayed, in words; None if nothing does.

    Raises
    ------
    TypeError
        If a parameter is no Tensor, or, in a call, the loss is none.

    Notes
    -----
    The gradients of a replay are in the same arrays as those of the last one; while somebody
    else holds one of these, calls are ordinary ones. All recordings share one piece of memory, made
    for the largest: where a larger one comes, the others are made anew in its memory.
    Each number of threads has its own: work is cut into as many shares.
    CUDA graphs, which torch can record, work in the same way.
    """

    def __init__(self, function, parameters, backward=True, places=()):
        self.function, self.parameters, self.backward = function, tuple(parameters), backward
        self.places = places
        for x in self.parameters:
            if not isinstance(x, Tensor):
                raise TypeError(f"a parameter is {x!r:.60}, but must be a Tensor: give "
                                "model.parameters()")
        self.attempts = {}                 # (threads, *shapes) -> Attempt, the last used last
        self.pool = self.last = self.obstacle = None
        self.room = 0                                     # numbers that the largest recording takes
        self.rng = np.random.default_rng(0)               # which recordings draw from

    def __call__(self, *arrays, rng=None):
        """Compute the loss, and add the gradients to those in `.grad`; or the forward pass alone.

        Parameters
        ----------
        *arrays : array_like or None
            What the function takes, of any shapes.
        rng : numpy.random.Generator, optional
            Passed on by name, for what is drawn in the function.

        Returns
        -------
        float, or without `backward` an array
        """
        arrays = [x if x is None else np.asarray(x) for x in arrays]
        shapes = (x is not None and (x.shape, x.dtype) for x in arrays)
        kind = threads.n_threads(), *shapes
        attempt = self.attempts[kind] = self.attempts.pop(kind, None) or Attempt()
        if len(self.attempts) > KEPT:
            del self.attempts[next(iter(self.attempts))]
        if not self.possible():
            return self.ordinary(arrays, rng)
        answer = getattr(self, attempt.next)(attempt, arrays, rng)
        self.obstacle = attempt.obstacle
        return answer

    def possible(self):
        """Whether there are kernels, and nobody looks at the operations."""
        return (jit.COMPILED and mode.level == "fast" and mode.recording == self.backward
                and not (mode.watchers or mode.listeners or mode.reader))

    # ---- ordinary calls ----

    def ordinary(self, arrays, rng):
        """Compute it as it is written."""
        return self.compute(arrays, rng)[0]

    def compute(self, arrays, rng):
        """Return the answer, and the array that it is in."""
        named = {} if rng is None else {"rng": rng}
        result = self.function(*arrays, **named)
        if not self.backward:
            data = result.data if isinstance(result, Tensor) else result
            return data, data
        if not isinstance(result, Tensor):
            raise TypeError(f"the function returned {result!r:.60}, but must return the loss, a "
                            "Tensor: leave out .item() and float()")
        result.backward()
        return result.item(), result.data

    def prepare(self, attempt, arrays, rng):
        """Make an ordinary call, in which kernels may still be compiled, where recordings work."""
        attempt.next = "record"
        sums = self.set_aside()
        self.make_room(arrays)
        try:
            with memory.apart(self.pool) if self.pool and self.backward else nullcontext():
                answer = self.ordinary(arrays, rng)
        except BaseException:
            self.put_back(sums)
            raise
        if self.pool and self.backward:
            self.move_out()
        self.add_to(sums)
        return answer

    def move_out(self):
        """Copy gradients from the memory of recordings, and leave it if more of it is kept."""
        for x in self.parameters:
            x.grad = x.grad if x.grad is None else x.grad.copy()
        if self.pool.leases:
            self.leave()

    def refuse(self, attempt, arrays, rng):
        return self.ordinary(arrays, rng)

    # ---- recording ----

    def record(self, attempt, arrays, rng):
        """Make an ordinary call, and write it down."""
        sums = self.set_aside()
        self.room = self.make_room(arrays)
        found = Recording(self.parameters, self.backward, self.rng, arrays)
        memory.trim()                                     # its memory will be the recording's
        try:
            with memory.apart(self.pool) as self.pool, found.listening():
                drawn = rng and copied_state(rng, self.rng)
                found.take_over(self.compute(found.inputs, drawn)[1])
        except BaseException:
            self.put_back(sums)
            raise
        if rng:
            copied_state(self.rng, rng)
        attempt.recording, attempt.next, attempt.obstacle = found, "confirm", found.obstacle
        if self.pool.leases:
            attempt.obstacle = attempt.obstacle or "what it computes is kept elsewhere"
        if attempt.obstacle:
            attempt.recording, attempt.next, found.calls = None, "refuse", []
        used = any(each.recording for each in self.attempts.values())
        if self.pool.leases or not used:                  # somebody has a part of it, or nobody
            self.leave()
        self.hand_out(found, sums)
        return found.answer()

    def make_room(self, arrays):
        """Return how many numbers the largest recording takes; leave what is made for fewer."""
        size = sum(x.size for x in arrays if x is not None)
        if self.backward and size > self.room:
            self.leave()
        return max(size, self.room)

    def leave(self):
        """Leave the memory that recordings share, and forget them."""
        self.pool, self.last, self.room = None, None, 0
        for attempt in self.attempts.values():
            if attempt.recording:
                attempt.recording, attempt.next = None, "prepare"

    def confirm(self, attempt, arrays, rng):
        """Replay with other numbers, in cleared memory, and compare with an ordinary call."""
        others = [x if x is None else changed(x, mine, i in self.places)
                  for i, (x, mine) in enumerate(zip(arrays, attempt.recording.inputs))]
        sums = self.set_aside()
        proves = all(x is None or other is not None for x, other in zip(arrays, others))
        if not proves or not self.ready(attempt.recording):
            self.put_back(sums)
            return self.ordinary(arrays, rng)
        state = rng and rng.bit_generator.state
        try:
            with memory.apart(self.pool):
                expected = self.digests(self.ordinary(others, rng))
        except Exception:                                 # of values that are none of its own
            self.put_back(sums)
            return self.ordinary(arrays, rng)
        self.pool.clear()
        if self.replayed_digests(attempt.recording, others, rng, state) == expected:
            attempt.next = "replay"
        else:
            attempt.recording, attempt.next = None, "refuse"
            attempt.obstacle = "its function uses values outside of operations"
        if rng:
            rng.bit_generator.state = state
        self.put_back(sums)
        return getattr(self, attempt.next)(attempt, arrays, rng)

    def replayed_digests(self, recording, arrays, rng, state):
        """Return the digests of a replay; None if it ends in an error."""
        if rng:
            rng.bit_generator.state = state
        try:
            recording.run(arrays, rng)
        except Exception:                                 # of what it did not write: nothing is
            return None                                   # known of what a wrong replay does
        recording.hand_out()
        return self.digests(recording.answer())

    def replay(self, attempt, arrays, rng):
        """Replay the calls, if all is as it was."""
        sums = self.set_aside()
        if not self.ready(attempt.recording):
            self.put_back(sums)
            return self.ordinary(arrays, rng)
        attempt.recording.run(arrays, rng)
        self.hand_out(attempt.recording, sums)
        return attempt.recording.answer()

    def ready(self, recording):
        """Whether all is as it was, and nobody holds a gradient of the last replay."""
        return recording.is_current() and (self.last is None or self.last.is_alone())

    # ---- gradients ----

    def set_aside(self):
        """Take the gradients that are there away from the parameters, and out of our memory."""
        if not self.backward:
            return ()
        ours = {id(g) for g in self.last.gradients} if self.last else ()
        sums = []
        for x in self.parameters:
            is_ours = x.grad is not None and id(x.grad) in ours
            sums.append(x.grad.copy() if is_ours else x.grad)
            x.grad = None
        return sums

    def put_back(self, sums):
        for x, so_far in zip(self.parameters, sums):
            x.grad = so_far

    def hand_out(self, recording, sums):
        """Add the gradients of a recording to what was set aside."""
        recording.hand_out()
        self.last = recording
        self.add_to(sums)

    def add_to(self, sums):
        """Add the gradients to what was set aside."""
        for x, so_far in zip(self.parameters, sums):
            if so_far is not None:
                if x.grad is not None:
                    so_far += x.grad
                x.grad = so_far

    def digests(self, answer):
        """Return digests of the answer and of all gradients, which are dropped."""
        values = [np.asarray(answer), *(x.grad for x in self.parameters if self.backward)]
        if self.backward:
            for x in self.parameters:
                x.grad = None
        return [x if x is None else sha256(x.tobytes()).digest() for x in values]


@dataclass
class Attempt:
    """What is known of arrays of some shapes, with some number of threads."""
    next: str = "prepare"                                 # the method that takes the next call
    recording: object = None
    obstacle: str = None


def changed(x, before, is_place=False):
    """Return values that differ from those of `before`, to be computed with; None if not sure."""
    others = (x, x.reshape(-1)[::-1].reshape(x.shape),
              np.where(x > 0, x - 1, x + 1).astype(x.dtype))
    allowed = others[:1] if is_place else others
    return next((other for other in allowed if not np.array_equal(other, before)), None)
