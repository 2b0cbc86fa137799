"""One view of all that can be checked: ops, plain pairs, functions of Tensors, torch Functions."""
import inspect
import sys
import warnings
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from minigrad.kernels.rows import kernels_from
from minigrad.mode import use
from minigrad.tensor import Op, Tensor, backprop, detach, needs_grad, sum_to_shape
from minigrad.testing import domains
from minigrad.testing.arrays import as_tuple, is_array, is_float
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
        self.op, self.level = op, level
        self.reference, self.jvp = reference, jvp
        self.is_plain = is_plain
        self.explicit = not (op.signature or op.inputs)
        found, may_miss = parameters(op.forward)
        self.names = found if names is None else names
        self.optional = may_miss if optional is None else optional
        self.n_inputs = len(parse_signature(op.signature)[0]) if op.signature else None
        self.batched = op.domain.get("batched")
        self.complex_works = level == "reference"      # until an example shows that it does not
        self.symmetries = {n: f for n, f in op.domain.items() if callable(f)}
        self.is_judge = False
        self.judges = {}                               # name -> the Points that others compare with

    @property
    def name(self):
        return self.op.name

    def name_of(self, i):
        known = self.names[i:i + 1]
        return f"input {i} ({known[0]})" if known else f"input {i}"

    def domain_of(self, i):
        known = self.names[i:i + 1]
        domain = self.op.domain.get(known[0]) if known else None
        return domain if isinstance(domain, str) else "real"

    def moves(self, i, x):
        """Say whether input i should receive a gradient."""
        return is_float(x) and "constant" not in domains.words(self.domain_of(i))

    def wanted(self, arrays):
        """Say of each input whether it should receive a gradient."""
        return tuple(self.moves(i, x) for i, x in enumerate(arrays))

    def forward(self, arrays, params):
        """Compute the outputs, as a tuple of arrays."""
        return self.run(arrays, params).outputs

    def run(self, arrays, params):
        """Run forward and return a Pass; errors of the operation become Broken."""
        arrays = no_scalars(arrays)
        try:
            with use(self.level):
                if self.level == "parts" and self.op.composition:
                    return self.run_parts(arrays, params)
                forward, vjp = self.op.body(self.level, arrays, params)
                out, saved = forward(*arrays, **params)
            several = type(out) is tuple
            outputs = tuple(map(np.asarray, as_tuple(out)))
        except Exception as error:
            raise Broken(f"the forward pass raised {type(error).__name__}: {error}") from error
        if not several:
            saved = tuple(outputs[0] if s is out else s for s in saved)

        def pull(g, wants=None, instead=None):
            g = no_scalars(g)
            given = g if several else g[0]
            kept = saved if instead is None else instead
            asked = (wants or self.wanted(arrays),) if vjp.asks else ()
            return self.finish(arrays, lambda: vjp(given, *kept, *asked))
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
        n = len(arrays)
        cores = self.op.core_ndim or [None] * n
        return (*map(undo_broadcast, grads, arrays, cores), *grads[n:])

    def run_parts(self, arrays, params):
        """Run the composition on Tensors and let the engine find the way back."""
        wanted = self.wanted(arrays)
        inputs = [Tensor(x, requires_grad=True) if moves else x
                  for x, moves in zip(arrays, wanted)]
        out = as_tuple(self.op.composition(*inputs, **params))

        def gradients(g):
            found = leaf_gradients(out, g, retain_graph=True)
            return tuple(found.get(x, np.zeros_like(x.data)) if moves else None
                         for x, moves in zip(inputs, wanted))

        def pull(g, wants=None, instead=None):         # the parts can be asked for all only
            return self.finish(arrays, lambda: gradients(g))
        return Pass(tuple(map(np.asarray, detach(out))), (), pull)

    def traced(self, arrays):
        """Return the inputs as Tensors, those that move requiring a gradient."""
        wanted = self.wanted(arrays)
        return [Tensor(x, requires_grad=moves) if is_array(x) else x
                for x, moves in zip(arrays, wanted)]

    def call(self, inputs, params):
        """Call the operation on Tensors at this level and return a tuple of Tensors."""
        try:
            with use(self.level):
                out = self.op(*inputs, **params)
        except Exception as error:
            raise Broken(f"the operation raised {type(error).__name__}: {error}") from error
        return as_tuple(out)


def leaf_gradients(outputs, g, **options):
    """Run backward from several outputs and return {leaf: gradient}; None as g starts nothing."""
    found = {}
    for y, g_y in zip(outputs, g):
        if g_y is None or not needs_grad(y):
            continue
        for step in backprop(y, g_y, **options):
            if step.node.op is None:
                known = found.get(step.node)
                found[step.node] = step.g if known is None else known + step.g
    return found


