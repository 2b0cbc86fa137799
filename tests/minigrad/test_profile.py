"""Properties of the profile: it adds up, counts right, and leaves everything as it was."""
import xml.etree.ElementTree as ET
from itertools import count as ticks

import numpy as np
import pytest

from minigrad import (
    Tensor, add_layer_norm, embedding, gelu, layer_norm, linear, matmul, softmax, sum)
from minigrad.mode import watch
from minigrad.stepper import counting, profile as profiling, roofline
from minigrad.stepper.counting import count, count_node, size_bytes
from minigrad.stepper.profile import Profile, profile
from minigrad.tensor import OPS
from minigrad.testing.adapters import Subject
from minigrad.testing.strategies import SizedDraw, make_case

RNG = np.random.default_rng(0)


def tensor(*shape):
    return Tensor(RNG.standard_normal(shape).astype(np.float32), requires_grad=True)


def bodies():
    return [body for op in OPS.values() for pair in op.bodies.values() for body in pair]


def test_lines_and_nobodys_time_add_up_to_the_wall_clock(monkeypatch):
    x, w, clock = tensor(64, 32), tensor(32, 48), ticks()
    monkeypatch.setattr(Profile, "clock", lambda self: next(clock))   # a second at each reading
    with profile() as p:
        sum(gelu(x @ w)).backward()
    seconds = {key: line.seconds for key, line in p.lines.items()}
    assert seconds.pop(("sum", "backward")) == 2          # before broadcast_to, and after it
    assert seconds.pop(("broadcast_to", "forward")) == 1
    assert seconds == {(name, direction): 1 for name, direction in [
        ("matmul", "forward"), ("gelu", "forward"), ("sum", "forward"),
        ("gelu", "backward"), ("matmul", "backward")]}
    assert p.wall_s == 15 and p.nobodys_s == 15 - 8


def test_the_clock_stands_still_while_work_is_counted(monkeypatch):
    now, x = [0], tensor(3)
    def slow(op, args, params):
        now[0] += 1000
        return 5, 7
    monkeypatch.setattr(profiling, "perf_counter", lambda: now[0])
    monkeypatch.setattr(profiling, "count_op", slow)
    with profile() as p:
        (x * x).backward(np.ones(3, np.float32))
        now[0] += 2
    assert now[0] == 1002 and p.wall_s == p.nobodys_s == 2
    assert [line.flops for line in p.lines.values()] == [5, 7]


def test_every_call_counts_once_in_each_direction():
    x = tensor(6, 8)
    with profile() as p:
        y = softmax(softmax(softmax(x)))
        (y * y).backward(np.ones((6, 8), np.float32))
    calls = {key: line.calls for key, line in p.lines.items()}
    assert calls == {("softmax", "forward"): 3, ("softmax", "backward"): 3,
                     ("mul", "forward"): 1, ("mul", "backward"): 1}


def test_flops_and_bytes_of_a_product_are_the_known_ones():
    m, k, n = 64, 32, 48
    a, b = tensor(m, k), tensor(k, n)
    with profile() as p:
        for _ in range(2):
            matmul(a, b).backward(np.ones((m, n), np.float32))
    forward, backward = p.lines["matmul", "forward"], p.lines["matmul", "backward"]
    assert forward.flops == 2 * 2 * m * k * n and backward.flops == 2 * 4 * m * k * n
    assert forward.nbytes == 2 * 4 * (m * k + k * n + m * n)
    assert backward.nbytes == 2 * 4 * (2 * m * k + 2 * k * n + m * n)


def test_results_are_those_without_a_profile_and_the_ops_are_left_as_they_were():
    x, before = tensor(9, 16), bodies()
    plain = layer_norm(x)
    plain.backward(np.ones_like(plain.data))
    gradient, x.grad = x.grad, None
    with profile():
        profiled = layer_norm(x)
        profiled.backward(np.ones_like(plain.data))
    assert (profiled.data == plain.data).all() and (x.grad == gradient).all()
    assert all(a is b for a, b in zip(bodies(), before))


def test_an_error_in_the_block_passes_through_and_ends_the_profile():
    before = bodies()
    with pytest.raises(ValueError, match="core dimension|columns|shape"), profile() as p:
        matmul(tensor(64, 63), tensor(64, 64))
    assert p.wall_s > 0 and all(a is b for a, b in zip(bodies(), before))


def test_a_backward_pass_after_the_profile_is_not_measured():
    x = tensor(6, 8)
    with profile() as p:
        y = sum(softmax(x))
    y.backward()
    assert ("softmax", "backward") not in p.lines and x.grad is not None


