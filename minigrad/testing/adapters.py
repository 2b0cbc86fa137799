"""One view of all that can be checked: ops, plain pairs, functions of Tensors, torch Functions."""
import inspect
import sys
import warnings
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from minigrad.kernels.rows import kernels_from
from minigrad.mode import use
from minigrad.tensor import Op, Tensor, backprop, sum_to_shape
from minigrad.testing import domains
from minigrad.testing.signatures import parse_signature


class Broken(Exception):
    """A law does not hold for a case; `law` and `case` are filled in by whoever checks."""

    law = case = None

    def __init__(self, message, hints=()):
        super().__init__(message)
        self.message, self.hints = message, list(hints)


class Pass(NamedTuple):
    """One forward pass and the way back."""
    outputs: tuple                                     # of arrays
    saved: tuple
    pull: object                                       # g, a tuple -> gradients, a tuple; also
                                                       # with which are wanted, with other saved
    asks: bool = False                                 # whether it can be asked for some of them


class Subject:
    """An operation at one level, as the laws see it.

    Parameters
    ----------
    op : Op
    level : str
        Which of its bodies is judged.
    names : list of str, optional
        Of the inputs, if `op.forward` does not tell.
    optional : set of int
        The inputs that may be None.
    reference : callable, optional
        forward(*arrays, **params), which must give the same outputs.
    jvp : callable, optional
        jvp(tangents, *arrays), the derivative of the outputs along the tangents.
    is_plain : bool
        Whether the bodies are somebody's NumPy functions, which take no Tensors.
    """

    def __init__(self, op, level="reference", names=None, optional=None, reference=None, jvp=None,
                 is_plain=False):
        self.op, self.level, self.reference, self.jvp = op, level, reference, jvp
        self.is_plain, self.explicit = is_plain, not (op.signature or op.inputs)
        found, may_miss = parameters(op.forward)
        self.names = found if names is None else names
        self.optional = may_miss if optional is None else optional
        self.n_inputs = len(parse_signature(op.signature)[0]) if op.signature else None
        self.batched = op.domain.get("batched")
        self.complex_works = level == "reference"      # until an example shows that it does not
        self.symmetries = {n: f for n, f in op.domain.items() if callable(f)}
        self.is_judge, self.judges = False, {}         # name -> the Points that others compare with

    @property
    def name(self):
        return self.op.name

    def name_of(self, i):
        return f"input {i} ({self.names[i]})" if i < len(self.names) else f"input {i}"

    def domain_of(self, i):
        domain = self.op.domain.get(self.names[i]) if i < len(self.names) else None
        return domain if isinstance(domain, str) else "real"

    def moves(self, i, x):
        """Say whether input i should receive a gradient."""
        return (isinstance(x, np.ndarray) and x.dtype.kind == "f"
                and "constant" not in domains.words(self.domain_of(i)))

    def forward(self, arrays, params):
        """Compute the outputs, as a tuple of arrays."""
        return self.run(arrays, params).outputs

    def run(self, arrays, params):
        """Run forward and return a Pass; errors of the operation become Broken."""
        arrays = [np.asarray(x) if isinstance(x, np.generic) else x for x in arrays]
        try:
            with use(self.level):
                if self.level == "parts" and self.op.composition:
                    return self.run_parts(arrays, params)
                forward, vjp = self.op.body(self.level, arrays, params)
                out, saved = forward(*arrays, **params)
            several = type(out) is tuple
            outputs = tuple(np.asarray(y) for y in (out if several else (out,)))
        except Exception as error:
            raise Broken(f"the forward pass raised {type(error).__name__}: {error}") from error
        if not several:
            saved = tuple(outputs[0] if s is out else s for s in saved)

        def pull(g, wants=None, instead=None):
            g = tuple(np.asarray(part) if isinstance(part, np.generic) else part for part in g)
            wants = wants or tuple(self.moves(i, x) for i, x in enumerate(arrays))
            asked = (wants,) if vjp.asks else ()
            return self.finish(arrays, lambda: vjp(
                g if several else g[0], *(saved if instead is None else instead), *asked))
        return Pass(outputs, saved, pull, vjp.asks)

    def finish(self, arrays, compute):
        """Run a backward pass and undo the broadcasting, if the engine would do so."""
        try:
            with use(self.level):
                grads = compute()
        except Exception as error:
            raise Broken(f"the backward pass raised {type(error).__name__}: {error}") from error
        if type(grads) is not tuple:
            raise Broken(f"the backward pass returned {type(grads).__name__}: return a tuple with "
                         "one gradient for each input")
        cores = self.op.core_ndim or [None] * len(arrays)
        return tuple(map(undo_broadcast, grads, arrays, cores)) + grads[len(arrays):]

    def run_parts(self, arrays, params):
        """Run the composition on Tensors and let the engine find the way back."""
        inputs = [Tensor(x, requires_grad=True) if self.moves(i, x) else x
                  for i, x in enumerate(arrays)]
        out = self.op.composition(*inputs, **params)
        several = out if isinstance(out, tuple) else (out,)

        def pull(g, wants=None):
            found = {}
            for y, g_y in zip(several, g):
                steps = (backprop(y, g_y, retain_graph=True)
                         if isinstance(y, Tensor) and y.requires_grad else ())
                for step in steps:
                    if step.node.op is None:
                        found[step.node] = found.get(step.node, 0) + step.g
            return tuple(found.get(x, np.zeros_like(x.data)) if isinstance(x, Tensor) else None
                         for x in inputs)
        return Pass(tuple(np.asarray(getattr(y, "data", y)) for y in several), (),
                    lambda g, wants=None: self.finish(arrays, lambda: pull(g)))

    def traced(self, arrays):
        """Return the inputs as Tensors, those that move requiring a gradient."""
        return [Tensor(x, requires_grad=self.moves(i, x)) if isinstance(x, np.ndarray) else x
                for i, x in enumerate(arrays)]

    def call(self, inputs, params):
        """Call the operation on Tensors at this level and return a tuple of Tensors."""
        try:
            with use(self.level):
                out = self.op(*inputs, **params)
        except Exception as error:
            raise Broken(f"the operation raised {type(error).__name__}: {error}") from error
        return out if isinstance(out, tuple) else (out,)


