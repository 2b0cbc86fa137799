"""Optimizers follow their formulas, keep their state, and say what does not fit."""
import copy
import math
import pickle

import numpy as np
import pytest
from gradients_at_hand import GOLDEN, LEVELS, matrices
from golden.optimizer_cases import (
    CASES, EXTREME, EXTREME_CASES, N_STEPS, START, gradient, scale)
from hypothesis import given
from hypothesis import strategies as st

from minigrad import Tensor, optim as optim_module, use
from minigrad.optim import (
    SGD, Adagrad, Adam, AdamW, RMSprop, decay_groups, linear_schedule)
from minigrad.optim.muon import COEFFICIENTS, Muon, orthogonalize

MAKERS = {"sgd": lambda p: SGD(p, 0.1, momentum=0.9, nesterov=True),
          "adamw": lambda p: AdamW(p, 0.1), "muon": lambda p: Muon(p, 0.1),
          "adam": lambda p: Adam(p, 0.1, weight_decay=1e-3), "adagrad": lambda p: Adagrad(p, 0.5),
          "rmsprop": lambda p: RMSprop(p, 0.05, momentum=0.5, centered=True)}


# ---- trajectories ----------------------------------------------------------------------------

@pytest.mark.parametrize("name", CASES)
def test_thirty_steps_equal_those_of_torch(name):
    kind, settings, of_b = CASES[name]
    parameters = {key: Tensor(x.copy(), requires_grad=True) for key, x in START.items()}
    groups = [{"parameters": [parameters["w"]]}, {"parameters": [parameters["b"]], **of_b}]
    optimizer = getattr(optim_module, kind)(groups, **{"learning_rate": 1e-3, **settings})
    for step in range(N_STEPS):
        for key, p in parameters.items():
            p.grad = gradient(p.data, key, step)
        optimizer.step(scale(step))
        for key, p in parameters.items():
            np.testing.assert_allclose(p.data, GOLDEN[f"{name}|{key}"][step], rtol=1e-12,
                                       atol=1e-12, err_msg=f"{key} after step {step}")


# ---- the largest and the smallest numbers ----------------------------------------------------

