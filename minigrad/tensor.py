"""Reverse-mode automatic differentiation: the whole engine.

A Tensor is an array plus a record of how it was made. An Op is a pair of plain functions on
arrays: `forward`, which also says what to save, and `vjp`, which turns the gradient of the
output into the gradients of the inputs. `backprop` walks the record from the loss to the leaves.
Nothing here knows any calculus; that is in minigrad/ops.
"""
import inspect
import re
from itertools import zip_longest
from typing import NamedTuple

import numpy as np

from minigrad.mistakes import (
    check_dtypes, check_gradient, check_name, check_start, check_tuple, check_usable, checked_pair,
    explain, mark_written, missing_vjp, numbers, writes)
from minigrad.mode import mode

OPS = {}                                              # name -> Op; tests and docs loop over it


# ---- the tensor ------------------------------------------------------------------------------

class Tensor:
    """An array, its gradient, and how it was computed.

    Parameters
    ----------
    data : array_like of numbers or booleans
        Kept without a copy if it is an ndarray in the machine's byte order. The dtype is the data's
        (float64 for Python floats, as in NumPy; torch would make it float32).
    requires_grad : bool
        Whether `backward` should leave a gradient in `grad`.

    Attributes
    ----------
    grad : ndarray or None, same shape and dtype as `data`
        The sum of all gradients that `backward` brought here; set it to None between steps.
    op, inputs : Op or None, tuple
        What made this tensor and from what; None and () for a leaf.
    """

    __slots__ = ("data", "grad", "requires_grad", "op", "inputs", "traced", "params", "saved",
                 "vjp", "made_at", "checksum", "__weakref__")
    __array_priority__ = 1                            # so that ndarray * Tensor asks Tensor
    __hash__ = object.__hash__                        # `==` compares values, sets go by identity

    def __init__(self, data, requires_grad=False):
        if type(data) is not np.ndarray:
            data = np.asarray(data)                   # of a Tensor with a gradient: refused
        self.data, self.requires_grad = numbers(data), requires_grad
        self.grad = self.op = self.params = self.checksum = None
        self.inputs = self.traced = self.saved = ()   # traced: the inputs that need a gradient
        self.vjp = to_nobody
        if requires_grad and self.data.dtype.kind != "f":
            raise TypeError(f"only floats have a gradient, but the data is {self.data.dtype}; "
                            "convert it with .astype(np.float32) or .astype(np.float64)")

    def backward(self, grad=None, retain_graph=False):
        """Add the gradient of this tensor to `leaf.grad` for every leaf that requires it.

        Parameters
        ----------
        grad : array_like, shape of self, optional
            What to multiply the Jacobian with from the left; 1 for a scalar.
        retain_graph : bool
            Keep what the vjps saved, so that backward can run once more.

        Raises
        ------
        ValueError
            Without `grad`, if this is not a scalar.
        RuntimeError
            If nothing here requires a gradient, the graph has been freed, or an array that a vjp
            needs was changed in place.
        """
        for node, g, _ in (mode.reader or backprop)(self, grad, retain_graph=retain_graph):
            if node.op is None:
                if node.grad is None:
                    node.grad = g
                else:
                    node.grad += g

    shape = property(lambda self: self.data.shape)
    dtype = property(lambda self: self.data.dtype)
    ndim = property(lambda self: self.data.ndim)
    size = property(lambda self: self.data.size)

    __len__ = lambda self: len(self.data)
    __iter__ = lambda self: map(self.__getitem__, range(len(self)))
    __bool__ = lambda self: bool(self.data)
    __float__ = lambda self: float(self.item())
    __int__ = lambda self: int(self.item())
    __format__ = lambda self, spec: format(self.item() if spec else repr(self), spec)

    def numpy(self):
        """Return the array itself, not a copy (torch refuses if a gradient is required)."""
        return self.data

    def detach(self):
        """Return a tensor of the same array that no gradient flows through."""
        return Tensor(self.data)

    def item(self):
        """Return the only element as a Python number."""
        return self.data.item()

    def __array__(self, dtype=None, copy=None):
        if self.requires_grad:
            raise TypeError("NumPy would drop the gradient of this tensor: use the method or the "
                            "function of minigrad, or say x.detach() or x.data")
        return np.array(self.data, dtype=dtype, copy=copy)

    def __setitem__(self, index, value):
        """Write in place; backward notices if it needed the old values."""
        if self.requires_grad and mode.recording:
            raise RuntimeError("writing in place into a tensor that requires a gradient cannot be "
                               "recorded: use where() or concatenate(), or write in no_grad()")
        self.data[detach(index)] = detach(value)
        mark_written(self.data)

    def __repr__(self):
        value = np.array2string(self.data, separator=", ", prefix="Tensor(", threshold=100)
        by = f", op={self.op.name}" if self.op else int(self.requires_grad) * ", requires_grad=True"
        return f"Tensor({value}, shape={self.shape}, dtype={self.dtype}{by})"


