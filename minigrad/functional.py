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


def grad(f, argnum: int = 0):
    """Return a function that computes the gradient of scalar `f` in argument `argnum`.

    Parameters
    ----------
    f : callable
        From Tensors to one Tensor of a single element.
    argnum : int
        The place of the argument, from the front or, if negative, from the end.

    Returns
    -------
    gradient : callable
        From the arguments of f to an array, or Tensor, of the shape of that argument.

    Raises
    ------
    TypeError, IndexError
        When called, if argnum is no integer or names no argument, or f returns several outputs.
    ValueError
        When called, if the result has more than one element.

    Examples
    --------
    >>> grad(lambda x: x ** 3)(2.0), grad(grad(lambda x: x ** 3))(2.0)
    (array(12.), array(12.))
    """
    def gradient(*args):
        return value_and_grad(f, argnum)(*args)[1]
    return gradient


def value_and_grad(f, argnum: int = 0):
    """Return a function that computes `f` and its gradient in one go.

    Parameters and errors are those of `grad`; the result is (value, gradient).
    """
    def both(*args):
        if not isinstance(argnum, int):
            raise TypeError(f"argnum is {argnum!r}: name one argument by its place, like 0")
        if not -len(args) <= argnum < len(args):
            raise IndexError(f"argnum is {argnum}, but there are {len(args)} arguments")
        i = argnum % len(args)
        before, after = args[:i], args[i + 1:]
        value, pull_back = vjp(lambda x: f(*before, x, *after), args[i])
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

    Raises
    ------
    TypeError
        If f returns no Tensor or several.
    """
    inputs, out, linked = call(f, args)
    tensors = linked or has_tensor(args)

    def pull_back(g=None):
        record = linked or mode.recording and needs_grad(g)
        gradients = pull(out, g if record else detach(g), inputs, record)
        as_tensors = tensors or isinstance(g, Tensor)
        return tuple(finish(dx, as_tensors, record) for dx in gradients)

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

    Raises
    ------
    ValueError
        If there are more of the one than of the other, or a tangent has another shape than its
        argument.
    TypeError
        If f returns no Tensor or several.
    """
    for x, t in zip(args, tangents, strict=True):
        check_shape(t, x, "a tangent", "its argument")
    inputs, out, linked = call(f, args)
    linked |= mode.recording and any(map(needs_grad, tangents))
    tensors = linked or has_tensor((*args, *tangents))
    derivative = zeros(out)
    if needs_grad(out):
        with changed("recording", True):
            g = Tensor(zeros(out), requires_grad=True)
            pairs = zip(pull(out, g, inputs, True), tangents)
            moves = [sum(dx * t) for dx, t in pairs if isinstance(dx, Tensor)]
            total = functools.reduce(add, moves, 0.0)     # of those that have an influence
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

    Raises
    ------
    ValueError
        If v has another shape than x, or f(x) more than one element.
    """
    check_shape(v, x, "v", "x")
    slope = grad(lambda y: sum(grad(f)(y) * v))
    return slope(x)


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
    known = mode.inputs.union(inputs)
    with changed("recording", True), changed("inputs", known):
        out = f(*inputs)
    if out is None or isinstance(out, tuple | list | dict):
        raise TypeError(f"the function returned {type(out).__name__}, but must return one Tensor: "
                        "differentiate one output at a time, or their sum")
    depends = any(map(needs_grad, args)) or has_others(out, inputs)
    return inputs, out, mode.recording and depends


def has_tensor(args):
    return any(isinstance(x, Tensor) for x in args)


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
    if not needs_grad(out):
        return False
    inputs = frozenset(inputs)
    nodes = topological_order(out, inputs)
    leaves = {node for node in nodes if node.op is None} - inputs
    return any(type(x) is Tensor or x in mode.inputs for x in leaves)


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
    """Refuse x of another shape than `like`, naming both."""
    shape, expected = np.shape(detach(x)), np.shape(detach(like))
    if shape != expected:
        raise ValueError(f"{name} has shape {shape}, but {of} has shape {expected}")


# ---- gradients that record how they were made ------------------------------------------------

def differentiable_vjp(node, g):
    """Run the vjp on Tensors, so that it records the graph of the gradient."""
    if node.op is None:                               # a leaf passes nothing on
        return ()
    if node.op.composition:
        return vjp_of_parts(node, g)
    saved, owners = owned_saved(node)
    strange = [s for s in saved if isinstance(s, np.ndarray) and id(s) not in owners]
    if any(s.dtype.kind == "f" for s in strange):
        raise NotImplementedError(f"{node.op.name} has no second derivative: it saves more than "
                                  "its inputs and its output, and declares no parts")
    _, run_vjp = node.op.bodies["reference"]
    owned = [owners.get(id(s), s) for s in saved]
    return run_vjp(g, *owned)


def owned_saved(node):
    """Return what a node saved, and which input (or the node) each array of it is, by identity."""
    inputs, saved = node.inputs, node.saved
    arrays = [detach(x) for x in inputs]
    owners = dict(zip(map(id, arrays), inputs))       # id(array) -> input
    if any(owners[id(a)] is not x for a, x in zip(arrays, inputs)):
        # Two tensors share one array (x and x.detach()): save once more, from views to tell apart.
        arrays = [a.view() if isinstance(a, np.ndarray) else a for a in arrays]
        owners = dict(zip(map(id, arrays), inputs))
        forward, _ = node.op.bodies["reference"]
        out, again = forward(*arrays, **node.params)
        again = [node.data if s is out else s for s in again]
        saved = (*again, *saved[len(again):])         # at the end, which gradients are wanted
    owners[id(node.data)] = node
    return saved, owners


def vjp_of_parts(node, g):
    """Compute a fused op again from its parts, and go backward through those."""
    with use("parts"):
        outputs = node.op.composition(*node.inputs, **node.params)
    if not isinstance(outputs, tuple):
        outputs, g = (outputs,), (g,)
    leaves = frozenset(filter(needs_grad, node.inputs))
    gradients = {}                                    # input -> sum so far
    for out, g_out in zip(outputs, g):
        steps = backprop(out, g_out, leaves=leaves, run_vjp=differentiable_vjp)
        for x, dx, _ in steps:
            if x in leaves:
                known = gradients.get(x)
                gradients[x] = dx if known is None else known + dx
    return tuple(gradients.pop(x, zeros(x)) if needs_grad(x) else None for x in node.inputs)
