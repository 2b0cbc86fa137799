"""The mistakes of the first hour are told in a sentence that says what to write."""
import builtins
import subprocess
import sys

import numpy as np
import pytest

import minigrad as mg
from minigrad import Tensor, nn, op, softmax
from minigrad.optim import SGD
from minigrad.tensor import OPS


@pytest.fixture
def x():
    return Tensor(np.ones((2, 3)), requires_grad=True)


@pytest.mark.parametrize("mistake, told", [
    (lambda x: np.exp(x), "NumPy would drop the gradient of this tensor: use the method"),
    (lambda x: np.sum(x), r"in place of np\.sum\(x\) say x\.sum\(\) or minigrad\.sum\(x\)"),
    (lambda x: np.mean(x), r"in place of np\.mean\(x\) say x\.mean\(\)"),
    (lambda x: x.sum(dim=0), "argument 'dim'; it is called axis here"),
    (lambda x: softmax(x, dim=0), "it is called axis here"),
    (lambda x: x.sum(0, keepdim=True), "it is called keepdims here"),
    (lambda x: Tensor(x), r"would drop the gradient.*x\.detach\(\)"),
    (lambda x: Tensor(2 * x, requires_grad=True), "would drop the gradient"),
    (lambda x: mg.concatenate(x, x), r"as one list, as in concatenate\(\[x, y\]\)"),
    (lambda x: mg.stack(x, x), "as one list"),
    (lambda x: SGD(nn.Linear(3, 4, rng=np.random.default_rng(0)), 0.1), r"model\.parameters\(\)"),
    (lambda x: nn.Linear(3, 4, rng=0), r"rng is 0.* rng = np\.random\.default_rng\(0\)"),
    (lambda x: mg.dropout(x, 0.5, 7), r"rng is 7.* rng = np\.random\.default_rng\(0\)")])
def test_a_mistake_is_told_with_what_to_write(mistake, told, x):
    with pytest.raises(TypeError, match=told):
        mistake(x)


@pytest.mark.parametrize("forward, error, told", [
    (lambda x: (x * 2, (x,)), NotImplementedError, "twice has no vjp: write a function twice_vjp"),
    (lambda x: (x * 2, x), TypeError, r"must return two things.*`return out, \(x,\)`"),
    (lambda x: (x * 2, None), TypeError, "must return two things"),
    (lambda x: x * 2, TypeError, "must return two things")])
def test_an_unfinished_op_says_what_it_lacks(forward, error, told, x):
    forward.__name__ = "twice"
    try:
        twice = op("()->()")(forward)
        with pytest.raises(error, match=told):
            twice(x).sum().backward()
    finally:
        OPS.pop("twice", None)


@pytest.mark.parametrize("f", [
    lambda x: np.ones(3) * x, lambda x: np.ones((4, 2)) @ x, lambda x: np.float64(2) - x,
    lambda x: np.float32(2) / x.astype(np.float32), lambda x: np.array(2.0) ** x])
def test_an_array_before_a_tensor_gives_a_tensor(f, x):
    out = f(x)
    assert type(out) is Tensor and out.requires_grad


def test_a_star_import_leaves_pythons_own_names_alone():
    code = ("from minigrad import *\nimport builtins\n"
            "own = {n: v for n, v in vars(builtins).items() if n[0] != '_'}\n"
            "assert all(globals().get(n, v) is v for n, v in own.items())\n"
            "assert Tensor and softmax and backprop and grad and sum([1, 2]) == 3")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert not set(mg.__all__) & set(dir(builtins)) and "tanh" in mg.__all__