def steps_along(make, gradients, level, start=1.0):
    """Return the parameters after each of some gradients, which have one shape."""
    p, found = Tensor(np.full_like(gradients[0], start), requires_grad=True), []
    optimizer = make([p])
    with use(level), np.errstate(all="ignore"):
        for g in gradients:
            p.grad = g
            optimizer.step()
            found.append(p.data.copy())
    return np.stack(found), optimizer


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", EXTREME_CASES)
def test_extreme_gradients_move_parameters_as_in_torch(name, level):
    kind, settings = EXTREME_CASES[name]
    found, _ = steps_along(lambda p: getattr(optim_module, kind)(p, **settings),
                           [EXTREME, np.ones_like(EXTREME)], level)
    expected = GOLDEN[f"extreme|{name}"]
    known = ~np.isnan(expected)                       # where all forms of torch's agree
    assert known.sum() >= expected.size - 2
    np.testing.assert_allclose(found[known], expected[known], rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", [Adam, AdamW])
def test_the_squares_of_a_gradient_of_one_are_remembered_to_the_last_digits(kind, level):
    _, optimizer = steps_along(kind, [np.ones(3, np.float32)], level)
    np.testing.assert_allclose(optimizer.state_dict()["0.v"], 1e-3, rtol=1e-7)
    np.testing.assert_allclose(optimizer.state_dict()["0.m"], 0.1, rtol=1e-7)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@given(data=st.data())
def test_one_answer_from_kernel_and_rule_whatever_the_gradients(make, data):
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    largest = np.log10(float(np.finfo(dtype).max))
    sizes = st.one_of(st.floats(-largest - 6, largest - 0.01), st.sampled_from([0.0, -largest]))
    signed = st.tuples(sizes, st.sampled_from([1, -1, 0])).map(lambda x: x[1] * 10 ** x[0])
    gradients = [np.full((4, 3), data.draw(signed), dtype) for _ in range(3)]
    (fast, _), (rule, _) = (steps_along(make, gradients, level) for level in LEVELS)
    size = max(1, np.nan_to_num(np.abs(fast)).max())
    error = 1e-3 if make is MAKERS["muon"] else 50 * np.finfo(dtype).eps   # see optim/muon.py
    np.testing.assert_allclose(fast / size, rule / size, rtol=0, atol=error)


def test_the_millionth_step_is_that_of_the_moments():
    for level in LEVELS:
        _, optimizer = steps_along(lambda p: AdamW(p, 0.1), [np.ones(3)], level)
        optimizer.state_dict()["0.t"][()] = 10 ** 6
        (p,) = optimizer.groups[0]["parameters"]
        before, (m, v, _) = p.data.copy(), optimizer.state_dict().values()
        with use(level):
            optimizer.step()
        np.testing.assert_allclose(p.data, before * 0.999 - 0.1 * m / (v ** 0.5 + 1e-8), rtol=1e-14)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype, sizes", [(np.float32, [1e20, 3e38]), (np.float64, [1e200])])
def test_muon_does_not_depend_on_the_scale_of_the_gradient(dtype, sizes, level):
    g = np.random.default_rng(0).uniform(-1, 1, (6, 4)).astype(dtype)
    expected = steps_along(lambda p: Muon(p, 0.1), [g], level)[0]
    for size in sizes:
        found = steps_along(lambda p: Muon(p, 0.1), [g * dtype(size)], level)[0]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def orthogonalize_by_svd(x):
    """Apply the quintic to the singular values themselves."""
    u, s, v = np.linalg.svd(x, full_matrices=False)
    s = s / np.linalg.norm(s)
    a, b, c = COEFFICIENTS
    for _ in range(5):
        s = a * s + b * s ** 3 + c * s ** 5
    return (u * s) @ v


@pytest.mark.parametrize("dtype, error", [(np.float64, 1e-11), (np.float32, 1e-5)])
@pytest.mark.parametrize("shape", [(6, 6), (9, 4), (4, 9), (1, 5)])
@pytest.mark.parametrize("nesterov", [False, True])
def test_thirty_steps_of_muon_equal_its_formula(shape, nesterov, dtype, error):
    (p,) = matrices(0, shape, dtype=dtype)
    expected, velocity = p.data.astype(np.float64), np.zeros(shape)
    optimizer = Muon([p], learning_rate=0.05, nesterov=nesterov, weight_decay=0.1)
    rng = np.random.default_rng(1)
    for _ in range(N_STEPS):
        p.grad = rng.standard_normal(shape).astype(dtype)
        optimizer.step()
        g = p.grad.astype(np.float64)
        velocity = 0.95 * velocity + 0.05 * g
        u = orthogonalize_by_svd(0.95 * velocity + 0.05 * g if nesterov else velocity)
        expected = expected - 0.05 * 0.1 * expected - 0.05 * max(1, shape[0] / shape[1]) ** 0.5 * u
    assert p.dtype == dtype
    assert np.linalg.norm(p.data - expected) <= error * np.linalg.norm(expected)


@pytest.mark.parametrize("exponent, error", [(0, 5e-6), (8, 1e-3)])
@pytest.mark.parametrize("shape", [(64, 64), (48, 160), (160, 48)])
def test_muon_in_float32_stays_near_its_formula(shape, exponent, error):
    """At the condition number 10**exponent; muon.py states the errors."""
    rng, side = np.random.default_rng(2), min(shape)
    u, _, v = np.linalg.svd(rng.standard_normal(shape), full_matrices=False)
    g = (u * np.geomspace(1, 10.0 ** -exponent, side)) @ v
    (p,) = matrices(0, shape, dtype=np.float32)
    before, p.grad = p.data.astype(np.float64), g.astype(np.float32)
    Muon([p], learning_rate=1.0).step()
    expected = max(1, shape[0] / shape[1]) ** 0.5 * orthogonalize_by_svd(p.grad.astype(np.float64))
    assert np.linalg.norm(before - p.data - expected) <= error * np.linalg.norm(expected)


# ---- Newton-Schulz ---------------------------------------------------------------------------

@given(st.integers(1, 12), st.integers(1, 12), st.floats(-6, 6), st.integers(0, 99))
def test_orthogonalize_depends_on_neither_scale_nor_basis(rows, columns, exponent, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, columns))
    y = orthogonalize(x)
    rotation = np.linalg.qr(rng.standard_normal((rows, rows)))[0]
    np.testing.assert_allclose(orthogonalize(10 ** exponent * x), y, atol=1e-9)
    np.testing.assert_allclose(orthogonalize(rotation @ x), rotation @ y, atol=1e-9)
    np.testing.assert_allclose(orthogonalize(x.T), y.T, atol=1e-12)


