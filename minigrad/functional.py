"""Derivatives of functions: `grad` and its relatives, which compose.

Arrays in give arrays out. Tensors in give Tensors out, recorded, so that the result can be
differentiated once more: `grad(grad(f))`.
"""
import numpy as np

from minigrad.ops import reshape, sum
from minigrad.mode import use
from minigrad.tensor import Tensor, backprop, detach, needs_grad


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
        def of_one(x):
            return f(*args[:argnum], x, *args[argnum + 1:])
        value, pull_back = vjp(of_one, args[argnum])
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
    record = any(isinstance(x, Tensor) for x in args)
    inputs = [fresh(x) for x in args]
    leaves = frozenset(inputs)
    out = f(*inputs)

    def pull_back(g=None):
        found = {}
        if isinstance(out, Tensor) and out.requires_grad:
            for node, dx, _ in backprop(out, g, retain_graph=True, leaves=leaves,
                                        run_vjp=differentiable_vjp if record else None):
                if node in leaves:
                    found[node] = dx
        return tuple(finish(found.get(x, zeros(x)), record) for x in inputs)

    return finish(out, record), pull_back


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
    record = any(isinstance(x, Tensor) for x in (*args, *tangents))
    value, pull_back = vjp(f, *[Tensor(x) if not isinstance(x, Tensor) else x for x in args])
    g = Tensor(detach(value) * 0, requires_grad=True)
    gradients = pull_back(g)
    paired = [sum(dx * t) for dx, t in zip(gradients, tangents)]
    total = paired[0]
    for part in paired[1:]:
        total = total + part
    derivative = {g: zeros(g)}
    if total.requires_grad:
        for step in backprop(total, run_vjp=differentiable_vjp, leaves={g}):
            if step.node is g:
                derivative[g] = step.g
    return finish(value, record), finish(derivative[g], record)


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
    return grad(lambda y: sum(grad(f)(y) * v))(x)


def fresh(x):
    """Make a tensor of x that is an input of its own, linked to x where x is itself traced."""
    if isinstance(x, Tensor) and x.requires_grad:
        return reshape(x, shape=x.shape)
    return Tensor(x, requires_grad=True)


def zeros(x):
    return detach(x) * 0


def finish(x, record):
    if record:
        return x if isinstance(x, Tensor) else Tensor(x)
    return detach(x)


# ---- gradients that record how they were made ------------------------------------------------

def differentiable_vjp(node, g):
    """Run the vjp on Tensors, so that it records the graph of the gradient."""
    if node.op.composition:
        return vjp_of_parts(node, g)
    known = {id(detach(x)): x for x in (*node.inputs, node)}
    saved = [known.get(id(s), s) for s in node.saved]
    if any(isinstance(s, np.ndarray) and s.dtype.kind == "f" and id(s) not in known for s in saved):
        raise NotImplementedError(f"{node.op.name} has no second derivative: it saves more than "
                                  "its inputs and its output, and declares no parts")
    return node.op.bodies["reference"][1](g, *saved)


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
    return tuple(gradients.pop(x, None) if needs_grad(x) else None for x in node.inputs)
