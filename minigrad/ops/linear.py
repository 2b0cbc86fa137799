"""Matrix multiplication."""
from math import prod

from minigrad.tensor import op


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


@op("(k),(n,k),(n)->(n)", batched=("x",))
def linear(x, weight, bias=None):
    """x W^T + bias for every row of x: what torch calls nn.functional.linear.

    dx = g W as for matmul; dW = g^T x and dbias = sum g over all rows, since every row used them.

    Parameters
    ----------
    x : (..., k)
    weight : (n, k)
        One row for each output, as torch stores it.
    bias : (n,) or None

    Returns
    -------
    (..., n)
    """
    y = x @ weight.T
    return (y if bias is None else y + bias), (x, weight, bias is not None)

@linear.vjp
def linear_vjp(g, x, weight, has_bias, wants):
    g_rows, x_rows = rows(g), rows(x)
    return (g @ weight if wants[0] else None,
            g_rows.T @ x_rows if wants[1] else None,
            g_rows.sum(axis=0) if has_bias and wants[2] else None)


def rows(x):
    """View (..., n) as (rows, n)."""
    return x.reshape(prod(x.shape[:-1]), x.shape[-1])
