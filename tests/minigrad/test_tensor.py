"""What the engine promises, whatever the operations are."""
import bdb
import gc
import inspect
import io
import linecache
import os
import pdb
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Tensor, backprop, no_grad, use, watch
from minigrad import tensor as engine


def leaf(*values, dtype=np.float64):
    return Tensor(np.array(values, dtype), requires_grad=True)


# ---- sums of contributions -------------------------------------------------------------------

@st.composite
def graphs(draw):
    """For each node but the first, which earlier nodes it is the weighted sum of."""
    n = draw(st.integers(2, 12))
    return [[(draw(st.integers(0, i - 1)), draw(st.integers(-3, 3)))
             for _ in range(draw(st.integers(1, 4)))] for i in range(1, n)]


@given(graphs())
def test_gradient_is_the_sum_over_all_paths(graph):
    nodes, slopes = [Tensor(2.0, requires_grad=True)], [1]
    for terms in graph:
        node = nodes[0] * 0
        for i, weight in terms:
            node = node + nodes[i] * weight
        nodes.append(node)
        slopes.append(sum(slopes[i] * weight for i, weight in terms))
    nodes[-1].backward()
    assert nodes[0].grad == slopes[-1]


def test_a_diamond_and_the_sum_that_naive_recursion_gets_wrong():
    a = Tensor(1.0, requires_grad=True)
    b = a + a
    c = b + b
    c.backward()
    assert a.grad == 4
    x = Tensor(3.0, requires_grad=True)
    (x.exp() * x.log()).backward()
    assert np.isclose(x.grad, np.exp(3) * (np.log(3) + 1 / 3))


def test_a_tensor_used_a_thousand_times():
    x = leaf(1, 2)
    total = x
    for _ in range(999):
        total = total + x
    total.sum().backward()
    assert np.array_equal(x.grad, [1000, 1000])


def test_gradients_accumulate_over_two_backward_calls():
    x = leaf(1, 2)
    (x * x).sum().backward()
    (x * 3).sum().backward()
    assert np.array_equal(x.grad, [2 + 3, 4 + 3])


def test_a_chain_of_20_000_operations_goes_forward_backward_and_away():
    x = Tensor(1.0, requires_grad=True)
    y = x
    for _ in range(20_000):
        y = y + 1.0
    y.backward()
    assert x.grad == 1
    for _ in range(20_000):
        y = y * x
    del y                                             # without backward: no deep recursion either


def test_outputs_that_are_not_used_send_zeros():
    x = leaf(1, 2, 3, 4, 5)
    first, middle, last = x.split([2, 3])
    (last * 3).sum().backward()
    assert np.array_equal(x.grad, [0, 0, 0, 3, 3])


def test_an_input_that_wants_a_gradient_where_the_op_has_none_is_told():
    x, angles = leaf(1, 2), leaf(0.5)
    cos, sin = angles.cos(), angles.sin()
    mg.rotary(x, cos.detach(), sin.detach()).sum().backward()
    assert x.grad is not None
    with pytest.raises(RuntimeError, match="rotary gives no gradient for input 1"):
        mg.rotary(x, cos, sin).sum().backward()


def test_an_op_declared_once_more_is_the_new_one_and_another_of_its_name_is_refused():
    def declare(factor):
        @mg.op("()->()")
        def scaled_for_a_test(x):
            """factor * x."""
            return factor * x, ()
        scaled_for_a_test.vjp(lambda g: (factor * g,))
        return scaled_for_a_test
    try:
        assert declare(2)(3.0) == 6 and declare(5)(3.0) == 15
        assert mg.OPS["scaled_for_a_test"](1.0) == 5
        before = mg.OPS["exp"]
        with pytest.raises(ValueError, match="an op exp already, in minigrad.ops.elementwise"):
            @mg.op("()->()")
            def exp(x):
                return x, ()
        assert mg.OPS["exp"] is before
    finally:
        mg.OPS.pop("scaled_for_a_test", None)


# ---- memory ----------------------------------------------------------------------------------

