"""Properties of the matrix multiply: exact sums, all layouts, the same bits on any threads."""
import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad.kernels import blocks, by_numpy, cache, gemm, tiles
from minigrad.kernels.gemm import matmul
from minigrad.kernels.few import FEW_ROWS
from minigrad.ops.linear import linear

FLOATS = st.sampled_from([np.float32, np.float64])
WIDE = tiles.TILE_VECTORS * cache.vector_bytes() // 4            # columns of a panel of float32
# Sizes on both sides of every boundary: a vector, a tile, a panel, a block of k, a block of n.
EDGES = [0, 1, 2, 5, 6, 7, 12, 13, 15, 16, 17, 31, 33, WIDE - 1, WIDE, WIDE + 1, 2 * WIDE + 3]
SIZES = st.sampled_from(EDGES) | st.integers(0, 70)
DEPTHS = SIZES | st.sampled_from([blocks.DEPTH, blocks.DEPTH + 1, 2 * blocks.DEPTH + 17])
LAYOUTS = st.sampled_from(["rows", "columns", "wide", "every other", "backwards", "broadcast"])


def lay_out(x, layout):
    """Return an array equal to x, but for broadcasting, whose memory lies differently."""
    if layout == "rows":
        return np.ascontiguousarray(x)
    if layout == "columns":
        return np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2)
    if layout == "wide":
        wider = np.full((*x.shape[:-1], x.shape[-1] + 3), np.nan, x.dtype)
        wider[..., 1:-2] = x
        return wider[..., 1:-2]
    if layout == "every other":
        spread = np.full((*x.shape[:-2], 2 * x.shape[-2], 3 * x.shape[-1]), np.nan, x.dtype)
        spread[..., ::2, ::3] = x
        return spread[..., ::2, ::3]
    if layout == "backwards":
        return np.ascontiguousarray(x[..., ::-1, ::-1])[..., ::-1, ::-1]
    return np.broadcast_to(x[..., :1], x.shape)


def assert_sums_within_rounding(c, a, b, start=0):
    """Check c = start + a @ b to the error bound of any order of summation, n eps sum |a b|."""
    exact = np.longdouble if a.dtype == np.float64 else np.float64
    a, b = a.astype(exact), b.astype(exact)
    size = np.abs(a) @ np.abs(b) + np.abs(start)
    error = np.abs(c - (a @ b + start))
    assert (error <= (a.shape[-1] + 3) * np.finfo(c.dtype).eps * size).all()


NO_STACK = st.just(())


@st.composite
def products(draw, stack=NO_STACK):
    """Draw two matrices that fit, in any layout."""
    dtype, rng = draw(FLOATS), np.random.default_rng(draw(st.integers(0, 2**32)))
    m, k, n = draw(SIZES), draw(DEPTHS), draw(SIZES)
    return tuple(lay_out(rng.standard_normal((*draw(stack), *shape)).astype(dtype), draw(LAYOUTS))
                 for shape in ((m, k), (k, n)))


@given(products())
def test_every_element_is_the_sum_of_its_products(pair):
    a, b = pair
    assert_sums_within_rounding(matmul(a, b), a, b)


@given(products(), st.booleans(), st.booleans())
def test_writes_its_output_and_nothing_else(pair, accumulate, with_bias):
    a, b = pair
    before = a.copy(), b.copy()
    bias = np.linspace(-1, 1, b.shape[1]).astype(a.dtype) if with_bias else None
    frame = np.full((a.shape[0] + 2, b.shape[1] + 2), 7, a.dtype)
    out = frame[1:-1, 1:-1]
    assert matmul(a, b, out, accumulate=accumulate, bias=bias) is out
    start = (7 if accumulate else 0) + (bias if with_bias else 0)
    assert_sums_within_rounding(out, a, b, start)
    assert (frame[[0, -1]] == 7).all() and (frame[:, [0, -1]] == 7).all()
    assert (a == before[0]).all() and (b == before[1]).all()


