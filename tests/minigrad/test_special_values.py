"""One answer for every input, whichever body runs: special values, dtypes, byte orders, sizes.

Kernels take over from a certain size on, and for float32 and float64 alone. Where that border lies
must not be seen in a result.
"""
import threading

import numpy as np
import pytest

import minigrad as mg
from minigrad import OPS, Tensor, no_grad, use
from minigrad.kernels.rows import kernels_from
from minigrad.testing.adapters import Subject, levels
from minigrad.testing.strategies import SizedDraw, make_case

NAMES = sorted(set(OPS) - {"pick"})
ELEMENTWISE = [name for name in NAMES if OPS[name].signature == "()->()"]
ROWWISE = ["softmax", "log_softmax", "layer_norm", "rms_norm", "logsumexp"]
BODIES = [("reference", 1), ("parts", 1), ("fast", 1), ("fast", 10**9)]   # level, kernels from


def special(dtype):
    """List the numbers at which formulas break."""
    f = np.finfo(dtype)
    size = [0.0, f.smallest_subnormal, f.tiny, f.eps, 1e-3, 1.0, 20.0, 40.0, 88.0, 104.0, 700.0,
            745.0, 1e10, f.max ** 0.75, f.max / 4]
    return np.array([np.nan, np.inf, -np.inf, *size, *(-x for x in size)], dtype)


def results(name, arrays, params=None, level="fast", least=1):
    """Return the outputs of an op and the gradients of its inputs, for a g that is not all ones."""
    moves = Subject(OPS[name]).moves
    inputs = [Tensor(x, requires_grad=moves(i, x)) if isinstance(x, np.ndarray) else x
              for i, x in enumerate(arrays)]
    with np.errstate(all="ignore"), use(level), kernels_from(least):
        out = OPS[name](*inputs, **params or {})
        outputs = out if isinstance(out, tuple) else (out,)
        for y in outputs:
            if y.requires_grad:
                y.backward(np.linspace(0.5, 2, y.size, dtype=y.dtype).reshape(y.shape),
                           retain_graph=True)
    return [y.data for y in outputs] + [x.grad for x in inputs if isinstance(x, Tensor)]


def answers(name, arrays, params, level, least):
    """Return results, or the kind of error, of which a sentence is expected."""
    try:
        return results(name, arrays, params, level, least)
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        assert name in str(error) or len(str(error)) > 40, error
        return "refused"


def agree(found, expected, rtol, message="", floor=1e-12):
    """Compare results; where numbers overflow on the way, inf may stand for nan."""
    assert (found == "refused") == (expected == "refused"), message
    for x, y in zip(found, expected) if found != "refused" else ():
        assert (x is None) == (y is None), message
        if x is not None:
            assert (x.shape, x.dtype) == (y.shape, y.dtype), message
            finite = np.isfinite(x) & np.isfinite(y)
            size = np.abs(np.where(finite, y, 0)).max(initial=0)
            assert np.array_equal(np.isfinite(x), np.isfinite(y)), message
            gap = np.where(finite, x, 0).astype(float) - np.where(finite, y, 0)
            assert np.abs(gap).max(initial=0) <= rtol * max(size, floor), message


def drawn(name, seed, size=5):
    """Draw ordinary inputs of an op."""
    rng = np.random.default_rng(seed)
    case = make_case(Subject(OPS[name]), SizedDraw(rng, size, 0), seed)
    return rng, case.arrays, case.params


def changed(arrays, function):
    return [np.asarray(function(np.array(x)))
            if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x
            for x in arrays]


def spoiled(name, x, rng):
    """Put a special number somewhere; where attention hides a key, nan times 0 may be either."""
    beyond = [] if "attention" in name else [np.nan, np.inf, -np.inf]
    if x.size:
        x.flat[rng.integers(x.size)] = rng.choice([*beyond, 0.0, 1e-300])
    return x


# ---- special values --------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_an_element_does_not_depend_on_how_many_stand_beside_it(name, dtype):
    x = np.resize(special(dtype), 257)                # one more than where kernels take over
    whole = results(name, [x], least=256)
    parts = [np.concatenate(pieces) for pieces in
             zip(results(name, [x[:128]], least=256), results(name, [x[128:]], least=256))]
    g, pieces = np.linspace(0.5, 2, 257), [np.linspace(0.5, 2, 128), np.linspace(0.5, 2, 129)]
    for i, (y, z) in enumerate(zip(whole, parts)):
        if i:                                         # gradients: of other g
            y, z = y / g.astype(dtype), z / np.concatenate(pieces).astype(dtype)
        np.testing.assert_allclose(y, z, rtol=16 * np.finfo(dtype).eps,
                                   atol=4 * np.finfo(dtype).tiny, err_msg=f"part {i}")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ROWWISE)
