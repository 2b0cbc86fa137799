"""Mistakes get an answer that teaches."""
import numpy as np
import pytest

import minigrad as mg
from minigrad import Tensor, check_writes, no_grad, use
from minigrad import tensor as engine


def leaf(*values, dtype=np.float64):
    return Tensor(np.array(values, dtype), requires_grad=True)


def test_backward_needs_a_scalar_or_a_gradient_that_fits():
    x = leaf(1, 2)
    with pytest.raises(ValueError, match=r"needs a scalar, but the shape is \(2,\)"):
        (x * 2).backward()
    with pytest.raises(ValueError, match=r"grad has shape \(3,\).*shape \(2,\)"):
        (x * 2).backward(np.ones(3))
    with pytest.raises(RuntimeError, match="requires_grad=True"):
        Tensor([1.0]).sum().backward()
    with no_grad():
        y = x.sum()
    with pytest.raises(RuntimeError, match="outside no_grad"):
        y.backward()


def test_backward_twice_explains_itself():
    x = leaf(1, 2)
    y = x.exp()
    y.sum().backward()
    with pytest.raises(RuntimeError, match="result of exp.*retain_graph=True"):
        y.sum().backward()
    z = x.exp().sum()
    z.backward(retain_graph=True)
    z.backward()
    np.testing.assert_allclose(x.grad, 3 * np.exp(x.data))


def test_a_write_through_a_tensor_is_noticed_even_through_a_view():
    w = Tensor(np.ones(4))
    x = leaf(1, 2, 3, 4)
    y = (x * w).sum()
    w[0] = 5
    with pytest.raises(RuntimeError, match="vjp of mul .*changed in place"):
        y.backward()
    y = (x * w.reshape(2, 2).reshape(4)).sum()
    w[0] = 6
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()
    y = (x + w).sum()                                 # add saves nothing: no harm done
    w[0] = 7
    y.backward()
    with pytest.raises(RuntimeError, match="use where.. or concatenate"):
        x[0] = 1
    with no_grad():
        x[0] = 9
    assert x.data[0] == 9


def test_a_raw_write_is_noticed_in_checking_mode():
    x, w = leaf(1, 2), leaf(3, 4)
    with check_writes():
        y = (x * w).sum()
        x.data[0] = 7
        with pytest.raises(RuntimeError, match="vjp of mul .*changed in place"):
            y.backward()
        z = (x * w).sum()
        z.backward()
    assert np.array_equal(w.grad, [7, 2])


def test_shapes_that_do_not_fit_are_named_with_the_op():
    with pytest.raises(ValueError, match=r"add of shapes \(2,\), \(3,\).*reshape or transpose"):
        leaf(1, 2) + leaf(1, 2, 3)
    with pytest.raises(ValueError, match=r"matmul of shapes \(2, 3\), \(2, 3\)"):
        Tensor(np.ones((2, 3))) @ Tensor(np.ones((2, 3)))
    with pytest.raises(IndexError, match=r"index of shapes \(2,\)"):
        leaf(1, 2)[5]


def test_dtypes_are_not_mixed_silently():
    single, double = leaf(1, 2, dtype=np.float32), leaf(1, 2)
    with pytest.raises(TypeError, match="mul of dtypes float32, float64"):
        single * double
    with pytest.raises(TypeError, match="float32, int64 would give float64"):
        single * np.array([1, 2])
    assert (single * 2.0 + np.sqrt(2) * single - np.float64(1)).dtype == np.float32
    assert (2 / double).dtype == np.float64


def test_integers_have_no_gradient():
    with pytest.raises(TypeError, match="int64; convert it with .astype"):
        Tensor([1, 2], requires_grad=True)
    with pytest.raises(TypeError, match="ids must be integers, but they are float64"):
        mg.embedding(np.array([1.0]), leaf(1, 2).reshape(2, 1))
    with pytest.raises(IndexError, match="ids holds 2, but there are 2 rows"):
        mg.embedding(np.array([0, 2]), leaf(1, 2).reshape(2, 1))


def test_numpy_does_not_swallow_a_gradient():
    with pytest.raises(TypeError, match="x.detach.. or x.data"):
        np.asarray(leaf(1, 2))
    with pytest.raises(TypeError):
        np.exp(leaf(1, 2))
    assert np.asarray(Tensor([1.0, 2])).tolist() == [1, 2]
    assert isinstance(np.ones(2) * leaf(1, 2), Tensor)


def test_unknown_level_and_a_vjp_of_the_wrong_shape():
    with pytest.raises(ValueError, match="level is 'turbo', but there are only fast, reference"):
        with use("turbo"):
            pass
    wrong = engine.Op(lambda x: (x * 1.0, ()))
    wrong.name = "wrong"
    wrong.vjp(lambda g: (g[:1],))
    with pytest.raises(ValueError, match=r"vjp of wrong gave a gradient of shape \(1,\).*\(2,\)"):
        wrong(leaf(1, 2)).sum().backward()


# ---- backward passes that are not right ------------------------------------------------------

@pytest.mark.parametrize("vjp, message", [
    (lambda g, x, y: (g * y,), "gives no gradient for input 1"),
    (lambda g, x, y: g * y, "returned a ndarray: return a tuple"),
    (lambda g, x, y: [g * y, g * x], "returned a list"),
    (lambda g, x, y: (g * y, None), "gives no gradient for input 1")])
def test_a_vjp_that_returns_too_little_is_told(vjp, message):
    def forward(x, y):
        """x * y."""
        return x * y, (x, y)
    op = mg.Op(forward, "(),()->()")
    op.vjp(vjp)
    with pytest.raises((RuntimeError, TypeError), match=message):
        op(leaf(1, 2), leaf(3, 4)).sum().backward()


@pytest.mark.parametrize("call", [
    lambda x, t: mg.clip(x, t, None), lambda x, t: mg.clip(x, max=t), mg.leaky_relu,
    lambda x, t: mg.leaky_relu(x, slope=t), lambda x, t: mg.elu(x, alpha=t),
    lambda x, t: mg.layer_norm(x, eps=t)])
def test_a_tensor_given_for_a_setting_is_no_silent_constant(call):
    x, t = leaf(0.5, 2.0), Tensor(1.0, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"x\.detach\(\)"):
        call(x, t).sum().backward()


def test_errors_of_other_types_than_ours_are_told_in_words_too():
    with pytest.raises(TypeError, match="add of shapes"):
        Tensor([1.0]) + "a"
    for bad in (lambda: Tensor(np.arange(3))[10], lambda: Tensor(np.arange(3)).reshape(4)):
        with pytest.raises((IndexError, ValueError)) as error:
            bad()
        assert "float" not in str(error.value)
    with pytest.raises(np.exceptions.AxisError, match="a single number has none"):
        Tensor(1.0).flip(0)
    with pytest.raises(TypeError, match=r"argnum is \(0, 1\)"):
        mg.grad(lambda x, y: x * y, (0, 1))(1.0, 2.0)
