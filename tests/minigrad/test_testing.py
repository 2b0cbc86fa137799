"""The gradient tester: what it accepts, what it refuses, and how it says so."""
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad import OPS, sigmoid, tanh
from minigrad.kernels.rows import worth_it
from minigrad.mode import mode
from minigrad.testing import LAWS, GradientError, check_op, op_test
from minigrad.testing.adapters import Subject, judging, op_of_pair
from minigrad.testing.check import EXAMPLES
from minigrad.testing.domains import LAYOUTS, WORDS, holds, lay, make_values
from minigrad.testing.signatures import axis_names, declared_shapes, parse_signature
from minigrad.testing.slopes import measure
from minigrad.testing.strategies import SizedDraw, examples, make_g, replay, shrink

ROOT = Path(__file__).parents[2]
seeds = st.integers(0, 2**32 - 1)


def stable_softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True, initial=-np.inf))
    return e / e.sum(axis=-1, keepdims=True)

def softmax_vjp(g, x):
    y = stable_softmax(x)
    return y * (g - (g * y).sum(axis=-1, keepdims=True)),

def failure(*args, **options):
    with pytest.raises(GradientError) as caught:
        check_op(*args, **options)
    return caught.value


# ---- what can be checked ---------------------------------------------------------------------

def test_a_right_pair_passes_and_reports(capsys):
    report = check_op(stable_softmax, softmax_vjp, "(n)->(n)", max_examples=20)
    assert report.examples == {"reference": 20} and report.kinks == 0
    assert report.tally["complex steps"] > 0
    assert "stable_softmax keeps" in capsys.readouterr().out


def test_a_function_of_tensors_passes_at_first_and_second_order():
    report = check_op(lambda x, w: tanh(x @ w), "(n,k),(k,m)->(n,m)", max_examples=10,
                      verbose=False)
    assert {"slope", "adjoint", "second order"} <= {*report.laws}


@pytest.mark.extra("torch")
def test_a_torch_function_is_checked_if_torch_is_there():
    import torch

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x, w)
            return x * w

        @staticmethod
        def backward(ctx, g):
            x, w = ctx.saved_tensors
            return g * w, g * x

    class Wrong(Product):
        @staticmethod
        def backward(ctx, g):
            x, w = ctx.saved_tensors
            return g * w, g * w
    check_op(Product, "(n),(n)->(n)", batched=("x", "w"), max_examples=10, verbose=False)
    assert failure(Wrong, "(n),(n)->(n)", batched=("x", "w"), max_examples=20).law == "slope"


test_an_op_makes_its_own_test = op_test(sigmoid, max_examples=5)


def test_explicit_inputs_need_no_signature():
    x = np.array([0.5, -1.0])
    check_op(stable_softmax, softmax_vjp, inputs=[(x,)], verbose=False)
    assert failure(stable_softmax, lambda g, x: (g,), inputs=[(x,)]).law == "slope"


def test_a_reference_a_jvp_and_symmetries_are_held_against_the_pair():
    pair = np.sin, lambda g, x: (g * np.cos(x),), "()->()"
    check_op(*pair, reference=lambda x: np.cos(x - np.pi / 2), jvp=lambda v, x: v[0] * np.cos(x),
             symmetries={"odd": lambda f, x: (f(-x), -f(x))}, max_examples=10, verbose=False)
    assert failure(*pair, reference=np.tan).law == "agreement"
    assert failure(*pair, jvp=lambda v, x: v[0] * np.sin(x)).law == "adjoint"
    assert failure(*pair, symmetries={"even": lambda f, x: (f(-x), f(x))}).law == "symmetry"


@pytest.mark.parametrize("options, word", [
    ({"laws": ["sloppe"]}, "sloppe"), ({"domain": "positve"}, "positve"),
    ({"domain": {"z": "positive"}}, "'z'"), ({"signature": None}, "signature"),
    ({"signature": "n->n"}, "parentheses")])
def test_bad_arguments_are_named(options, word):
    with pytest.raises(ValueError, match=word):
        check_op(stable_softmax, softmax_vjp, **{"signature": "(n)->(n)", **options})


