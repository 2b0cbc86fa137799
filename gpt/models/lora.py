"""Low-rank adapters: beside a matrix that stays as it is learns the product of two narrow ones.

    y = x W^T + s (x A^T) B^T        A (r, in) random, B (out, r) zero at first, s = alpha / r

Hu et al. 2021, arXiv:2106.09685, 4.1. W gets no gradient, so none is computed and no optimizer
remembers anything of it. A net is not written for this: each of its linear layers can be adapted,
since `adapted` makes another net around the same arrays.
"""
from contextlib import contextmanager
from copy import copy
from fnmatch import fnmatchcase

import numpy as np

from gpt.settings import ConfigError
from minigrad import Tensor, dropout, linear
from minigrad.kernels.rows import kernels_from
from minigrad.nn import Linear, Module, full, normal

A, B = "lora_a", "lora_b"          # how the names of what an adapter learns end
WHOLE = "*unembedding"             # whose weight is read by others, not called as a layer


class Adapted(Linear):
    """A linear layer with an adapter beside it; at first it computes what the layer does.

    Parameters
    ----------
    layer : Linear
        Its weight and bias are shared, not copied.
    rank : int
    scale : float
        What the adapter's product is multiplied with.
    rate : float
        Of the dropout on what the adapter reads, within `dropping`.
    rng : numpy.random.Generator
    """

    def __init__(self, layer, rank, scale, rate, rng):
        vars(self).update(vars(layer))
        d_out, d_in = layer.weight.shape              # shared, so that others may adapt it, too
        dtype = layer.weight.dtype
        self.scale = scale * np.eye(rank, dtype=dtype)    # as a product, which can be replayed
        self.rate, self.rng = rate, None
        self.lora_a = normal(rng, (rank, d_in), d_in ** -0.5, dtype)
        self.lora_b = full((d_out, rank), 0, dtype)

    def __call__(self, x):
        seen = dropout(x, self.rate, self.rng)                                  # (..., d_in)
        with kernels_from(1):                         # however narrow: so it is replayed
            low = linear(linear(seen, self.lora_a), self.scale)                 # (..., r)
        return super().__call__(x) + linear(low, self.lora_b)                   # (..., d_out)

    def merged(self):
        """Return a plain layer that computes the same: W + s B A."""
        layer = Linear.__new__(Linear)
        more = self.lora_b.data @ self.scale @ self.lora_a.data                 # (d_out, d_in)
        layer.weight = Tensor(np.asarray(self.weight.data) + more)
        layer.bias = self.bias
        return layer


def adapted(net, rank, alpha, rng, on="*", rate=0.0, but=()):
    """Return a net of the same arrays with an adapter at each linear layer that is chosen.

    Parameters
    ----------
    net : Module
        It stays as it was; several nets may be adapted from one.
    rank : int
    alpha : float
        The scale is alpha / rank; 0 for twice the rank.
    rng : numpy.random.Generator
    on : str
        Globs over the names of layers, commas between: "*attention*,*.expand".
    rate : float
        Of the dropout on what adapters read.
    but : tuple of str
        How the names of layers begin that get none.

    Raises
    ------
    ConfigError
        If there is no such layer.
    """
    names, chosen, scale = [], [], (alpha or 2 * rank) / rank

    def change(name, layer):
        if name.startswith(but) or fnmatchcase(name, WHOLE):
            return layer
        names.append(name)
        if not matches(name, on):
            return layer
        chosen.append(name)
        return Adapted(layer, rank, scale, rate, rng)
    changed = with_layers(net, change)
    if not chosen:
        raise ConfigError(f"lora_on is {on!r}, but the layers of this net are "
                          f"{', '.join(names) or 'none'}: name some")
    return changed


def merged(net):
    """Return a net without adapters that computes the same, to 1e-5."""
    return with_layers(net, lambda name, layer:
                       layer.merged() if isinstance(layer, Adapted) else layer)


def with_layers(holder, change, name=""):
    """Return a copy with `change(name, layer)` for each linear layer; all tensors are shared."""
    if isinstance(holder, Linear):
        return change(name, holder)
    inside = f"{name}." if name else ""
    if isinstance(holder, list):
        return [with_layers(x, change, f"{inside}{i}") for i, x in enumerate(holder)]
    if not isinstance(holder, Module):
        return holder
    new = copy(holder)
    for key, value in vars(holder).items():
        setattr(new, key, with_layers(value, change, inside + key))
    return new


def matches(name, globs):
    """Whether a name matches one of some globs, commas between."""
    return any(fnmatchcase(name, glob) for glob in globs.split(","))


def is_adapter(name):
    """Whether a parameter of this name is an adapter's."""
    return name.endswith((A, B))


@contextmanager
def dropping(net, rng):
    """Within the block adapters drop some of what they read."""
    layers = []
    with_layers(net, lambda name, layer: layers.append(layer))
    adapters = [layer for layer in layers if isinstance(layer, Adapted)]
    for layer in adapters:
        layer.rng = rng
    try:
        yield
    finally:
        for layer in adapters:
            layer.rng = None


class Part(Module):
    """Some of the parameters of a net, by their names there: what a checkpoint holds of it."""

    def __init__(self, net, chosen):
        self.named = {name: x for name, x in net.named_parameters() if chosen(name, x)}

    def named_parameters(self):
        yield from self.named.items()
