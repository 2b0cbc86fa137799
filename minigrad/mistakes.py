"""Errors that teach: what happened, where, and what to do.

The engine calls these checks; none of them computes anything that a result depends on.
"""
import weakref

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from minigrad.mode import watch


def explain(error, op, arrays):
    """Make the same error say in which op and for which shapes it happened."""
    arrays = [x for x in arrays if isinstance(x, np.ndarray)]
    text = f"{op.name} of shapes {listed(x.shape for x in arrays)}: {error}"
    if op.signature and type(error) is ValueError:
        text += (f". Its signature is {op.signature}: axes of the same name need the same size, "
                 "the axes before them must broadcast; reshape or transpose an input")
    hints = [hint for word, hint in HINTS.items() if f"argument '{word}'" in text]
    text += "".join(hints[:1]).format(op.name)
    kinds = [x.dtype.kind for x in arrays]
    if kinds and "f" not in kinds and isinstance(error, TypeError):
        text += "; no input is a float: convert with .astype(np.float64)"
    try:
        return type(error)(text)
    except TypeError:                                 # NumPy's own kinds take other arguments
        return TypeError(text)


# What an argument that an operation does not have was meant for.
OF_NUMPY = "; in place of np.{0}(x) say x.{0}() or minigrad.{0}(x), so that it is recorded"
HINTS = {"dim": "; it is called axis here, as in NumPy", "keepdim": "; it is called keepdims here",
         "out": OF_NUMPY, "dtype": OF_NUMPY}


def listed(things):
    return ", ".join(map(str, things))


def numbers(data):
    """Refuse an array of anything but real numbers and booleans; bring others' byte order home."""
    if data.dtype.kind not in "fiub":
        raise TypeError(f"a Tensor holds real numbers or booleans, but the data is {data.dtype}: "
                        "convert it first (of complex numbers, take real and imaginary parts)")
    native = data.dtype.newbyteorder("=")
    return data if data.dtype.isnative else data.astype(native)


def check_name(op, known):
    """Refuse a second op of one name, unless it is the same one, declared once more."""
    if known and known.forward.__module__ != op.forward.__module__:
        raise ValueError(f"there is an op {op.name} already, in {known.forward.__module__}: give "
                         "yours another name")


def checked_pair(op, result):
    """Return what a forward returned, if it is a value and the tuple that is saved for the vjp."""
    if type(result) is tuple and len(result) == 2 and type(result[1]) is tuple:
        return result
    raise TypeError("forward must return two things, its value and a tuple of what its vjp needs: "
                    "`return out, (x,)` (nothing: `return out, ()`)")


def missing_vjp(op):
    """Make the vjp of an op that has none yet: it says so."""
    def vjp(g, *saved):
        raise NotImplementedError(f"{op.name} has no vjp: write a function {op.name}_vjp(g, ...) "
                                  f"of g and what forward saved, under the line @{op.name}.vjp")
    vjp.asks, vjp.is_missing = False, True
    return vjp


def has_vjp(op):
    """Whether the vjp of an op's reference is written."""
    _, vjp = op.bodies["reference"]
    return not hasattr(vjp, "is_missing")


def checked_rng(rng):
    """Return a generator; refuse a seed in its place."""
    if not hasattr(rng, "standard_normal"):           # as that of forecast.py, which draws none
        raise TypeError(f"rng is {rng!r}, but must be a random generator: make one, "
                        "rng = np.random.default_rng(0), and pass it to everything that is random")
    return rng


def check_dtypes(op, arrays, out):
    """Refuse a result that is wider than its inputs: float32 stays float32."""
    for x in arrays:
        if type(x) is np.ndarray and x.dtype is not out.dtype:
            break
    else:
        return                                        # the common case, at the least cost
    if op.name == "astype":
        return
    dtypes = [x.dtype for x in arrays if isinstance(x, np.ndarray)]
    floats = {dtype.newbyteorder("=") for dtype in dtypes if dtype.kind == "f"}
    is_wider = floats and out.dtype.kind == "f" and out.dtype not in floats
    if len(floats) > 1 or is_wider:
        raise TypeError(f"{op.name} of dtypes {listed(dtypes)} would give {out.dtype}: convert "
                        "the inputs to one float dtype with .astype")


def normalized_axes(axis, ndim):
    """Return axes as a tuple of numbers from 0 to ndim - 1, all of them for None; refuse others."""
    if axis is None:
        return tuple(range(ndim))
    try:
        return normalize_axis_tuple(axis, ndim)
    except np.exceptions.AxisError:
        remedy = f"use {-ndim} to {ndim - 1}" if ndim else "a single number has none"
        raise np.exceptions.AxisError(f"axis is {axis}, but there are {ndim} axes: {remedy}"
                                      ) from None


