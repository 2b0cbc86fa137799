"""Modules are their fields: parameters by name, state in and out, explicit randomness."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Tensor, keyed_dropout, nn, placed_embedding, swiglu, use
from minigrad.ops.dropout import split_mix
from minigrad.optim import AdamW


class MLP(nn.Module):
    def __init__(self, rng, dtype=np.float32):
        self.table = nn.Embedding(7, 4, rng=rng, dtype=dtype)
        self.layers = [nn.Linear(4, 8, rng=rng, dtype=dtype),
                       nn.Linear(8, 4, rng=rng, bias=False, dtype=dtype)]
        self.norms = {"first": nn.LayerNorm(4, dtype=dtype), "last": nn.RMSNorm(4, dtype=dtype)}
        self.dropout = nn.Dropout(0.5)
        self.scale, self.constant, self.note = nn.full((), 1, dtype), np.ones(3), "no parameter"
        self.unembedding = self.table.weight                  # tied

    def __call__(self, ids, rng=None):
        x = self.norms["first"](self.table(ids))
        x = x + self.layers[1](self.dropout(self.layers[0](x).relu(), rng))
        return mg.linear(self.norms["last"](x) * self.scale, self.unembedding)


NAMES = ["table.weight", "layers.0.weight", "layers.0.bias", "layers.1.weight", "norms.first.gain",
         "norms.first.bias", "norms.last.gain", "scale"]


def mlp(seed=0, dtype=np.float32):
    return MLP(np.random.default_rng(seed), dtype)


def test_parameters_are_found_in_order_and_tied_ones_once():
    model = mlp()
    assert [name for name, _ in model.named_parameters()] == NAMES
    assert all(x is y for x, (_, y) in zip(model.parameters(), model.named_parameters()))
    assert list(model.state_dict()) == NAMES
    assert model.state_dict()["layers.0.bias"] is model.layers[0].bias.data


def test_a_state_goes_into_another_model():
    one, other = mlp(0), mlp(1)
    memory = other.table.weight.data
    other.load_state_dict({name: x.copy() for name, x in one.state_dict().items()})
    assert other.table.weight.data is memory and other.unembedding is other.table.weight
    ids = np.array([0, 3, 3])
    assert np.array_equal(one(ids).data, other(ids).data)


def test_loading_keeps_the_dtype_of_the_parameters():
    one, other = mlp(0, np.float64), mlp(1, np.float32)
    other.load_state_dict(one.state_dict())
    for name, x in other.state_dict().items():
        assert x.dtype == np.float32
        assert np.array_equal(x, one.state_dict()[name].astype(np.float32))


def test_a_state_that_does_not_fit_changes_nothing_and_all_misfits_are_named():
    model = mlp()
    before = {name: x.copy() for name, x in model.state_dict().items()}
    values = {name: x + 1 for name, x in before.items()}
    del values["scale"], values["norms.first.bias"]
    values |= {"layers.2.weight": np.ones(3), "table.weight": np.ones((4, 7))}
    with pytest.raises(ValueError) as error:
        model.load_state_dict(values)
    for part in ("scale is missing", "norms.first.bias is missing", "layers.2.weight is unexpected",
                 "table.weight has shape (4, 7) and not (7, 4)", "nothing was loaded"):
        assert part in str(error.value)
    assert all(np.array_equal(x, before[name]) for name, x in model.state_dict().items())


def test_backward_notices_a_load_since_the_forward_pass():
    model = mlp()
    loss = model(np.array([1, 2])).sum()
    model.load_state_dict(mlp(1).state_dict())
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


def test_all_parameters_receive_a_gradient_and_frozen_ones_none():
    model = mlp(dtype=np.float64)
    model.layers[0].weight.requires_grad = False
    mg.cross_entropy(model(np.array([0, 1, 2])), np.array([1, 2, 3])).backward()
    for name, x in model.named_parameters():
        assert (x.grad is None) == (name == "layers.0.weight"), name


@given(st.integers(0, 2**32 - 1))
def test_initialisation_is_a_function_of_the_rng(seed):
    one, other = mlp(seed).state_dict(), mlp(seed).state_dict()
    assert all(np.array_equal(one[name], other[name]) for name in NAMES)
    assert not np.array_equal(one["table.weight"], mlp(seed + 1).state_dict()["table.weight"])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_initial_values_have_the_documented_spread_and_dtype(dtype):
    rng = np.random.default_rng(0)
    layer = nn.Linear(400, 300, rng=rng, dtype=dtype)
    assert layer.weight.shape == (300, 400) and not layer.bias.data.any()
    assert np.isclose(layer.weight.data.std(), 400 ** -0.5, rtol=0.02)
    assert np.isclose(nn.Embedding(300, 400, rng=rng, dtype=dtype).weight.data.std(), 0.02,
                      rtol=0.02)
    assert not nn.Linear(4, 3, rng=rng, std=0).weight.data.any()
    for model in (layer, nn.LayerNorm(3, dtype=dtype), nn.RMSNorm(3, dtype=dtype)):
        assert {x.dtype for x in model.parameters()} == {np.dtype(dtype)}
        x = np.ones((2, 400 if model is layer else 3), dtype)
        assert model(x).dtype == dtype


def test_modules_compute_what_the_ops_do():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3))
    linear = nn.Linear(3, 4, rng=rng, dtype=np.float64)
    linear.bias.data[:] = rng.standard_normal(4)
    np.testing.assert_allclose(linear(x).data, x @ linear.weight.data.T + linear.bias.data)
    norm, rms = nn.LayerNorm(3, eps=0.1, dtype=np.float64), nn.RMSNorm(3, eps=0.1, dtype=np.float64)
    centered = x - x.mean(-1, keepdims=True)
    np.testing.assert_allclose(norm(x).data, centered / np.sqrt(x.var(-1, keepdims=True) + 0.1))
    np.testing.assert_allclose(rms(x).data, x / np.sqrt((x * x).mean(-1, keepdims=True) + 0.1))
    ids = np.array([[2, 2], [0, 1]])
    table = nn.Embedding(3, 5, rng=rng)
    assert np.array_equal(table(ids).data, table.weight.data[ids])
    assert nn.LayerNorm(3, bias=False).bias is None


def test_dropout_drops_only_with_an_rng():
    x = Tensor(np.ones((200, 200)), requires_grad=True)
    assert nn.Dropout(0.25)(x) is x
    y = nn.Dropout(0.25)(x, np.random.default_rng(0))
    y.sum().backward()
    assert np.array_equal(x.grad, y.data)                     # the same mask both ways
    assert np.allclose(np.unique(y.data), [0, 4 / 3]) and abs(y.data.mean() - 1) < 0.01
    nearly_all = nn.Dropout(1 - 1e-9)(x, np.random.default_rng(0)).data
    assert np.isfinite(nearly_all).all() and np.count_nonzero(nearly_all) < 10
    with pytest.raises(ValueError, match="the dropout rate is 1.0"):
        nn.Dropout(1.0)(x, np.random.default_rng(0))


def test_random_numbers_of_dropout_are_those_of_split_mix():
    """The first numbers from the seed 1234567, as published with other implementations."""
    made = split_mix(np.uint64(1234567), np.arange(1, 4, dtype=np.uint64))
    assert made.tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("shape", [(3,), (40, 40)])
def test_keys_and_rates_out_of_range_are_refused(shape):
    for key, rate, words in ((-1, 0.5, "the key is -1"), (2 ** 63, 0.5, "the key is 9"),
                             (1, 1.0, "the dropout rate is 1.0"), (1, -0.1, "rate is -0.1")):
        with pytest.raises(ValueError, match=words):
            keyed_dropout(Tensor(np.ones(shape)), key, rate)


def test_masks_of_different_keys_have_nothing_in_common():
    x = Tensor(np.ones(100_000))
    masks = [keyed_dropout(x, key, 0.5).data > 0 for key in (0, 1, 2 ** 62)]
    for i, mask in enumerate(masks):
        others = [*masks[:i], np.roll(mask, 1), np.roll(mask, 4)]
        for other in others:                                   # 4.4 standard deviations
            assert abs((mask == other).mean() - 0.5) < 0.007


def test_repr_lists_the_parameters():
    text = repr(nn.Linear(3, 2, rng=np.random.default_rng(0)))
    assert text == "Linear(\n  weight (2, 3) float32,\n  bias (2,) float32)"
    assert repr(nn.Dropout(0.1)) == "Dropout()"


def test_a_small_model_learns():
    rng = np.random.default_rng(0)
    model = mlp()
    optimizer = AdamW(model.parameters(), 0.01)
    losses = []
    for _ in range(60):
        ids = rng.integers(7, size=32)
        loss = mg.cross_entropy(model(ids), (ids * 3 + 1) % 7)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize("ids, width, start, words", [
    (np.zeros((2, 300), np.int64), 4, 0, "there are 9 places, but 300 ids from start=0 on"),
    (np.zeros((200, 3), np.int64), 4, 7, "there are 9 places, but 3 ids from start=7 on"),
    (np.zeros((200, 3), np.int64), 4, -1, "there are 9 places, but 3 ids from start=-1 on"),
    (np.zeros((200, 3), np.int64), 1, 0, r"places is \(9, 1\), but weight is \(5, 4\)"),
    (np.int64(3), 4, 0, "ids is the number 3, but must be"),
    (np.full((200, 3), 5), 4, 0, "ids holds 5, but there are 5 rows")])
def test_places_that_do_not_fit_are_refused(ids, width, start, words):
    weight, places = Tensor(np.ones((5, 4))), Tensor(np.ones((9, width)))
    for level in ("fast", "reference", "parts"):
        with pytest.raises((ValueError, IndexError), match=words), use(level):
            placed_embedding(ids, weight, places, start=start)


@pytest.mark.parametrize("shape", [(), (5,), (300, 7)])
def test_gates_without_as_many_values_are_refused(shape):
    for level in ("fast", "reference", "parts"):
        with pytest.raises(ValueError, match="give an even number of features"), use(level):
            swiglu(Tensor(np.ones(shape)))
