"""The mistakes that people make in a backward pass.

Two kinds: those that fit any operation (a sign, a lost sum over copies, a write into g, ...), and
changes to the source of the vjp (a term dropped, a sum that becomes a mean, ...). Each is a tuple
(name, the law meant to notice it, wrong vjp, whether it applies to a Point or None for always),
with `wrong(right, g, saved, call)`, where `right(g)` is the true vjp.
"""
import ast
import functools
import inspect
import textwrap

import numpy as np

from minigrad.mistakes import has_vjp
from minigrad.tensor import Tensor, detach, sum_to_shape
from minigrad.testing import domains
from minigrad.testing.adapters import no_scalars
from minigrad.testing.arrays import as_tuple, copies, each, is_array, is_float
from minigrad.testing.engine_laws import gradients_of_product, pairs_alike, recorded_gradient


# ---- mistakes that fit any operation ---------------------------------------------------------

def general(subject):
    """Yield the mistakes that fit any operation."""
    op = subject.op
    for i, label in enumerate(subject.names):
        yield from of_input(op, label, i)
    if not subject.names:
        yield from of_input(op, "inputs", None)
    yield from ANY
    yield "it adds to the result of the call before", "purity", adds_to_old_buffer(), None
    if "eps" in inspect.signature(op.forward).parameters:
        yield "eps is forgotten", "slope", saved_with(op, {"eps": 0.0}), None
    yield ("keyword arguments are taken to be the defaults", "slope", saved_with(op, None),
           lambda point: bool(point.params))
    if any("index(" in str(domain) for domain in op.domain.values()):
        yield "a repeated id overwrites instead of adding", "slope", overwrite_repeats, None


def of_input(op, label, i):
    """Yield the mistakes in the gradient of input i, or of all inputs that have no names."""
    def only(change):
        return on_each(lambda dx, x, j: change(dx, x) if i in (None, j) else dx)

    def moves(point):
        return (i or 0) in point.moving
    cores = (op.core_ndim or ())[i or 0:]              # an option has none
    core = cores[0] if cores else 0
    changes = {                                        # what is wrong with dx -> change, law
        "the sign of d{} is flipped": (lambda dx, x: -dx, "slope"),
        "d{} is zero": (lambda dx, x: 0 * dx, "slope"),
        "d{} is transposed": (transposed, "slope"),
        "d{} is None": (lambda dx, x: None, "shapes"),
    }
    if op.core_ndim:
        changes |= {
            "d{} takes one of the broadcast copies, not their sum":
                (functools.partial(one_copy, core=core), "slope"),
            "d{} is the mean over the broadcast copies":
                (functools.partial(mean_copy, core=core), "slope"),
        }
    for words, (change, law) in changes.items():
        yield words.format(label), law, only(change), moves


def on_each(change):
    """Make a wrong vjp that changes the gradient of each input."""
    def wrong(right, g, saved, call):
        grads = enumerate(zip(right(g), call.arrays))
        return tuple(dx if dx is None else change(dx, x, j) for j, (dx, x) in grads)
    return wrong


def transposed(dx, x):
    n, m = dx.shape[-2:] if dx.ndim > 1 else (0, 1)
    return dx.mT.copy() if n == m else dx


def one_copy(dx, x, core):
    """Keep of all broadcast copies only the first."""
    extra = dx.ndim - x.ndim
    own = (0,) * extra + x.shape                       # 0 for an axis that x does not have
    for axis, n in enumerate(dx.shape[:dx.ndim - core]):
        if axis < extra or own[axis] == 1 != n:
            inner = (1,) * (dx.ndim - axis - 1)
            is_first = np.arange(n).reshape(n, *inner) == 0
            dx = np.where(is_first, dx, 0)
    return dx


def mean_copy(dx, x, core):
    total = sum_to_shape(dx, x.shape, core)
    return dx * (total.size / dx.size) if dx.size else dx


def tail_is_lost(dx, x, j):
    n = dx.shape[-1] if dx.ndim else 0
    kept = np.arange(n) < n - n % 8
    lost = np.where(kept | (n < 8), dx, 0)
    return lost.astype(dx.dtype)


def in_float32(dx, x, j):
    return dx.astype(np.float32).astype(dx.dtype)


def with_g(change):
    """Make a wrong vjp that is right for another g."""
    def wrong(right, g, saved, call):
        return right(tuple(map(change, g)) if isinstance(g, tuple) else change(g))
    return wrong