def test_ops_inside_a_part_keep_their_own_time(monkeypatch):
    now = [0]
    monkeypatch.setattr(Profile, "clock", lambda self: now[0])
    with profile() as p:
        now[0] += 1                                           # nobody's
        with p.part("outer"):
            now[0] += 10
            for _ in range(2):
                with p.part("inner"):
                    now[0] += 100
            now[0] += 1000
    assert p.lines["outer", "part"].seconds == 1010 and p.lines["inner", "part"].seconds == 200
    assert p.lines["inner", "part"].calls == 2 and p.nobodys_s == 1


def test_the_table_names_every_line_and_the_picture_is_xml(tmp_path):
    x, w = tensor(64, 32), tensor(32, 48)
    with profile() as p:
        sum(gelu(x @ w)).backward()
    text = str(p)
    for name in ("matmul", "gelu", "sum", "nobody's", "GFLOP/s", "forward", "backward"):
        assert name in text
    p.roofline(tmp_path / "roofline.svg")
    picture = ET.parse(tmp_path / "roofline.svg").getroot()
    titles = [t.text for t in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert any(t.startswith("matmul forward") for t in titles)
    assert any(t.startswith("matmul backward") for t in titles)


def test_the_machine_is_measured_by_the_fastest_of_many_calls(monkeypatch):
    now, calls = [0], []
    monkeypatch.setattr(roofline, "perf_counter", lambda: now[0])
    def work(cost):
        calls.append(cost)
        now[0] += 10 - len(calls)
    assert roofline.fastest(work, ("x",), 4) == 6 and calls == 4 * ["x"]
    monkeypatch.setattr(roofline, "fastest", lambda function, args, calls: 1.0)
    peak, bandwidth = roofline.machine.__wrapped__()
    assert peak == pytest.approx(2e-9 * 960**3)           # a multiply and an add each
    assert bandwidth == pytest.approx(3e-9 * 4 * 8e6)     # two arrays read, one written


# ---- counting --------------------------------------------------------------------------------

def test_operations_are_counted_and_results_are_the_functions():
    x, w = np.ones((4, 5)), np.full((5, 6), 2.0)
    flops, out = count(lambda x, w: np.tanh(x @ w).sum(), x, w)
    assert flops == 2 * 4 * 5 * 6 + 24 + 24 and out == 24 * np.tanh(10.0)
    assert count(np.linalg.norm, "no array") == (None, None)
    assert count(lambda outputs: outputs[0] + outputs[1], (x, x)).flops == 20
    assert type(x) is np.ndarray


def test_a_net_is_counted_by_watching_its_nodes():
    ids, table, w = np.array([[1, 0, 2]]), tensor(3, 8), tensor(6, 8)
    nodes = []
    with watch(nodes.append):
        x = embedding(ids, table)
        y, _ = add_layer_norm(x, x)
        linear(y, w)
    counts = {node.op.name: count_node(node) for node in nodes}
    assert counts["linear"] == (2 * 3 * 8 * 6, 2 * 2 * 3 * 8 * 6)
    assert counts["embedding"][0] == 0 and counts["pick"] == (0, 0)
    assert min(counts["add_layer_norm"]) > 5 * 3 * 8      # both outputs have a gradient


def test_work_for_a_gradient_that_nobody_asks_for_is_not_counted():
    nodes = []
    with watch(nodes.append):
        linear(np.ones((3, 8), np.float32), tensor(6, 8))
    assert count_node(nodes[0]) == (2 * 3 * 8 * 6, 2 * 3 * 8 * 6)


@pytest.mark.parametrize("name", [op.name for op in OPS.values() if op.name != "pick"])
def test_every_op_can_be_counted_in_both_directions(name, monkeypatch):
    counts = []
    def noted(function, *args, **params):
        counts.append(count(function, *args, **params))
        return counts[-1]
    monkeypatch.setattr(counting, "count", noted)
    subject, draw = Subject(OPS[name], "reference"), SizedDraw(np.random.default_rng(0), 3)
    arrays, params, *_ = make_case(subject, draw, 0)
    counting.count_op(OPS[name], arrays, params)
    assert [c.flops is not None for c in counts] == [True, True]


def test_bytes_of_an_array_count_once():
    x = np.ones(10, np.float32)
    assert size_bytes((x, [x, (x[:5],), None, 3])) == 40 + 20


def test_what_runs_its_formula_although_it_has_a_kernel_is_told():
    x = np.arange(2400.0).reshape(8, 300)
    with profile() as p:
        softmax(x)                                    # its kernel takes it
        softmax(x, axis=0)
        softmax(x.astype(np.int64))
        softmax(x[:1, :3])                            # few numbers, which are NumPy's on purpose
    assert p.declines == {"softmax of float64 8x300": 1, "softmax of int64 8x300": 1}
    assert "without its kernel: softmax of int64 8x300, 1 times" in str(p)
