"""Derivatives of functions: `grad` and its relatives, which compose.

Arrays in give arrays out. Tensors in give Tensors out, recorded, so that the result can be
differentiated once more: `grad(grad(f))`.
"""
from minigrad.ops import reshape, sum
from minigrad.tensor import Tensor, backprop, detach


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
    out = f(*inputs)

    def pull_back(g=None):
        found = {}
        if isinstance(out, Tensor) and out.requires_grad:
            for step in backprop(out, g, retain_graph=True, record=record, leaves=set(inputs)):
                if step.node in inputs_set:
                    found[step.node] = step.g
        return tuple(finish(found.get(x, zeros(x)), record) for x in inputs)

    inputs_set = set(inputs)
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
        for step in backprop(total, record=True, leaves={g}):
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