@given(st.sampled_from(["add", "sub", "reshape", "transpose", "broadcast", "split", "where"]))
def test_every_leaf_gradient_is_an_array_of_its_own(name):
    a, b, g = leaf(1, 2, 3, 4), leaf(1, 2, 3, 4), np.ones(4)
    outputs = {"add": lambda: a + b, "sub": lambda: a - b, "reshape": lambda: a.reshape(4) + b,
               "transpose": lambda: a.T + b, "broadcast": lambda: a.broadcast_to((4,)) + b,
               "split": lambda: mg.concatenate((a + b).split(2)),
               "where": lambda: mg.where(True, a + b, a)}
    outputs[name]().backward(g)
    arrays = [g, a.grad, b.grad]
    assert not any(np.shares_memory(x, y) for i, x in enumerate(arrays) for y in arrays[:i])
    assert all(x.flags.writeable for x in arrays)
    assert np.array_equal(g, np.ones(4))


def test_after_backward_nothing_but_leaves_and_gradients_is_alive():
    gc.collect()
    gc.disable()
    try:
        x, kept = leaf(*np.linspace(0, 0.1)), []
        with watch(lambda node: kept.append(weakref.ref(node))):
            y = x
            for _ in range(5):
                y = (y * x).exp().tanh() + x
            loss = mg.layer_norm(y).sum()
        del y
        assert len(kept) == 22 and all(ref() is not None for ref in kept)
        loss.backward()
        assert [ref() for ref in kept if ref() is not None] == [loss]
    finally:
        gc.enable()


def test_a_graph_dropped_without_backward_goes_away_without_the_collector():
    gc.disable()
    try:
        x = leaf(1, 2, 3)
        y = (x * x).exp()
        alive = weakref.ref(y)
        del y
        assert alive() is None
    finally:
        gc.enable()


def test_nodes_are_freed_while_backward_runs():
    x, kept = leaf(1, 2, 3), []
    with watch(lambda node: kept.append(weakref.ref(node))):
        loss = ((x * x).exp() + 1.0).tanh().sum()
    alive = [sum(ref() is not None for ref in kept) for step in backprop(loss)]
    assert alive == sorted(alive, reverse=True) and alive[-1] <= 2


# ---- the order of steps ----------------------------------------------------------------------

def test_a_leaf_is_yielded_as_soon_as_its_last_user_has_run():
    early, late = leaf(1.0), leaf(2.0)
    y = late.exp()
    z = y * early
    place = {step.node: i for i, step in enumerate(backprop(z.sum()))}
    assert place[early] == place[z] + 1 < place[y] < place[late]


def test_one_step_in_the_debugger_is_inside_the_vjp():
    lines, start = inspect.getsourcelines(backprop)
    line = start + next(i for i, text in enumerate(lines) if "node.vjp(g, *node.saved)" in text)
    page = Path(__file__).parents[2] / "docs" / "learn" / "engine" / "scalars_to_tensors.md"
    assert f"(Pdb) b minigrad/tensor.py:{line}\n" in page.read_text(encoding="utf-8")
    commands = "\n".join([f"b {engine.__file__}:{line}", "c", "s", "p sorted(locals())",
                          "cl 1", "c", ""])
    out = io.StringIO()
    y = leaf(1, 2).exp()
    pdb.Pdb(stdin=io.StringIO(commands), stdout=out, nosigint=True, readrc=False).runcall(
        lambda: y.backward(np.ones(2)))
    shown = out.getvalue()
    assert "exp_vjp(" in shown and "['g', 'y']" in shown


def test_layer_norm_is_one_node_or_its_parts_with_equal_gradients():
    counts, gradients = {}, {}
    for level in ("reference", "parts"):
        x, gain, nodes = leaf(1, 2, 4), leaf(1, 2, 3), []
        with use(level), watch(nodes.append):
            y = mg.layer_norm(x, gain)
        counts[level] = len(nodes)
        y.backward(np.array([1.0, -2, 3]))
        gradients[level] = np.concatenate([x.grad, gain.grad])
    assert counts["reference"] == 1 and counts["parts"] == 9
    np.testing.assert_allclose(gradients["parts"], gradients["reference"], rtol=1e-12)