def undo_broadcast(dx, x, core):
    """Sum a gradient over the copies of x, as the engine does; other shapes stay as they are."""
    if dx is None or x is None or core is None or np.shape(x) == np.shape(dx):
        return dx
    return sum_to_shape(dx, x.shape, core) if np.ndim(dx) >= x.ndim else dx


@contextmanager
def judging():
    """Let nothing warn, and let kernels run on arrays so small that NumPy would be as good."""
    with kernels_from(1), np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def parameters(function):
    """Return the names of the positional parameters, and which of them may be None."""
    try:
        found = [p for p in inspect.signature(function).parameters.values()
                 if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    except (TypeError, ValueError):                    # a ufunc, or something in C
        return [], set()
    return [p.name for p in found], {i for i, p in enumerate(found) if p.default is None}


def levels(op):
    """List the bodies that an op has: what `use` would run at each level, without repetition."""
    return ["reference"] + ["fast"] * ("fast" in op.bodies) + ["parts"] * bool(op.composition)


# ---- what is not an Op -----------------------------------------------------------------------

def subjects(target, vjp, signature, inputs, domain, level, reference, jvp, explicit=False):
    """Make the subjects of one call of check_op."""
    if isinstance(target, Op):
        found = levels(target) if level is None else [level]
        return [Subject(target, name, reference=reference, jvp=jvp) for name in found]
    names, optional = parameters(target)
    if is_torch_function(target):
        names = parameters(target.forward)[0]
        names = names[1:] if names[:1] == ["ctx"] else names
        target, vjp = torch_pair(target)
    if vjp and not names:                              # older NumPy names no input of a ufunc
        names = parameters(vjp)[0][1:]
    domain = named_domain(names, domain)
    if signature is None and inputs is None and not explicit:
        raise ValueError('say which shapes the inputs have: a signature such as "(m,k),(k)->(m)", '
                         "or inputs=")
    make = op_of_pair if vjp else op_of_function
    op = make(target, vjp, signature, inputs, domain)
    return [Subject(op, "reference" if vjp else "parts", names, optional, reference, jvp,
                    is_plain=bool(vjp))]


def named_domain(names, domain):
    """Turn "positive" or ("real", "positive") into a domain for each input by name."""
    if isinstance(domain, str):
        return dict.fromkeys(names, domain)
    if isinstance(domain, (tuple, list)):
        return dict(zip(names, domain))
    unknown = {n for n, d in (domain or {}).items() if isinstance(d, str)} - {*names}
    if unknown:
        raise ValueError(f"domain= names {sorted(unknown)[0]!r}, but the inputs are "
                         f"{', '.join(names)}")
    return dict(domain or {})


def op_of_pair(forward, vjp, signature, inputs, domain):
    """Make an Op of forward(*arrays) -> out and vjp(g, *arrays) -> gradients."""
    def body(*arrays, **params):
        out = forward(*arrays, **params)
        return tuple(out) if isinstance(out, (tuple, list)) else out, arrays

    def pull(g, *arrays):
        grads = vjp(g, *arrays)
        if isinstance(grads, list):
            return tuple(grads)
        alone = isinstance(grads, (np.ndarray, np.generic)) and len(arrays) == 1
        return (grads,) if alone else grads
    body.__name__, body.__doc__ = name_of_function(forward), forward.__doc__
    op = Op(body, signature, inputs, domain)
    op.core_ndim = None                                # a plain vjp undoes its own broadcasting
    op.vjp(pull)
    return op


def op_of_function(function, _, signature, inputs, domain):
    """Make an Op whose only body is a function of Tensors; the engine differentiates it."""
    def body(*arrays, **params):
        out = function(*map(Tensor, arrays), **params)
        return (tuple(y.data for y in out) if isinstance(out, tuple) else out.data), arrays
    body.__name__, body.__doc__ = name_of_function(function), function.__doc__
    op = Op(body, signature, inputs, domain)
    op.parts(function)
    return op


def name_of_function(function):
    return getattr(function, "__name__", type(function).__name__).replace("<lambda>", "function")


def is_torch_function(target):
    """Recognize a subclass of torch.autograd.Function without importing torch."""
    torch = sys.modules.get("torch")
    return (torch is not None and isinstance(target, type)
            and issubclass(target, torch.autograd.Function))


def torch_pair(function):
    """Make forward and vjp on arrays of a torch.autograd.Function."""
    import torch

    def as_torch(x):
        return torch.from_numpy(np.array(x)) if isinstance(x, np.ndarray) else x

    def forward(*arrays):
        out = function.apply(*map(as_torch, arrays))
        return tuple(y.numpy() for y in out) if isinstance(out, tuple) else out.numpy()

    def vjp(g, *arrays):
        tensors = [as_torch(x) for x in arrays]
        floats = [x for x in tensors if torch.is_tensor(x) and x.is_floating_point()]
        for x in floats:
            x.requires_grad_()
        out = function.apply(*tensors)
        out, g = (out, g) if isinstance(out, tuple) else ((out,), (g,))
        found = dict(zip(map(id, floats), torch.autograd.grad(
            out, floats, [as_torch_layout(torch, x) for x in g], allow_unused=True)))
        return tuple(None if found.get(id(x)) is None else found[id(x)].detach().numpy()
                     for x in tensors)
    forward.__name__ = function.__name__
    return forward, vjp


def as_torch_layout(torch, x):
    """Hand over g with its strides, which torch cannot have negative."""
    positive = all(s >= 0 for s in x.strides)
    return torch.from_numpy(x if positive and x.flags.writeable else x.copy())
