"""The mistakes that people make in a backward pass.

Two kinds: those that fit any operation (a sign, a lost sum over copies, a write into g, ...), and
changes to the source of the vjp (a term dropped, a sum that becomes a mean, ...). Each is a tuple
(name, the law meant to notice it, wrong vjp, whether it applies to a Point or None for always),
with `wrong(right, g, saved, call)`, where `right(g)` is the true vjp.
"""
import ast
import inspect
import textwrap

import numpy as np

from minigrad.tensor import Tensor, detach, sum_to_shape
from minigrad.testing import domains
from minigrad.testing.engine_laws import gradients_of_product, recorded_gradient


# ---- mistakes that fit any operation ---------------------------------------------------------

def general(subject):
    """Yield the mistakes that fit any operation."""
    for i, label in enumerate(subject.names or ["inputs"]):
        def only(change, i=i, every=not subject.names):
            return on_each(lambda dx, x, j: change(dx, x) if every or i == j else dx)
        moves = lambda point, i=i: i in point.moving
        yield f"the sign of d{label} is flipped", "slope", only(lambda dx, x: -dx), moves
        yield f"d{label} is zero", "slope", only(lambda dx, x: 0 * dx), moves
        yield f"d{label} is transposed", "slope", only(transposed), moves
        yield f"d{label} is None", "shapes", only(lambda dx, x: None), moves
        if subject.op.core_ndim:
            core = subject.op.core_ndim[i] if i < len(subject.op.core_ndim) else 0
            yield (f"d{label} takes one of the broadcast copies, not their sum", "slope",
                   only(lambda dx, x, core=core: one_copy(dx, x, core)), moves)
            yield (f"d{label} is the mean over the broadcast copies", "slope",
                   only(lambda dx, x, core=core: mean_copy(dx, x, core)), moves)
    yield from ANY
    yield "it adds to the result of the call before", "purity", adds_to_old_buffer(), None
    if "eps" in inspect.signature(subject.op.forward).parameters:
        yield "eps is forgotten", "slope", saved_with(subject.op, lambda call: {"eps": 0.0}), None
    yield ("keyword arguments are taken to be the defaults", "slope",
           saved_with(subject.op, lambda call: None), lambda point: bool(point.params))
    if any("index(" in str(domain) for domain in subject.op.domain.values()):
        yield "a repeated id overwrites instead of adding", "slope", overwrite_repeats, None


def on_each(change):
    """Make a wrong vjp that changes the gradient of each input."""
    def wrong(right, g, saved, call):
        grads = right(g)
        return tuple(dx if dx is None else change(dx, x, j)
                     for j, (dx, x) in enumerate(zip(grads, call.arrays)))
    return wrong


def transposed(dx, x):
    square = dx.ndim > 1 and dx.shape[-1] == dx.shape[-2]
    return dx.swapaxes(-1, -2).copy() if square else dx


def one_copy(dx, x, core):
    """Keep of all broadcast copies only the first."""
    for axis in range(dx.ndim - core):
        own = axis - (dx.ndim - x.ndim)
        if own < 0 or x.shape[own] == 1 != dx.shape[axis]:
            keep = np.arange(dx.shape[axis]).reshape(-1, *(1,) * (dx.ndim - axis - 1)) == 0
            dx = np.where(keep, dx, 0)
    return dx


def mean_copy(dx, x, core):
    total = sum_to_shape(dx, x.shape, core)
    return dx * (total.size / dx.size) if dx.size else dx


def tail_is_lost(dx, x, j):
    n = dx.shape[-1] if dx.ndim else 0
    kept = np.arange(n) < n - n % 8
    return np.where(kept | (n < 8), dx, 0).astype(dx.dtype)


def clipped(right, g, saved, call):
    return tuple(None if dx is None else np.clip(dx, -1, 1) for dx in right(g))


def with_g(change):
    """Make a wrong vjp that is right for another g."""
    def wrong(right, g, saved, call):
        return right(tuple(map(change, g)) if isinstance(g, tuple) else change(g))
    return wrong


