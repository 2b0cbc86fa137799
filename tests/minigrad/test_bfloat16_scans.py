"""In bfloat16 a step of a recurrent net multiplies its rounded state by rounded weights."""
import numpy as np
import pytest

from minigrad import Tensor, gru, lstm, rnn, use
from minigrad.kernels import bfloat16
from minigrad.kernels.bfloat16 import rounded
from minigrad.kernels.rows import kernels_from

B = 9
GATES = {rnn: 1, lstm: 4, gru: 3}


@pytest.fixture(autouse=True)
def small_products_count(monkeypatch):
    monkeypatch.setattr(bfloat16, "LARGE", 1)
    with kernels_from(1), use(precision="bfloat16"):
        yield


def made(net, H, T):
    """Return x, the weight, and the others that a net takes: a bias for a GRU, states."""
    rng = np.random.default_rng(H)
    n = GATES[net] * H
    x, weight = (rng.standard_normal(shape, np.float32) for shape in ((B, T, n), (n, H)))
    bias = [rng.standard_normal(H, np.float32)] if net is gru else []
    states = [rng.standard_normal((B, H), np.float32) for _ in range(1 + (net is lstm))]
    return x, weight, bias, states


def of_product(net, x, product, bias, states):
    """Return the next states, by a net whose product is taken from its input instead."""
    if net is gru:
        of_n = product[:, -bias[0].size:] + bias[0]
        r, z = np.split(1 / (1 + np.exp(-(x + product))), 3, axis=1)[:2]
        n = np.tanh(x[:, -bias[0].size:] + r * of_n)
        return [n + z * (states[0] - n)]
    weight = np.zeros((x.shape[1], states[0].shape[1]), np.float32)
    found = net((x + product)[:, None], weight, *states)
    return [y[:, 0] for y in (found if net is lstm else [found])]


@pytest.mark.parametrize("H", [1, 5, 33, 70])
@pytest.mark.parametrize("net", GATES, ids=str)
def test_states_and_weights_are_rounded_and_sums_are_not(net, H):
    x, weight, bias, states = made(net, H, T=3)
    found = net(x, weight, *bias, *states)
    found = found if net is lstm else [found]
    for t in range(3):
        product = rounded(states[0]).astype(np.float64) @ rounded(weight).T.astype(np.float64)
        product = product.astype(np.float32)
        expected = of_product(net, x[:, t], product, bias, states)
        states = [y[:, t] for y in found]
        for y, wanted in zip(states, expected):
            np.testing.assert_allclose(y, wanted, atol=3e-6)


@pytest.mark.parametrize("H", [1, 5, 33, 70])
@pytest.mark.parametrize("net", [rnn, lstm], ids=str)
def test_so_are_gradients_on_their_way_back(net, H):
    x, weight, _, states = made(net, H, T=1)
    x, *states = (Tensor(y, requires_grad=True) for y in (x, *states))
    found = net(x, weight, *states)
    y = found[0] if net is lstm else found
    (y * np.arange(y.size, dtype=np.float32).reshape(y.shape)).sum().backward()
    expected = rounded(x.grad[:, 0]).astype(np.float64) @ rounded(weight).astype(np.float64)
    size = np.abs(x.grad[:, 0]).astype(np.float64) @ np.abs(weight) + 1e-6
    assert (np.abs(states[0].grad - expected) <= 1e-6 * size).all()
    with use(precision="float32"):
        assert (np.abs(x.grad[:, 0] @ weight - expected) <= 0.02 * size).all()


@pytest.mark.parametrize("net", GATES, ids=str)
def test_small_products_stay_in_float32(net, monkeypatch):
    x, weight, bias, states = made(net, 33, T=2)
    rough = net(x, weight, *bias, *states)
    monkeypatch.setattr(bfloat16, "LARGE", 10**6)
    small = net(x, weight, *bias, *states)
    with use(precision="float32"):
        exact = net(x, weight, *bias, *states)
    rough, small, exact = (y[0] if net is lstm else y for y in (rough, small, exact))
    assert np.array_equal(small, exact) and not np.array_equal(rough, exact)
    np.testing.assert_allclose(rough, exact, atol=0.1)
