"""A matrix that stays as published models store it: blocks, a quarter or an eighth of float32."""
import numpy as np

from minigrad.kernels import few, gemm, jit, many, threads
from minigrad.kernels.memory import empty
from minigrad.kernels.packed import BLOCK, KINDS, LANES, places_of
from minigrad.kernels.rows import plain

BYTES = np.dtype(np.uint8)
UNPACKED_BYTES = 1 << 20          # of weights that are numbers at a time
PLACES = {kind: places_of(kind) for kind in KINDS.values() if kind.n_scales}

DTYPES = {"Q8_0": np.dtype("<f2, 32i1"),
          "Q4_0": np.dtype("<f2, 16u1"),
          "Q4_1": np.dtype("<f2, <f2, 16u1"),
          "F16": np.dtype("<f2"),
          "BF16": np.dtype([("high", "<u2")])}
DTYPES["Q8_0"].names = "d", "q"
DTYPES["Q4_0"].names = "d", "low"
DTYPES["Q4_1"].names = "d", "m", "low"
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

    dtype = np.dtype(np.float32)                          # of what is seen
    itemsize = dtype.itemsize
    ndim = 2

    def __init__(self, blocks):
        if not can_stay(blocks):
            raise ValueError(f"blocks have shape {blocks.shape} and dtype {blocks.dtype}, but must "
                             f"be rows of 32 weights each, as {', '.join(KINDS)}")
        self.blocks = np.ascontiguousarray(blocks)
        self.name = NAMES[blocks.dtype]
        self.kind = KINDS[self.name]
        self.bytes = bytes_of(self.blocks)                # (n, bytes of a row)
        n, n_bytes = self.bytes.shape
        self.shape = n, n_bytes // self.kind.n_bytes * BLOCK

    T = property(lambda self: np.asarray(self).T)
    size = property(lambda self: len(self) * self.shape[1])
    nbytes = property(lambda self: self.blocks.nbytes)
    __len__ = lambda self: len(self.blocks)

    def __getitem__(self, rows):
        if isinstance(rows, tuple):                       # of rows and columns
            return np.asarray(self)[rows]
        return dequantised(self.blocks[rows])

    def __setitem__(self, rows, x):
        if x is not self:                                 # a module may load what it holds
            raise TypeError(f"{self} cannot be written to: turn it into numbers first")

    def __array__(self, dtype=None, copy=None):
        numbers = dequantised(self.blocks)
        return numbers.astype(dtype or self.dtype, copy=False)

    def __repr__(self):
        return f"Quantised({self.shape}, {self.name})"

    # ---- kernels ----

    def run(self, what, *arrays):
        """Run one of the kernels of this kind, for all rows that its last array has room for."""
        kernel = few.KERNELS[self.name][what]
        n = len(arrays[-1]) if what == "unpacked" else len(self)
        kernel(n, self.bytes, *arrays)

    def rows(self, ids):
        """Return rows as numbers: (N,) int64 to (N, k)."""
        shape = len(ids), self.shape[1]
        out = empty(shape, self.dtype)
        self.run("unpacked", ids, out)
        return out

    def times(self, x, rounds=False):
        """Multiply rows (m, k) by the transpose: (m, n); many may be rounded to 8 bits."""
        shape = len(x), len(self)
        out = empty(shape, self.dtype)
        if len(x) == 1 and self.kind in PLACES and x.shape[1] >= PLACES[self.kind].size:
            self.run("one", *rounded(x, self.kind), out)
        elif len(x) <= few.FEW_ROWS:
            self.run("few", plain(x), out)
        elif rounds and self.name in many.KERNELS and len(self) >= many.WIDE:
            self.many(plain(x), out)
        else:
            for part, numbers in self.pieces():
                gemm.matmul(x, numbers.T, out=out[:, part])
        return out

    def many(self, x, out):
        """Write the products of many rows, rounded to 8 bits."""
        m, n_shares = len(x), threads.n_threads()
        n_blocks, depth = x.shape[1] // BLOCK, many.DEPTH * many.panel_bytes(self.kind)
        integers = empty((m, n_blocks * many.X_BYTES), BYTES)
        many.round_rows(m, x, integers)
        work = empty((n_shares, depth), BYTES)
        many.KERNELS[self.name](n_shares, self.bytes, integers, work, out)

    def back(self, g, out=None):
        """Multiply rows (m, n) by the matrix: (m, k), what passes through to an input."""
        if out is None:
            shape = len(g), self.shape[1]
            out = empty(shape, self.dtype)
        for part, numbers in self.pieces():
            later = part.start > 0
            gemm.matmul(g[:, part], numbers, out=out, accumulate=later)
        return out

    def pieces(self):
        """Yield (which rows, them as numbers) for as many rows at a time as the caches hold.

        Each is written over the one before.
        """
        row_bytes = self.itemsize * self.shape[1]
        n, ids = max(1, UNPACKED_BYTES // row_bytes), np.arange(len(self))
        shape = min(n, len(self)), self.shape[1]
        room = empty(shape, self.dtype)
        for start in range(0, len(self), n):
            part = slice(start, min(start + n, len(self)))
            numbers = room[:part.stop - start]
            self.run("unpacked", ids[part], numbers)
            yield part, numbers


def bytes_of(blocks):
    """View blocks (n, ...) as (n, bytes of a row)."""
    return blocks.view(np.uint8).reshape(len(blocks), -1)


def can_stay(blocks):
    """Whether an array is a matrix in blocks, or of floats of 16 bits, that kernels multiply by."""
    if blocks.ndim != 2 or blocks.dtype not in NAMES:
        return False
    kind, row_bytes = KINDS[NAMES[blocks.dtype]], blocks.shape[1] * blocks.itemsize
    return row_bytes % kind.n_bytes == 0


def dequantised(blocks):
    """Return the float32 numbers, (..., k), that blocks or floats of 16 bits stand for."""
    names = blocks.dtype.names
    if names is None:
        return blocks.astype(np.float32)
    if "high" in names:
        bits = blocks["high"].astype(np.uint32) << 16
        return bits.view(np.float32)
    scales = {name: blocks[name].astype(np.float32)[..., None] for name in ("d", "m")
              if name in names}
    d = scales["d"]                                       # (..., n, 1)
    if "q" in names:
        x = d * blocks["q"]                               # (..., n, 32)
    else:
        low = blocks["low"]
        halves = low & 15, low >> 4
        q = np.concatenate(halves, axis=-1)
        x = d * q + scales.get("m", -8 * d)
    *rows, n = blocks.shape
    return x.reshape(*rows, n * BLOCK)


def rounded(x, kind):
    """Return what `few.round_row` makes of a row (1, k): integers, scales, minima."""
    places = PLACES[kind]
    groups = -(-x.shape[1] // places.size)
    integers = empty((groups * places.size,), np.int16)
    scales, minima = (empty((groups, LANES), x.dtype) for _ in range(2))
    factor = 1 if kind.n_scales == 2 else -8              # w = d q + m, or d q - 8 d
    factor = x.dtype.type(factor * kind.at_once / LANES)
    jit.run(few.round_row, plain(x)[0], places, factor, integers, scales, minima)
    return integers, scales, minima


# ---- for ops that multiply by a weight, whatever it is -------------------------------------------

def product(x, weight, rounds=False):
    """Return x W^T for rows x (m, k), by whatever reads the weight (n, k) best."""
    if type(weight) is Quantised:
        return weight.times(x, rounds)
    if len(x) > few.FEW_ROWS:
        return gemm.matmul(x, weight.T)
    shape = len(x), len(weight)
    out = empty(shape, x.dtype)
    few.few_rows(len(weight), plain(weight), plain(x), out)
    return out


def product_vjp(g, weight, out=None):
    """Return g W: what a product passes on to its rows."""
    if type(weight) is Quantised:
        return weight.back(g, out)
    return gemm.matmul(g, weight, out=out)