# ---- what a failure says ---------------------------------------------------------------------

def test_the_counterexample_is_small_and_fails_again():
    error = failure(stable_softmax, lambda g, x: (stable_softmax(x) * g,), "(n)->(n)")
    x, g = error.arrays[0], error.g[0]
    assert x.size <= 2 and np.array_equal(x, np.round(x, 2))
    assert not np.allclose(stable_softmax(x) * g, softmax_vjp(g, x)[0])
    assert "np.array(" in str(error) and isinstance(error, AssertionError)


def tail(g, x):
    dx = np.array(g * np.cos(x))
    dx[..., x.shape[-1] - x.shape[-1] % 8:] = 0
    return dx,

def writes(g, x):
    g *= 2
    return g * np.cos(x) / 2,

SINE = [
    (lambda g, x: (-g * np.cos(x),), "slope", "sign"),
    (lambda g, x: (3 * g * np.cos(x),), "slope", "constant, 3"),
    (lambda g, x: (0 * g,), "slope", "all zeros"),
    (lambda g, x: (np.cos(x),), "slope", "does not depend on g"),
    (lambda g, x: ((g * np.cos(x)).astype(np.float32).astype(x.dtype),), "slope", "7 digits"),
    (lambda g, x: (np.clip(g, -1, 1) * np.cos(x),), "slope", "clip"),
    (lambda g, x: (np.clip(g, -5e3, 5e3) * np.cos(x),), "linearity", "in proportion"),
    (lambda g, x: ((g * np.cos(x))[..., ::-1],), "slope", "other places"),
    (lambda g, x: (g * np.cos(x), None), "shapes", "2 gradients for 1 inputs"),
    (lambda g, x: (g * missing,), "shapes", "NameError"),                       # noqa: F821
    (tail, "slope", "steps of 8"), (writes, "purity", "wrote into g")]

@pytest.mark.parametrize("vjp, law, words", SINE)
def test_a_wrong_sine_is_explained(vjp, law, words):
    error = failure(np.sin, vjp, "(n)->(n)", max_examples=60)
    assert error.law == law and words in str(error)


def assign(g, ids, w):
    dw = np.zeros_like(w)
    dw[ids] = g
    return None, dw

OTHERS = [
    (lambda a, b: a @ b, lambda g, a, b: (g @ b.mT, (a.mT @ g).mT if a.shape[-1] == g.shape[-1]
     else a.mT @ g), "(m,k),(k,n)->(m,n)", {"batched": ()}, "transpos"),
    (lambda x, y: x * y, lambda g, x, y: (g * y, g * x), "(),()->()", {}, "was broadcast"),
    (lambda x, y: x * y, lambda g, x, y: (g * x, g * y), "(),()->()", {"batched": ()}, "exchanged"),
    (lambda ids, w: w[ids], assign, "(),(v,c)->(c)",
     {"domain": {"ids": "index(v)"}, "batched": ("ids",)}, "more than once"),
    (stable_softmax, lambda g, x: (stable_softmax(x) * g,), "(n)->(n)", {}, "the output y"),
    (lambda x: x - x.mean(axis=-1, keepdims=True), lambda g, x: (g,), "(n)->(n)", {},
     "same for all elements of a row"),
    (lambda x: np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True), softmax_vjp, "(n)->(n)", {},
     "overflows")]

@pytest.mark.parametrize("forward, vjp, signature, options, words", OTHERS)
def test_a_usual_mistake_is_named(forward, vjp, signature, options, words):
    assert words in str(failure(forward, vjp, signature, **options))


def test_a_vjp_that_remembers_is_caught():
    calls = []

    def forgetful(g, x):
        calls.append(0)
        return g * np.cos(x) * (1 + len(calls) % 2),
    assert failure(np.sin, forgetful, "()->()").law in ("purity", "slope")


# ---- kinks, slopes, inputs -------------------------------------------------------------------

