"""Scans over time: they equal torch's nets, their own steps one by one, and the net unrolled."""
from pathlib import Path

import numpy as np
import pytest
from golden.recurrent_cases import CASES, arrays_of, upstream
from safetensors.numpy import load_file

from minigrad import Tensor, concatenate, conv1d, gru, linear, lstm, mingru, rnn, tanh, use
from minigrad.kernels import jit
from minigrad.kernels.rows import kernels_from

GOLDEN = load_file(Path(__file__).parent.parent / "golden" / "recurrent_values.safetensors")
LEVELS = "reference", "parts", "fast"


def torch_form(name, x, weight_ih, weight_hh, bias_ih, bias_hh, h0, c0=None):
    """Run a scan on what torch's net of one layer takes; return what that returns."""
    H = h0.shape[1]
    if name == "gru":                                 # one bias belongs inside the reset gate
        outer = concatenate([bias_hh[:2 * H], np.zeros(H)])
        h = gru(linear(x, weight_ih, bias_ih + outer), weight_hh, bias_hh[2 * H:], h0)
        return h, h[:, -1]
    z = linear(x, weight_ih, bias_ih + bias_hh)
    if name == "rnn":
        h = rnn(z, weight_hh, h0)
        return h, h[:, -1]
    h, c = lstm(z, weight_hh, h0, c0)
    return h, h[:, -1], c[:, -1]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", CASES)
def test_a_net_gives_the_values_and_gradients_of_torch(name, level):
    tensors = {key: Tensor(x, requires_grad=True) for key, x in arrays_of(name).items()}
    with use(level), kernels_from(1):
        outputs = torch_form(name, **tensors)
        total = sum((y * upstream(y.shape).reshape(y.shape)).sum() for y in outputs)
        total.backward()
    for i, y in enumerate(outputs):
        want = GOLDEN[f"{name}|y{i}"]
        np.testing.assert_allclose(y.data, want.reshape(y.shape), rtol=0, atol=1e-10)
    for key, x in tensors.items():
        np.testing.assert_allclose(x.grad, GOLDEN[f"{name}|d{key}"], rtol=0, atol=1e-10)


def sequence(rng, gates, B=3, T=3, H=5):
    x, weight = rng.standard_normal((B, T, gates * H)), rng.standard_normal((gates * H, H)) / H
    return [Tensor(each, requires_grad=True) for each in (x, weight, rng.standard_normal((B, H)))]


def test_an_unrolled_net_of_three_steps_equals_the_scan():
    x, weight, h0 = sequence(np.random.default_rng(0), 1)
    g = np.random.default_rng(1).standard_normal(h0.shape)
    h1 = tanh(x[:, 0] + h0 @ weight.T)
    h2 = tanh(x[:, 1] + h1 @ weight.T)
    h3 = tanh(x[:, 2] + h2 @ weight.T)
    (h3 * g).sum().backward()
    unrolled = [each.grad for each in (x, weight, h0)]
    x, weight, h0 = (Tensor(each.data, requires_grad=True) for each in (x, weight, h0))
    with kernels_from(1):
        h = rnn(x, weight, h0)
        (h[:, 2] * g).sum().backward()
    np.testing.assert_allclose(h[:, 2].data, h3.data, atol=1e-14)
    for each, want in zip((x, weight, h0), unrolled):
        np.testing.assert_allclose(each.grad, want, atol=1e-14)


SCANS = {"rnn": (1, lambda x, w, h: (rnn(x, w, h),)),
         "lstm": (4, lambda x, w, h, c=None: lstm(x, w, h, h if c is None else c)),
         "gru": (3, lambda x, w, h: (gru(x, w, w[0], h),)),
         "mingru": (2, lambda x, w, h: (mingru(x, h),))}


@pytest.mark.parametrize("name", SCANS)
def test_a_sequence_in_two_parts_gives_the_bits_of_the_whole(name):
    gates, scan = SCANS[name]
    x, weight, h0 = (each.data for each in sequence(np.random.default_rng(2), gates, 5, 7, 17))
    with kernels_from(1):
        whole = scan(x, weight, h0)
        first = scan(x[:, :4], weight, h0)
        second = scan(x[:, 4:], weight, *(part[:, -1] for part in first))
    for parts in zip(whole, first, second):
        np.testing.assert_array_equal(parts[0], np.concatenate(parts[1:], axis=1))


@pytest.mark.skipif(not jit.COMPILED, reason="there is no second body")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SCANS)
def test_states_of_every_width_are_those_of_the_formula(name, dtype):
    gates, scan = SCANS[name]
    for H in (1, 7, 8, 9, 16, 31, 33, 65):
        arrays = sequence(np.random.default_rng(H), gates, 1 + H % 6, 3, H)
        arrays = [each.data.astype(dtype) for each in arrays]
        with kernels_from(1):
            fast = scan(*arrays)
        with use("reference"):
            want = scan(*arrays)
        for y, other in zip(fast, want):
            np.testing.assert_allclose(y, other, rtol=0, atol=64 * np.finfo(dtype).eps)


@pytest.mark.parametrize("level", LEVELS)
def test_a_convolution_is_the_sum_that_its_formula_says(level):
    rng = np.random.default_rng(0)
    x, before = rng.standard_normal((2, 6, 3)), rng.standard_normal((2, 4, 3))
    weight, full = rng.standard_normal((3, 3)), rng.standard_normal((3, 3, 5))
    u = np.concatenate([before, x], axis=1)
    with use(level), kernels_from(1):
        y, wide = conv1d(x, weight, before, 2), conv1d(x, full, before, 2)
    for t in range(6):
        seen = u[:, [t, t + 2, t + 4]]                                  # (B, K, C)
        np.testing.assert_allclose(y[:, t], (seen * weight).sum(axis=1), atol=1e-12)
        np.testing.assert_allclose(wide[:, t], np.einsum("bkc,kcn->bn", seen, full), atol=1e-12)
