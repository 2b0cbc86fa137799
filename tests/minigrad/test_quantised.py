"""Weights in blocks: as exact as the numbers that they stand for, whatever reads them."""
import numba
import numpy as np
import pytest

from minigrad import (
    Tensor, cross_entropy, embedding, linear, linear_cross_entropy, no_grad, use)
from minigrad.kernels import cache, few, many, packed, threads
from minigrad.kernels.byte_rows import BYTES, numbers_of
from minigrad.kernels.few import FEW_ROWS
from minigrad.kernels.one_query import padded_width
from minigrad.kernels.packed import KINDS
from minigrad.kernels.quantised import DTYPES, Quantised
from minigrad.kernels.rows import SMALL
from minigrad.ops.attention import attention
from minigrad.ops.cached import cached_attention
from minigrad.ops.heads import heads, side_by_side


def blocks_of(kind, n, k, seed=0):
    """Make any blocks of a kind that stand for numbers of about 1."""
    rng = np.random.default_rng(seed)
    if kind == "F16":
        return rng.standard_normal((n, k)).astype(np.float16)
    size = KINDS[kind].n_bytes * k // 32
    raw = rng.integers(0, 256, (n, size), dtype=np.uint8).view(DTYPES[kind])
    for name in {"d", "m"} & set(raw.dtype.names):
        raw[name] = rng.standard_normal(raw.shape) / 50
    if kind == "BF16":
        raw["high"] = rng.standard_normal((n, k)).astype(np.float32).view(np.uint32) >> 16
    return raw


def frozen(kind, n, k):
    weight = Tensor(np.zeros((n, k), np.float32))
    weight.data = Quantised(blocks_of(kind, n, k))
    return weight


@pytest.mark.parametrize("kind", KINDS)
def test_products_are_those_of_the_numbers(kind):
    weight, rng = frozen(kind, 37, 96), np.random.default_rng(1)
    numbers = np.asarray(weight.data).astype(np.float64)
    assert (weight.data.rows(np.array([5, 0, 5])) == numbers[[5, 0, 5]]).all()
    for m in (1, 2, 5, FEW_ROWS, FEW_ROWS + 1):
        x = rng.standard_normal((m, 96)).astype(np.float32)
        exact, terms = x @ numbers.T, np.abs(x) @ np.abs(numbers.T)
        rounded = 2e-5 if m == 1 and KINDS[kind].n_scales else 4e-7     # 16 bits of one row
        assert (np.abs(linear(x, weight).data - exact) <= rounded * terms).all()
        g = rng.standard_normal((m, 37)).astype(np.float32)
        np.testing.assert_allclose(weight.data.back(g), g @ numbers, atol=1e-4)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_1", "F16"])
def test_a_row_is_the_same_in_any_company_and_for_any_number_of_threads(kind):
    k = 32 * many.DEPTH + 32
    weight = Quantised(blocks_of(kind, 1027, k))
    x, longer = (np.random.default_rng(1).standard_normal((m, k)).astype(np.float32)
                 for m in (FEW_ROWS, FEW_ROWS + 2))
    before, found = threads.n_threads(), []
    try:
        for n in (1, numba.config.NUMBA_NUM_THREADS):
            threads.set_threads(n)
            found.append((weight.times(x), weight.times(x[:3]), weight.times(x[:1]),
                          weight.times(longer, rounds=True)))
    finally:
        threads.set_threads(before)
    for one, other in zip(*found):
        np.testing.assert_array_equal(one, other)
    all_, three, *_ = found[0]
    np.testing.assert_array_equal(all_[:3], three)


def rounded(x):
    """Round each 32 numbers of a row to integers up to 127, times a scale."""
    blocks = x.reshape(len(x), -1, 32).astype(np.float64)
    scale = np.abs(blocks).max(axis=-1, keepdims=True) / 127
    return (np.rint(blocks / scale) * scale).reshape(x.shape)


@pytest.mark.parametrize("kind, n, k", [("Q8_0", 3 * many.WIDE + 5, 64), ("Q4_0", many.WIDE, 96),
                                        ("Q4_1", many.WIDE + 1, 32 * many.DEPTH + 32)])
