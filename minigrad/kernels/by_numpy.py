"""NumPy's product for large matrices, by the BLAS that it has: for who asks for it.

Worth a try where that library uses what LLVM does not, such as Accelerate on Apple's processors.
"""
import functools
import os

import numpy as np


class ProductError(ValueError):
    """What MINIGRAD_MATMUL asks for is not there."""


@functools.cache
def asked():
    """Whether MINIGRAD_MATMUL asks for NumPy's product.

    Raises
    ------
    ProductError
        If it asks for another.
    """
    text = os.environ.get("MINIGRAD_MATMUL", "")
    if text not in ("", "numpy"):
        raise ProductError(f"MINIGRAD_MATMUL is {text!r}, but can only be numpy: leave it out for "
                           "minigrad's own products")
    return bool(text)


def multiply(a, b, c, accumulate, bias):
    """Compute c (+)= a @ b + bias, of (..., m, k) and (k, n); an empty bias is none."""
    before = c.copy() if accumulate else 0
    np.matmul(a, b, out=c)
    c += before
    if bias.size:
        c += bias