def test_kinks_are_skipped_counted_and_told():
    relu = lambda x: np.maximum(x, 0)
    report = check_op(relu, lambda g, x: (g * (x > 0),), "()->()", max_examples=60, verbose=False)
    assert report.tally["kinks"] > 0
    assert ("away_from_zero" in str(report)) == (report.kinks > 0.2)
    report = check_op(relu, lambda g, x: (g * (x > 0),), "()->()", domain="away_from_zero",
                      max_examples=60, verbose=False)
    assert report.kinks == 0


@given(st.floats(-3, 3), st.floats(0.1, 10))
def test_a_measured_slope_lies_within_its_error_bar(x, scale):
    slope = measure(lambda t: float(np.sin(scale * (x + t))), 1.0, 1e-9)
    assert abs(slope.value - scale * np.cos(scale * x)) <= slope.bar and not slope.kink
    assert slope.bar < 1e-6 * scale


@given(st.floats(0.01, 100))
def test_a_kink_is_recognized(height):
    assert measure(lambda t: height * abs(t) + t * t, height, 1e-9).kink


@given(seeds, st.sampled_from(sorted(WORDS - {"mask", "constant"})),
       st.sampled_from(["normal", "log_scale", "ties"]), st.integers(0, 3), st.integers(0, 9))
def test_values_lie_in_their_domain(seed, domain, style, ndim, side):
    x = make_values(np.random.default_rng(seed), (side,) * ndim, domain, style)
    assert x.shape == (side,) * ndim and holds(x, domain)


@given(seeds, st.sampled_from(LAYOUTS), st.lists(st.integers(0, 4), max_size=3))
def test_layouts_change_the_memory_only(seed, layout, shape):
    x = np.random.default_rng(seed).normal(size=shape)
    y = lay(x, layout)
    first = x[..., :1] if layout == "with zero strides" and x.ndim and x.size else x
    assert y.shape == x.shape and np.array_equal(y, np.broadcast_to(first, x.shape))


def test_signatures_are_read():
    assert parse_signature("(m?,k),(2h)->(m?)") == [[["m?", "k"], ["2h"]], [["m?"]]]
    assert axis_names("(m?,k),(2h),(3)->(m?)") == ["m", "k", "h"]


@pytest.mark.parametrize("signature, x, shape", [
    ("(n)->(n)", (2, 3), [(2, 3)]), ("(n)->()", (2, 3), [(2,)]), ("(m?,n)->(m?)", (3,), [()]),
    ("(n)->(2n),(3)", (4,), [(8,), (3,)]), ("(n)->(k)", (2, 3), [(2, None)]),
    ("(2n)->(n)", (5, 6), [(5, 3)]), ("(2n)->(n)", (5,), None), ("(m,n)->(m)", (5,), None)])
def test_a_signature_says_which_shapes_the_outputs_have(signature, x, shape):
    assert declared_shapes(signature, [np.zeros(x)]) == shape


@pytest.mark.parametrize("forward, signature", [
    (lambda x: x.sum(axis=-1), "(n)->(n)"), (lambda x: x.T, "(m,n)->(m,n)"),
    (lambda x: (x, x), "(n)->(n)"), (lambda x: x[None], "(n)->(n)")])
def test_outputs_of_other_shapes_than_declared_are_refused(forward, signature):
    error = failure(forward, lambda g, x: (np.zeros_like(x),), signature, batched=(),
                    laws=["shapes"])
    assert error.law == "shapes" and "signature" in str(error)


def test_numpy_scalars_are_arrays_without_axes():
    pair = (lambda x: np.clip(x, -1, 1)), lambda g, x: (g * (np.abs(x) < 1),)
    inputs = lambda draw: ((np.clip(draw.array(()), -0.9, 0.9),), {})
    check_op(*pair, inputs=inputs, verbose=False, max_examples=10)
    check_op(*pair, inputs=[(0.5,), (np.float64(2.0),)], verbose=False)
    check_op(np.sin, lambda g, x: g * np.cos(x), "()->()", verbose=False)


def test_judging_leaves_the_settings_of_others_alone():
    level = mode.level
    with judging():
        assert mode.level == level and worth_it(1)
    assert not worth_it(1)


# ---- which examples --------------------------------------------------------------------------

