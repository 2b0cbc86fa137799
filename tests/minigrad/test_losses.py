"""Losses and embeddings: every option, every dtype of targets, special values, one answer."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad import (
    Tensor, binary_cross_entropy_with_logits, cross_entropy, embedding, grad,
    hessian_vector_product, huber_loss, l1_loss,
    linear_cross_entropy, log_softmax, mse_loss, nll_loss, no_grad, placed_embedding, use)

LEVELS = ["fast", "reference", "parts"]
SIZES = [3, 60]                                       # rows, on both sides of where kernels begin
V, C = 7, 5


def logits(n, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal((n, V)).astype(dtype)


def run(f, *arrays, g=None, **options):
    """Return the loss, and the gradients of all float arrays."""
    tensors = [Tensor(x, requires_grad=True) if x.dtype.kind == "f" else x for x in arrays]
    loss = f(*tensors, **options)
    loss.backward(g)
    return loss.data, *[x.grad for x in tensors if isinstance(x, Tensor)]


def agree(found, expected, rtol=1e-12):
    for x, y in zip(found, expected, strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol)


def of_linear(z, targets, **options):
    return linear_cross_entropy(z, np.eye(V, dtype=z.dtype), targets, **options)


def looked_up(z, ids):
    return embedding(ids, z[:V]).sum()


def placed(z, ids):
    return placed_embedding(ids, z[:V], np.zeros((len(ids), V))).sum()


USERS = {"cross_entropy": cross_entropy, "linear_cross_entropy": of_linear, "nll_loss": nll_loss,
         "embedding": looked_up, "placed_embedding": placed}


# ---- whole numbers ---------------------------------------------------------------------------

INTEGERS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", ">i2", ">u4", ">i8", ">u8"]


@pytest.mark.parametrize("name", USERS)
@pytest.mark.parametrize("level", LEVELS)
@given(dtype=st.sampled_from(INTEGERS), n=st.sampled_from(SIZES), data=st.data())
def test_ids_of_any_dtype_count_alike_and_are_named_when_out_of_range(name, level, dtype, n, data):
    z, info = logits(60)[:max(n, V)], np.iinfo(dtype)
    ids, z = np.arange(len(z)) % V, z if name != "embedding" else logits(60)
    with use(level):
        expected = run(USERS[name], z, ids)
        agree(run(USERS[name], z, ids.astype(dtype)), expected)
        wrong = data.draw(st.one_of(st.sampled_from([info.min, info.max, V]),
                                    st.integers(info.min, info.max)))
        if dtype.endswith("u8"):
            wrong = data.draw(st.sampled_from([2 ** 64 - 100, 2 ** 63, 2 ** 64 - 1]))
        ids = ids.astype(dtype)
        ids[1] = wrong
        ignored = wrong == -100 and "embedding" not in name
        if 0 <= wrong < V or ignored:
            run(USERS[name], z, ids)
        else:
            with pytest.raises(IndexError, match=f"holds {wrong}, but there are {V} rows"):
                run(USERS[name], z, ids)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", USERS)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", ["?", "f4", "f8", "c16", "O"])
def test_ids_that_are_no_integers_are_named(name, level, n, dtype):
    with use(level), pytest.raises(TypeError, match=f"must be integers, but they are "
                                                    f"{np.dtype(dtype)}"):
        run(USERS[name], logits(60)[:max(n, V)], np.zeros(max(n, V), dtype))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("loss", [cross_entropy, of_linear, nll_loss])
def test_a_class_can_be_the_one_that_is_ignored(loss, n, level):
    z, t = logits(n), np.arange(n) % V
    with use(level):
        value, dz = run(loss, z, t, ignore_index=2, reduction="sum")
        others, d_others = run(loss, z[t != 2], t[t != 2], reduction="sum")
    np.testing.assert_allclose(value, others)
    np.testing.assert_allclose(dz[t != 2], d_others, atol=1e-15)
    assert not dz[t == 2].any()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n", [V, 60])
@pytest.mark.parametrize("name", USERS)
def test_ids_may_be_written_to_before_backward(name, n, level):
    z, ids = Tensor(logits(n), requires_grad=True), np.arange(n) % V
    with use(level):
        _, expected = run(USERS[name], z.data, ids)
        loss = USERS[name](z, ids)
        ids[:] = 10 ** 6
        loss.backward()
    np.testing.assert_array_equal(z.grad, expected)


@pytest.mark.parametrize("asked", [slice(90, 180), slice(None, None, 2)], ids=["row", "every 2nd"])
def test_targets_that_do_not_count_change_no_bit_of_those_that_do(asked):
    rng = np.random.default_rng(0)
    x, head = (rng.standard_normal((n, 32), np.float32) for n in (200, 300))
    t, g, some = rng.integers(0, 300, 200), np.zeros(200, np.float32), np.full(200, -100)
    some[asked], g[asked] = t[asked], 0.5
    found = []
    for targets in (t, some):
        z = Tensor(x, requires_grad=True)
        losses = linear_cross_entropy(z, head, targets, reduction="none")
        losses.backward(g)
        found.append((losses.data * (some != -100), z.grad))
    (expected, d_expected), (losses, dz) = found
    assert np.array_equal(losses, expected) and np.array_equal(dz, d_expected)


# ---- options ---------------------------------------------------------------------------------

@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("loss", [cross_entropy, of_linear, nll_loss])
@given(n=st.sampled_from(SIZES), seed=st.integers(0, 99), dtype=st.sampled_from("fd"))
def test_the_three_reductions_are_of_the_same_losses(loss, level, n, seed, dtype):
    rng, z = np.random.default_rng(seed), logits(n, dtype, seed)
    t = np.where(rng.random(n) < 0.3, -100, rng.integers(0, V, n))
    t[0] = 1
    g, rtol = rng.standard_normal(n).astype(dtype), 1e-12 if dtype == "d" else 1e-4
    with use(level):
        each, dz = run(loss, z, t, g=g, reduction="none")
        total, d_total = run(loss, z, t, reduction="sum")
        mean, d_mean = run(loss, z, t)
        _, ones = run(loss, z, t, g=np.ones_like(g), reduction="none")
    assert each.shape == (n,) and not each[t == -100].any() and each.dtype == total.dtype == dtype
    counts = np.count_nonzero(t != -100)
    agree([total, mean, mean], [each.sum(), each.sum() / each.dtype.type(counts),
                                total / total.dtype.type(counts)], rtol)
    agree([dz, d_total, d_mean], [ones * g[:, None], ones, ones / ones.dtype.type(counts)], rtol)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n", SIZES)
def test_options_that_change_nothing_give_the_common_loss(n, level):
    z, t = logits(n), np.arange(n) % V
    with use(level):
        expected = run(cross_entropy, z, t)
        agree(run(cross_entropy, z, t, weight=np.ones(V), label_smoothing=0.0), expected)
        agree(run(cross_entropy, z, t, weight=np.full(V, 0.5)), expected)
        agree(run(cross_entropy, z, np.eye(V)[t])[:2], expected)
        agree(run(lambda z, t: nll_loss(log_softmax(z), t), z, t), expected)
        agree(run(cross_entropy, z, t, label_smoothing=0.3),
              run(cross_entropy, z, 0.7 * np.eye(V)[t] + 0.3 / V)[:2])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n", SIZES)
def test_options_that_make_no_sense_are_named(n, level):
    z, t = logits(n), np.zeros(n, int)
    wrong = {"reduction is 'avg': give one of mean, sum, none": {"reduction": "avg"},
             "label_smoothing is 1.5": {"label_smoothing": 1.5},
             "label_smoothing is nan": {"label_smoothing": np.nan},
             r"weight has shape \(3,\), but there are 7 classes": {"weight": np.ones(3)}}
    for words, options in wrong.items():
        for loss in (cross_entropy, of_linear, nll_loss):
            if "reduction" in options or loss is cross_entropy:
                with use(level), pytest.raises(ValueError, match=words):
                    loss(z, t, **options)
    with use(level), pytest.raises(ValueError, match=r"or be floats of shape"):
        cross_entropy(z, z[:1])


# ---- special values --------------------------------------------------------------------------

ROW = st.lists(st.one_of(
    st.sampled_from([np.inf, -np.inf, np.nan, 0.0, 1e-45, 88.0, -104.0, 3e38, -3e38]),
    st.floats(-5, 5)), min_size=3, max_size=3)


@given(rows=st.lists(ROW, min_size=1, max_size=4), wide=st.sampled_from([3, 16, 65]),
       dtype=st.sampled_from([np.float32, np.float64]), t=st.integers(0, 2))
def test_one_loss_whatever_the_logits_and_whichever_body_runs(rows, wide, dtype, t):
    z = np.full((len(rows), wide), -1, dtype)
    z[:, :3] = np.array(rows, dtype)
    z = np.tile(z, (256 // z.size + 1, 1))
    t, rtol = np.full(len(z), t), 1e-5 if dtype == np.float32 else 1e-12
    with np.errstate(all="ignore"):
        with use("reference"):
            expected = run(cross_entropy, z, t, g=np.ones(len(z), dtype), reduction="none")
        found = run(cross_entropy, z, t, g=np.ones(len(z), dtype), reduction="none")
        with no_grad():
            alone = cross_entropy(Tensor(z), t, reduction="none").data
    agree(found, expected, rtol)
    agree([alone], expected[:1], rtol)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n", SIZES)
def test_logits_of_any_layout_and_byte_order_give_one_loss(n, level):
    z, t = logits(n), np.arange(n) % V
    with use(level):
        expected = run(cross_entropy, z, t), run(of_linear, z, t), run(embed, z, t)
        for f, (loss, dz) in zip((cross_entropy, of_linear, embed), expected):
            np.testing.assert_allclose(f(z.astype(">f8"), t), loss, rtol=1e-12)
            for x in layouts(z):
                agree(run(f, x, t), (loss, dz))


def embed(z, t):
    return embedding(t % min(V, len(z)), z).sum()


def layouts(x):
    """Return x read-only, transposed and strided in memory."""
    frozen = x.copy()
    frozen.flags.writeable = False
    return [frozen, np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2]]


@pytest.mark.parametrize("level", LEVELS)
def test_float16_losses_are_near_those_of_float64(level):
    z, t = logits(3000, np.float16), np.arange(3000) % V
    with use(level):
        loss, dz = run(cross_entropy, z, t)
        expected, d_expected = run(cross_entropy, z.astype(np.float64), t)
    assert loss.dtype == dz.dtype == np.float16
    np.testing.assert_allclose(loss, expected, rtol=2e-3)
    np.testing.assert_allclose(dz, d_expected, atol=1e-6)     # as far as float16 holds such numbers


@pytest.mark.parametrize("level", LEVELS)
def test_no_rows_have_no_mean_and_the_sum_zero(level):
    z, t = np.ones((0, V)), np.zeros(0, int)
    with use(level), np.errstate(all="ignore"):
        assert np.isnan(cross_entropy(z, t)) and cross_entropy(z, t, reduction="sum") == 0
        assert cross_entropy(z, t, reduction="none").shape == (0,)
        assert of_linear(z, t, reduction="none").shape == (0,)


# ---- losses made of other operations ---------------------------------------------------------

ELEMENTWISE = [mse_loss, l1_loss, huber_loss, binary_cross_entropy_with_logits]


@pytest.mark.parametrize("loss", ELEMENTWISE)
def test_shapes_that_would_broadcast_are_refused(loss):
    with pytest.raises(ValueError, match=r"has shape \(3,\), but the target \(3, 1\)"):
        loss(np.ones(3), np.ones((3, 1)))
    with pytest.raises(ValueError, match="reduction is 'average'"):
        loss(np.ones(3), np.ones(3), reduction="average")


@given(st.floats(-1e4, 1e4), st.floats(0, 1), st.sampled_from(LEVELS))
def test_surprise_about_yes_or_no_is_that_of_two_classes(x, target, level):
    with use(level):
        found = run(binary_cross_entropy_with_logits, np.array([x]), np.array([target]))
        expected, dz, dq = run(cross_entropy, np.array([[x, 0.0]]),
                               np.array([[target, 1 - target]]))
    np.testing.assert_allclose(found[0], expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found[1], dz[0, :1], atol=1e-12)
    np.testing.assert_allclose(found[2], dq[0, :1] - dq[0, 1:], rtol=1e-12, atol=1e-12)


@given(st.floats(-3, 3), st.floats(0.1, 2))
def test_huber_is_the_square_inside_and_straight_outside(d, delta):
    loss, dx, _ = run(huber_loss, np.array([d]), np.array([0.0]), delta=delta)
    inside = abs(d) <= delta
    np.testing.assert_allclose(loss, d * d / 2 if inside else delta * (abs(d) - delta / 2))
    np.testing.assert_allclose(dx, [d if inside else delta * np.sign(d)])


# ---- second derivatives ----------------------------------------------------------------------

@pytest.mark.parametrize("loss", [
    lambda z: cross_entropy(z, np.arange(3), label_smoothing=0.1, weight=np.arange(1.0, V + 1)),
    lambda z: (cross_entropy(z, np.arange(3), reduction="none") ** 2).sum(),
    lambda z: (linear_cross_entropy(z, np.eye(V), np.arange(3), reduction="none") ** 2).sum(),
    lambda z: cross_entropy(z, log_softmax(2 * z).exp(), reduction="sum"),
    lambda z: binary_cross_entropy_with_logits(z, np.full((3, V), 0.25)),
    lambda z: nll_loss(z * z, np.arange(3))])
def test_gradients_can_be_differentiated_once_more(loss):
    z, v = logits(3), logits(3, seed=1)
    found = hessian_vector_product(loss, z, v)
    slope = (grad(loss)(z + 1e-5 * v) - grad(loss)(z - 1e-5 * v)) / 2e-5
    np.testing.assert_allclose(found, slope, atol=1e-8)
