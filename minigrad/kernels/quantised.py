"""A matrix whose weights stay as published models store them: blocks, a quarter or an eighth of
float32."""
import numpy as np

from minigrad.kernels import few, gemm, jit
from minigrad.kernels.few import FEW_ROWS, round_row
from minigrad.kernels.memory import empty
from minigrad.kernels.packed import BLOCK, KINDS, LANES
from minigrad.kernels.rows import plain

UNPACKED_BYTES = 4 << 20          # of weights that are numbers at a time


DTYPES = {"Q8_0": np.dtype([("d", "<f2"), ("q", "i1", 32)]),
          "Q4_0": np.dtype([("d", "<f2"), ("low", "u1", 16)]),
          "Q4_1": np.dtype([("d", "<f2"), ("m", "<f2"), ("low", "u1", 16)]),
          "F16": np.dtype("<f2"), "BF16": np.dtype([("high", "<u2")])}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


class Quantised:
    """A matrix (n, k) of blocks: an array to read, and what `linear` and `embedding` multiply.

    Nothing is written to it, and it has no gradient: a layer that holds one is frozen, while
    gradients pass through to its input. NumPy sees the float32 numbers that the blocks stand for.

    Parameters
    ----------
    blocks : (n, k / 32) records, or (n, k) floats of 16 bits, of a dtype in DTYPES
        k is a multiple of 32.

    Raises
    ------
    ValueError
        If they are something else.

    Examples
    --------
    >>> blocks = np.zeros((2, 1), DTYPES["Q8_0"])
    >>> blocks["d"], blocks["q"][1] = 0.5, 3
    >>> Quantised(blocks).shape, np.asarray(Quantised(blocks))[:, 0]
    ((2, 32), array([0. , 1.5], dtype=float32))
    """

    dtype, ndim, itemsize = np.dtype(np.float32), 2, 4

    def __init__(self, blocks):
        if not can_stay(blocks):
            raise ValueError(f"blocks have shape {blocks.shape} and dtype {blocks.dtype}, but must "
                             f"be rows of 32 weights each, as {', '.join(KINDS)}")
        self.blocks = np.ascontiguousarray(blocks)
        self.kind = NAMES[blocks.dtype]
        self.bytes = self.blocks.view(np.uint8).reshape(len(blocks), -1)
        n_bytes = KINDS[self.kind].n_bytes
        self.shape = len(blocks), self.bytes.shape[1] // n_bytes * BLOCK

    size = property(lambda self: self.shape[0] * self.shape[1])
    nbytes = property(lambda self: self.blocks.nbytes)
    T = property(lambda self: np.asarray(self).T)
    __len__ = lambda self: len(self.blocks)
    __getitem__ = lambda self, rows: dequantised(self.blocks[rows])

    def __array__(self, dtype=None, copy=None):
        return dequantised(self.blocks).astype(dtype or self.dtype, copy=False)

    def __repr__(self):
        return f"Quantised({self.shape}, {self.kind})"

    # ---- kernels ----

    def kernel(self, name):
        return getattr(few, f"{name}_{self.kind.lower()}")

    def rows(self, ids):
        """Return rows as numbers: (N,) int64 to (N, k)."""
        out = empty((len(ids), self.shape[1]), self.dtype)
        self.kernel("unpacked")(len(ids), self.bytes, ids, out)
        return out

    def times(self, x):
        """Multiply rows (m, k) by the transpose: (m, n)."""
        out = empty((len(x), len(self)), self.dtype)
        if len(x) == 1 and KINDS[self.kind].n_scales:
            self.kernel("one")(len(self), self.bytes, *rounded(x), out)
        elif len(x) <= FEW_ROWS:
            self.kernel("few")(len(self), self.bytes, plain(x), out)
        else:
            for ids in self.pieces():
                first, last = ids[0], ids[-1] + 1
                gemm.matmul(x, self.rows(ids).T, out=out[:, first:last])
        return out

    def back(self, g, out=None):
        """Multiply rows (m, n) by the matrix: (m, k), what passes through to an input."""
        if out is None:
            out = empty((len(g), self.shape[1]), self.dtype)
        for ids in self.pieces():
            first, last = ids[0], ids[-1] + 1
            gemm.matmul(g[:, first:last], self.rows(ids), out=out, accumulate=first > 0)
        return out

    def pieces(self):
        """Yield the numbers of rows, as many as are unpacked at a time."""
        n = max(1, UNPACKED_BYTES // (self.itemsize * self.shape[1]))
        ids = np.arange(len(self))
        for start in range(0, len(self), n):
            yield ids[start:start + n]


def can_stay(blocks):
    """Whether an array is a matrix in blocks, or of floats of 16 bits, that kernels multiply by."""
    if blocks.ndim != 2 or blocks.dtype not in NAMES:
        return False
    return blocks.shape[1] * blocks.itemsize % KINDS[NAMES[blocks.dtype]].n_bytes == 0


def dequantised(blocks):
    """Return the float32 numbers, (..., k), that blocks or floats of 16 bits stand for."""
    names = blocks.dtype.names
    if names is None:
        return blocks.astype(np.float32)
    if "high" in names:
        bits = blocks["high"].astype(np.uint32) << 16
        return bits.view(np.float32)
    d = blocks["d"].astype(np.float32)[..., None]
    if "q" in names:
        x = d * blocks["q"]
    else:
        low = blocks["low"]
        q = np.concatenate([low & 15, low >> 4], axis=-1)
        x = d * q + (blocks["m"].astype(np.float32)[..., None] if "m" in names else -8 * d)
    *rows, n_blocks = blocks.shape
    return x.reshape(*rows, n_blocks * BLOCK)


def rounded(x):
    """Return a row (1, k) as integers (k,), scales (k / 32,) and sums in lanes (k / 32, LANES)."""
    k = x.shape[1]
    integers = empty((k,), np.dtype(np.int16))
    scales, parts = empty((k // BLOCK,), x.dtype), empty((k // BLOCK, LANES), x.dtype)
    jit.run(round_row, plain(x)[0], integers, scales, parts)
    return integers, scales, parts