def test_singular_values_come_to_lie_near_one():
    u, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((40, 40)))
    s = np.linalg.svd(orthogonalize(u * np.geomspace(0.02, 1, 40)), compute_uv=False)
    assert 0.68 < s.min() and s.max() < 1.14


def test_no_gradient_gives_no_direction():
    assert not orthogonalize(np.zeros((3, 2))).any()


def test_muon_takes_matrices_only():
    with pytest.raises(ValueError, match=r"shape \(3,\): give it to AdamW"):
        Muon(matrices(0, (3,)))


# ---- what all optimizers share ---------------------------------------------------------------

@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_resumed_run_equals_an_uninterrupted_one(make):
    def run(p, optimizer, steps):
        for step in steps:
            p.grad = np.random.default_rng(step).standard_normal(p.shape)
            optimizer.step()
        return p

    (whole,), (first,) = matrices(0, (3, 2)), matrices(0, (3, 2))
    run(whole, make([whole]), range(6))
    optimizer = make([first])
    run(first, optimizer, range(3))
    saved = {name: x.copy() for name, x in optimizer.state_dict().items()}
    second = Tensor(first.data.copy(), requires_grad=True)
    resumed = make([second])
    resumed.load_state_dict(saved)
    run(second, resumed, range(3, 6))
    assert np.array_equal(second.data, whole.data)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_step_writes_in_place_and_keeps_the_dtype(make, dtype):
    (p,) = matrices(0, (3, 2), dtype=dtype)
    memory, before, g = p.data, p.data.copy(), p.grad.copy()
    optimizer = make([p])
    optimizer.step()
    assert p.data is memory and not np.array_equal(memory, before) and memory.dtype == dtype
    assert np.array_equal(p.grad, g)
    assert {x.dtype for name, x in optimizer.state_dict().items() if not name.endswith(".t")} == {
        np.dtype(dtype)}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_backward_notices_a_step_since_the_forward_pass(make):
    (p,) = matrices(0, (2, 2))
    loss = (p * p).sum()
    make([p]).step()
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_the_loss_falls(make):
    (p,) = matrices(3, (4, 3))
    target, optimizer, losses = np.ones((4, 3)), make([p]), []
    for step in range(150):
        optimizer.zero_grad()
        loss = ((p - target) ** 2).sum()
        loss.backward()
        optimizer.step(linear_schedule(step, 150))
        losses.append(loss.item())
    assert losses[-1] < 0.01 * losses[0]


def test_a_scale_of_zero_changes_nothing():
    (p,) = matrices(0, (2, 3))
    before = p.data.copy()
    AdamW([p]).step(0.0)
    assert np.array_equal(p.data, before)