@given(FLOATS, st.integers(1, FEW_ROWS), SIZES, st.integers(1, 40), LAYOUTS, st.booleans())
def test_few_rows_by_the_transpose_of_a_matrix(dtype, m, k, n, layout, with_bias):
    rng = np.random.default_rng(k)
    x = lay_out(rng.standard_normal((m, k)).astype(dtype), layout)
    weight = rng.standard_normal((n, k)).astype(dtype)
    bias = np.linspace(-1, 1, n).astype(dtype) if with_bias else None
    y = linear.bodies["fast"][0](x, weight, bias)[0]
    assert_sums_within_rounding(y, x, weight.T, bias if with_bias else 0)


@given(products(stack=st.sampled_from([(), (1,), (3,), (2, 1), (1, 3), (2, 3), (2, 1, 3)])))
def test_stacks_broadcast_as_in_numpy(pair):
    a, b = pair
    c = matmul(a, b)
    assert c.shape == np.matmul(a, b).shape
    assert_sums_within_rounding(c, a, b)


@given(FLOATS, SIZES, SIZES, LAYOUTS)
def test_vectors_are_a_row_on_the_left_and_a_column_on_the_right(dtype, m, k, layout):
    rng = np.random.default_rng(m + 1000 * k)
    a = lay_out(rng.standard_normal((2, m, k)).astype(dtype), layout)
    x, y = rng.standard_normal(k).astype(dtype), rng.standard_normal(m).astype(dtype)
    assert_sums_within_rounding(matmul(a, x), a, x)
    assert_sums_within_rounding(matmul(y, a), y, a)
    assert matmul(x, x).shape == () and np.isclose(matmul(x, x), x @ x, rtol=1e-4)


def test_heads_are_read_through_strides():
    """Scores of all heads from one (B, T, 3 H D) array, without a transposed copy."""
    B, T, H, D = 2, 33, 3, 20
    qkv = np.random.default_rng(0).standard_normal((B, T, 3, H, D)).astype(np.float32)
    q, k = (qkv[:, :, i].swapaxes(1, 2) for i in (0, 1))                     # (B, H, T, D)
    assert_sums_within_rounding(matmul(q, k.swapaxes(-1, -2)), q, k.swapaxes(-1, -2))


def test_infinities_and_nan_stay_in_their_row_and_column():
    a, b = np.ones((9, 40), np.float32), np.ones((40, 70), np.float32)
    a[3, 5], b[7, 60] = np.inf, np.nan
    c = matmul(a, b)
    assert np.isposinf(np.delete(c[3], 60)).all() and np.isnan(c[:, 60]).all()
    assert (np.delete(np.delete(c, 3, 0), 60, 1) == 40).all()


def test_uses_no_blas():
    tree = ast.parse("\n".join(Path(m.__file__).read_text() for m in (gemm, blocks, tiles)))
    assert not any(isinstance(node, ast.MatMult) for node in ast.walk(tree))
    called = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)
              and isinstance(node.value, ast.Name) and node.value.id == "np"}
    assert not called & {"dot", "matmul", "einsum", "inner", "tensordot", "vdot"}


@pytest.mark.parametrize("a, b, message", [
    (np.ones((2, 3)), np.ones((4, 2)), r"3 columns but b has 4 rows: \(2, 3\) @ \(4, 2\)"),
    (np.ones((2, 3)), np.ones((3, 2), np.float32), "float64 and float32"),
    (np.ones((2, 3), int), np.ones((3, 2), int), "not int64")])
def test_misfits_name_what_does_not_fit(a, b, message):
    with pytest.raises((ValueError, TypeError), match=message):
        matmul(a, b)


def test_a_wrong_out_or_bias_is_refused():
    a = np.ones((2, 3))
    with pytest.raises(ValueError, match=r"out is float64\(2, 2\), but the product is"):
        matmul(a, np.ones((3, 4)), np.empty((2, 2)))
    with pytest.raises(ValueError, match="bias is"):
        matmul(a, np.ones((3, 4)), bias=np.ones(3))