def writes_into_g(right, g, saved, call):
    grads = tuple(None if dx is None else np.array(dx) for dx in right(g))
    for part in g if isinstance(g, tuple) else (g,):
        np.multiply(part, 2, out=part)
    return grads


def writes_into_saved(right, g, saved, call):
    grads = tuple(None if dx is None else np.array(dx) for dx in right(g))
    for s in saved:
        if isinstance(s, np.ndarray) and s.dtype.kind == "f" and s.flags.writeable:
            np.multiply(s, 2, out=s)
    return grads


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


def overflows(right, g, saved, call):
    def spoil(dx, x):
        if dx is None or dx.shape != x.shape:
            return dx
        return dx + 0 * np.exp(np.where(np.isfinite(x), np.abs(x), 0))
    return tuple(spoil(dx, x) for dx, x in zip(right(g), call.arrays))


def divides_by_zero(right, g, saved, call):
    return tuple(dx if dx is None or dx.shape != x.shape else np.asarray(dx * (x / x))
                 for dx, x in zip(right(g), call.arrays))


def less_exact_in_float32(dx, x, j):
    return dx.astype(np.float16).astype(dx.dtype) if dx.dtype == np.float32 else dx


def wrong_when_shared(right, g, saved, call):
    grads = list(right(g))
    shared = [i for i, x in enumerate(call.arrays)
              if any(x is y for y in call.arrays[:i]) and grads[i] is not None]
    for i in shared:
        grads[i] = np.zeros_like(grads[i])
    return tuple(grads)


def saved_as_constants(right, g, saved, call):
    return right(g, *map(detach, saved))


def saved_with(op, change):
    """Make a wrong vjp: the right one for other keyword arguments (None: the defaults)."""
    def wrong(right, g, saved, call):
        params = change(call)
        params = {} if params is None else {**call.params, **params}
        try:
            _, other = op.bodies["reference"][0](*call.arrays, **params)
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
    return any(x.size > 1 for x in point.outputs) and point.subject.level == "reference"


def has_zeros(point):
    return any(not domains.words(point.subject.domain_of(i)) & {
        "positive", "away_from_zero", "spread"} and np.any(point.arrays[i] == 0)
        and point.grads[i].shape == point.arrays[i].shape for i in point.moving)


def may_overflow(point):
    return any(not np.array_equal(x, domains.enlarge(x, point.subject.domain_of(i)))
               for i in point.moving for x in [point.arrays[i]])


def shares(point):
    return any(point.arrays[i].shape == point.arrays[j].shape and point.arrays[i].size
               and point.subject.domain_of(i) == point.subject.domain_of(j)
               and np.any(point.grads[j])
               for i in point.moving for j in point.moving if i < j)


def saves_floats(point):
    return any(isinstance(s, np.ndarray) and s.dtype.kind == "f" and s.size
               and s.flags.writeable and np.any(s) for s in point.passed.saved)


def is_curved(point):
    """Say whether this point has a second derivative that is not zero."""
    if point.subject.is_plain or point.subject.op.composition:
        return False
    recorded = recorded_gradient(point, tuple(None if g is None else Tensor(g) for g in point.g))
    if recorded is None:
        return False
    ones = [np.ones_like(x) if isinstance(x, np.ndarray) else None for x in point.arrays]
    found = gradients_of_product(recorded[1], ones, recorded[0])
    return any(dd is not None and np.any(dd) for dd in found)


