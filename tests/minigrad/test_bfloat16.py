"""Products in bfloat16 are those of rounded operands, however and on whatever they are computed."""
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import emulator
import products_on_tiles
from minigrad import Tensor, linear, use
from minigrad.kernels import bfloat16, gemm, jit, on_tiles, threads
from minigrad.kernels.bfloat16 import rounded
from minigrad.kernels.replay import Replay

BFLOAT16 = {"precision": "bfloat16"}
M, K, N = 96, 130, 100                               # more than LARGE multiplications


def nearest(x):
    """Round to 8 bits of precision in another way: by float64, to whole numbers and back."""
    significand, exponent = np.frexp(x.astype(np.float64))
    return np.ldexp(np.rint(significand * 256), exponent - 8)


@given(st.lists(st.floats(-2.0**127, 2.0**127, width=32, allow_subnormal=False), min_size=1))
def test_numbers_are_rounded_to_the_nearest_and_ties_to_the_even(numbers):
    x = np.array([numbers], np.float32)
    assert np.array_equal(rounded(x), nearest(x))
    ties = nearest(x) * (1 + 2.0**-9)                # or near to them, where x is no power of 2
    ties = ties.astype(np.float32)
    assert np.array_equal(rounded(ties), nearest(ties))


def test_what_is_no_finite_number_remains_so():
    nan = np.array([0x7F800001, 0xFFFFFFFF], np.uint32).view(np.float32)
    x = np.array([[*nan, np.inf, -np.inf, -0.0, 3.4e38]], np.float32)
    y = rounded(x)
    assert np.isnan(y[0, :2]).all() and y[0, 2:].tolist() == [np.inf, -np.inf, 0, np.inf]
    assert np.signbit(y[0, 4])