def test_no_other_product_can_be_asked_for(monkeypatch):
    monkeypatch.setenv("MINIGRAD_MATMUL", "mkl")
    by_numpy.asked.cache_clear()
    with pytest.raises(by_numpy.ProductError, match="MINIGRAD_MATMUL is 'mkl', but can only be nu"):
        matmul(np.ones((2, 2)), np.ones((2, 2)))
    monkeypatch.delenv("MINIGRAD_MATMUL")
    assert not by_numpy.asked()


def test_large_products_are_those_of_numpy_if_that_is_asked(monkeypatch):
    taken = []
    real = by_numpy.multiply
    monkeypatch.setattr(by_numpy, "asked", lambda: True)
    monkeypatch.setattr(by_numpy, "multiply", lambda *args: taken.append(real(*args)))
    rng = np.random.default_rng(0)
    a, b, bias = (rng.standard_normal(shape) for shape in ((3, 90, 80), (80, 70), 70))
    assert_sums_within_rounding(matmul(a, b, bias=bias), a, b, bias)
    added = matmul(a, b, np.ones((3, 90, 70)), accumulate=True)
    assert_sums_within_rounding(added, a, b, 1)
    assert len(taken) == 2
    matmul(a[:1], b)                                 # is small
    assert len(taken) == 2


# ---- in a process of its own: other threads, other machines, no compiler ----

CHECK = """
import hashlib, sys
import numpy as np
from minigrad.kernels import bfloat16, cache, gemm, jit, threads
from minigrad.kernels.quantised import product

def check(shapes, rows=9001, side=60):
    digest = hashlib.sha256()
    for dtype in (np.float32, np.float64):
        rng = np.random.default_rng(0)
        for m, k, n in shapes:
            x = rng.standard_normal((m, k)).astype(dtype)
            w = rng.standard_normal((k, n)).astype(dtype)
            exact, terms = x.astype(float) @ w.astype(float), np.abs(x) @ np.abs(w)
            for a in (x, np.asfortranarray(x)):
                for b in (w, np.asfortranarray(w)):
                    c = gemm.matmul(a, b)
                    error = np.abs(c - exact)         # a sum is as exact as its terms are small
                    assert (error < 4 * np.finfo(dtype).eps * terms).all(), (m, k, n, error.max())
                    digest.update(c.tobytes())
        digest.update(product(x[:3, :8], rng.standard_normal((rows, 8)).astype(dtype)))
        stack = rng.standard_normal((5, 3, side, side - 10)).astype(dtype)
        digest.update(gemm.matmul(stack, stack.swapaxes(-1, -2)).tobytes())
    return digest.hexdigest()

SHAPES = [(1, 300, 700), (130, 900, 65), (900, 65, 130), (65, 129, 901), (257, 401, 259)]
"""


def run_check(body, **environment):
    done = subprocess.run([sys.executable, "-W", "error", "-c", CHECK + body], text=True,
                          env=os.environ | environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_results_are_the_same_bits_for_any_number_of_threads_and_any_layer():
    body = """
for n in (1, 2, 3, 4):
    threads.set_threads(n)
    print(check(SHAPES))
"""
    digests = run_check(body, NUMBA_NUM_THREADS="4")
    assert len(set(digests)) == 1
    other = run_check("threads.set_threads(3); print(check(SHAPES), threads.threading_layer())",
                      NUMBA_NUM_THREADS="4", NUMBA_THREADING_LAYER="workqueue")
    assert other == [digests[0], "workqueue"]


@pytest.mark.thorough
@pytest.mark.skipif("avx2" not in cache.cpu_features(), reason="the machine lacks AVX2")
def test_is_right_with_avx2_alone():
    found = run_check("check(SHAPES); print(cache.vector_bytes())",
                      NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES="+avx2,+fma,+avx,+sse4.2")
    assert found == ["32"]


def test_the_plain_twins_of_the_intrinsics_are_right():
    small = "check([(7, 20, 5), (13, 17, 67)], rows=41, side=18)"     # a loop in Python takes long
    numbers = "np.float32([[1.005, np.nan, -np.inf]])"
    found = run_check(f"{small}; print(jit.COMPILED, bfloat16.rounded({numbers}).tolist())",
                      NUMBA_DISABLE_JIT="1")
    assert found == ["False", "[[1.0078125,", "nan,", "-inf]]"]
