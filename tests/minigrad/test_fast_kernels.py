"""Every fused kernel equals its formula on rows of every length, and optimizers on arrays of any.

`check_op` holds the laws, layouts and threads among them, on a few generated inputs. Here every
residue of the vector width passes through the compiled code, in both precisions.
"""
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad  # noqa: F401  (registers the ops)
from minigrad import Tensor, no_grad, optim, rotary_angles, use
from minigrad.kernels import cache, jit, threads
from minigrad.kernels.twins import lanes
from minigrad.tensor import OPS

FLOATS = [np.float32, np.float64]
WIDE = 2 * 64 // 4 + 1                 # one more than two of the widest vectors hold


def run(op, level, arrays, g, **params):
    """Run one body of an op; return its outputs and the gradients of its inputs."""
    forward, vjp = OPS[op].body(level, arrays, params)
    y, saved = forward(*arrays, **params)
    dx = vjp(g, *saved)
    return [*(y if type(y) is tuple else (y,)), *(d for d in dx if d is not None)]


def outputs(op, level, *arrays, **params):
    """Run one body of an op forward."""
    return OPS[op].body(level, arrays, params)[0](*arrays, **params)[0]


def assert_as_accurate(op, arrays, g, **params):
    """Check the fast body against the formula in twice the digits, as far as there are any.

    It may be wrong by no more than the formula in the same precision and a few roundings.
    """
    wide = [x.astype(np.longdouble if x.dtype == np.float64 else np.float64)
            if x.dtype.kind == "f" else x for x in arrays]
    wide_g = tuple(x.astype(wide[0].dtype) for x in g) if type(g) is tuple else g.astype(
        wide[0].dtype)
    exact = run(op, "reference", wide, wide_g, **params)
    formula = run(op, "reference", arrays, g, **params)
    for fast, near, true in zip(run(op, "fast", arrays, g, **params), formula, exact):
        assert fast.dtype == arrays[0].dtype and fast.shape == true.shape
        few = 16 * np.finfo(fast.dtype).eps * np.abs(true).max(initial=1)    # inputs are about 1
        assert np.abs(fast - true).max() <= 2 * np.abs(near - true).max() + few


# ---- rows ----

def plain(n_inputs):
    return lambda rng, rows, n: [rng.standard_normal((rows, n)) for _ in range(n_inputs)]

def two_halves(rng, rows, n):
    return [rng.standard_normal((rows, 2 * n))]

def with_vectors(n_inputs, n_vectors):
    return lambda rng, rows, n: [*plain(n_inputs)(rng, rows, n),
                                 *(rng.standard_normal(n) for _ in range(n_vectors))]

ROWS = {"exp": plain(1), "log": lambda *shape: [np.exp(x) for x in plain(1)(*shape)],
        "tanh": plain(1), "sigmoid": plain(1), "gelu": plain(1), "silu": plain(1),
        "relu_squared": plain(1), "swiglu": two_halves, "softmax": plain(1),
        "log_softmax": plain(1), "layer_norm": with_vectors(1, 2), "rms_norm": with_vectors(1, 1),
        "add_layer_norm": with_vectors(2, 2), "add_rms_norm": with_vectors(2, 1)}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", ROWS)
def test_rows_of_every_length_are_as_accurate_as_the_formula(op, dtype):
    params = {"eps": 0.1} if "norm" in op else {}             # or one number alone has no gradient
    for n in range(1, WIDE + 1):
        rng = np.random.default_rng(n)
        rows = 1024 // n + 1 + n % 3                          # as many as are worth a kernel
        arrays = [x.astype(dtype) for x in ROWS[op](rng, rows, n)]
        g = rng.standard_normal((rows, n)).astype(dtype)
        assert_as_accurate(op, arrays, (g, g) if "add" in op else g, **params)


@pytest.mark.parametrize("dtype", FLOATS)
def test_losses_of_every_number_of_classes_are_as_accurate_as_the_formula(dtype):
    for n in range(1, WIDE + 1):
        rng, rows = np.random.default_rng(n), 1024 // n + 2
        z, t = rng.standard_normal((rows, n)).astype(dtype), rng.integers(0, n, rows)
        t[1::5] = -100
        assert_as_accurate("cross_entropy", [z, t], np.ones((), dtype)[()])


@pytest.mark.parametrize("dtype", FLOATS)
def test_masked_and_huge_scores_give_the_weights_of_the_formula(dtype):
    x = np.random.default_rng(0).standard_normal((40, 70)).astype(dtype)
    x[np.random.default_rng(1).random(x.shape) < 0.5] = -np.inf
    x[:, 0], x[3], x[4] = 0, 1000, -1000
    x[5, 7] = 1e30
    for op in ("softmax", "log_softmax"):
        with np.errstate(invalid="ignore"):
            want = outputs(op, "reference", x)
        got = outputs(op, "fast", x)
        np.testing.assert_allclose(got, want, rtol=200 * np.finfo(dtype).eps,
                                   atol=np.finfo(dtype).tiny)


