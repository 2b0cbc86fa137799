"""Memory for time: a part of a net that keeps its inputs alone, and runs again on the way back.

Chen et al. 2016, Training deep nets with sublinear memory cost, arXiv:1604.06174. torch calls it
`torch.utils.checkpoint`, JAX `jax.checkpoint`.
"""
import copy

import numpy as np

from minigrad.kernels import jit
from minigrad.kernels.recording import added, copied_state
from minigrad.kernels.rows import few, kernels_from
from minigrad.mode import changed, mode, no_grad
from minigrad.tensor import Op, Tensor, backprop, needs_grad, writes


def recompute(function, *inputs, parameters=(), rng=None):
    """Compute function(*inputs, rng); of what it computes, keep the result alone.

    The backward pass computes it once more: a third more of its arithmetic, the same bits.

    Parameters
    ----------
    function : callable
        From Tensors (and None), and a generator or None, to one Tensor.
    *inputs : Tensor, array or None
    parameters : iterable of Tensor
        All other tensors that it uses and that require a gradient.
    rng : numpy.random.Generator, optional
        What it draws with, such as for dropout; it draws the same again.

    Returns
    -------
    Tensor
    """
    parameters = [x for x in parameters if x.requires_grad]
    if not mode.recording or mode.level == "parts":
        return function(*inputs, rng)
    part = Part(function, inputs, parameters, rng)
    return rerun(part, *inputs, *parameters)


class Part:
    """A function that can be called again: with the same inputs, random numbers and kernels."""

    def __init__(self, function, inputs, parameters, rng):
        self.function, self.parameters = function, parameters
        self.wants = [needs_grad(x) for x in inputs]
        self.rng, self.before = rng, copy.deepcopy(rng)
        self.least = few.least

    def first(self, inputs):
        """Call it, and remember where the generator stood."""
        if self.rng is not None:
            jit.run(copied_state, self.rng, self.before)
        return self.function(*inputs, self.rng)

    def again(self, inputs):
        """Call it as the first time."""
        rng = copy.deepcopy(self.before)
        if rng is not None:
            jit.run(copied_state, self.before, rng)
        with kernels_from(self.least):
            return self.function(*inputs, rng)


@Op
def rerun(part, *arrays):
    """Run a `Part` on its inputs, behind which stand its parameters; see `recompute`."""
    inputs = map(constant, arrays[:len(part.wants)])
    with no_grad():
        out = part.first(inputs)
    return out.data, (part, *arrays)

rerun.replayed = True

@rerun.vjp
def rerun_vjp(g, part, *arrays):
    inputs = [enter(x) if wanted else constant(x) for x, wanted in zip(arrays, part.wants)]
    with changed("recording", True):
        out = part.again(inputs)
    steps = backprop(out, g, add=added) if needs_grad(out) else ()
    asked = [*inputs, *part.parameters]
    wanted = set(filter(needs_grad, asked))
    found = {node: dx for node, dx, _ in steps if node in wanted}
    return None, *(gradient(x, found) if x in wanted else None for x in asked)

@rerun.parts
def rerun_parts(part, *inputs):
    return part.again(inputs[:len(part.wants)])


def constant(x):
    return x if x is None else Tensor(x)


def enter(x):
    """Return a tensor that hands its gradient on as it comes, not a copy as a leaf does."""
    tensor = Tensor(x, requires_grad=True)
    tensor.op, tensor.made_at = rerun, writes.clock
    return tensor


def gradient(x, found):
    """Return the gradient that has been found; zeros where the result does not depend on x."""
    return found[x] if x in found else np.zeros_like(x.data)
