"""Every op gives torch's values and gradients, on the inputs that trip implementations.

The values were made once by tests/golden/make_torch_values.py; torch is not needed here. We differ
on purpose, as NumPy does, in
- the dtype of Python floats (float64), and ddof = 0 in var and std;
- cumsum of a 0-d array, which gives one element, and squeeze of an axis that is not 1, an error;
and for reasons of our own in
- sign, floor, ceil and round, which let nothing flow back where torch lets zeros flow;
- softplus, which is not cut off at x = 20;
- causal attention, which counts the positions from the last key when there are more keys;
- elements that are nan, or the -0.0 in x**0.5, whose gradients nobody should rely on.
"""
import gzip
import importlib
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from golden.torch_cases import CASES, upstream
from safetensors.numpy import load

import minigrad as mg
from minigrad import OPS, Tensor, no_grad, use, watch
from minigrad.kernels.rows import kernels_from

GOLDEN = {}                                           # name of the case -> {"y0": array, ...}
PATH = Path(__file__).parent.parent / "golden" / "torch_values.safetensors.gz"
for key, array in load(gzip.decompress(PATH.read_bytes())).items():
    GOLDEN.setdefault(key.rpartition("|")[0], {})[key.rpartition("|")[2]] = array

EXPRESSIONS = {}                                      # what is computed -> the names of its cases
for name, (ours, _, _) in CASES.items():
    EXPRESSIONS.setdefault(ours, []).append(name)

HOW_TO_ADD = "tests/golden/torch_cases_of_arrays.py (see docs/adding_an_op.md, section 3)"
NAMES = {**vars(mg), "np": np, "inf": np.inf}


def evaluate(name, dtype=np.float64):
    """Return ({name: input}, (output, ...)) of a case."""
    ours, _, arrays = CASES[name]
    inputs = {key: Tensor(x.astype(dtype, copy=False), requires_grad=key != "angles")
              if x.dtype.kind == "f" else Tensor(x) for key, x in arrays.items()}
    out = eval(ours, NAMES, inputs)
    return inputs, out if isinstance(out, tuple) else (out,)


def gradients(inputs, outputs):
    """Return {"dx": gradient of input x, ...}, with the upstream gradient of the cases."""
    parts = [(y * upstream(y.shape).astype(y.dtype)).sum() for y in outputs if y.requires_grad]
    if parts:
        sum(parts[1:], parts[0]).backward()
    return {f"d{key}": x.grad for key, x in inputs.items() if x.grad is not None}


# How large scores become: the kernel makes the weights once more from them on the way back, and a
# score has an error of as many roundings.
SCORES = {"attention(300 * q, k, v)": 300}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_values_and_gradients_are_those_of_torch(expression):
    for name, level in product(EXPRESSIONS[expression], ("reference", "fast", "parts")):
        rtol = 1e-6 if "float32" in name else 1e-12
        if level == "fast":
            rtol *= SCORES.get(expression, 1)
        with np.errstate(all="ignore"), use(level), kernels_from(2):
            inputs, outputs = evaluate(name)
            found = {f"y{i}": y.data for i, y in enumerate(outputs)} | gradients(inputs, outputs)
        assert found.keys() == GOLDEN[name].keys(), (name, level)
        for key, x in found.items():
            expected = GOLDEN[name][key]
            assert (x.shape, x.dtype) == (expected.shape, expected.dtype), (name, key, level)
            np.testing.assert_allclose(x, expected, rtol, rtol, err_msg=f"{name}: {key}, {level}")


@pytest.mark.parametrize("level", ["reference", "fast", "parts"])
def test_float32_in_gives_float32_out_and_back(level):
    for name in CASES:
        if "astype" not in name:
            with np.errstate(all="ignore"), use(level), kernels_from(2):
                inputs, outputs = evaluate(name, np.float32)
                arrays = [y.data for y in outputs] + list(gradients(inputs, outputs).values())
            assert {x.dtype.name for x in arrays} <= {"float32", "bool", "int64"}, name


def test_the_golden_file_holds_these_cases_and_no_others():
    assert GOLDEN.keys() == CASES.keys()


def test_every_op_has_a_case():
    used = set()
    with watch(lambda node: used.add(node.op.name)), use("reference"), np.errstate(all="ignore"):
        for name in CASES:
            evaluate(name)
    missing = sorted(set(OPS) - used)
    assert not missing, f"no case in {HOW_TO_ADD} uses {', '.join(missing)}"


def test_differences_on_purpose():
    assert Tensor([0.5]).dtype == np.float64
    x = Tensor([21.0, 2.0], requires_grad=True)
    assert x.var().item() == np.var(x.data) and x.std().item() == np.std(x.data)
    assert Tensor(1.0).cumsum().shape == (1,)
    assert not x.round().requires_grad and not (x > 3).requires_grad
    assert x.softplus()[0].item() > 21
    with pytest.raises(ValueError, match="axis 0 has size 2"):
        x.squeeze(0)
    q, k = np.ones((1, 1, 1, 2)), np.ones((1, 1, 3, 2))
    with no_grad():
        np.testing.assert_allclose(mg.attention(q, k, np.arange(6.0).reshape(k.shape))[0, 0, 0],
                                   [2.0, 3.0])


def test_the_script_that_compares_with_torch_names_every_op(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent.parent.parent / "benchmarks")
    script = importlib.import_module("torch_values")
    ours = {name for name, op in OPS.items() if op.forward.__module__.startswith("minigrad.ops.")}
    missing = sorted(ours ^ script.THEIRS.keys())
    assert not missing, f"THEIRS in benchmarks/torch_counterparts.py lacks, or has alone, {missing}"
    assert all(callable(getattr(mg.ops, name)) for name in script.COMPOSED)