@given(seeds, st.sampled_from(["(),()->()", "(n),(n)->()", "(m,k),(k,n)->(m,n)"]))
def test_every_seed_sees_what_mistakes_need(seed, signature):
    subject = Subject(op_of_pair(lambda x, y: x, lambda g, x, y: (g, g), signature, None, {}))
    cases = list(examples(subject, EXAMPLES, seed))
    arrays = [x for case in cases for x in case.arrays]
    shapes = [[x.shape for x in case.arrays] for case in cases]
    n = signature.count(",", 0, signature.index(")")) + (signature[1] != ")")
    leading = [[shape[:len(shape) - n] for shape in pair] for pair in shapes]
    for first, second in ((0, 1), (1, 0)):
        assert any(len(pair[first]) < len(pair[second]) for pair in leading)
        assert any(1 in pair[first] and pair[first] != pair[second] for pair in leading)
    assert any({*pair[0], *pair[1]} == {1} for pair in shapes)
    assert any(len(shape) > 1 for pair in leading for shape in pair)
    assert any(side > 64 for pair in shapes for shape in pair for side in shape)
    assert any(x.size > 256 and max(x.shape) < 200 for case in cases for x in case.arrays)
    for size in (0.01, 0.001, 0.0001):
        near = [x / size for x in arrays if np.abs(x).max(initial=0) < 2 * size]
        assert any((x > 1).any() and ((x < 1) & (x > 0.5)).any() for x in near)
        assert any((x < -1).any() and ((x < -0.5) & (x > -1)).any() for x in near)
    scales = {np.abs(make_g(case.seed, [np.zeros(9)])[0]).max() for case in cases}
    assert min(scales) < 1e-4 and max(scales) > 100


@given(seeds, st.sampled_from(["matmul", "attention", "index", "cross_entropy", "where"]))
def test_a_tape_makes_the_structure_of_an_example_again(seed, name):
    subject = Subject(OPS[name])
    for case in examples(subject, 18, seed):
        again = replay(subject, case.tape, case.seed)
        assert [np.shape(x) for x in again.arrays] == [np.shape(x) for x in case.arrays]
        assert str(again.params) == str(case.params)


@given(st.lists(st.integers(0, 40), max_size=8), st.integers(0, 40))
def test_shrinking_finds_the_simplest_tape(tape, limit):
    small = shrink(tuple(tape), lambda tape: sum(tape) >= limit) if sum(tape) >= limit else None
    assert small is None or sum(small) == limit and 0 not in small


def test_two_runs_with_one_seed_are_the_same_run():
    first, second = (failure(np.matmul, lambda g, a, b: (g, g), "(m,k),(k,n)->(m,n)",
                             batched=(), seed=3) for _ in range(2))
    assert str(first) == str(second)


# ---- the package -----------------------------------------------------------------------------

def test_the_tester_needs_no_hypothesis():
    code = ("import sys; sys.modules['hypothesis'] = None\n"
            "from minigrad.testing import check_op\n"
            "check_op(lambda x: 2 * x, lambda g, x: (2 * g,), '()->()')")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "examples: 30" in done.stdout, done.stderr


def test_every_law_has_a_section_in_the_docs():
    text = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    for name in LAWS:
        assert f"### {name}\n" in text


def test_large_cases_fit_into_memory():
    beside = SizedDraw(np.random.default_rng(0), 160)
    beside.side(), beside.side()                      # the axes of matrices
    assert beside.shape(max_dims=2) == (160,)
    assert SizedDraw(np.random.default_rng(0), 160).shape(max_dims=2) == (160, 160)


def test_a_complex_step_that_an_absolute_value_spoils_a_little_raises_no_alarm():
    def gate(x):
        e = np.exp(-np.abs(x))                        # |x + ih| forgets h
        return np.where(x < 0, e, 1.0) / (1 + e) * x + 3 * np.sin(x)

    def gate_vjp(g, x):
        s = 1 / (1 + np.exp(-x))
        return g * (s + x * s * (1 - s) + 3 * np.cos(x)),
    for seed in range(3):
        check_op(gate, gate_vjp, "()->()", domain="moderate", max_examples=100, seed=seed,
                 verbose=False)