def detach(x):
    """Return the array of a Tensor; anything else as it is."""
    if isinstance(x, tuple):
        return tuple(detach(part) for part in x)
    return x.data if isinstance(x, Tensor) else x


def weak(x):
    """Turn NumPy's scalar into Python's, which takes the dtype of the arrays around it."""
    return float(x) if isinstance(x, np.floating) else x.item()


def to_nobody(g):
    """Pass nothing on: the vjp of a leaf."""
    return ()


def needs_grad(x):
    return isinstance(x, Tensor) and x.requires_grad


# ---- operations ------------------------------------------------------------------------------

class Op:
    """One differentiable operation: a formula, its vjp and, optionally, a fast path.

    Calling an Op with Tensors runs one body and records the result; calling it with arrays just
    computes. The bodies never see a Tensor, but for `vjp` when gradients are differentiated.
    """

    def __init__(self, forward, signature=None, inputs=None, domain=(), replayed=False):
        self.name, self.__doc__ = forward.__name__.strip("_"), forward.__doc__
        self.forward, self.signature, self.replayed = forward, signature, replayed
        self.inputs, self.domain = inputs, dict(domain)
        self.core_ndim = signature and core_dimensions(signature)
        self.bodies = {"reference": [forward, missing_vjp(self)]}     # level -> [forward, vjp]
        forward.asks = False
        self.composition = self.when = None           # the parts; what the fast path takes

    def vjp(self, function):
        """Register `function(g, *saved)`, which returns a tuple: one gradient for each input.

        If its last parameter is `wants`, it gets a tuple of booleans: which are asked for.
        """
        return self._register("reference", 1, function)

    def fast(self, when):
        """Register a faster `forward`, which saves the same unless there is a `fast_vjp`.

        `when(*arrays, **params)` tells whether it takes these, else the reference does. It may ask
        for `wants`, too.
        """
        self.when = when
        return lambda function: self._register("fast", 0, function)

    def fast_vjp(self, function):
        """Register a faster `vjp`."""
        return self._register("fast", 1, function)

    def parts(self, function):
        """Register the same operation written with smaller ones."""
        self.composition = function
        return function

    def _register(self, level, place, function):
        function.asks = "wants" in inspect.signature(function).parameters
        self.bodies.setdefault(level, list(self.bodies["reference"]))[place] = function
        return function

    def __call__(self, *args, **params):
        if mode.level == "parts" and self.composition:
            return self.composition(*args, **params)
        if params and any(isinstance(x, Tensor) for x in params.values()):
            args, params = self._by_position(args, params)
        tensors = [x for x in args if isinstance(x, Tensor)]
        arrays = [x.data if isinstance(x, Tensor)
                  else weak(x) if tensors and isinstance(x, np.generic)
                  else x for x in args]
        try:
            forward, vjp = self.body(mode.level, arrays, params)
            asked = {"wants": tuple(map(needs_grad, args))} if forward.asks else {}
            out, saved = checked_pair(self, forward(*arrays, **params, **asked))
        except (ValueError, TypeError, IndexError, OverflowError) as error:
            raise explain(error, self, arrays) from error
        if not tensors:
            return out
        several = type(out) is tuple
        node = Tensor(out[0] if several else out)
        check_dtypes(self, arrays, node.data)
        if several:
            node.data = out                           # one node; `pick` makes its outputs
        elif type(out) is not np.ndarray:             # NumPy turns 0-d arrays into scalars
            saved = tuple(node.data if s is out else s for s in saved)
        traced = mode.recording and tuple(x for x in tensors if x.requires_grad)
        if traced:
            self._record(node, args, params, traced, saved, vjp)
        if several and traced:
            return tuple(pick(node, i) for i in range(len(out)))
        return tuple(map(Tensor, out)) if several else node

    def body(self, level, arrays, params):
        """Return the (forward, vjp) that run at a level for these inputs."""
        fast = level == "fast" and "fast" in self.bodies
        level = "fast" if fast and self.when(*arrays, **params) else "reference"
        for hear in mode.listeners:
            hear(self, level, arrays, params)
        return self.bodies[level]

    def _record(self, node, args, params, traced, saved, vjp):
        """Write down how `node` was made; without this it is a plain array."""
        if vjp.asks:
            saved = (*saved, tuple(map(needs_grad, args)))
        node.requires_grad, node.made_at = True, writes.clock
        node.op, node.inputs, node.params = self, args, params
        node.traced, node.saved, node.vjp = traced, saved, vjp
        for watch in mode.watchers:
            watch(node)

    def _by_position(self, args, params):
        """Put tensors that were given by name among the inputs, in the order of `forward`."""
        bound = inspect.signature(self.forward).bind(*args, **params)
        bound.apply_defaults()
        names, values = zip(*bound.arguments.items())
        n = 1 + max(i for i, x in enumerate(values) if isinstance(x, Tensor))
        return values[:n], dict(zip(names[n:], values[n:]))

    def __repr__(self):
        return f"<op {self.name} {self.signature or ''}>"


