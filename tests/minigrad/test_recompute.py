"""What keeps its inputs alone computes the same bits as what keeps everything."""
import numpy as np
import pytest

from minigrad import (
    Tensor, cross_entropy, dropout, gelu, grad, hessian_vector_product, linear, use, watch)
from minigrad.kernels.replay import Replay
from minigrad.kernels.rows import kernels_from
from minigrad.mode import listen
from minigrad.recompute import recompute

rng = np.random.default_rng(0)


def parameters(dtype):
    shapes = (32, 8), (8, 32)
    return [Tensor(rng.standard_normal(s).astype(dtype), requires_grad=True) for s in shapes]


def at_once(function, *inputs, parameters, rng):
    return function(*inputs, rng)


def three(x, weights, draws=None, part=recompute):
    """Go three times through an MLP with dropout, each time as a part of its own."""
    a, b = weights
    def mlp(x, none, rng):
        assert none is None
        return linear(gelu(dropout(linear(x, a), 0.3, rng)), b)
    for _ in range(3):
        x = x + part(mlp, x, None, parameters=weights, rng=draws)
    return (x * x).sum()


def value_and_gradients(x, weights, part):
    draws = np.random.default_rng(1)
    loss = three(x, weights, draws, part)
    loss.backward()
    found = [loss.data, *(leaf.grad for leaf in [x, *weights]), draws.random()]
    for leaf in [x, *weights]:
        leaf.grad = None
    return [np.asarray(y).tobytes() for y in found]


@pytest.mark.parametrize("level", ["fast", "reference", "parts"])
def test_bits_are_equal_with_dropout_at_every_level(level):
    weights = parameters(np.float32)
    x = Tensor(rng.standard_normal((5, 8)).astype(np.float32), requires_grad=True)
    with use(level):
        expected = value_and_gradients(x, weights, at_once)
        assert value_and_gradients(x, weights, recompute) == expected


def test_it_runs_again_with_the_kernels_of_the_first_time():
    """Small products run in a kernel where that is asked, but the way back is behind the asking."""
    weights, levels = parameters(np.float32), []
    x = Tensor(rng.standard_normal((5, 8)).astype(np.float32), requires_grad=True)
    with kernels_from(1):
        loss = three(x, weights)
    with listen(lambda op, level, *_: levels.append(level) if op is linear else None):
        loss.backward()
    assert levels == ["fast"] * 6


def test_inputs_that_want_no_gradient_and_frozen_weights():
    weights = parameters(np.float32)
    weights[0].requires_grad = False
    x = Tensor(np.ones((5, 8), np.float32))
    found = []
    for part in (recompute, at_once):
        three(x, weights, part=part).backward()
        assert x.grad is None and weights[0].grad is None
        found.append(weights[1].grad)
        weights[1].grad = None
    np.testing.assert_array_equal(*found)


def test_the_graph_holds_one_node_a_part():
    weights, nodes = parameters(np.float64), []
    with watch(nodes.append):
        three(Tensor(np.ones((5, 8)), requires_grad=True), weights)
    assert [node.op.name for node in nodes].count("rerun") == 3 and len(nodes) == 8


def test_second_derivatives_are_those_of_the_function():
    weights = parameters(np.float64)
    x, v = rng.standard_normal((2, 3, 8))
    found = []
    for part in (recompute, at_once):
        f = lambda x, part=part: three(x, weights, part=part)
        found.append([grad(f)(x).data, hessian_vector_product(f, x, v).data])
    np.testing.assert_allclose(*found, rtol=1e-12)


def test_an_input_that_has_no_influence_gets_zeros():
    x = Tensor(np.ones(3), requires_grad=True)
    y = recompute(lambda x, rng: Tensor(np.ones(3)), x)
    (y * x).sum().backward()
    np.testing.assert_array_equal(x.grad, np.ones(3))


def test_it_is_replayed_with_new_numbers_to_drop():
    weights = a, b = parameters(np.float32)
    mlp = lambda x, rng: linear(gelu(dropout(linear(x, a), 0.3, rng)), b)

    def loss(x, rng):
        y = recompute(mlp, Tensor(x), parameters=weights, rng=rng)
        return cross_entropy(linear(y, weights[0]), np.zeros(5, np.int64))
    replay, plain = Replay(loss, weights), Replay(loss, weights)
    plain.possible = lambda: False
    for seed in range(5):
        x = rng.standard_normal((5, 8)).astype(np.float32)
        found = []
        for each in (replay, plain):
            with kernels_from(1):
                value = each(x, rng=np.random.default_rng(seed))
            found.append([value, *(w.grad.tobytes() for w in weights)])
            for w in weights:
                w.grad = None
        assert found[0] == found[1]
    assert replay.obstacle is None and next(iter(replay.attempts.values())).next == "replay"