def test_a_row_with_one_special_number_has_one_answer(name, dtype):
    params = {} if "norm" in name else {"axis": -1}
    rows = np.tile(np.linspace(-1, 1, 24, dtype=dtype), (len(special(dtype)), 1))
    rows[:, 5] = special(dtype)
    expected = results(name, [rows], params, *BODIES[0])
    for level, least in BODIES[1:]:
        found = results(name, [rows], params, level, least)
        for i in range(len(rows)):
            agree([x[i] for x in found], [x[i] for x in expected], np.finfo(dtype).eps ** 0.5,
                  (level, least, rows[i, 5]), 1e-12 if "norm" in name else 1.0)
    assert np.isfinite(expected[0][np.isfinite(rows[:, 5])]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("name", ["rms_norm", "add_rms_norm"])
def test_a_row_of_zeros_and_one_number_of_any_size_is_normalized(name, dtype):
    for size in (300, 1e20, 1e200, 3e38, 1e308):
        if size < float(np.finfo(dtype).max):
            x = np.zeros((6, 64), dtype)
            x[:, 1] = size
            for level, least in BODIES:
                y = results(name, [x] + [np.zeros_like(x)] * (name != "rms_norm"), {}, level, least)
                np.testing.assert_allclose(y[name != "rms_norm"][:, 1], 8, 1e-3)


@pytest.mark.parametrize("dtype, size", [(np.float32, 1e20), (np.float32, 1e38),
                                         (np.float32, np.inf), (np.float64, 1e200)])
def test_queries_and_keys_of_any_size_are_normalized(dtype, size):
    x = np.linspace(-1, 1, 128, dtype=dtype).reshape(1, 2, 64)
    x[0, 1, 3] = size
    arrays = [x, *mg.rotary_angles(2, 16, dtype=dtype)]
    params = {"n_value_head": 1, "norm": True}
    expected = results("qk_rotary", arrays, params, "reference")
    for level, least in BODIES[1:]:
        found = results("qk_rotary", arrays, params, level, least)
        for place in range(2):
            agree([x[0, place] for x in found[:2]], [x[0, place] for x in expected[:2]], 1e-5,
                  (level, place), 0.0)
    assert np.isfinite(expected[0][0, 1, 4:7]).all()


@pytest.mark.parametrize("name", NAMES)
def test_every_body_gives_one_answer_where_an_input_is_special(name):
    floor = 1.0 if "attention" in name else 1e-12     # with one key alone, slopes are rounding
    for seed in range(4):
        rng, arrays, params = drawn(name, seed)

        arrays = changed(arrays, lambda x, rng=rng: spoiled(name, x, rng))
        expected = answers(name, arrays, params, *BODIES[0])
        for level, least in BODIES[1:]:
            if level in levels(OPS[name]):
                found = answers(name, arrays, params, level, least)
                agree(found, expected, 1e-9, (level, least), floor)


# ---- dtypes and memory -----------------------------------------------------------------------

FORMS = {"foreign byte order": lambda x: x.astype(x.dtype.newbyteorder()),
         "read-only": lambda x: np.require(np.broadcast_to(x, x.shape), None, "A"),
         "not contiguous": lambda x: np.stack([x, x], axis=-1)[..., 0]}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NAMES)
def test_how_an_array_lies_in_memory_makes_no_difference(name, form):
    for seed in range(2):
        _, arrays, params = drawn(name, seed, size=9)
        others = [FORMS[form](x) if isinstance(x, np.ndarray) else x for x in arrays]
        for level in levels(OPS[name]):
            agree(answers(name, others, params, level, 1), answers(name, arrays, params, level, 1),
                  1e-12, level)


@pytest.mark.parametrize("dtype", [np.float16, np.int64, np.uint8, np.bool_])
@pytest.mark.parametrize("name", NAMES)
def test_other_dtypes_are_computed_or_refused_alike_by_every_body(name, dtype):
    _, arrays, params = drawn(name, seed=1)
    arrays = changed(arrays, lambda x: np.abs(2 * x).astype(dtype))
    expected = answers(name, arrays, params, *BODIES[0])
    for level, least in BODIES[1:]:
        if level in levels(OPS[name]):
            agree(answers(name, arrays, params, level, least), expected, 0.05, (level, least))


def test_a_product_in_a_foreign_byte_order_leaves_later_products_as_they_were():
    x = np.arange(1024.0).reshape(32, 32)
    foreign = x.astype(x.dtype.newbyteorder())
    for a, b in ((foreign, foreign), (x, foreign), (x, x)):
        np.testing.assert_array_equal(mg.matmul(a, b), x @ x)
        y = mg.matmul(Tensor(a), Tensor(b))
        assert y.dtype == np.float64 and y.dtype.isnative and np.array_equal(y.data, x @ x)


def test_a_tensor_of_something_else_than_real_numbers_is_refused():
    for data in (1j, "text", None, np.array(["2020-01-01"], "M8[D]"), [object()]):
        with pytest.raises(TypeError, match="real numbers or booleans"):
            Tensor(data)
    with pytest.raises(TypeError, match="complex128"):
        Tensor([1.0, 2.0], requires_grad=True) * 1j


@pytest.mark.parametrize("number", [np.float64(3), np.float32(3), np.int64(3), np.uint8(3),
                                    np.longdouble(3), 3, 3.0])
