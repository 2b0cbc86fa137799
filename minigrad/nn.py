"""Modules: functions that hold their parameters.

A module is its fields. Every Tensor among them is a parameter; a plain array is a constant. There
is no train or eval mode: what is random asks for an rng.
"""
import numpy as np

from minigrad.mistakes import check_state, checked_rng, mark_written
from minigrad.ops import dropout, embedding, layer_norm, linear, rms_norm
from minigrad.tensor import Tensor


class Module:
    """Base of everything that holds parameters; a subclass defines __init__ and __call__.

    Parameters are found in the fields, in the order in which they were set, and in lists, tuples,
    dicts and modules there. A tensor that is found twice (weight tying) counts once, under the
    first of its names.
    """

    def named_parameters(self):
        """Yield (name, Tensor), with names such as "blocks.0.attention.weight"."""
        seen = set()                                  # of Tensor
        for name, x in named_tensors(self):
            if x not in seen:
                seen.add(x)
                yield name, x

    def parameters(self):
        """Return the parameters as a list."""
        return [x for _, x in self.named_parameters()]

    def state_dict(self):
        """Return {name: array}. These are the parameters' own arrays: copy what is to be kept."""
        return {name: x.data for name, x in self.named_parameters()}

    def load_state_dict(self, values):
        """Copy arrays into the parameters, each keeping its dtype.

        Parameters
        ----------
        values : dict of str to array
            As from `state_dict`.

        Raises
        ------
        ValueError
            Naming all that is missing, unexpected or of another shape; nothing is changed then.
        """
        into = self.state_dict()
        check_state(values, into)
        for name, x in into.items():
            x[...] = values[name]
            mark_written(x)                           # graphs that saved it are out of date

    def __repr__(self):
        lines = [f"\n  {name} {x.shape} {x.dtype}" for name, x in self.named_parameters()]
        return f"{type(self).__name__}({','.join(lines)})"


def named_tensors(holder, name=""):
    """Yield (name, Tensor) for every place where a tensor is held."""
    if isinstance(holder, Tensor):
        yield name, holder
    if isinstance(holder, list | tuple):
        holder = dict(enumerate(holder))
    held = vars(holder) if isinstance(holder, Module) else holder
    for key, value in held.items() if isinstance(held, dict) else ():
        yield from named_tensors(value, f"{name}.{key}" if name else str(key))


def normal(rng, shape, std, dtype=np.float32):
    """Make a parameter of independent normal numbers of mean 0."""
    noise = checked_rng(rng).standard_normal(shape, dtype)
    return Tensor(noise * float(std), requires_grad=True)


def full(shape, value, dtype=np.float32):
    """Make a parameter of equal numbers."""
    return Tensor(np.full(shape, value, dtype), requires_grad=True)


class Linear(Module):
    """x W^T + bias, from (..., d_in) to (..., d_out).

    The weight, (d_out, d_in), starts with standard deviation `std`, 1 / sqrt(d_in) unless given:
    then the output varies as much as the input (LeCun et al. 1998, Efficient BackProp, 4.6). The
    bias starts at 0. (torch draws both uniformly from +-1 / sqrt(d_in).)

    Parameters
    ----------
    d_in, d_out : int
    rng : numpy.random.Generator
    bias : bool
    std : float, optional
    dtype : float type
    """

    def __init__(self, d_in, d_out, *, rng, bias=True, std=None, dtype=np.float32):
        std = d_in ** -0.5 if std is None else std
        self.weight = normal(rng, (d_out, d_in), std, dtype)
        self.bias = full(d_out, 0, dtype) if bias else None

    def __call__(self, x):
        return linear(x, self.weight, self.bias)      # (..., d_out)


class Embedding(Module):
    """One row of the weight, (vocab_size, d_model), for each id; std as in GPT-2 (torch: 1).

    Parameters
    ----------
    vocab_size, d_model : int
    rng : numpy.random.Generator
    std : float
    dtype : float type
    """

    def __init__(self, vocab_size, d_model, *, rng, std=0.02, dtype=np.float32):
        self.weight = normal(rng, (vocab_size, d_model), std, dtype)

    def __call__(self, ids):
        return embedding(ids, self.weight)            # (..., d_model) for ids (...)


class LayerNorm(Module):
    """Layer norm over the last axis, with a gain that starts at 1 and a bias that starts at 0.

    Parameters
    ----------
    d_model : int
    bias : bool
    eps : float
    dtype : float type
    """

    def __init__(self, d_model, *, bias=True, eps=1e-5, dtype=np.float32):
        self.gain, self.eps = full(d_model, 1, dtype), eps
        self.bias = full(d_model, 0, dtype) if bias else None

    def __call__(self, x):
        return layer_norm(x, self.gain, self.bias, eps=self.eps)      # (..., d_model)


class RMSNorm(Module):
    """RMS norm over the last axis, with a gain that starts at 1.

    Parameters
    ----------
    d_model : int
    eps : float
    dtype : float type
    """

    def __init__(self, d_model, *, eps=1e-5, dtype=np.float32):
        self.gain, self.eps = full(d_model, 1, dtype), eps

    def __call__(self, x):
        return rms_norm(x, self.gain, eps=self.eps)   # (..., d_model)


class Dropout(Module):
    """Drop with probability `rate` when an rng is passed, and nothing otherwise."""

    def __init__(self, rate: float):
        self.rate = rate

    def __call__(self, x, rng=None):
        return dropout(x, self.rate, rng)
