"""A tiny example of each operation, to be stepped through: on its page, and by a reader.

An operation that is not listed here gets its example from its signature, if that has but numbers.
"""
import inspect
import linecache
import re

from minigrad import use
from minigrad.stepper.command import arguments
from minigrad.stepper.record import record

ROW, MATRIX = "np.array([1.0, 2.0, 4.0])", "np.array([[1.0, 2.0], [3.0, 4.0]])"
FIRST = "np.array([1.0, 0.0, 0.0])"
WIDE = "np.array([[1.0, 5.0, 2.0], [3.0, 4.0, 6.0]])"
PROBABILITIES = "np.log(np.array([{}]))"

# name: (parameters, the call, the gradient of its output; "" for a single number)
EXAMPLES = {
    "where": ({"x": "2.0", "y": "3.0"}, "where(True, x, y)", ""),
    "reshape": ({"x": "np.array([1.0, 2.0, 3.0, 4.0])"}, "reshape(x, (2, 2))", MATRIX),
    "transpose": ({"x": WIDE}, "transpose(x)",
                  "np.array([[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]])"),
    "broadcast_to": ({"x": "np.array([1.0, 2.0])"}, "broadcast_to(x, (2, 2))", MATRIX),
    "index": ({"x": ROW}, "index(x, np.array([2, 0, 2]))", ROW),
    "scatter": ({"x": ROW}, "scatter(x, np.array([1, 0, 1]), (2,))", "np.array([10.0, 20.0])"),
    "concatenate": ({"x": "np.array([1.0, 2.0])", "y": "np.array([3.0])"},
                    "concatenate([x, y])", ROW),
    "split": ({"x": ROW}, "split(x, [1])[1]", "np.array([10.0, 20.0])"),
    "matmul": ({"a": MATRIX, "b": "np.array([[5.0], [6.0]])"}, "matmul(a, b)",
               "np.array([[1.0], [10.0]])"),
    "linear": ({"x": "np.array([1.0, 2.0])", "weight": "np.array([[3.0, 4.0], [5.0, 6.0]])",
                "bias": "np.array([0.5, -0.5])"}, "linear(x, weight, bias)",
               "np.array([1.0, 10.0])"),
    "sum": ({"x": WIDE}, "sum(x, axis=1)", "np.array([1.0, 10.0])"),
    "mean": ({"x": WIDE}, "mean(x, axis=1)", "np.array([1.0, 10.0])"),
    "max": ({"x": WIDE}, "max(x, axis=1)", "np.array([1.0, 10.0])"),
    "logsumexp": ({"x": ROW}, "logsumexp(x)", ""),
    "var": ({"x": ROW}, "var(x)", ""),
    "std": ({"x": ROW}, "std(x)", ""),
    "cumsum": ({"x": ROW}, "cumsum(x)", ROW),
    "clip": ({"x": ROW}, "clip(x, 1.5, 3.0)", ROW),
    "swiglu": ({"x": "np.array([2.0, 0.0, 3.0, 4.0])"}, "swiglu(x)", "np.array([1.0, 10.0])"),
    "softmax": ({"x": ROW}, "softmax(x)", FIRST),
    "log_softmax": ({"x": ROW}, "log_softmax(x)", FIRST),
    "attention": ({"q": "np.array([[[[1.0], [2.0]]]])", "k": "np.array([[[[1.0], [-1.0]]]])",
                   "v": "np.array([[[[10.0], [20.0]]]])"}, "attention(q, k, v)",
                  "np.array([[[[0.0], [1.0]]]])"),
    "self_attention": ({"qkv": "np.array([[[1.0, 1.0, 10.0], [2.0, -1.0, 20.0]]])"},
                       "self_attention(qkv, 1)", "np.array([[[0.0], [1.0]]])"),
    "qk_rotary": ({"qkv": "np.array([[[1.0, 2.0, 7.0, 8.0]]])"},
                  "qk_rotary(qkv, np.array([[0.6]]), np.array([[0.8]]), 1)",
                  "np.array([[[1.0, 0.0, 1.0, 1.0]]])"),
    "keyed_dropout": ({"x": "np.array([1.0, 2.0, 3.0])"}, "keyed_dropout(x, 1, 0.5)",
                      "np.array([1.0, 2.0, 3.0])"),
    "einsum": ({"a": MATRIX, "b": "np.array([5.0, 6.0])"},
               "einsum(\"ij,j->i\", a, b)", "np.array([1.0, 10.0])"),
    "embedding": ({"weight": "np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])"},
                  "embedding(np.array([2, 0, 2]), weight)",
                  "np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])"),
    "placed_embedding": ({"weight": MATRIX, "places": "np.array([[10.0, 20.0], [30.0, 40.0]])"},
                         "placed_embedding(np.array([1, 1]), weight, places)",
                         "np.array([[1.0, 2.0], [3.0, 4.0]])"),
    "rotary": ({"x": "np.array([1.0, 2.0])"}, "rotary(x, np.array([0.6]), np.array([0.8]))",
               "np.array([1.0, 0.0])"),
    "cross_entropy": ({"logits": "np.array([[1.0, 2.0, 4.0]])"},
                      "cross_entropy(logits, np.array([1]))", ""),
    "linear_cross_entropy": ({"x": "np.array([[1.0, 2.0]])",
                              "weight": "np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])"},
                             "linear_cross_entropy(x, weight, np.array([1]))", ""),
    "kl_divergence": ({"log_p": PROBABILITIES.format("0.5, 0.25, 0.25"),
                       "log_q": PROBABILITIES.format("0.25, 0.25, 0.5")},
                      "kl_divergence(log_p, log_q)", ""),
    "layer_norm": ({"x": ROW}, "layer_norm(x)", FIRST),
    "rms_norm": ({"x": ROW}, "rms_norm(x)", FIRST),
    "add_layer_norm": ({"x": ROW, "residual": "np.array([1.0, 1.0, 0.0])"},
                       "add_layer_norm(x, residual)[1]", FIRST),
    "add_rms_norm": ({"x": ROW, "residual": "np.array([1.0, 1.0, 0.0])"},
                     "add_rms_norm(x, residual)[1]", FIRST),
}


def example(op):
    """Return a small program with a function f that uses the operation; "" for none."""
    if op.name in EXAMPLES:
        parameters, call, g = EXAMPLES[op.name]
    elif op.signature and set(op.signature) <= set("(),->"):
        names = list(inspect.signature(op.forward).parameters)[:op.signature.count("(") - 1]
        parameters = dict(zip(names, ("2.0", "3.0", "4.0")))
        call, g = f"{op.name}({', '.join(names)})", ""
    else:
        return ""
    lines = ["import numpy as np", ""] if re.search(r"\bnp\.", f"{parameters}{call}{g}") else []
    lines += [f"from minigrad import {op.name}", "", ""]
    inputs = ", ".join(f"{name}={value}" for name, value in parameters.items())
    lines += [f"def f({inputs}):", f"    out = {call}"]
    lines += [f"    out.backward({g})"] if g else []
    return "\n".join([*lines, "    return out", ""])


def traced(op):
    """Run an operation's example: its program and its record."""
    program = example(op)
    if not program:
        return "", None
    name, names = f"{op.name}.py", {}
    linecache.cache[name] = len(program), None, program.splitlines(True), name
    exec(compile(program, name, "exec"), names)
    with use("reference"):
        return program, record(names["f"], **arguments(names["f"], []))
