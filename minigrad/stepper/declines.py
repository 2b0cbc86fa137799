"""What ran its formula though it has a kernel, so that nothing is slow without a word."""
from collections import Counter
from contextlib import contextmanager

import numpy as np

from minigrad.kernels.rows import kernels_from
from minigrad.mode import listen, mode


class Declines(Counter):
    """How often an operation's kernel did not take its arrays: "softmax of int64 8x300" -> 3."""

    def __call__(self, op, level, arrays, params):
        if mode.level != "fast" or level != "reference" or "fast" not in op.bodies:
            return
        with kernels_from(1):                             # few numbers are NumPy's on purpose
            declined = not op.when(*arrays, **params)
        if declined:
            self[f"{op.name} of {described(arrays)}"] += 1

    def __str__(self):
        return "; ".join(f"{name} ({n} times)" for name, n in self.most_common())


def described(arrays):
    """Say of which arrays an operation was called: "float32 8x300 and int64 8"."""
    shapes = [(x.dtype, "x".join(map(str, x.shape)) or "()") for x in arrays
              if isinstance(x, np.ndarray)]
    return " and ".join(f"{dtype} {shape}" for dtype, shape in shapes)


@contextmanager
def counting_declines():
    """Count inside the block: `with counting_declines() as declines:`."""
    declines = Declines()
    with listen(declines):
        yield declines
