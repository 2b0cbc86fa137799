"""Derivatives of functions: `grad` and its relatives, which compose.

Arrays in give arrays out, Tensors in give Tensors out. A result that depends on a tensor which
requires a gradient, an argument or one that the function closes over, is a Tensor, recorded, so
that it can be differentiated once more: `grad(grad(f))`, or `grad` inside of a function that is
differentiated.
"""
import functools

import numpy as np

from minigrad.mode import changed, mode, use
from minigrad.ops import add, reshape, sum
from minigrad.tensor import Tensor, backprop, detach, needs_grad, topological_order


def grad(f, argnum=0):
    """Return a function that computes the gradient of scalar `f` in argument `argnum`.

    Examples
    --------
    >>> grad(lambda x: x ** 3)(2.0), grad(grad(lambda x: x ** 3))(2.0)
    (array(12.), array(12.))
    """
    def gradient(*args):
        return value_and_grad(f, argnum)(*args)[1]
    return gradient


def value_and_grad(f, argnum=0):
    """Return a function that computes `f` and its gradient in one go."""
    def both(*args):
        if not isinstance(argnum, int):
            raise TypeError(f"argnum is {argnum!r}: name one argument by its place, like 0")
        if not -len(args) <= argnum < len(args):
            raise IndexError(f"argnum is {argnum}, but there are {len(args)} arguments")
        i = argnum % len(args)

        def of_one(x):
            return f(*args[:i], x, *args[i + 1:])
        value, pull_back = vjp(of_one, args[i])
        return value, pull_back()[0]
    return both


def vjp(f, *args):
    """Compute f(*args), and a function that multiplies its Jacobian from the left.

    Parameters
    ----------
    f : callable
        From Tensors to one Tensor.
    *args : arrays or Tensors, of one float dtype

    Returns
    -------
    value : array or Tensor
    pull_back : callable
        From g, of the shape of the value (1 if left out and the value is a scalar), to a tuple of
        gradients, one for each argument. It can be called more than once.
    """
    inputs, out, linked = call(f, args)
    tensors = linked or any(isinstance(x, Tensor) for x in args)

    def pull_back(g=None):
        record = linked or mode.recording and needs_grad(g)
        gradients = pull(out, g if record else detach(g), inputs, record)
        return tuple(finish(dx, tensors or isinstance(g, Tensor), record) for dx in gradients)

    return finish(out, tensors, linked), pull_back


def jvp(f, args, tangents):
    """Compute f(*args) and the Jacobian times `tangents`: how the value moves when args do.

    Two vjps make it: g -> g J is linear, and the vjp of that map, in g, is J.

    Parameters
    ----------
    f : callable
    args, tangents : tuples of arrays or Tensors of the same shapes

    Returns
    -------
    value, derivative : arrays or Tensors of the shape of f(*args)
    """
    for x, t in zip(args, tangents, strict=True):
        check_shape(t, x, "a tangent", "its argument")
    inputs, out, linked = call(f, args)
    linked |= mode.recording and any(needs_grad(t) for t in tangents)
    tensors = linked or any(isinstance(x, Tensor) for x in (*args, *tangents))
    derivative = zeros(out)
    if needs_grad(out):
        with changed("recording", True):
            g = Tensor(zeros(out), requires_grad=True)
            moves = [sum(dx * t) for dx, t in zip(pull(out, g, inputs, True), tangents)
                     if isinstance(dx, Tensor)]       # the others have no influence
            total = functools.reduce(add, moves, 0.0)
            derivative, = pull(total, None, [g], linked)
    return finish(out, tensors, linked), finish(derivative, tensors, linked)


def hessian_vector_product(f, x, v):
    """Compute the Hessian of scalar `f` at `x` times `v`, without ever making the Hessian.

    Source: Pearlmutter 1994, Neural Computation 6(1): the gradient of <grad f(x), v>.

    Parameters
    ----------
    f : callable
    x, v : arrays or Tensors of one shape

    Returns
    -------
    array or Tensor of the shape of x
    """
    check_shape(v, x, "v", "x")
    return grad(lambda y: sum(grad(f)(y) * v))(x)


