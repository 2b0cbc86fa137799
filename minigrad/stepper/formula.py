"""The formula of an op and of its vjp, read from their source, with the numbers put in."""
import ast
import inspect
import textwrap
from functools import cache

import numpy as np

from minigrad.stepper.numbers import is_short, listed
from minigrad.tensor import detach

LONGEST = 150                                         # characters; beyond, names are not expanded


def forward_formula(op, arrays, params):
    """Return the formula of `op` and the same with the values of its arguments."""
    values = arguments(op, arrays, params)
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
    _, vjp = op.bodies["reference"]
    values = {**values, "g": g}
    formula = write(result(vjp, values, i), values)
    return formula if formula[0] else (statements(vjp), "")


def saved_values(node):
    """Name what a vjp was given.

    A fast vjp may save other things than the reference; then the inputs are named, which both
    call the same.
    """
    _, vjp = node.op.bodies["reference"]
    _, *names = inspect.signature(vjp).parameters
    if node.vjp is vjp and len(names) == len(node.saved):
        return dict(zip(names, node.saved))
    values = arguments(node.op, map(detach, node.inputs), node.params)
    return {name: x for name, x in values.items() if x is None or isinstance(x, np.ndarray)}


def arguments(op, arrays, params):
    """Name what the op's forward is given, defaults too."""
    bound = inspect.signature(op.forward).bind(*arrays, **params)
    bound.apply_defaults()
    return bound.arguments


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
        source = textwrap.dedent(inspect.getsource(function))
        (tree,) = ast.parse(source).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return ()
    return tuple(tree.body) if isinstance(tree, ast.FunctionDef) else ()


def result(function, values, i):
    """Return element i of what a function returns, as an expression of its arguments.

    Local names are replaced by what they stand for while the expression stays short, and
    conditions are decided where the values say how. What is not replaced is said in words behind
    it. None where there is no plain return.
    """
    known, choose = {}, Choose(function, values)
    last = follow(body(function), known, choose)
    if isinstance(last, ast.Tuple) and i < len(last.elts):
        last = last.elts[i]
    if last is None:
        return None, ""
    expanded = Replace(known).visit(copied(last))
    longest = 3 * LONGEST if isinstance(last, ast.Name) else LONGEST
    if len(ast.unparse(expanded)) <= longest:
        return expanded, ""
    names = dict.fromkeys(x.id for x in ast.walk(last) if isinstance(x, ast.Name))
    meanings = [f", {x} = {ast.unparse(known[x])}" for x in names if x in known]
    return last, "".join(meanings)


def follow(statements, known, choose):
    """Walk through statements, note what local names stand for, and return what is returned."""
    for statement in statements:
        if isinstance(statement, ast.If):
            branch = statement.body if choose.decide(statement.test, known) else statement.orelse
            last = follow(branch, known, choose)
            if last is not None:
                return last
        elif isinstance(statement, ast.Assign) and only_names(statement):
            value = choose.made(statement.value, known)
            bind(statement.targets[0], value, known)
        elif isinstance(statement, ast.Return):
            return choose.made(statement.value, known)
        elif not isinstance(statement, ast.Expr):
            return None                               # it writes in place: no one expression
    return None


def statements(function):
    """Write a function that is not one expression as it stands, if it is short."""
    lines = [ast.unparse(s) for s in body(function) if not isinstance(s, ast.Expr)]
    text = "; ".join(lines)
    return text if len(text) <= 3 * LONGEST and "\n" not in text else ""


def only_names(statement):
    """Whether an assignment gives names to values, and writes into nothing."""
    target, *others = statement.targets
    names = getattr(target, "elts", [target])
    return not others and all(isinstance(x, ast.Name) for x in names)


def copied(tree):
    return ast.parse(ast.unparse(tree), mode="eval").body


def bind(target, value, known):
    """Note what a local name, or each of several, stands for."""
    value = Replace(known).visit(copied(value))
    if isinstance(target, ast.Name):
        known[target.id] = value
    elif isinstance(value, ast.Tuple):
        known |= {name.id: part for name, part in zip(target.elts, value.elts)}


class Replace(ast.NodeTransformer):
    """Put expressions in the place of names."""

    def __init__(self, known):
        self.known = known

    def visit_Name(self, node):
        return self.known.get(node.id, node)


class Choose(ast.NodeTransformer):
    """Decide `a if gain is None else b` and `a if wants[0] else b` where the values say it."""

    def __init__(self, function, values):
        self.function, self.known = function, {}
        self.values = {"wants": (True,) * 9, **values}    # only what is wanted is ever shown

    def made(self, expression, known):
        """Return a copy of an expression with its conditions decided."""
        self.known = known
        return self.visit(copied(expression))

    def decide(self, test, known):
        """Return whether a condition holds, None if that cannot be told."""
        test = ast.unparse(Replace(known).visit(copied(test)))
        try:
            return bool(eval(test, self.function.__globals__, self.values))
        except (NameError, AttributeError, TypeError, ValueError, IndexError):
            return None

    def visit_IfExp(self, node):
        self.generic_visit(node)
        holds = self.decide(node.test, self.known)
        if holds is None:
            return node
        return node.body if holds else node.orelse


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
    """Say a value: a number, a few of them, or the name with its shape."""
    if isinstance(x, tuple | list):
        return name
    if np.ndim(x) == 0 and np.asarray(x).dtype.kind in "fiu":
        text = f"{float(x):.6g}"
        return f"({text})" if text.startswith("-") else text
    if not isinstance(x, np.ndarray):
        return name
    shown = is_short(x) and x.dtype.kind == "f"
    return listed(x) if shown else f"{name}[{'x'.join(map(str, x.shape))}]"


def write(found, values):
    """Return the text of an expression and the same with numbers."""
    expression, where = found
    if expression is None:
        return "", ""
    text = ast.unparse(expression)
    return text + where, ast.unparse(Insert(values).visit(copied(expression)))