def matrices(seed=0):
    """Return an input (M, K), a weight (N, K) and the gradient of their product (M, N)."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape, np.float32) for shape in ((M, K), (N, K), (M, N))]


def forms():
    """Return what a linear layer multiplies: forward, and for both gradients."""
    x, w, g = matrices()
    return (x, w.T), (g, w), (g.T, x)


def assert_sums_of_rounded(c, a, b, start):
    """Check c = start + a @ b for rounded operands, to the error of any order of summation."""
    a, b = nearest(a), nearest(b)
    size = np.abs(a) @ np.abs(b) + np.abs(start)
    error = np.abs(c - (a @ b + start))
    assert (error <= (a.shape[-1] + 3) * np.finfo(np.float32).eps * size).all()


@pytest.mark.parametrize("a, b", forms())
def test_the_law_equal_to_rounding_both_operands(a, b):
    bias, before = np.ones(b.shape[1], np.float32), np.ones((len(a), b.shape[1]), np.float32)
    with use(**BFLOAT16):
        plain, with_bias = gemm.matmul(a, b), gemm.matmul(a, b, bias=bias)
        added = gemm.matmul(a, b, before.copy(), accumulate=True)
    for c, start in (plain, 0), (with_bias, bias), (added, before):
        assert_sums_of_rounded(c, a, b, start)
    if bfloat16.obstacle():                          # without tiles to the bit
        assert np.array_equal(plain, gemm.matmul(rounded(a), rounded(b)))
    assert not np.array_equal(plain, gemm.matmul(a, b))


def test_what_is_small_or_float64_or_a_stack_stays_as_it_is():
    x, w, _ = matrices()
    stack = np.stack([x, x])
    pairs = [(x[:50], w.T), (x.astype(np.float64), w.T.astype(np.float64)),
             (stack, stack.swapaxes(1, 2))]
    before = [gemm.matmul(*pair) for pair in pairs]
    with use(**BFLOAT16):
        assert all(np.array_equal(gemm.matmul(*pair), c) for pair, c in zip(pairs, before))
        tall = gemm.matmul(stack, w.T)               # a single product
    assert_sums_of_rounded(tall, stack, w.T, 0)
    with use("reference"):
        plain = linear(x, w)
    with use("reference", **BFLOAT16):
        assert np.array_equal(linear(x, w), plain)


def test_a_precision_that_is_none_is_refused():
    with pytest.raises(ValueError, match="precision is 'float16', but there are only float32, b"):
        use(precision="float16")


# ---- in a step ----

def test_a_replayed_step_gives_the_same_bits_on_any_threads_and_each_precision_its_own():
    x, w, _ = matrices()
    weight = Tensor(w, requires_grad=True)
    step = Replay(lambda x: linear(x, weight).sum(), [weight])
    found, n = {}, threads.n_threads()
    for precision in ["bfloat16", "float32"] * 4:    # ordinary, recorded, compared, replayed
        for n_threads in (1, 2):
            threads.set_threads(n_threads)
            with use(precision=precision):
                value = step(x)
            gradient, weight.grad = weight.grad.tobytes(), None
            found.setdefault(precision, set()).add((value, gradient))
    threads.set_threads(n)
    assert {len(values) for values in found.values()} == {1}
    assert found["bfloat16"] != found["float32"]


# ---- tiles, where there are some ----

@pytest.fixture
def tiles(monkeypatch):
    """A processor with tiles, for those who ask; what it multiplies can be chosen."""
    def multiply(a, b, c, accumulate, bias):
        calls.append(c.shape)
        c[...] = c * accumulate + np.matmul(rounded(a), rounded(b)) + (bias if bias.size else 0)
    calls = []
    monkeypatch.setattr(jit, "COMPILED", True)
    monkeypatch.setattr(bfloat16, "is_fast", lambda: True)
    monkeypatch.setattr(bfloat16, "permitted", lambda: True)
    monkeypatch.setattr(on_tiles, "multiply", multiply)
    bfloat16.obstacle.cache_clear()
    yield calls
    bfloat16.obstacle.cache_clear()


def test_tiles_take_what_is_large_if_they_are_right(tiles):
    assert bfloat16.obstacle() is None and len(tiles) == 3       # one of each form, to see
    with use(**BFLOAT16):
        for a, b in forms():
            c = gemm.matmul(a, b, bias=np.ones(b.shape[1], np.float32))
            np.testing.assert_allclose(c, 1 + nearest(a) @ nearest(b), atol=1e-4)
    assert tiles[3:] == [(M, N), (M, K), (N, K)]


def test_tiles_that_are_wrong_or_not_permitted_are_not_used(tiles, monkeypatch):
    truncating = lambda a, b, c, *_: np.matmul(a, b, out=c)      # without rounding
    monkeypatch.setattr(on_tiles, "multiply", truncating)
    assert "was wrong" in bfloat16.obstacle()
    bfloat16.obstacle.cache_clear()
    monkeypatch.setattr(bfloat16, "has_tiles", lambda: True)
    monkeypatch.setattr(bfloat16, "permitted", lambda: False)
    assert "does not permit" in bfloat16.obstacle()
    x, w, _ = matrices()
    with use(**BFLOAT16):
        assert np.array_equal(gemm.matmul(x, w.T), gemm.matmul(rounded(x), rounded(w.T)))


def assert_all_are_right(found):
    """Check products of `products_on_tiles.py`, by one thread and, where it cut them, by three."""
    n = sum(name.startswith("a") for name in found)
    for i in range(n):
        a, b, bias, start = (found[f"{name}{i}"] for name in ("a", "b", "bias", "sum"))
        start = start + bias if bias.size else start
        assert_sums_of_rounded(found[f"by_1_{i}"], a, b, start)
        if f"by_3_{i}" in found:
            assert np.array_equal(found[f"by_1_{i}"], found[f"by_3_{i}"])
    assert n > 25


@pytest.mark.skipif(bfloat16.obstacle() is not None, reason=f"{bfloat16.obstacle()}")
def test_products_of_all_kinds_on_this_processor(monkeypatch):
    found = {}
    for i, (a, b, bias, before) in enumerate(products_on_tiles.cases(np.random.default_rng(0))):
        start = np.zeros((len(a), b.shape[1]), np.float32) if before is None else before
        found |= {f"a{i}": a, f"b{i}": b, f"bias{i}": bias, f"sum{i}": start}
        for n_threads in (1, products_on_tiles.THREADS):
            monkeypatch.setattr(threads, "n_threads", lambda n=n_threads: n)
            c = start.copy() if before is not None else np.full_like(start, np.nan)
            on_tiles.multiply(a, b, c, before is not None, bias)
            found[f"by_{n_threads}_{i}"] = c
    assert_all_are_right(found)


@pytest.mark.extra("bochscpu")
@pytest.mark.parametrize("env", [emulator.WITH_TILES, emulator.WITH_VECTORS])
def test_products_on_an_emulated_processor(tmp_path, env):
    """Machine code for a Sapphire Rapids, and without AMX: all forms, edges, layouts, sums."""
    script, file = Path(emulator.__file__).with_name("products_on_tiles.py"), tmp_path / "all.npz"
    emulator.run(script, file, env=env)
    with np.load(file) as found:
        assert_all_are_right(dict(found))