def call(f, args):
    """Run f on inputs of its own.

    Returns
    -------
    inputs : list of Tensor
    out : Tensor or what else f returned, a constant
    linked : bool
        Whether `out` is to be recorded for others: it depends on tensors from outside.
    """
    inputs = [fresh(x) for x in args]
    with changed("recording", True), changed("inputs", mode.inputs.union(inputs)):
        out = f(*inputs)
    if out is None or isinstance(out, tuple | list | dict):
        raise TypeError(f"the function returned {type(out).__name__}, but must return one Tensor: "
                        "differentiate one output at a time, or their sum")
    return inputs, out, mode.recording and (any(map(needs_grad, args)) or has_others(out, inputs))


def fresh(x):
    """Make a tensor of x that is an input of its own, linked to x where x is itself traced."""
    if mode.recording and needs_grad(x):
        return reshape(x, shape=x.shape)
    return Input(detach(x), requires_grad=True)


class Input(Tensor):
    """A leaf that `call` made: nobody but that call, while it runs, wants its gradient."""
    __slots__ = ()


def has_others(out, inputs):
    """Whether a result depends on leaves of others: of the user, or of calls around this one."""
    leaves = frozenset(inputs)
    return needs_grad(out) and any(
        node.op is None and node not in leaves and (type(node) is Tensor or node in mode.inputs)
        for node in topological_order(out, leaves))


def pull(out, g, inputs, record):
    """Return the gradient of `out` in each of the inputs, zeros where it does not depend on one."""
    leaves, found = frozenset(inputs), {}
    run_vjp = differentiable_vjp if record else None
    if needs_grad(out):
        with changed("recording", record):
            steps = backprop(out, g, retain_graph=True, leaves=leaves, run_vjp=run_vjp)
            found = {node: dx for node, dx, _ in steps if node in leaves}
    return [found[x] if x in found else zeros(x) for x in inputs]


def zeros(x):
    return np.zeros_like(detach(x))


def finish(x, tensors, linked):
    """Return x as a Tensor, recorded or not, or as an array."""
    if linked:
        return x if isinstance(x, Tensor) else Tensor(x)
    return Tensor(detach(x)) if tensors else detach(x)


def check_shape(x, like, name, of):
    if np.shape(detach(x)) != np.shape(detach(like)):
        raise ValueError(f"{name} has shape {np.shape(detach(x))}, but {of} has shape "
                         f"{np.shape(detach(like))}")


# ---- gradients that record how they were made ------------------------------------------------

def differentiable_vjp(node, g):
    """Run the vjp on Tensors, so that it records the graph of the gradient."""
    if node.op.composition:
        return vjp_of_parts(node, g)
    saved, owners = owned_saved(node)
    if any(isinstance(s, np.ndarray) and s.dtype.kind == "f" and id(s) not in owners
           for s in saved):
        raise NotImplementedError(f"{node.op.name} has no second derivative: it saves more than "
                                  "its inputs and its output, and declares no parts")
    return node.op.bodies["reference"][1](g, *(owners.get(id(s), s) for s in saved))


def owned_saved(node):
    """Return what a node saved, and which input (or the node) each array of it is, by identity."""
    arrays, saved = [detach(x) for x in node.inputs], node.saved
    owners = dict(zip(map(id, arrays), node.inputs))
    if any(owners[id(a)] is not x for a, x in zip(arrays, node.inputs)):
        # Two tensors share one array (x and x.detach()): save once more, from views to tell apart.
        arrays = [a.view() if isinstance(a, np.ndarray) else a for a in arrays]
        owners = dict(zip(map(id, arrays), node.inputs))
        out, again = node.op.bodies["reference"][0](*arrays, **node.params)
        again = [node.data if s is out else s for s in again]
        saved = (*again, *saved[len(again):])         # at the end, which gradients are wanted
    owners[id(node.data)] = node
    return saved, owners


def vjp_of_parts(node, g):
    """Compute a fused op again from its parts, and go backward through those."""
    with use("parts"):
        outputs = node.op.composition(*node.inputs, **node.params)
    gradients = {}
    outputs, g = (outputs, g) if isinstance(outputs, tuple) else ((outputs,), (g,))
    leaves = frozenset(x for x in node.inputs if needs_grad(x))
    for out, g_out in zip(outputs, g):
        for x, dx, _ in backprop(out, g_out, leaves=leaves, run_vjp=differentiable_vjp):
            if x in leaves:
                gradients[x] = gradients[x] + dx if x in gradients else dx
    return tuple(gradients.pop(x, zeros(x)) if needs_grad(x) else None for x in node.inputs)