def op(signature=None, *, inputs=None, replayed=False, **domain):
    """Declare an operation.

    Parameters
    ----------
    signature : str
        A gufunc signature (NEP 20) such as "(m,k),(k,n)->(m,n)". The axes before those named
        broadcast, and the engine undoes it in the backward pass.
    inputs : callable
        For an operation that no signature fits: `inputs(draw)` makes example arguments for the
        tests and returns them as (arrays, params); see minigrad.testing for what `draw` offers.
    replayed : bool
        Whether all that depends on values goes through `minigrad.kernels.jit.run`, forward and
        backward, at level fast.
    **domain
        For an input by name, which values it takes: "positive", "away_from_zero", "index(v)", ...
        `batched` names the inputs that take leading axes, if not all do.
    """
    def declare(forward):
        new = Op(forward, signature, inputs, domain, replayed)
        check_name(new, OPS.get(new.name))
        OPS[new.name] = new
        return new
    return declare


def core_dimensions(signature):
    """Count the named axes of every input: "(m,k),(k)->(m)" gives [2, 1]."""
    inputs = re.findall(r"\(([^)]*)\)", signature.split("->")[0])
    return [len(re.findall(r"\w+", core)) for core in inputs]


@Op
def pick(outputs, i):
    """Take output i of an op that has several."""
    return outputs[i], (i, len(outputs))

pick.replayed = True

@pick.vjp
def pick_vjp(g, i, n):
    return tuple(g if j == i else None for j in range(n)),


# ---- the backward pass -----------------------------------------------------------------------

class Step(NamedTuple):
    """One step of backpropagation: a node, the gradient that arrived, what it passes on."""
    node: Tensor
    g: np.ndarray                                     # d(root)/d(node); a leaf may keep it
    grads: tuple                                      # one contribution for each input, or None


def topological_order(root, leaves=()):
    """Yield every node after all of its users, and a leaf as soon as its last user is done."""
    users, found = {root: 0}, [root]                  # node -> how many have not been yielded
    while found:
        for x in traced_inputs(found.pop(), leaves):
            if x not in users:
                users[x] = 0
                found.append(x)
            users[x] += 1
    ready = [root]                                    # nodes all of whose users are done
    while ready:
        node = ready.pop()
        inputs = traced_inputs(node, leaves)          # asked first: backprop frees the node
        yield node
        for x in inputs:
            users[x] -= 1
            if users[x] == 0:
                del users[x]
                if x.op is None or x in leaves:
                    yield x
                else:
                    ready.append(x)


def traced_inputs(node, leaves):
    return () if node in leaves else node.traced


def add_gradients(so_far, dx, ours=False):
    """Sum contributions: the first is borrowed, the second makes a new array, later ones add.

    `so_far` and the result are pairs: the sum, and whether its memory is ours to write into.
    """
    if so_far is None:
        return dx, ours
    g, owned = so_far
    if type(dx) is tuple:                             # of an op with several outputs
        return tuple(b if a is None else a if b is None else a + b for a, b in zip(g, dx)), False
    if owned and not isinstance(dx, Tensor):
        g += dx
        return g, True
    return g + dx, True