ANY = [                                                # name, law, wrong vjp, applies
    ("all gradients are doubled", "slope", on_each(lambda dx, x, j: 2 * dx), None),
    ("g is taken to be all ones", "slope", with_g(np.ones_like), None),
    ("the last n % 8 elements of a row are lost", "slope", on_each(tail_is_lost), None),
    ("a step in float32", "linearity", on_each(
        lambda dx, x, j: dx.astype(np.float32).astype(dx.dtype)), None),
    ("a clip at 1 is left in", "linearity", clipped, None),
    ("the absolute value of g is used", "linearity", with_g(np.abs), None),
    ("it writes into g", "purity", writes_into_g, None),
    ("it writes into what was saved", "purity", writes_into_saved, saves_floats),
    ("g is read in the order of memory", "layout",
     with_g(lambda g: g.ravel(order="K").reshape(g.shape)), is_large),
    ("the gradients are flat", "shapes", on_each(lambda dx, x, j: dx.reshape(1, -1)), None),
    ("it overflows for large inputs", "finite", overflows, may_overflow),
    ("it divides by an input that may be zero", "finite", divides_by_zero, has_zeros),
    ("float32 in gives float64 out", "float32", on_each(
        lambda dx, x, j: dx.astype(np.float64)), None),
    ("three digits in float32", "float32", on_each(less_exact_in_float32), None),
    ("an array that is given twice counts once", "reuse", wrong_when_shared, shares),
    ("saved values are taken for constants", "second order", saved_as_constants, is_curved),
]


# ---- changes to the source -------------------------------------------------------------------

def from_source(op, vjp=None):
    """Yield a mistake for each place of the source of the vjp where a slip is likely."""
    function = vjp or op.bodies["reference"][1]
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return
    if not isinstance(tree.body[0], ast.FunctionDef) or function.__closure__:
        return
    tree.body[0].decorator_list = []
    places = [node for node in ast.walk(tree.body[0]) if slips(node)]
    seen = set()
    for node in places:
        for name, other in slips(node):
            text = ast.unparse(replaced(tree, node, other))
            if text not in seen:
                seen.add(text)
                yield name, "slope", runs_source(function, text, vjp is not None), None


def slips(node):
    """List (name, other node) for a node that is often got wrong."""
    found = []
    if isinstance(node, ast.BinOp):
        text = ast.unparse(node)
        if isinstance(node.op, (ast.Add, ast.Sub)):
            other = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
            found = [(f"{ast.unparse(node.right)} is missing in {text}", node.left),
                     (f"the other sign before {ast.unparse(node.right)} in {text}",
                      ast.BinOp(node.left, other, node.right))]
        elif isinstance(node.op, (ast.Mult, ast.Div)):
            found = [(f"{ast.unparse(node.right)} is missing in {text}", node.left)]
            if isinstance(node.op, ast.Mult):
                found.append((f"{ast.unparse(node.left)} is missing in {text}", node.right))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and not isinstance(
            node.operand, ast.Constant):
        found = [(f"the sign of {ast.unparse(node)} is flipped", node.operand)]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr in ("sum", "mean"):
            other = "mean" if node.func.attr == "sum" else "sum"
            attribute = ast.Attribute(node.func.value, other, ast.Load())
            found = [(f"{other} for {node.func.attr} in {ast.unparse(node)}",
                      ast.Call(attribute, node.args, node.keywords))]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
        if node.func.id in ("swapaxes", "exp", "tanh", "sigmoid", "cos", "sin", "flip"):
            found = [(f"{node.func.id} is missing in {ast.unparse(node)}", node.args[0])]
    elif isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
        if len(node.value.elts) == 2:
            found = [("the two gradients are exchanged",
                      ast.Return(ast.Tuple(node.value.elts[::-1], ast.Load())))]
    return found


def replaced(tree, old, new):
    """Return a copy of a tree in which `new` stands for the node `old`."""
    class Copy(ast.NodeTransformer):
        def visit(self, node):
            if node is old:
                return new
            fields = {name: [self.visit(x) if isinstance(x, ast.AST) else x for x in value]
                      if isinstance(value, list) else
                      self.visit(value) if isinstance(value, ast.AST) else value
                      for name, value in ast.iter_fields(node)}
            return type(node)(**fields)
    return ast.fix_missing_locations(Copy().visit(tree))


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
        every = [(tuple(isinstance(x, np.ndarray) for x in call.arrays))] if asks else []
        return changed(g, *saved, *every)
    return wrong