def no_scalars(arrays):
    """Make arrays of NumPy's numbers, which its functions return in place of () arrays."""
    return tuple(np.asarray(x) if isinstance(x, np.generic) else x for x in arrays)


def undo_broadcast(dx, x, core):
    """Sum a gradient over the copies of x, as the engine does; other shapes stay as they are."""
    if dx is None or x is None or core is None:
        return dx
    is_like = np.shape(x) == np.shape(dx)
    if is_like or np.ndim(dx) < x.ndim:
        return dx
    return sum_to_shape(dx, x.shape, core)


@contextmanager
def judging():
    """Let nothing warn, and let kernels run on arrays so small that NumPy would be as good."""
    quiet = np.errstate(all="ignore")
    with kernels_from(1), quiet, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def parameters(function):
    """Return the names of the positional parameters, and which of them may be None."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):                    # a ufunc, or something in C
        return [], set()
    found = [p for p in signature.parameters.values()
             if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    optional = {i for i, p in enumerate(found) if p.default is None}
    return [p.name for p in found], optional


def levels(op):
    """List the bodies that an op has: what `use` would run at each level, without repetition."""
    has = {"reference": True, "fast": "fast" in op.bodies, "parts": op.composition}
    return [level for level in has if has[level]]


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
    domain = dict(domain or {})
    of_inputs = {name for name, d in domain.items() if isinstance(d, str)}
    unknown = sorted(of_inputs - {*names})
    if unknown:
        raise ValueError(f"domain= names {unknown[0]!r}, but the inputs are {', '.join(names)}")
    return domain


def op_of_pair(forward, vjp, signature, inputs, domain):
    """Make an Op of forward(*arrays) -> out and vjp(g, *arrays) -> gradients."""
    def body(*arrays, **params):
        out = forward(*arrays, **params)
        return tuple(out) if isinstance(out, (tuple, list)) else out, arrays

    def pull(g, *arrays):
        grads = vjp(g, *arrays)
        if isinstance(grads, list):
            return tuple(grads)
        is_alone = isinstance(grads, (np.ndarray, np.generic))
        return (grads,) if is_alone and len(arrays) == 1 else grads
    op = Op(named_like(forward, body), signature, inputs, domain)
    op.core_ndim = None                                # a plain vjp undoes its own broadcasting
    op.vjp(pull)
    return op


def op_of_function(function, _, signature, inputs, domain):
    """Make an Op whose only body is a function of Tensors; the engine differentiates it."""
    def body(*arrays, **params):
        out = function(*map(Tensor, arrays), **params)
        return detach(out), arrays
    op = Op(named_like(function, body), signature, inputs, domain)
    op.parts(function)
    return op


def named_like(function, body):
    """Give a body the name and the docstring of a function."""
    name = getattr(function, "__name__", type(function).__name__)
    body.__name__ = name.replace("<lambda>", "function")
    body.__doc__ = function.__doc__
    return body


def is_torch_function(target):
    """Recognize a subclass of torch.autograd.Function without importing torch."""
    torch = sys.modules.get("torch")
    return (torch is not None and isinstance(target, type)
            and issubclass(target, torch.autograd.Function))


def torch_pair(function):
    """Make forward and vjp on arrays of a torch.autograd.Function."""
    import torch

    def as_torch(x):
        return torch.from_numpy(np.array(x)) if is_array(x) else x

    def forward(*arrays):
        out = function.apply(*map(as_torch, arrays))
        return tuple(y.numpy() for y in out) if isinstance(out, tuple) else out.numpy()

    def vjp(g, *arrays):
        tensors = list(map(as_torch, arrays))
        moving = [i for i, x in enumerate(arrays) if is_float(x)]
        floats = [tensors[i].requires_grad_() for i in moving]
        out = as_tuple(function.apply(*tensors))
        g = [as_torch_layout(torch, part) for part in as_tuple(g)]
        grads = [None] * len(tensors)
        found = torch.autograd.grad(out, floats, g, allow_unused=True)
        for i, dx in zip(moving, found):
            grads[i] = dx if dx is None else dx.detach().numpy()
        return tuple(grads)
    forward.__name__ = function.__name__
    return forward, vjp


def as_torch_layout(torch, x):
    """Hand over g with its strides, which torch cannot have negative."""
    is_fit = x.flags.writeable and all(s >= 0 for s in x.strides)
    return torch.from_numpy(x if is_fit else x.copy())