# ---- attention ----

def heads(rng, B, H, G, T, S, D, dtype):
    shapes = (B, H, T, D), (B, G, S, D), (B, G, S, D), (B, H, T, D)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", FLOATS)
def test_attention_over_every_number_of_queries_and_keys(dtype):
    for T in [*range(1, WIDE + 2), 47, 63, 64, 65, 96, 97]:
        rng, lengths = np.random.default_rng(T), None
        S = T + T % 4
        *qkv, g = heads(rng, 2, 4, 2 if T % 2 else 4, T, S, 32, dtype)
        if T % 3 == 0:
            lengths = rng.integers(1, S + 1, 2)
        assert_as_accurate("attention", qkv, g, causal=T % 5 > 0, key_lengths=lengths)


@pytest.mark.parametrize("dtype", FLOATS)
def test_projections_of_every_length_and_width_attend_and_turn(dtype):
    for T in [*range(1, WIDE + 2), 47, 64, 65]:
        rng, H, G = np.random.default_rng(T), 4, (4, 2, 1)[T % 3]
        qkv, g = (rng.standard_normal((2, T, n * 32)).astype(dtype) for n in (H + 2 * G, H))
        assert_as_accurate("self_attention", [qkv], g, n_head=H, n_kv_head=G, causal=T % 5 > 0)
        D = 2 * T
        x, g = (rng.standard_normal((3, 9, (H + G) * D)).astype(dtype) for _ in range(2))
        angles = [x.astype(dtype) for x in rotary_angles(9, D, dtype=np.float64)]
        assert_as_accurate("qk_rotary", [x, *angles], g, n_value_head=G, norm=T % 2 > 0, eps=0.1)


@pytest.mark.parametrize("dtype", FLOATS)
def test_dropout_by_a_key_over_every_tail_of_a_block(dtype):
    for n in [*range(300, 300 + WIDE), *range(1020, 1030), 5000]:
        x, g = np.random.default_rng(n).standard_normal((2, n)).astype(dtype)
        assert_as_accurate("keyed_dropout", [x], g, key=n ** 5, rate=n / 6000)


def most_saved(D):
    """The largest array that attention of one head of width D over 64 positions saves."""
    q, k, v, _ = heads(np.random.default_rng(0), 1, 1, 1, 64, 64, D, np.float32)
    _, saved = OPS["attention"].body("fast", (q, k, v), {})[0](q, k, v)
    return max(np.size(x) for x in saved if isinstance(x, np.ndarray))


def test_attention_to_heads_of_whole_vectors_stores_no_weights():
    assert most_saved(32) == 32 * 64


def test_attention_to_heads_of_any_width_stores_no_weights():
    D = 5 * lanes(np.float32) // 2                        # 40 with 16 lanes: padded to 48
    assert most_saved(D) == 3 * lanes(np.float32) * 64


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("D", [1, 5, 20, 33])
def test_attention_of_heads_of_any_width(dtype, D):
    rng = np.random.default_rng(D)
    *qkv, g = heads(rng, 2, 4, 2, 37, 37, D, dtype)
    assert_as_accurate("attention", qkv, g, key_lengths=np.array([37, 9]))
    x, g = (rng.standard_normal((2, 37, n * D)).astype(dtype) for n in (4 + 2 * 2, 4))
    assert_as_accurate("self_attention", [x], g, n_head=4, n_kv_head=2)


@pytest.mark.parametrize("T, S", [(0, 64), (64, 0), (0, 0)])
def test_no_queries_and_no_keys_give_what_the_formula_gives(T, S):
    q, k = np.ones((2, 4, T, 32)), np.ones((2, 4, S, 32))
    fast, reference = (outputs("attention", level, q, k, k) for level in ("fast", "reference"))
    assert fast.shape == (2, 4, T, 32) and np.array_equal(fast, reference)