def test_parameters_without_gradient_are_left_alone():
    a, b = matrices(0, (2,), (2,))
    a.grad, before = None, a.data.copy()
    optimizer = AdamW([a, b])
    optimizer.step()
    assert np.array_equal(a.data, before) and not optimizer.state_dict()["0.t"]
    optimizer.zero_grad()
    assert b.grad is None


def test_a_copy_moves_its_own_parameters():
    parameters = matrices(0, (30, 20))
    optimizer = AdamW(parameters, 0.1)
    optimizer.step()
    kept = parameters[0].data.copy()
    other = copy.deepcopy(optimizer)
    pickle.loads(pickle.dumps(optimizer.places))
    (p,) = other.groups[0]["parameters"]
    p.grad = np.ones_like(p.data)
    other.step()
    assert np.array_equal(parameters[0].data, kept) and not np.array_equal(p.data, kept)


def test_a_gradient_that_is_no_array_is_an_error_each_time():
    (p,) = matrices(0, (30, 20))
    optimizer = AdamW([p], 0.1)
    optimizer.step()
    kept, p.grad = p.data.copy(), Tensor(np.ones_like(p.data))
    for _ in range(2):
        with pytest.raises(TypeError, match="is a Tensor: give an array, or None"):
            optimizer.step()
    assert np.array_equal(p.data, kept)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("wrong", [
    np.ones((2, 3)), np.ones(2), np.ones(()), np.ones((3, 2), np.float32), np.ones((3, 2), int),
    np.ones((3, 2), bool), np.ones((3, 2), ">f8")], ids=lambda g: f"{g.dtype.str}{g.shape}")
def test_a_gradient_of_another_shape_or_dtype_is_refused_before_any_step(make, wrong, level):
    parameters = matrices(0, (3, 2), (3, 2))
    optimizer, kept = make(parameters), [p.data.copy() for p in parameters]
    parameters[1].grad = wrong
    for _ in range(2):
        with pytest.raises(ValueError) as error, use(level):
            optimizer.step()
    assert f"a gradient is {wrong.dtype} of shape {wrong.shape}, but" in str(error.value)
    assert all(np.array_equal(p.data, x) for p, x in zip(parameters, kept))
    parameters[1].grad = np.ones((3, 2))
    optimizer.step()


@pytest.mark.parametrize("level", LEVELS)
def test_parameters_of_any_layout_and_size_take_the_same_step(level):
    for make in (MAKERS["sgd"], MAKERS["adamw"], MAKERS["adam"]):
        (plain,) = matrices(0, (3, 2))
        for x in (plain.data.astype(">f8"), np.asfortranarray(plain.data),
                  np.repeat(plain.data, 2, axis=1)[:, ::2]):
            (p,), (q,) = matrices(0, (3, 2)), matrices(0, (3, 2))
            q.data = x.copy() if x.dtype.str == ">f8" else x
            q.grad = q.grad.astype(x.dtype)
            with use(level):
                make([p]).step()
                make([q]).step()
            np.testing.assert_allclose(q.data, p.data, rtol=1e-15)
        for shape in ((), (0,), (2, 0)):
            (p,) = matrices(0, shape)
            with use(level):
                make([p]).step()


WRONG_SETTINGS = [
    (AdamW, {"learning_rate": math.nan}), (AdamW, {"learning_rate": -0.1}),
    (AdamW, {"learning_rate": math.inf}), (AdamW, {"betas": (1.0, 0.9)}),
    (AdamW, {"betas": (0.9, -0.1)}), (AdamW, {"betas": (0.9, math.nan)}), (AdamW, {"betas": 0.9}),
    (AdamW, {"betas": (0.9,)}), (AdamW, {"eps": -1e-8}), (AdamW, {"weight_decay": -1.0}),
    (Adam, {"weight_decay": math.nan}), (SGD, {"learning_rate": 0.1, "momentum": -0.9}),
    (SGD, {"learning_rate": 0.1, "momentum": 0.9, "dampening": math.inf}),
    (SGD, {"learning_rate": 0.1, "dampening": 0.5}), (Adagrad, {"initial": -1.0}),
    (Adagrad, {"rate_decay": -1.0}), (RMSprop, {"beta": 1.0}), (RMSprop, {"eps": math.nan}),
    (Muon, {"momentum": -0.5})]