def test_a_node_keeps_the_vjp_it_was_made_with():
    x = leaf(1, 2, 4)
    with use("reference"):
        y = mg.softmax(x)
    with use("parts"):
        steps = [step.node.op for step in backprop(y, np.ones(3))]
    assert steps == [mg.softmax, None]


# ---- a tensor behaves as one expects ---------------------------------------------------------

def test_tensor_shows_value_shape_dtype_and_op():
    assert repr(leaf(1, 2)) == (
        "Tensor([1., 2.], shape=(2,), dtype=float64, requires_grad=True)")
    assert "op=exp" in repr(leaf(1, 2).exp()) and "op" not in repr(Tensor(1.0).exp())


def test_tensor_is_a_sequence_and_a_number():
    x = Tensor(np.arange(6.0).reshape(2, 3))
    assert len(x) == 2 and [row.shape for row in x] == [(3,), (3,)]
    assert float(x[1, 2]) == 5 and int(x[1, 2]) == 5 and x[0, 1].item() == 1 and bool(x[1, 1])
    assert x.numpy() is x.data and x.detach().data is x.data
    assert f"{x[1, 2]:.2f}" == "5.00" and f"{x[1, 2]}" == repr(x[1, 2])
    with pytest.raises(TypeError):
        len(Tensor(1.0))


def test_tensors_given_by_name_receive_gradients_too():
    x, gain, bias = leaf(1, 2, 4), leaf(1, 2, 3), leaf(0, 0, 1)
    mg.layer_norm(x, bias=bias, gain=gain, eps=1e-3).backward(np.ones(3))
    by_name, gain.grad, bias.grad = (gain.grad, bias.grad), None, None
    mg.layer_norm(x, gain, bias, 1e-3).backward(np.ones(3))
    assert np.array_equal(by_name, (gain.grad, bias.grad))
    y = mg.layer_norm(x, bias=bias)
    y.backward(np.ones(3))
    assert np.array_equal(bias.grad, [2, 2, 2])


def test_arrays_in_give_arrays_out():
    x = np.array([1.0, 2, 3])
    for level in ("reference", "parts"):
        with use(level):
            assert type(mg.softmax(x)) is np.ndarray and type(mg.gelu(x)) is np.ndarray


def test_no_grad_and_detach_cut_the_graph():
    x = leaf(1, 2)
    with no_grad():
        assert not (x * 2).requires_grad
    y = (x.detach() * x).sum()
    y.backward()
    assert np.array_equal(x.grad, [1, 2])


def test_the_level_comes_from_the_environment():
    code = "from minigrad.mode import mode; print(mode.level)"
    for level, status in (("parts", 0), ("turbo", 1)):
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                             env={**os.environ, "MINIGRAD_LEVEL": level})
        assert run.returncode == status
        assert ("parts" in run.stdout) if status == 0 else ("MINIGRAD_LEVEL" in run.stderr)


class Presses(bdb.Bdb):
    """A debugger in which s is pressed at lines that say so, and n elsewhere."""

    INTO = "y.backward()", "mode.reader or backprop", "node.vjp(g, *node.saved)"

    def __init__(self):
        super().__init__()
        self.stops = []                               # (event, function, line of source)

    def user_line(self, frame, event="line"):
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        self.stops.append((event, frame.f_code.co_name, line))
        into = event == "line" and any(words in line for words in self.INTO)
        self.set_step() if into else self.set_next(frame)

    def user_call(self, frame, _):
        self.user_line(frame, "call")

    def user_return(self, frame, _):
        self.user_line(frame, "return")


def test_from_a_breakpoint_the_first_formula_is_8_presses_away_and_the_next_6():
    def program():
        a, b = (Tensor(x, requires_grad=True) for x in (2.0, 3.0))
        c = a * b
        d = c + a
        y = d * d
        y.backward()
    debugger = Presses()
    debugger.runcall(program)
    start = next(i for i, stop in enumerate(debugger.stops) if "y.backward()" in stop[2])
    formulas = [i - start for i, (event, name, _) in enumerate(debugger.stops)
                if event == "line" and name.endswith("_vjp")]
    assert formulas[:3] == [8, 14, 20]