def writes_into_g(right, g, saved, call):
    grads = copies(no_scalars(right(g)))
    for part in as_tuple(g):
        np.multiply(part, 2, out=part)
    return grads


def writes_into_saved(right, g, saved, call):
    grads = copies(no_scalars(right(g)))
    for s in filter(is_written, saved):
        np.multiply(s, 2, out=s)
    return grads


def is_written(s):
    """Say whether a saved thing can be written into."""
    return is_float(s) and s.flags.writeable


def adds_to_old_buffer():
    buffers = {}                                       # (place, shape, dtype) -> array

    def wrong(right, g, saved, call):
        grads = []
        for i, dx in enumerate(right(g)):
            if dx is not None:
                key = i, dx.shape, dx.dtype
                buffers[key] = dx = buffers.get(key, 0) + dx
            grads.append(dx)
        return tuple(grads)
    return wrong


def overflows(dx, x, j):
    if dx.shape != x.shape:
        return dx
    sizes = np.where(np.isfinite(x), np.abs(x), 0)
    return dx + 0 * np.exp(sizes)


def divides_by_zero(dx, x, j):
    is_like = dx.shape == x.shape
    return np.asarray(dx * (x / x)) if is_like else dx


def less_exact_in_float32(dx, x, j):
    is_narrow = dx.dtype == np.float32
    return dx.astype(np.float16).astype(dx.dtype) if is_narrow else dx


def wrong_when_shared(right, g, saved, call):
    grads, arrays = list(right(g)), call.arrays
    for i, dx in enumerate(grads):
        is_shared = any(arrays[i] is y for y in arrays[:i])
        if is_shared and dx is not None:
            grads[i] = np.zeros_like(dx)
    return tuple(grads)


def saved_as_constants(right, g, saved, call):
    return right(g, *map(detach, saved))


def saved_with(op, changed):
    """Make a wrong vjp: the right one for other keyword arguments (None: the defaults)."""
    forward, _ = op.bodies["reference"]

    def wrong(right, g, saved, call):
        params = {} if changed is None else {**call.params, **changed}
        try:
            _, other = forward(*call.arrays, **params)
        except Exception:
            return right(g)
        return right(g, *other)
    return wrong


def overwrite_repeats(right, g, saved, call):
    ids, dx = call.arrays[0], right(g)[1]
    dx = np.zeros_like(dx)
    dx[ids] = g
    return None, dx


def is_large(point):
    sizes = [y.size for y in point.outputs]
    return max(sizes) > 1 and point.subject.level == "reference"


def has_zeros(point):
    for i in point.moving:
        x, found = point.arrays[i], domains.words(point.subject.domain_of(i))
        is_like = point.grads[i].shape == x.shape
        never = found & {"positive", "away_from_zero", "spread"}
        if is_like and not never and np.any(x == 0):
            return True
    return False


def may_overflow(point):
    for i in point.moving:
        x = point.arrays[i]
        larger = domains.enlarge(x, point.subject.domain_of(i))
        if not np.array_equal(x, larger):
            return True
    return False


def shares(point):
    grads = [point.grads[j] for _, j in pairs_alike(point)]
    return any(dx.size and np.any(dx) for dx in grads)


def saves_floats(point):
    written = filter(is_written, point.passed.saved)
    return any(map(np.any, written))


def is_curved(point):
    """Say whether this point has a second derivative that is not zero."""
    if point.subject.is_plain or point.subject.op.composition:
        return False
    recorded = recorded_gradient(point, each(Tensor, point.g))
    if recorded is None:
        return False
    inputs, gradients = recorded
    ones = each(np.ones_like, point.arrays)
    found = gradients_of_product(gradients, ones, inputs)
    return any(dd is not None and np.any(dd) for dd in found)