def backprop(root, g=None, *, retain_graph=False, leaves=frozenset(), run_vjp=None,
             order=topological_order, add=add_gradients, take=dict.pop):
    """Walk the graph from `root` to the leaves and yield a Step for each node.

    Parameters
    ----------
    root : Tensor
    g : array_like or Tensor, shape of root, optional
        The gradient that starts; 1 for a scalar.
    retain_graph : bool
        Keep what the vjps saved.
    leaves : set of Tensor
        Nodes to stop at, as if nothing had made them.
    run_vjp : callable, optional
        From (node, g) to gradients that are Tensors, to differentiate them once more; the graph
        is kept then.
    order, add, take : callable
        How to visit the nodes, how to sum contributions, and how to take the sum of a node when
        its turn has come, `take(pending, node)`.
    """
    pending = begun(root, g)                          # node -> (sum so far, is it ours)
    for node, g in arriving(order(root, leaves), pending, take, leaves, retain_graph or run_vjp):
        # The chain rule; to see it, step into the next line.
        grads = () if node in leaves else run_vjp(node, g) if run_vjp else node.vjp(g, *node.saved)
        yield Step(node, g, passed_on(node, g, grads, pending, add))


def begun(root, g):
    """Return the sums that a walk begins with: the gradient of the root, and no other."""
    check_start(root, g)
    if not isinstance(g, Tensor):
        g = np.ones_like(root.data) if g is None else np.asarray(g, root.dtype)
    return {root: (g, False)}                         # the caller's memory: not ours


def arriving(nodes, pending, take, leaves, keep):
    """Yield nodes with the gradients that have arrived there; free each node, unless to be kept."""
    for node in nodes:
        if node not in pending:                       # nothing that varies with it was sent
            continue
        g, ours = take(pending, node)
        if node.op is None or node in leaves:
            yield node, g if isinstance(g, Tensor) else np.asarray(g) if ours else np.array(g)
            continue
        check_usable(node)
        if type(node.data) is tuple:                  # outputs, not all of which were used
            g = tuple(np.zeros_like(x) if dx is None else dx for x, dx in zip(node.data, g))
        yield node, g
        if not keep:
            node.vjp = node.saved = None
            node.inputs = node.traced = ()


def passed_on(node, g, grads, pending, add):
    """Add what a vjp returned to the sums of the inputs, and return it."""
    check_tuple(grads, node.op)
    pairs = zip_longest(node.inputs, grads) if grads else ()    # a vjp may leave out the last
    for i, (x, dx) in enumerate(pairs):
        if needs_grad(x):
            dx = unbroadcast(dx, x, node.op, i)
            ours = (x.op is None and type(dx) is np.ndarray
                    and is_fresh(dx, g, node.saved, grads))
            pending[x] = add(pending.get(x), dx, ours)
    return grads


def unbroadcast(dx, x, op, i):
    """Sum `dx` over the axes that input i was stretched along: the vjp of broadcasting.

    The axes that the op's signature names belong to the op and are never summed.
    """
    check_gradient(dx, op, i)
    if type(dx) is tuple or dx.shape == x.shape:
        return dx
    if op.core_ndim:
        dx = sum_to_shape(dx, x.shape, op.core_ndim[i])
    if dx.shape != x.shape:
        raise ValueError(f"the vjp of {op.name} gave a gradient of shape {dx.shape} for input "
                         f"{i}, which has shape {x.shape}")
    return dx


def sum_to_shape(dx, shape, core=0):
    """Sum away the leading axes that `shape` lacks, and those where it has size 1."""
    extra = dx.ndim - len(shape)
    if extra > 0:
        dx = dx.sum(axis=tuple(range(extra)))
    stretched = tuple(j for j in range(len(shape) - core) if shape[j] == 1 != dx.shape[j])
    return dx.sum(axis=stretched, keepdims=True) if stretched else dx


def is_fresh(dx, g, saved, grads):
    """Whether a vjp, which sees only g and saved, made the memory of `dx` for us alone."""
    given = (*g, *saved) if type(g) is tuple else (g, *saved)
    return (not isinstance(dx.base, np.ndarray) and not any(dx is x for x in given)
            and sum(dx is other for other in grads) <= 1)