@pytest.mark.parametrize("kind, settings", WRONG_SETTINGS, ids=str)
def test_settings_that_make_no_sense_are_named(kind, settings):
    name, value = list(settings.items())[-1]
    with pytest.raises(ValueError) as error:
        kind(matrices(0, (2, 2)), **settings)
    assert name in str(error.value) and (str(value) in str(error.value) or name == "dampening")


def test_a_setting_or_a_scale_that_makes_no_sense_later_stops_the_step():
    (p,) = matrices(0, (2, 2))
    optimizer, kept = AdamW([p]), p.data.copy()
    for wrong in (math.nan, -1.0):
        with pytest.raises(ValueError, match="learning_rate is"):
            optimizer.step(wrong)
    optimizer.groups[0]["betas"] = (0.9, 1.5)
    with pytest.raises(ValueError, match=r"betas is \(0.9, 1.5\)"):
        optimizer.step()
    assert np.array_equal(p.data, kept)


@given(st.floats(-8, 8))
def test_adamw_does_not_depend_on_the_scale_of_the_gradient(exponent):
    (p,), (q,) = matrices(0, (5,)), matrices(0, (5,))
    q.grad *= 10 ** exponent
    for x in (p, q):
        AdamW([x], eps=0.0).step()
    np.testing.assert_allclose(q.data, p.data, rtol=1e-12)


def test_decay_shrinks_matrices_and_spares_gains():
    w, gain = matrices(0, (2, 2), (2,))
    w.grad[:], gain.grad[:] = 0, 0
    w_before, gain_before = w.data.copy(), gain.data.copy()
    optimizer = AdamW(decay_groups([w, gain], weight_decay=0.5), learning_rate=0.1)
    optimizer.step()
    optimizer.step()
    np.testing.assert_allclose(w.data, w_before * 0.95 ** 2, rtol=1e-15)
    assert np.array_equal(gain.data, gain_before)


def test_what_cannot_be_optimized_is_refused():
    (p,) = matrices(0, (2,))
    with pytest.raises(ValueError, match="given twice"):
        SGD([p, p], 0.1)
    with pytest.raises(ValueError, match="sets lr, but there are only learning_rate"):
        AdamW([{"parameters": [p], "lr": 0.1}])
    for wrong in (p * 2, Tensor([1.0]), np.ones(2)):
        with pytest.raises(ValueError, match="leaf tensors that require a gradient"):
            SGD([wrong], 0.1)
    with pytest.raises(ValueError, match="set momentum"):
        SGD([p], 0.1, nesterov=True)


def test_a_state_that_does_not_fit_is_refused_with_all_names():
    optimizer = SGD(matrices(0, (2,), (3,)), 0.1)
    with pytest.raises(ValueError) as error:
        optimizer.load_state_dict({"0.velocity": np.zeros(5), "7.velocity": np.zeros(2)})
    for part in ("1.velocity is missing", "7.velocity is unexpected", "shape (5,) and not (2,)"):
        assert part in str(error.value)


@pytest.mark.parametrize("name, dtype", [("0.v", np.float32), ("0.t", np.float64), ("0.m", int)])
def test_a_state_of_another_dtype_is_refused_and_nothing_is_loaded(name, dtype):
    optimizer, other = (AdamW(matrices(0, (2,))) for _ in range(2))
    other.step()
    state = {**other.state_dict(), name: other.state_dict()[name].astype(dtype)}
    with pytest.raises(ValueError, match=f"{name} has dtype {np.dtype(dtype)} and not"):
        optimizer.load_state_dict(state)
    assert not any(x.any() for x in optimizer.state_dict().values())