ANY = [                                                # name, law, wrong vjp, applies
    ("all gradients are doubled", "slope", on_each(lambda dx, x, j: 2 * dx), None),
    ("g is taken to be all ones", "slope", with_g(np.ones_like), None),
    ("the last n % 8 elements of a row are lost", "slope", on_each(tail_is_lost), None),
    ("a step in float32", "linearity", on_each(in_float32), None),
    ("a clip at 1 is left in", "linearity", on_each(lambda dx, x, j: np.clip(dx, -1, 1)), None),
    ("the absolute value of g is used", "linearity", with_g(np.abs), None),
    ("it writes into g", "purity", writes_into_g, None),
    ("it writes into what was saved", "purity", writes_into_saved, saves_floats),
    ("g is read in the order of memory", "layout",
     with_g(lambda g: g.ravel(order="K").reshape(g.shape)), is_large),
    ("the gradients are flat", "shapes", on_each(lambda dx, x, j: dx.reshape(1, -1)), None),
    ("it overflows for large inputs", "finite", on_each(overflows), may_overflow),
    ("it divides by an input that may be zero", "finite", on_each(divides_by_zero), has_zeros),
    ("float32 in gives float64 out", "float32",
     on_each(lambda dx, x, j: dx.astype(np.float64)), None),
    ("three digits in float32", "float32", on_each(less_exact_in_float32), None),
    ("an array that is given twice counts once", "reuse", wrong_when_shared, shares),
    ("saved values are taken for constants", "second order", saved_as_constants, is_curved),
]


# ---- changes to the source -------------------------------------------------------------------

def from_source(op, vjp=None):
    """Yield a mistake for each place of the source of the vjp where a slip is likely."""
    function = vjp or op.bodies["reference"][1]
    if not (vjp or has_vjp(op)):
        return
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return
    if not isinstance(tree.body[0], ast.FunctionDef) or function.__closure__:
        return
    tree.body[0].decorator_list = []
    seen = set()
    for node in list(ast.walk(tree.body[0])):
        for name, other in slips(node):
            text = ast.unparse(replaced(tree, node, other))
            if text not in seen:
                seen.add(text)
                yield name, "slope", runs_source(function, text, vjp is not None), None


SUMS, PRODUCTS = (ast.Add, ast.Sub), (ast.Mult, ast.Div)
REDUCTIONS = {"sum": "mean", "mean": "sum"}            # what is said -> what was meant
LEFT_OUT = ("swapaxes", "exp", "tanh", "sigmoid", "cos", "sin", "flip")


def slips(node):
    """Yield (name, other node) for a node that is often got wrong."""
    match node:
        case ast.BinOp(left, sign, right) if isinstance(sign, SUMS):
            text, term = ast.unparse(node), ast.unparse(right)
            other = SUMS[isinstance(sign, ast.Add)]
            yield f"{term} is missing in {text}", left
            yield f"the other sign before {term} in {text}", ast.BinOp(left, other(), right)
        case ast.BinOp(left, sign, right) if isinstance(sign, PRODUCTS):
            text = ast.unparse(node)
            yield f"{ast.unparse(right)} is missing in {text}", left
            if isinstance(sign, ast.Mult):
                yield f"{ast.unparse(left)} is missing in {text}", right
        case ast.UnaryOp(ast.USub(), ast.Constant()):
            pass
        case ast.UnaryOp(ast.USub(), operand):
            yield f"the sign of {ast.unparse(node)} is flipped", operand
        case ast.Call(ast.Attribute(of, "sum" | "mean" as name)):
            other = REDUCTIONS[name]
            method = ast.Attribute(of, other, ast.Load())
            changed = ast.Call(method, node.args, node.keywords)
            yield f"{other} for {name} in {ast.unparse(node)}", changed
        case ast.Call(ast.Name(name)) if name in LEFT_OUT and node.args:
            yield f"{name} is missing in {ast.unparse(node)}", node.args[0]
        case ast.Return(ast.Tuple([dx, dy])):
            exchanged = ast.Tuple([dy, dx], ast.Load())
            yield "the two gradients are exchanged", ast.Return(exchanged)


def replaced(tree, old, new):
    """Return a copy of a tree in which `new` stands for the node `old`."""
    def copy(node):
        if node is old:
            return new
        if isinstance(node, list):
            return list(map(copy, node))
        if not isinstance(node, ast.AST):
            return node
        fields = {name: copy(value) for name, value in ast.iter_fields(node)}
        return type(node)(**fields)
    return ast.fix_missing_locations(copy(tree))


def runs_source(function, text, is_plain):
    """Make a wrong vjp of changed source, with the names that the original sees."""
    names = dict(function.__globals__)
    exec(compile(text, f"<mutant of {function.__name__}>", "exec"), names)
    changed = names[function.__name__]

    def wrong(right, g, saved, call):
        if is_plain:
            grads = changed(g, *call.arrays)
            return grads if isinstance(grads, tuple) else (grads,)
        asks = "wants" in inspect.signature(function).parameters
        wants = tuple(map(is_array, call.arrays))
        return changed(g, *saved, wants) if asks else changed(g, *saved)
    return wrong
