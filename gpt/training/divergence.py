"""What is told when a loss or a gradient is no number any more: where that began."""
import numpy as np

from minigrad import Tensor, backprop, watch


class Diverged(ArithmeticError):
    """The loss or a gradient is no number any more; the message says where that began."""


def where_it_began(run, batch, n):
    """Say which parameter or operation of a step was the first that was not finite."""
    names = {x: name for name, x in run.model.named_parameters()}
    for x, name in names.items():
        if not np.isfinite(x.data).all():
            return f"at step {run.step + 1} the parameter {name} is not finite"
    bad = []

    def look(node):
        data = node.data if isinstance(node.data, tuple) else (node.data,)
        if not bad and not all(np.isfinite(x).all() for x in data):
            bad.append(node)
    with watch(look):
        loss = run.task.loss(run.model, batch, n, None)
    if bad:
        return (f"at step {run.step + 1} the forward pass is not finite from {bad[0].op.name}"
                f"{of_parameters(bad[0], names)} on")
    for node, _, grads in backprop(loss):
        if node.op and not all(np.isfinite(dx).all() for dx in grads
                               if isinstance(dx, np.ndarray)):
            return (f"at step {run.step + 1} the backward pass is not finite from {node.op.name}"
                    f"{of_parameters(node, names)} on")
    return f"at step {run.step + 1} the gradients, added up, are not finite"


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
