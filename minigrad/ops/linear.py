"""Matrix multiplication."""
from math import prod

import numpy as np

from minigrad.kernels import few, gemm, jit, llvm, quantised
from minigrad.kernels.memory import empty
from minigrad.kernels.rows import is_float, plain, row_kernel, worth_it
from minigrad.tensor import mode, op


@op("(m?,k),(k,n?)->(m?,n?)", scale=lambda f, a, b: (f(2 * a, b), f(a, 2 * b)))
def matmul(a, b):
    """A B, for stacks of matrices; a 1-d input is a row on the left, a column on the right.

    From dC = dA B + A dB and dL = <g, dC>, moving B and A to the other side of the inner
    product gives dA = g B^T and dB = A^T g: the only products whose shapes fit.

    Parameters
    ----------
    a : (..., m, k) or (k,)
    b : (..., k, n) or (k,)

    Returns
    -------
    (..., m, n), without m or n where the input had none
    """
    return a @ b, (a, b)

@matmul.vjp
def matmul_vjp(g, a, b, wants):
    row, column = a.ndim == 1, b.ndim == 1
    if column:
        b, g = b[:, None], g[..., None]                       # (k, 1), (..., m, 1)
    if row:
        a, g = a[None, :], g[..., None, :]                    # (1, k), (..., 1, n)
    da = g @ b.mT if wants[0] else None                       # (..., m, k)
    db = a.mT @ g if wants[1] else None                       # (..., k, n)
    return (da[..., 0, :] if row and wants[0] else da,
            db[..., 0] if column and wants[1] else db)


@op("(k),(n,k),(n)->(n)", replayed=True, batched=("x",))
def linear(x, weight, bias=None):
    """x W^T + bias for every row of x: what torch calls nn.functional.linear.

    dx = g W as for matmul; dW = g^T x and dbias = sum g over all rows, since every row used them.

    Parameters
    ----------
    x : (..., k)
    weight : (n, k)
        One row for each output, as torch stores it; numbers, or `Quantised` and frozen.
    bias : (n,) or None

    Returns
    -------
    (..., n)
    """
    y = x @ weight.T
    return (y if bias is None else y + bias), (x, weight, bias is not None)

@linear.vjp
def linear_vjp(g, x, weight, has_bias, wants):
    return (g @ weight if wants[0] else None,
            rows(g).T @ rows(x) if wants[1] else None,
            rows(g).sum(axis=0) if has_bias and wants[2] else None)


def rows(x):
    """View (..., n) as (rows, n)."""
    return x.reshape(prod(x.shape[:-1]), x.shape[-1])


# ---- fast path -------------------------------------------------------------------------------
# The same products on our own matrix multiply: 1.2 to 1.3x OpenBLAS at the shapes of a GPT, and
# no second pool of threads beside that of the other kernels (docs/kernels.md).

def are_large(a, b, *_, **__):
    """Whether to run the kernel: one float type, and enough to do.

    Below 32 K multiplications NumPy is as fast, and its BLAS stays on the calling thread.
    """
    if not type(a) is type(b) is np.ndarray:
        return False
    if a.dtype != b.dtype or not is_float(a.dtype):
        return False
    n = b.shape[-1] if b.ndim > 1 else 1
    return worth_it(a.size * n / 128)

@matmul.fast(when=are_large)
def matmul_fast(a, b):
    return gemm.matmul(a, b), (a, b)

@matmul.fast_vjp
def matmul_fast_vjp(g, a, b, wants):
    if b.ndim == 1:                                           # a column
        b, g = b[:, None], g[..., None]                       # (k, 1), (..., m, 1)
        da, db = matmul_fast_vjp(g, a, b, wants)
        return da, db[..., 0] if wants[1] else None
    if a.ndim == 1:                                           # a row
        a, g = a[None], g[..., None, :]                       # (1, k), (..., 1, n)
        da, db = matmul_fast_vjp(g, a, b, wants)
        return da[..., 0, :] if wants[0] else None, db
    da = gemm.matmul(g, b.mT) if wants[0] else None
    if b.ndim == 2:                                           # summed over the stack at once
        a, g = rows(a), rows(g)
    return da, gemm.matmul(a.mT, g) if wants[1] else None


def is_layer(x, weight, bias=None):
    """Whether the kernels take these, the weight being (n, k)."""
    if bias is not None and bias.dtype != x.dtype:
        return False
    if type(weight) is quantised.Quantised:
        return jit.COMPILED and type(x) is np.ndarray and x.dtype == weight.dtype
    return type(weight) is np.ndarray and are_large(x, weight.T)

@linear.fast(when=is_layer)
def linear_fast(x, weight, bias=None):
    *places, _ = x.shape
    if prod(places) <= few.FEW_ROWS or type(weight) is quantised.Quantised:
        y = quantised.product(rows(x), weight, mode.precision == "int8")
        if bias is not None:
            jit.run(np.add, y, bias, y)
        y = y.reshape(*places, len(weight))
    else:
        y = gemm.matmul(x, weight.T, bias=bias)
    return y, (x, weight, bias is not None)

@linear.fast_vjp
def linear_fast_vjp(g, x, weight, has_bias, wants):
    g_rows, x_rows = rows(g), rows(x)
    dx = quantised.product_vjp(g_rows, weight) if wants[0] else None
    if wants[0] and x.ndim != 2:                      # a view is no array of its own, to be kept
        dx = dx.reshape(x.shape)
    return (dx,
            gemm.matmul(g_rows.T, x_rows) if wants[1] else None,
            sum_of_rows(g_rows) if has_bias and wants[2] else None)


TASK_ROWS = 64                                       # of one task when rows are added up

def sum_of_rows(g):
    """Return the sum over the rows of g (m, n): the gradient of a bias."""
    tasks = -(-len(g) // TASK_ROWS)
    sums = empty((tasks, g.shape[1]), g.dtype)
    _sum_of_rows(tasks, plain(g), sums)
    return added_up(sums)

def added_up(x):
    """Return the sum of x over its first axis."""
    out = empty(x.shape[1:], x.dtype)
    jit.run(np.add.reduce, x, 0, None, out)
    return out


@row_kernel
def _sum_of_rows(start, stop, g, sums):
    llvm.widest_vectors()
    for task in range(start, stop):
        for j in range(g.shape[1]):
            sums[task, j] = 0
        first = task * TASK_ROWS
        last = min(len(g), first + TASK_ROWS)
        for i in range(first, last):
            for j in range(g.shape[1]):
                sums[task, j] += g[i, j]