def test_a_number_takes_the_dtype_of_the_tensor(number):
    x = Tensor(np.ones(2, np.float32), requires_grad=True)
    for y in (x * number, number * x, x + number, x / number, number - x, x ** number):
        assert y.dtype == np.float32


# ---- threads and arrays that change ----------------------------------------------------------

def test_no_grad_and_levels_belong_to_their_thread():
    entered, done, found = threading.Event(), threading.Event(), []

    def elsewhere():
        with no_grad(), use("reference"):
            entered.set()
            done.wait(10)
        found.append(mg.mode.mode.level)
    other = threading.Thread(target=elsewhere)
    other.start()
    entered.wait(10)
    x = Tensor([1.0, 2.0], requires_grad=True)
    assert (x * x).requires_grad and mg.mode.mode.level != "reference"
    done.set()
    other.join()
    assert found == [mg.mode.mode.level]


@pytest.mark.parametrize("use_ids", [
    lambda x, ids: x[ids], lambda x, ids: x[ids.tolist()], lambda x, ids: x[(ids,)],
    lambda x, ids: mg.where(ids > 0, x[:2], 0.0), lambda x, ids: mg.embedding(ids, x[:, None]),
    lambda x, ids: mg.gather(x, 0, ids),
    lambda x, ids: mg.cross_entropy(x[:2, None] * [1, 2, 3], ids),
    lambda x, ids: mg.linear_cross_entropy(x[:2, None], x[:, None] * 2, ids),
    lambda x, ids: mg.attention(*[x[None, None, :2, None]] * 3, key_lengths=ids[1:])],
    ids=["array", "list", "tuple", "where", "embedding", "gather", "loss", "linear loss",
         "attention"])
@pytest.mark.parametrize("level", ["reference", "fast"])
def test_ids_written_after_the_forward_pass_change_no_gradient(level, use_ids):
    def gradient(write):
        x, ids = Tensor(np.ones(3), requires_grad=True), np.array([0, 1])
        with use(level), kernels_from(1):
            y = use_ids(x, ids).sum()
            ids[:] = ids if not write else 2
            y.backward()
        return x.grad
    np.testing.assert_array_equal(gradient(write=True), gradient(write=False))


@pytest.mark.parametrize("key, expected", [
    (((0, 0, 1),), [2, 1, 0]), ([0, 0, 1], [2, 1, 0]), ((np.array([0, 0]),), [2, 0, 0]),
    (np.int64(1), [0, 1, 0]), ((Ellipsis, [2, 2]), [0, 0, 2]), (([1, 1], None), [0, 2, 0]),
    (np.array([True, False, True]), [1, 0, 1]), (slice(None, None, 2), [1, 0, 1])])
def test_places_named_twice_in_any_form_of_key_are_added(key, expected):
    x = Tensor(np.ones(3), requires_grad=True)
    x[key].sum().backward()
    np.testing.assert_array_equal(x.grad, expected)


@pytest.mark.parametrize("size", [1e20, 3e38])
def test_a_deviation_is_finite_where_its_square_is_not(size):
    x = Tensor(np.array([0.0, size, 0.0, 0.0], np.float32), requires_grad=True)
    y = x.std()
    y.backward()
    np.testing.assert_allclose(y.data, size * 3 ** 0.5 / 4, 1e-6)
    np.testing.assert_allclose(x.grad, np.array([-1, 3, -1, -1]) / (4 * 3 ** 0.5), 1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, np.bool_])
def test_whole_numbers_do_not_wrap_around(dtype):
    y = np.array([0, 1, 1], dtype)
    x = Tensor(np.array([1e10, 2.0, 3.0]), requires_grad=True)
    for name in ("sigmoid", "silu", "tanh", "gelu", "softplus", "softmax", "log_softmax"):
        f = getattr(mg, name)
        np.testing.assert_allclose(f(Tensor(y)).data, f(y.astype(float)), rtol=1e-3)
    if dtype is not np.bool_:
        (x ** Tensor(y)).sum().backward()
        np.testing.assert_array_equal(x.grad, [0, 1, 1])


@pytest.mark.parametrize("name", ["elu", "selu", "celu", "gelu", "silu", "sigmoid", "tanh"])
def test_the_slope_of_a_smooth_function_is_nan_at_nan_and_finite_at_large_numbers(name):
    for dtype in (np.float16, np.float32, np.float64):
        top = np.finfo(dtype).max
        x = Tensor(np.array([np.nan, top, -top, 300, -300], dtype), requires_grad=True)
        with np.errstate(all="ignore"), use("reference"):
            getattr(mg, name)(x).sum().backward()
        assert np.isnan(x.grad[0]) and np.isfinite(x.grad[1:]).all(), (dtype, x.grad)


def test_a_power_of_minus_zero_has_the_sign_of_its_slope():
    x = Tensor(np.array([-0.0, 0.0, -0.0, 0.0]), requires_grad=True)
    with np.errstate(all="ignore"):
        (x ** np.array([-10.0, -10.0, 0.0, 0.0])).sum().backward()
    np.testing.assert_array_equal(x.grad, [np.inf, -np.inf, 0, 0])