def test_many_rows_are_those_that_8_bits_hold_if_they_may_be(kind, n, k):
    weight, rng = frozen(kind, n, k), np.random.default_rng(1)
    numbers = np.asarray(weight.data).astype(np.float64)
    x = rng.standard_normal((FEW_ROWS + 2, k)).astype(np.float32)
    x *= rng.uniform(0.01, 10, x.shape).astype(np.float32)
    with no_grad(), use(precision="int8"):
        y = linear(x, weight).data
        nats = linear_cross_entropy(x, weight, np.arange(len(x)) % n, reduction="none").data
    expected, terms = rounded(x) @ numbers.T, np.abs(x) @ np.abs(numbers.T)
    assert (np.abs(y - expected) <= 1e-6 * terms).all()
    np.testing.assert_allclose(
        nats, cross_entropy(y, np.arange(len(x)) % n, reduction="none").data, rtol=1e-5)
    assert (np.abs(linear(x, weight).data - x @ numbers.T) <= 1e-6 * terms).all()


def test_a_processor_without_the_instruction_makes_the_same_sums(monkeypatch):
    monkeypatch.setattr(cache, "cpu_features", frozenset)
    kernel = many.kernel_of("portable", KINDS["Q4_1"])
    weight = Quantised(blocks_of("Q4_1", 2 * many.WIDE, 64))
    x = np.random.default_rng(1).standard_normal((FEW_ROWS + 2, 64)).astype(np.float32)
    usual = weight.times(x, rounds=True)
    monkeypatch.setitem(many.KERNELS, "Q4_1", kernel)
    np.testing.assert_array_equal(weight.times(x, rounds=True), usual)


@pytest.mark.parametrize("kind", ["Q4_0", "BF16"])
def test_gradients_pass_through_what_is_frozen(kind):
    """The blocks get none; both levels, a layer and a loss of it."""
    weight, rng = frozen(kind, 50, 32), np.random.default_rng(1)
    numbers = Tensor(np.asarray(weight.data))
    targets = rng.integers(0, 50, 7)
    for level in ("fast", "reference"):
        for loss in (lambda x, w: linear_cross_entropy(x, w, targets),
                     lambda x, w: cross_entropy(linear(x, w), targets)):
            x = rng.standard_normal((7, 32)).astype(np.float32)
            ours, theirs = Tensor(x, requires_grad=True), Tensor(x, requires_grad=True)
            with use(level):
                a, b = loss(ours, weight), loss(theirs, numbers)
                a.backward(), b.backward()
            np.testing.assert_allclose(a.data, b.data, rtol=1e-5)
            np.testing.assert_allclose(ours.grad, theirs.grad, atol=1e-5)
        with use(level):
            rows = embedding(np.array([[3, 0]]), weight)
        np.testing.assert_array_equal(rows.data, numbers.data[[[3, 0]]])
    assert weight.grad is None


def test_what_is_not_finite_does_not_get_lost_in_rounding():
    weight = frozen("Q8_0", 40, 64)
    for bad in (np.nan, np.inf, -np.inf):
        x = np.ones((1, 64), np.float32)
        x[0, 40] = bad
        assert not np.isfinite(linear(x, weight).data).any()
        many_rows = np.ones((FEW_ROWS + 1, 64), np.float32)
        many_rows[3] = x
        is_finite = np.isfinite(weight.data.times(many_rows, rounds=True))
        assert not is_finite[3].any() and is_finite.sum() == 40 * FEW_ROWS
    assert (linear(np.zeros((1, 64), np.float32), weight).data == 0).all()


def test_other_arrays_are_refused():
    for wrong in (np.ones((2, 32), np.float32), np.ones((2, 33), np.float16),
                  np.zeros(3, DTYPES["Q8_0"])):
        with pytest.raises(ValueError, match="must be rows of 32 weights each"):
            Quantised(wrong)