def test_projections_that_do_not_fit_are_refused():
    qkv, (cos, sin) = np.ones((2, 5, 48)), rotary_angles(5, 8)
    for level in ("fast", "reference"):
        with pytest.raises(ValueError, match="4 heads of queries and 3 of keys"):
            outputs("self_attention", level, qkv, n_head=4, n_kv_head=3)
        with pytest.raises(ValueError, match="48 features cannot be shared"):
            outputs("self_attention", level, qkv, n_head=7)
        for angles in ((cos, sin[:4]), (cos[:4], sin[:4]), (cos, sin[:, :2]), (cos[None], sin)):
            with pytest.raises(ValueError, match="which must be"):
                outputs("qk_rotary", level, qkv, *angles, n_value_head=2)


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_query_that_sees_no_key_gives_zeros_and_gets_none(dtype):
    *qkv, g = heads(np.random.default_rng(0), 2, 2, 2, 40, 40, 16, dtype)
    y, dq, dk, dv = run("attention", "fast", qkv, g, causal=True, key_lengths=np.array([0, 33]))
    assert not y[0].any() and not dq[0].any() and not dk[0].any() and not dv[0].any()
    assert not dk[1, :, 33:].any() and not dv[1, :, 33:].any() and np.isfinite(y).all()
    *qkv, g = heads(np.random.default_rng(0), 1, 2, 2, 40, 33, 16, dtype)     # before all keys
    y, dq, *_ = run("attention", "fast", qkv, g, causal=True)
    assert not y[:, :, :7].any() and not dq[:, :, :7].any() and y[:, :, 7:].all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_attention_to_huge_scores_is_finite(dtype):
    *qkv, g = heads(np.random.default_rng(0), 1, 2, 2, 65, 65, 32, dtype)
    for x in run("attention", "fast", [300 * x for x in qkv], g):
        assert np.isfinite(x).all()


# ---- optimizers ----

SIZES = [1, 2, 15, 16, 17, 31, 33, optim.PIECE - 1, optim.PIECE, optim.PIECE + 1]


def parameters(sizes, seed, dtype):
    rng = np.random.default_rng(seed)
    made = [Tensor(rng.standard_normal(n).astype(dtype), requires_grad=True) for n in sizes]
    for p in made:
        p.grad = rng.standard_normal(p.shape).astype(dtype)
    return made


def steps(make, level, sizes, dtype, n=3):
    """Take some steps; return the parameters and all that is remembered, one behind the other."""
    made = parameters(sizes, 0, dtype)
    optimizer = make(made)
    for _ in range(n):
        with use(level):
            optimizer.step()
    return np.concatenate([p.data for p in made]
                          + [x.reshape(-1) for x in optimizer.state_dict().values()])


MAKERS = {"adamw": lambda p: optim.AdamW(p, 0.1),
          "sgd": lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.1)}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_steps_on_arrays_of_any_size_equal_the_rule(make, dtype):
    fast, rule = (steps(make, level, SIZES, dtype) for level in ("fast", "reference"))
    np.testing.assert_allclose(fast, rule, rtol=0, atol=50 * np.finfo(dtype).eps)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_steps_and_norms_are_the_same_bits_for_any_number_of_threads(make):
    before, most = threads.n_threads(), jit.config.NUMBA_NUM_THREADS
    results, arrays = [], [p.data for p in parameters([100_003, 7, 5_000], 1, np.float32)]
    try:
        for n in (1, most):
            threads.set_threads(n)
            state = steps(make, "fast", [100_003, 7, 5_000], np.float32)
            results.append((state.tobytes(), optim.sum_of_squares(arrays)))
    finally:
        threads.set_threads(before)
    assert results[0] == results[1]


@given(st.data())
def test_arrays_that_are_exchanged_between_steps_are_looked_up_again(data):
    """A parameter, a gradient or the memory may be another array, of any layout, at each step."""
    rng, results = np.random.default_rng(data.draw(st.integers(0, 1000))), []
    changes = data.draw(st.lists(st.sampled_from(["parameter", "gradient", "missing", "layout"]),
                                 max_size=4))
    g = rng.standard_normal((5, 6, 9)).astype(np.float32)
    for level in ("fast", "reference"):
        p, q = (Tensor(x.copy(), requires_grad=True) for x in g[:2])
        optimizer = optim.AdamW([p, q], 0.1)
        for i, change in enumerate(["", *changes]):
            if change == "parameter":
                p.data = p.data.copy()
            elif change == "layout":
                p.data = np.asfortranarray(p.data)
            p.grad, q.grad = g[(i + 2) % 5].copy(), g[(i + 3) % 5].copy()
            if change == "missing":
                p.grad = None
            elif change == "gradient":
                p.grad = np.asfortranarray(p.grad)
            with use(level), no_grad():
                optimizer.step()
        results.append(np.concatenate([p.data, q.data]))
    np.testing.assert_allclose(*results, rtol=0, atol=1e-5)


AVX2 = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma,+avx,+sse4.2"}


@pytest.mark.thorough
@pytest.mark.parametrize("variables", [{"NUMBA_DISABLE_JIT": "1"}, AVX2], ids=["python", "avx2"])
def test_kernels_hold_as_plain_python_and_with_avx2_alone(variables):
    if variables is AVX2 and "avx2" not in cache.cpu_features():
        pytest.skip("the machine lacks AVX2")
    here = Path(__file__)
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-k", "fast", here, here.with_name("test_ops.py")],
        env={**os.environ, "HYPOTHESIS_PROFILE": "quick", **variables}, capture_output=True,
        text=True)
    assert found.returncode == 0, found.stdout[-5000:]
