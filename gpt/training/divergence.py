"""What is told when a loss or a gradient is no number any more: where that began."""
import numpy as np

from minigrad import Tensor, backprop, watch


class Diverged(ArithmeticError):
    """The loss or a gradient is no number any more; the message says where that began."""


def where_it_began(run, batch, n):
    """Say which parameter or operation of a step was the first that was not finite."""
    at = f"at step {run.step + 1} the"
    names = {x: name for name, x in run.model.named_parameters()}
    for x, name in names.items():
        if not all_finite(x.data):
            return f"{at} parameter {name} is not finite"
    bad = []

    def look(node):
        data = node.data if isinstance(node.data, tuple) else (node.data,)
        if not bad and not all_finite(*data):
            bad.append(node)
    with watch(look):
        loss = run.loss(batch, n)
    for node in bad:
        return f"{at} forward pass is not finite from {described(node, names)} on"
    for node, _, grads in backprop(loss):
        arrays = [dx for dx in grads if isinstance(dx, np.ndarray)]
        if node.op and not all_finite(*arrays):
            return f"{at} backward pass is not finite from {described(node, names)} on"
    return f"{at} gradients, added up, are not finite"


def all_finite(*arrays):
    return all(np.isfinite(x).all() for x in arrays)


def described(node, names):
    return node.op.name + of_parameters(node, names)


def of_parameters(node, names):
    """Name the parameters that a node used, or the nearest above it."""
    waiting, seen = [node], set()
    while waiting:
        node = waiting.pop(0)
        for x in node.inputs:
            if isinstance(x, Tensor) and x in names:
                return f" (nearest parameter: {names[x]})"
            if isinstance(x, Tensor) and x not in seen:
                seen.add(x)
                waiting.append(x)
    return ""
