"""Products of numbers that are rounded to bfloat16 first: the upper half of a float32.

Such a number has 8 bits of precision and the range of float32. Two of them have a product that
float32 holds exactly, and it is added up in float32: so a processor with AMX tiles does 16 times as
many of these multiplications, one with fast AVX512-BF16 twice as many (`on_tiles`). Elsewhere both
operands are rounded and multiplied as ever: the same law, but slower than without. (The former two
take numbers below 1.2e-38 for 0.)
"""
import ctypes
import functools
import sys

import numpy as np

from minigrad.kernels import cache, jit, memory, on_tiles
from minigrad.kernels.pairs import shortened
from minigrad.kernels.rows import row_kernel

LARGE = 1_000_000               # multiplications; a smaller product stays in float32


def suits(a, b, c):
    """Whether this is a product of two large matrices of float32, not of a stack of them."""
    if c.ndim != 2 or c.dtype != np.float32:
        return False
    aligned = a.flags.aligned and b.flags.aligned
    return aligned and c.size * a.shape[1] >= LARGE


def rounded(x):
    """Return float32 (m, n) rounded to bfloat16, to nearest even, as float32.

    >>> rounded(np.array([[1.0, 1.001, 1.005, 3.14159]], np.float32))
    array([[1.      , 1.      , 1.0078125, 3.140625 ]], dtype=float32)
    """
    row, column = map(abs, x.strides)
    if row < column:                                 # along its memory
        return rounded(x.T).T
    out = memory.empty(x.shape, x.dtype)
    _round(len(x), x, out)
    return out


@row_kernel
def _round(start, stop, x, out):
    for i in range(start, stop):
        for j in range(x.shape[1]):
            out[i, j] = shortened(x[i, j])


# ---- whether it is faster --------------------------------------------------------------------

OF_VECTORS = {"avx512f", "avx512bw", "avx512bf16"}
OF_TILES = OF_VECTORS | {"amx-tile", "amx-bf16"}
PERMISSION = 158, 0x1023, 18    # arch_prctl, ARCH_REQ_XCOMP_PERM, the registers of tiles


def has_tiles():
    """Whether the processor and its system know the instructions that products on tiles take."""
    return OF_TILES <= cache.cpu_features()


def is_fast():
    """Whether the processor multiplies pairs in the time of single numbers, or whole tiles.

    AMD's processors do the former since Zen 4. On those of Intel it takes twice the time.
    """
    pairs = OF_VECTORS <= cache.cpu_features() and cache.cpu_name().startswith("znver")
    return pairs or has_tiles()


@functools.cache
def obstacle():
    """Say in words why products in bfloat16 are not faster here; None where they are, and right."""
    if not jit.COMPILED:
        return "kernels are not compiled"
    if not is_fast():
        return "this processor has neither AMX tiles nor fast AVX512-BF16"
    if has_tiles() and not permitted():
        return "the system does not permit AMX tiles"
    return None if agrees() else "a product in bfloat16 of this processor was wrong"


def permitted():
    """Ask Linux, once for all threads of a process, to keep tiles where it changes threads."""
    if not sys.platform.startswith("linux"):
        return False
    return ctypes.CDLL(None).syscall(*PERMISSION) == 0


def agrees(size=100):
    """Whether a small product of each form is what its law says."""
    x, w = np.random.default_rng(0).standard_normal((2, size, size), np.float32)
    forms = (x, w.T), (x, w), (x.T, w)
    return all(is_right(*form) for form in forms)


def is_right(a, b):
    exact = rounded(a).astype(np.float64) @ rounded(b)
    c = memory.empty(exact.shape, a.dtype)
    no_bias = np.empty(0, a.dtype)
    on_tiles.multiply(a, b, c, False, no_bias)
    error, size = abs(c - exact).max(), abs(exact).max()
    return bool(error < 1e-5 * size)
