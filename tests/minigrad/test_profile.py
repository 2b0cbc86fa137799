"""Properties of the profile: it adds up, counts right, and leaves everything as it was."""
import time
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from minigrad import Tensor, gelu, layer_norm, matmul, softmax, sum
from minigrad.stepper.profile import Profile, machine, profile
from minigrad.tensor import OPS

RNG = np.random.default_rng(0)


def tensor(*shape):
    return Tensor(RNG.standard_normal(shape).astype(np.float32), requires_grad=True)


def bodies():
    return [body for op in OPS.values() for pair in op.bodies.values() for body in pair]


def test_lines_and_nobodys_time_add_up_to_the_wall_clock():
    x, w = tensor(64, 32), tensor(32, 48)
    begin = time.perf_counter()
    with profile() as p:
        sum(gelu(x @ w)).backward()
        time.sleep(0.02)
    outside = time.perf_counter() - begin
    parts = [line.seconds for line in p.lines.values()]
    assert all(s >= 0 for s in parts) and p.nobodys_s >= 0.02
    assert p.nobodys_s <= p.wall_s <= outside


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
    peak, bandwidth = machine()
    assert peak > 0 and bandwidth > 0
