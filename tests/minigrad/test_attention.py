"""Attention: who sees whom, by position, length, mask or bias; one answer at every level."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad import Tensor, attention, use

LEVELS = ["fast", "reference", "parts"]
SIZES = [(2, 2, 2, 3, 4, 4), (2, 4, 2, 40, 43, 16)]   # B, H, G, T, S, D around the kernel's least


def heads(size, dtype=np.float64, seed=0):
    """Return q, k, v and a gradient of y."""
    B, H, G, T, S, D = size
    rng = np.random.default_rng(seed)
    shapes = (B, H, T, D), (B, G, S, D), (B, G, S, D), (B, H, T, D)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def run(q, k, v, g, bias=None, **options):
    """Return y, dq, dk, dv, and the gradient of the bias if there is one."""
    inputs = [Tensor(x, requires_grad=True) for x in (q, k, v)]
    if bias is not None:
        inputs.append(Tensor(bias, requires_grad=True))
    y = attention(*inputs, **options)
    y.backward(g)
    return y.data, *[x.grad for x in inputs]


def agree(found, expected, rtol=1e-11):
    for x, y in zip(found, expected):
        assert x.dtype == y.dtype and x.shape == y.shape
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("level", LEVELS)
@given(size=st.sampled_from(SIZES), dtype=st.sampled_from([np.float32, np.float64]),
       seed=st.integers(0, 99), causal=st.booleans())
def test_a_mask_a_bias_a_length_and_a_position_hide_alike(level, size, dtype, seed, causal):
    B, H, _, T, S, _ = size
    q, k, v, g = heads(size, dtype, seed)
    lengths = np.random.default_rng(seed).integers(0, S + 1, B)
    short = np.arange(S) < lengths[:, None, None, None]                       # (B, 1, 1, S)
    earlier = np.tril(np.ones((T, S), bool), S - T) | (not causal)            # (T, S)
    hidden = np.where(short & earlier, 0, -np.inf).astype(dtype)              # (B, 1, T, S)
    rtol = 1e-11 if dtype == np.float64 else 2e-4
    with use(level):
        expected = run(q, k, v, g, causal=causal, key_lengths=lengths)
        agree(run(q, k, v, g, causal=False, mask=short & earlier), expected, rtol)
        agree(run(q, k, v, g, causal=causal, mask=short), expected, rtol)
        agree(run(q, k, v, g, causal=False, mask=earlier, key_lengths=lengths), expected, rtol)
        *found, dbias = run(q, k, v, g, hidden, causal=False)
        agree(found, expected, rtol)
        assert dbias.shape == hidden.shape and not dbias[np.isinf(hidden)].any()
        dropped = lengths == 0
        for x in found:
            assert np.isfinite(x).all() and not x[dropped].any()


@pytest.mark.parametrize("level", LEVELS)
@given(st.sampled_from([(), (1,), (3,), (3, 4), (2, 1, 1), (2, 2, 1, 3, 1), (2, 2, 3, 4), (1, 4)]),
       st.integers(0, 9))
def test_a_bias_or_mask_is_stretched_as_numpy_would(level, shape, seed):
    q, k, v, g = heads(SIZES[0], seed=seed)
    full, bias = (2, 2, 3, 4), np.random.default_rng(seed).standard_normal(shape)
    try:
        wide = np.broadcast_to(bias, full)
    except ValueError:
        for name, x in {"bias": bias, "mask": bias > 0}.items():
            with use(level), pytest.raises(ValueError, match=f"{name} has shape .* which does not"):
                attention(q, k, v, **{name: x})
        return
    with use(level):
        *found, dbias = run(q, k, v, g, bias)
        *expected, d_wide = run(q, k, v, g, wide)
        agree(found, expected)
        extra = tuple(range(4 - bias.ndim))
        d_wide = d_wide.sum(axis=extra)
        stretched = tuple(i for i, n in enumerate(shape) if n != d_wide.shape[i])
        np.testing.assert_allclose(dbias, d_wide.sum(axis=stretched, keepdims=True), atol=1e-12)
        agree(run(q, k, v, g, mask=bias > 0), run(q, k, v, g, mask=wide > 0))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("size", SIZES, ids=["few", "many"])
def test_what_cannot_say_who_sees_whom_is_named(size, level):
    q, k, v, _ = heads(size)
    B, H, _, T, S, _ = size
    wrong = [
        ({"key_lengths": [2.5, 1.0]}, TypeError, r"key_lengths holds \[2.5, 1.0\]: give whole"),
        ({"key_lengths": [True, False]}, TypeError, "key_lengths holds .True, False"),
        ({"key_lengths": [np.nan, 1]}, TypeError, "key_lengths holds .nan"),
        ({"key_lengths": [1, -1]}, ValueError, f"key_lengths holds -1, but there are {S} places"),
        ({"key_lengths": [1, S + 1]}, ValueError, f"key_lengths holds {S + 1}, but"),
        ({"key_lengths": [1]}, ValueError, r"key_lengths has shape \(1,\), but there are 2"),
        ({"key_lengths": 1}, ValueError, r"key_lengths has shape \(\)"),
        ({"mask": np.ones((T, S))}, TypeError, "mask is float64: give booleans"),
        ({"mask": np.ones((T, S), np.int64)}, TypeError, "mask is int64: give booleans"),
        ({"bias": np.ones((T, S), bool)}, TypeError, "bias is bool: give floats"),
        ({"bias": True}, TypeError, "bias is bool: give floats"),
        ({"mask": np.ones((T, S + 1), bool)}, ValueError, "does not broadcast to")]
    for options, error, words in wrong:
        with use(level), pytest.raises(error, match=words):
            attention(q, k, v, **options)
    for misfits in ((q[0], k, v), (q, k, v[:, :, :1]), (q, k[:, :0], v[:, :0]), (q, k[:1], v[:1])):
        with use(level), pytest.raises(ValueError, match="H a multiple of G"):
            attention(*misfits)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", ["u1", "i2", "u8", ">i8", "list"])
def test_lengths_of_any_integer_dtype_count_and_may_be_written_to_later(level, dtype):
    for size in SIZES:
        arrays, lengths = heads(size), [2, 0]
        with use(level):
            expected = run(*arrays, key_lengths=np.array(lengths))
            agree(run(*arrays, key_lengths=lengths if dtype == "list"
                      else np.array(lengths, dtype)), expected)
            q, k, v = (Tensor(x, requires_grad=True) for x in arrays[:3])
            later = np.array(lengths)
            y = attention(q, k, v, key_lengths=later)
            later[:] = 10 ** 6
            y.backward(arrays[3])
            agree([y.data, q.grad, k.grad, v.grad], expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("level", LEVELS)
def test_a_query_whose_scores_are_all_infinitely_low_counts_as_one_that_sees_nothing(level, dtype):
    for size in SIZES:
        q, k, v, g = heads(size, dtype)
        q[0, 0, 1], k[...] = 0, np.abs(k)
        q[0, 0, 1, 0] = -np.inf
        with use(level), np.errstate(all="ignore"):
            y, dq, _, dv = run(q, k, v, g)
        assert not y[0, 0, 1].any() and np.isfinite(y).all() and np.isfinite(dv).all()
        assert not dq[0, 0, 1, 1:].any()


@pytest.mark.parametrize("level", LEVELS)
def test_heads_of_any_layout_are_attended_alike(level):
    for size in SIZES:
        arrays = heads(size)
        with use(level):
            expected = run(*arrays)
            y = attention(*(x.astype(">f8") for x in arrays[:3]))
            np.testing.assert_allclose(y, expected[0], rtol=1e-12, atol=1e-12)
            for layout in (read_only, np.asfortranarray, lambda x: np.repeat(x, 2, 3)[..., ::2]):
                agree(run(*(layout(x) for x in arrays)), expected)


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


@pytest.mark.parametrize("level", LEVELS)
def test_empty_heads_give_empty_arrays_or_zeros(level):
    for B, T, S, D in [(0, 2, 2, 4), (1, 0, 2, 4), (1, 2, 0, 4), (1, 2, 2, 0)]:
        with use(level), np.errstate(all="ignore"):
            y, dq, dk, dv = run(*heads((B, 2, 1, T, S, D)))
        assert y.shape == (B, 2, T, D) and dk.shape == (B, 1, S, D)
        assert not y.any() or S > 0
