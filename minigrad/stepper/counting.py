"""Count what a computation costs: floating-point operations, and the bytes of arrays.

The formulas (level reference) run once on arrays that count, so every op and every net is counted
by the same few lines. To count a whole net on a small batch, watch its nodes:

    nodes = []
    with watch(nodes.append):
        loss = net(x)
    flops = count_nodes(nodes)
    kept = size_bytes([node.saved for node in nodes])
"""
from typing import Any, NamedTuple

import numpy as np

from minigrad.mode import use
from minigrad.tensor import detach, needs_grad


class Count(NamedTuple):
    """What `count` found: both None where the function cannot run on arrays that count."""
    flops: int | None
    out: Any                                          # what the function returned


def count(function, *args, **params):
    """Run a function of arrays and count its floating-point operations.

    Each element that NumPy adds, multiplies, compares or takes a function of is one operation; a
    product of matrices (m, k) and (k, n) is 2 m k n.

    Parameters
    ----------
    function : callable
        On NumPy arrays. It runs at level "reference".
    *args, **params
        What it is called with. Arrays of floats count; they are not copied.

    Returns
    -------
    Count
        A pair: (flops, what the function returned).

    Examples
    --------
    >>> count(lambda x, w: np.tanh(x @ w), np.ones((2, 3)), np.ones((3, 5))).flops
    70
    """
    Counted.flops = 0
    try:
        with np.errstate(all="ignore"), use("reference"):
            out = function(*map(counted, args), **params)
    except (TypeError, ValueError, AttributeError, NotImplementedError):
        return Count(None, None)
    return Count(Counted.flops, out)


def count_op(op, args, params, wants=None):
    """Count the operations of an op's formula and of its vjp; 0 where they cannot be counted.

    Parameters
    ----------
    op : minigrad.tensor.Op
    args : sequence
        Arrays in the place of tensors.
    params : dict
    wants : sequence of bool, optional
        Which gradients are asked for; all unless given.

    Returns
    -------
    forward, backward : int
    """
    forward, out = count(op.forward, *args, **params)
    if forward is None:
        return 0, 0
    value, saved = out
    g = tuple(map(np.ones_like, value)) if type(value) is tuple else np.ones_like(value)
    _, vjp = op.bodies["reference"]
    if getattr(vjp, "asks", False):
        saved = (*saved, tuple(wants or [True] * len(args)))
    backward = count(vjp, plain(g), *plain(saved)).flops
    return forward, backward or 0


def count_node(node):
    """Count the operations of a tensor that an op made: (forward, backward)."""
    args, wants = taken_by(node)
    return count_op(node.op, args, node.params, wants)


def count_nodes(nodes):
    """Count the operations of all tensors together, once for the same shapes."""
    known, total = {}, 0
    for node in nodes:
        args, wants = taken_by(node)
        key = node.op, shapes(args), shapes([*node.params.items()]), shapes(wants)
        if key not in known:
            known[key] = sum(count_op(node.op, args, node.params, wants))
        total += known[key]
    return total


def taken_by(node):
    """Return what an op took to make a tensor: arrays, and whose gradients are asked for."""
    return [detach(x) for x in node.inputs], [needs_grad(x) for x in node.inputs]


def shapes(x):
    """Describe arguments by what an amount of work depends on: the shapes of arrays, all else."""
    if isinstance(x, tuple | list):
        return tuple(map(shapes, x))
    return str(x) if isinstance(x, slice) else getattr(x, "shape", x)


def size_bytes(values):
    """Sum the bytes of all arrays in nested tuples and lists, each array once."""
    each_once = {id(x): x for x in arrays_in(values)}
    return sum(x.nbytes for x in each_once.values())


def arrays_in(values):
    """Yield the arrays in nested tuples and lists."""
    if isinstance(values, tuple | list):
        for part in values:
            yield from arrays_in(part)
    elif isinstance(values, np.ndarray):
        yield values


# ---- arrays that count -----------------------------------------------------------------------

class Counted(np.ndarray):
    """An array that counts the floating-point operations that are done with it."""
    flops = 0

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        inputs = plain(inputs)
        if out is not None:
            options["out"] = plain(out)
        result = getattr(ufunc, method)(*inputs, **options)
        Counted.flops += operations(ufunc, method, inputs, result)
        if ufunc.nout > 1:                            # np.frexp: a fraction and an exponent
            return tuple(x.view(Counted) for x in map(np.asarray, result))
        return None if result is None else np.asarray(result).view(Counted)


def operations(ufunc, method, inputs, result):
    """Count what one call of a ufunc does."""
    if ufunc is np.matmul:
        k = inputs[0].shape[-1]
        return 2 * np.size(result) * k
    if method == "__call__":
        return np.size(result)
    return max(x.size for x in inputs if isinstance(x, np.ndarray))


def counted(x):
    """Return an array of floats, or each in a tuple, as one that counts."""
    if type(x) is tuple:
        return tuple(map(counted, x))
    counts = type(x) is np.ndarray and x.dtype.kind == "f"
    return x.view(Counted) if counts else x


def plain(x):
    """Return an array, or each in a tuple, as one that does not count."""
    if type(x) is tuple:
        return tuple(map(plain, x))
    return np.asarray(x) if isinstance(x, Counted) else x
