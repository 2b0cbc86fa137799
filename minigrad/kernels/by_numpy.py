"""NumPy's product for large matrices, by the BLAS that it has: for who asks for it.

Worth a try where that library uses what LLVM does not, such as Accelerate on Apple's processors.
"""
import os

import numpy as np

ASKED = os.environ.get("MINIGRAD_MATMUL") == "numpy"


def multiply(a, b, c, accumulate, bias):
    """Compute c (+)= a @ b + bias, where an empty bias is none."""
    before = c.copy() if accumulate else 0
    np.matmul(a, b, out=c)
    c += before
    if bias.size:
        c += bias
