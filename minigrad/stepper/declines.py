"""What ran its formula though it has a kernel, so that nothing is slow without a word."""
from collections import Counter
from contextlib import contextmanager

import numpy as np

from minigrad.kernels.rows import worth_it
from minigrad.mode import listen, mode


class Declines(Counter):
    """How often an operation's kernel did not take its arrays: "softmax of int64 8x300" -> 3."""

    def __call__(self, op, level, arrays):
        if mode.level == "fast" and level == "reference" and "fast" in op.bodies:
            arrays = [x for x in arrays if isinstance(x, np.ndarray)]
            if any(worth_it(x.size) for x in arrays):     # few numbers are NumPy's on purpose
                self[f"{op.name} of {described(arrays)}"] += 1

    def __str__(self):
        return "; ".join(f"{name} ({n} times)" for name, n in self.most_common())


def described(arrays):
    """Say of which arrays an operation was called: "float32 8x300 and int64 8"."""
    return " and ".join(f"{x.dtype} {'x'.join(map(str, x.shape)) or '()'}" for x in arrays)


@contextmanager
def counting_declines():
    """Count inside the block: `with counting_declines() as declines:`."""
    declines = Declines()
    with listen(declines):
        yield declines