@pytest.mark.parametrize("native", [True, False])
def test_floats_of_16_bits_are_read_by_any_processor(native, monkeypatch):
    monkeypatch.setattr(packed, "HAS_HALVES", native and packed.HAS_HALVES)
    kernels = few.kernels_of(f"F16_{native}", KINDS["F16"])
    every = np.arange(2 ** 16, dtype=np.uint16).view(np.float16).reshape(-1, 32)
    blocks, out = Quantised(every).bytes, np.empty(every.shape, np.float32)
    kernels["unpacked"](len(out), blocks, np.arange(len(out)), out)
    np.testing.assert_array_equal(out, every)


# ---- attention of one query over all that was read ---------------------------------------------

def cache_of(n, B, G, D, dtype, rng):
    """Make room for 210 keys and values, of which n are there, and return them besides."""
    k, v = (np.zeros((B, G, 210, padded_width(D, dtype)), dtype) for _ in range(2))
    for x in (k, v):
        if dtype == BYTES:
            x[:, :, :n, 4:] = rng.integers(-127, 128, (B, G, n, x.shape[3] - 4)).view(np.uint64)
            x[:, :, :n, :4].view(np.float32)[:] = rng.uniform(0.005, 0.02, (B, G, n, 1))
        else:
            x[:, :, :n, :D] = rng.standard_normal((B, G, n, D))
    return k, v, [read(x, D)[:, :, :n] for x in (k, v)]


def read(x, D):
    """Return the numbers that a cache holds."""
    return numbers_of(x, D) if x.dtype == BYTES else x[..., :D].copy()


@pytest.mark.parametrize("T", [1, 3])
@pytest.mark.parametrize("n", [0, 15, 16, 200])
@pytest.mark.parametrize("H, G, D, dtype", [
    (6, 2, 20, np.float32), (5, 1, 8, np.float32), (3, 3, 32, np.float32), (6, 2, 20, BYTES),
    (5, 1, 64, BYTES), (3, 3, 32, BYTES)])
def test_one_query_sees_all_that_was_read(H, G, D, dtype, n, T):
    """Of what is kept in bytes, what it was rounded to, to 1/254 of their largest.

    One query is rounded besides, and so are its weights: to 1/65,534 of their largest.
    """
    rng, B = np.random.default_rng(n), 2
    k, v, before = cache_of(n, B, G, D, dtype, rng)
    qkv = rng.standard_normal((B, T, (H + 2 * G) * D)).astype(np.float32)
    q, *new = heads(qkv, H, G)
    y = cached_attention(qkv, k, v, np.full(B, n), H)
    after = [read(x, D)[:, :, :n + T] for x in (k, v)]
    for x, old, added in zip(after, before, new):
        np.testing.assert_array_equal(x[:, :, :n], old)
        worst = np.abs(added).max() / 253 if dtype == BYTES else 0
        np.testing.assert_allclose(x[:, :, n:], added, rtol=0, atol=worst)
    expected = attention(q, *after, causal=True)
    error = 1e-4 * np.abs(after[1]).max() if dtype == BYTES and T == 1 else 2e-6
    np.testing.assert_allclose(y, side_by_side(expected), atol=error)


def test_what_is_not_finite_stays_so_in_bytes():
    for bad in (np.nan, np.inf, -np.inf):
        k, v, _ = cache_of(0, 1, 1, 32, BYTES, np.random.default_rng(0))
        qkv = np.zeros((1, 1, 96), np.float32)
        qkv[0, 0, 70] = bad
        assert not np.isfinite(cached_attention(qkv, k, v, np.zeros(1, int), 1)).any()
        assert np.isnan(read(v, 32)[0, 0, 0]).all() and (read(k, 32) == 0).all()


@pytest.mark.parametrize("dtype", [np.float32, BYTES])
def test_one_query_gets_the_same_bits_for_any_number_of_threads(dtype):
    rng, before, found = np.random.default_rng(0), threads.n_threads(), []
    k, v, _ = cache_of(200, 8, 3, 64, dtype, rng)
    qkv = rng.standard_normal((8, 1, 15 * 64)).astype(np.float32)
    assert k.size >= 4 * SMALL                            # else one thread does it
    try:
        for n in (1, numba.config.NUMBA_NUM_THREADS):
            threads.set_threads(n)
            found.append(cached_attention(qkv, k, v, np.full(8, 200), 9))
    finally:
        threads.set_threads(before)
    np.testing.assert_array_equal(*found)
