"""The formula of an op and of its vjp, read from their source, with the numbers put in."""
import ast
import inspect
import textwrap
from functools import cache

import numpy as np

LONGEST = 150                                         # characters; beyond, names are not expanded


def forward_formula(op, arrays, params):
    """Return the formula of `op` and the same with the values of its arguments."""
    bound = inspect.signature(op.forward).bind(*arrays, **params)
    bound.apply_defaults()
    values = dict(bound.arguments)
    return write(result(op.forward, values, 0), values)


def vjp_formula(op, i, g, values):
    """Return the formula of the gradient that input i receives, and the same with numbers.

    Parameters
    ----------
    g : array
        What arrived.
    values : dict
        What the vjp was given by name, as `saved_values` returns it.
    """
    values = {**values, "g": g}
    return write(result(op.bodies["reference"][1], values, i), values)


def saved_values(op, saved):
    """Name what was saved, if the vjp of the reference has as many parameters."""
    names = list(inspect.signature(op.bodies["reference"][1]).parameters)[1:]
    return dict(zip(names, saved)) if len(names) == len(saved) else {}


def input_names(op, n):
    """Name the first n inputs as the op's forward does."""
    names = []
    for parameter in inspect.signature(op.forward).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            names += [f"{parameter.name}[{i}]" for i in range(n - len(names))]
        else:
            names.append(parameter.name)
    return names[:n]


# ---- reading the source ----------------------------------------------------------------------

@cache
def body(function):
    """Return the statements of a function; none where its source is not to be had."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return ()
    return tuple(tree.body[0].body) if isinstance(tree.body[0], ast.FunctionDef) else ()


def result(function, values, i):
    """Return element i of what a function returns, as an expression of its arguments.

    Local names are replaced by what they stand for while the expression stays short. None where
    the source is not a plain sequence of assignments and a return.
    """
    known, last = {}, None
    for statement in body(function):
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            bind(statement.targets[0], Choose(values).visit(copied(statement.value)), known)
        elif isinstance(statement, ast.Return):
            last = Choose(values).visit(copied(statement.value))
    if isinstance(last, ast.Tuple) and i < len(last.elts):
        last = last.elts[i]
    if last is None:
        return None
    expanded = Replace(known).visit(copied(last))
    return expanded if len(ast.unparse(expanded)) <= LONGEST else last


def copied(tree):
    return ast.parse(ast.unparse(tree), mode="eval").body


def bind(target, value, known):
    """Note what a local name, or each of several, stands for."""
    value = Replace(known).visit(copied(value))
    if isinstance(target, ast.Name):
        known[target.id] = value
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        known.update({name.id: part for name, part in zip(target.elts, value.elts)
                      if isinstance(name, ast.Name)})


class Replace(ast.NodeTransformer):
    """Put expressions in the place of names."""

    def __init__(self, known):
        self.known = known

    def visit_Name(self, node):
        return self.known.get(node.id, node)


class Choose(ast.NodeTransformer):
    """Decide `a if gain is None else b` and `a if wants[0] else b` where the values say it."""

    def __init__(self, values):
        self.values = values

    def visit_IfExp(self, node):
        self.generic_visit(node)
        test = node.test
        if "wants" in ast.unparse(test):
            return node.body
        if isinstance(test, ast.Name) and isinstance(self.values.get(test.id), bool):
            return node.body if self.values[test.id] else node.orelse
        if (isinstance(test, ast.Compare) and isinstance(test.left, ast.Name)
                and test.left.id in self.values and ast.unparse(test.comparators[0]) == "None"
                and isinstance(test.ops[0], ast.Is | ast.IsNot)):
            is_none = self.values[test.left.id] is None
            return node.body if is_none == isinstance(test.ops[0], ast.Is) else node.orelse
        return node


class Insert(ast.NodeTransformer):
    """Put numbers in the place of names, and shapes where there are too many numbers."""

    def __init__(self, values):
        self.values = values

    def visit_Name(self, node):
        return ast.Name(brief(node.id, self.values.get(node.id)))

    def visit_Attribute(self, node):
        return node                                   # x.mT reads better than a list of numbers

    def visit_Call(self, node):
        node.args = [self.visit(x) for x in node.args]
        return node


def brief(name, x):
    """Say a value: a number, up to four of them, or the name with its shape."""
    if isinstance(x, bool | str | tuple) or x is None:
        return name
    if np.ndim(x) == 0 and np.asarray(x).dtype.kind in "fiu":
        text = f"{float(x):.6g}"
        return f"({text})" if text.startswith("-") else text
    if isinstance(x, np.ndarray):
        if x.ndim == 1 and x.size <= 4 and x.dtype.kind == "f":
            return "[" + ", ".join(f"{value:.4g}" for value in x) + "]"
        return f"{name}[{'x'.join(map(str, x.shape))}]"
    return name


def write(expression, values):
    if expression is None:
        return "", ""
    return ast.unparse(expression), ast.unparse(Insert(values).visit(copied(expression)))
