"""The gradients of weights, put off until there is time for them.

    y = x W^T        dx = g W, which the stage before waits for        dW = g^T x, for which nobody

A linear layer makes both at its turn on the way back. Here its weight is taken out of the graph
before, as if it were a constant; x and g are kept, and dW is made when it is asked for. The two
products were apart anyway: the bits are the same.
"""
from minigrad.ops.linear import linear
from minigrad.tensor import backprop, needs_grad, topological_order


def leaves(root, g=None, later=None, now=()):
    """Walk back from `root`, and yield each leaf with its gradient.

    Parameters
    ----------
    root : Tensor
    g : array, optional
        Its gradient; 1 for a scalar.
    later : list, optional
        To it are added the linear layers whose weights have been put off, with what has arrived
        there: (`Layer`, g).
    now : collection of Tensor
        Weights that are not put off.
    """
    layers = {}
    nodes = () if later is None else [*topological_order(root)]
    for node in nodes:
        if has_weight(node, now):
            layers[node] = Layer(node)
    for node, arrived, _ in backprop(root, g):
        if node.op is None:
            yield node, arrived
        if node in layers:
            later.append((layers[node], arrived))


def has_weight(node, now):
    """Whether a node is a linear layer whose weight, a leaf, can be put off."""
    if node.op is not linear:
        return False
    _, weight, *_ = node.inputs
    return needs_grad(weight) and weight.op is None and weight not in now


class Layer:
    """What the gradients of a weight and its bias are made of; the node keeps them as constants."""

    def __init__(self, node):
        x, *self.parameters = node.inputs
        *self.saved, wants = node.saved
        self.vjp = node.vjp
        self.wants = False, *wants[1:]
        node.inputs = x,
        node.traced = node.inputs if needs_grad(x) else ()
        node.saved = *self.saved, (wants[0], False, False)

    def leaves(self, g):
        """Yield each leaf with its gradient."""
        _, *found = self.vjp(g, *self.saved, self.wants)
        for x, dx in zip(self.parameters, found):
            if dx is not None:
                yield x, dx