def checked_axis(axis):
    """Return an axis; refuse a second array in its place."""
    if np.ndim(axis):
        raise TypeError("several arrays are given as one list, as in concatenate([x, y])")
    return axis


def check_start(root, g):
    """Refuse to start backward where it cannot, or with a gradient of another shape."""
    if not root.requires_grad:
        raise RuntimeError("nothing that this tensor was computed from requires a gradient: set "
                           "requires_grad=True on the inputs, and compute outside no_grad()")
    if g is None and root.size != 1:
        raise ValueError(f"backward needs a scalar, but the shape is {root.shape}: reduce with "
                         ".sum() or .mean(), or pass the gradient of each element as grad=")
    shape = root.shape if g is None else np.shape(getattr(g, "data", g))
    if shape != root.shape:
        raise ValueError(f"grad has shape {shape}, but the tensor has shape {root.shape}")


def check_tuple(grads, op):
    """Refuse what a vjp returns if it is not a tuple."""
    if type(grads) is not tuple:
        raise TypeError(f"the vjp of {op.name} returned a {type(grads).__name__}: return a tuple "
                        "with one gradient for each input (with one input: `return dx,`)")


def check_gradient(dx, op, i):
    """Refuse an input that requires a gradient where the op has none for it."""
    if dx is None:
        raise RuntimeError(f"the vjp of {op.name} gives no gradient for input {i}, which requires "
                           "one: pass x.detach() there if it is meant to be constant")


def check_usable(node):
    """Refuse a node that has been freed or whose saved arrays have changed since."""
    if node.vjp is None:
        raise RuntimeError(f"backward has already been through the result of {node.op.name} and "
                           "freed what it saved: compute the loss again, or call the first "
                           "backward with retain_graph=True")
    changed = node.checksum is not None and node.checksum != checksum(node)
    if changed or written_since(node):
        shapes = listed(x.shape for x in node.inputs if hasattr(x, "shape"))
        raise RuntimeError(f"an array that the vjp of {node.op.name} (inputs {shapes}) needs was "
                           "changed in place after the forward pass: change a copy, or call "
                           "backward first")


# ---- writes in place -------------------------------------------------------------------------

class Writes:
    """Which memory was written in place, and when, counted in calls of `add`."""

    def __init__(self):
        self.clock = 0
        self.last = {}                                # id(memory) -> (clock, weak reference)

    def add(self, arrays):
        """Note that the memory of some arrays was written."""
        self.clock += 1
        for array in arrays:
            while isinstance(array.base, np.ndarray):
                array = array.base
            _, reference = self.last.get(id(array)) or (0, self.reference(array))
            self.last[id(array)] = self.clock, reference

    def reference(self, memory):
        """Refer to memory weakly, and forget it when it is gone."""
        key = id(memory)

        def forget(_):
            self.last.pop(key, None)
        return weakref.ref(memory, forget)


writes = Writes()


def mark_written(*arrays):
    """Tell the engine that arrays, of any shapes, were changed in place, as an optimizer does.

    A backward pass that needs one of them as it was then raises a RuntimeError.
    """
    writes.add(arrays)


def written_since(node):
    """Whether the engine was told of a write into what the node saved."""
    if node.made_at == writes.clock:
        return False
    written = writes.last.values()
    later = [memory() for clock, memory in written if clock > node.made_at]
    return any(np.may_share_memory(s, memory) for memory in later for s in saved_arrays(node))


def saved_arrays(node):
    return [s for s in node.saved if isinstance(s, np.ndarray)]


def checksum(node):
    return hash(tuple(s.tobytes() for s in saved_arrays(node)))


def check_writes():
    """Notice also writes that bypass Tensor (`x.data[0] = 1`), by checksums of what is saved."""
    return watch(lambda node: setattr(node, "checksum", checksum(node)))


def check_state(values, into):
    """Refuse to load a dict of arrays into another with other names or shapes; name them all."""
    problems = [f"{name} is missing" for name in into if name not in values]
    problems += [f"{name} is unexpected" for name in values if name not in into]
    for name, x in into.items():
        shape = np.shape(values.get(name, x))
        if shape != x.shape:
            problems.append(f"{name} has shape {shape} and not {x.shape}")
    if problems:
        raise ValueError("the state does not fit, and nothing was loaded: " + "; ".join(problems))
