"""Every plausible wrong backward pass is noticed, by the law that is meant for it."""
import functools

import numpy as np
import pytest
from hypothesis import settings
from wrong_pairs import WRONG

from minigrad import OPS, Tensor, softmax, tanh
from minigrad.testing import GradientError, check_op, mutate_op, mutation_score

CHECKED = ["add", "attention", "cross_entropy", "embedding", "exp", "gelu", "layer_norm", "linear",
           "linear_cross_entropy", "log_softmax", "logsumexp", "matmul", "mul", "rms_norm",
           "rotary", "softmax", "swiglu", "tanh"]
THOROUGH = settings.get_profile("thorough").max_examples == settings().max_examples
SEEDS = range(20) if THOROUGH else range(1)
mutants_of = functools.cache(lambda name: mutate_op(OPS[name]))


@pytest.mark.parametrize("name", CHECKED)
def test_every_mutant_is_noticed(name):
    mutants = mutants_of(name)
    assert len(mutants) >= 10
    for mutant in mutants:
        for seed in SEEDS:
            with pytest.raises(GradientError):
                check_op(mutant.op, seed=seed, max_examples=30, shrink=False, verbose=False)
                pytest.fail(f"{mutant.name} is not noticed with the seed {seed}")


@pytest.mark.parametrize("name", CHECKED if THOROUGH else CHECKED[::4])
def test_the_law_meant_for_a_mutant_kills_it(name):
    for mutant in mutants_of(name):
        with pytest.raises(GradientError) as error:
            check_op(mutant.op, laws=[mutant.law], max_examples=100, shrink=False, verbose=False)
            pytest.fail(f"{mutant.name} is not noticed by the law {mutant.law}")
        assert error.value.law == mutant.law


@pytest.mark.parametrize("args, options", [case[1:] for case in WRONG], ids=[w[0] for w in WRONG])
def test_every_wrong_pair_is_noticed(args, options):
    for seed in range(20 if THOROUGH else 2):
        with pytest.raises(GradientError):
            check_op(*args, **options, seed=seed, max_examples=30, shrink=False, verbose=False)


def test_the_fixed_list_has_27_pairs():
    assert len(WRONG) == len({name for name, _, _ in WRONG}) == 27


def test_every_law_of_a_single_pass_has_mutants():
    laws = {mutant.law for name in CHECKED for mutant in mutants_of(name)}
    assert laws == {"shapes", "purity", "slope", "linearity", "layout", "finite", "float32",
                    "reuse", "second order"}


def test_a_mutant_changes_the_op_only_inside_with():
    x, g = np.array([1.0, 2.0]), np.array([1.0, 0.0])

    def gradient():
        t = Tensor(x, requires_grad=True)
        tanh(t).backward(g)
        return t.grad
    right = gradient()
    flipped = next(m for m in mutate_op(tanh) if "sign" in m.name)
    with flipped:
        assert np.array_equal(gradient(), -right)
    assert np.array_equal(gradient(), right)


def test_a_score_counts_what_a_test_notices():
    def weak_test():
        """Only the gradient of the sum, which is zero for softmax."""
        x = Tensor(np.array([1.0, 2.0, 3.0]), requires_grad=True)
        softmax(x).sum().backward()
        assert np.allclose(x.grad, 0)

    weak = mutation_score(weak_test, softmax)
    strong = mutation_score(lambda: check_op(softmax, level="reference", max_examples=100,
                                             shrink=False, verbose=False), softmax)
    assert not strong.survived
    assert len(weak.killed) < len(strong.killed) / 2
    assert f"kill {len(weak.killed)} of {len(strong.killed)}" in str(weak)


def square(x):
    return x * x

def square_vjp(g, x):
    return 2 * g * x,


def test_a_plain_pair_is_mutated_and_scored():
    mutants = mutate_op(square, square_vjp, "()->()")
    assert any("2 is missing" in m.name for m in mutants)

    def test(vjp):
        assert np.allclose(vjp(np.array([1.0, 1.0]), np.array([1.0, 3.0]))[0], [2, 6])
    score = mutation_score(test, square, square_vjp, "()->()")
    assert score.killed and score.survived
