"""What a record keeps of an array: its size, a few sums and a sample that can be drawn."""
from math import prod
from typing import NamedTuple

import numpy as np

SIDE = 32                                             # rows and columns kept at most
IN_A_SENTENCE = 6                                     # numbers that a sentence can hold


class Numbers(NamedTuple):
    """An array as it was at one moment."""
    shape: tuple
    dtype: str
    norm: float                                       # Euclidean, in float64
    low: float                                        # smallest element, nan if there is none
    high: float
    bad: int                                          # how many are nan or infinite
    rows: np.ndarray                                  # which rows of the last two axes are kept
    columns: np.ndarray
    cells: np.ndarray                                 # (rows, columns) float64

    @property
    def size(self):
        return prod(self.shape)

    @property
    def nbytes(self):
        return self.size * np.dtype(self.dtype).itemsize

    @property
    def scale(self):
        """The largest absolute value that is finite, of those kept."""
        finite = np.isfinite(self.cells)
        return np.abs(self.cells[finite]).max(initial=0.0)

    @property
    def peak(self):
        """The largest absolute value; nan and inf count as infinite."""
        if self.bad:
            return np.inf
        return max(abs(self.low), abs(self.high)) if self.size else 0.0


def numbers(x):
    """Take down an array, or a tuple of arrays (the outputs of one op) as one flat array.

    Larger matrices are sampled: at most 32 rows and columns, evenly spaced, first and last among
    them. All axes but the last make the rows.
    """
    if type(x) is tuple:
        parts = [np.ravel(part) for part in x if part is not None]
        x = np.concatenate(parts or [np.zeros(0)])
    x = np.asarray(x)
    n_columns = x.shape[-1] if x.ndim else 1
    table = x.reshape(-1, n_columns or 1)
    exact = table.astype(np.float64)
    bad = int(x.size - np.isfinite(exact).sum())
    rows, columns = (evenly(n, SIDE) for n in table.shape)
    cells = exact[np.ix_(rows, columns)]
    with np.errstate(all="ignore"):
        low, high = (exact.min(), exact.max()) if x.size else (np.nan, np.nan)
        norm = euclidean(exact)
    return Numbers(x.shape, x.dtype.name, float(norm), float(low), float(high), bad,
                   rows, columns, cells)


def euclidean(x):
    """Return the norm, also where the squares would be too large or too small for a float."""
    squares = np.square(x).sum()                      # np.linalg.norm wakes all threads of BLAS
    if 1e-290 < squares < np.inf:
        return np.sqrt(squares)
    peak = np.abs(x).max(initial=0.0)
    if not 0 < peak < np.inf:
        return np.sqrt(squares)
    return peak * np.sqrt(np.square(x / peak).sum())


def evenly(n, most):
    """Choose at most `most` of n places, evenly spaced, first and last among them."""
    if n <= most:
        return np.arange(n)
    places = np.linspace(0, n - 1, most)
    return np.unique(places.round().astype(int))


def short(x):
    """Say an array in a few characters: a number, a few of them, or the norm and the shape."""
    if x.shape == ():
        return f"{x.cells[0, 0]:.6g}"
    if is_short(x):
        return listed(x.cells.reshape(x.shape))
    return f"{shape_text(x.shape)} of norm {x.norm:.4g}"


def is_short(x):
    """Whether the elements of an array fit into a sentence."""
    return x.shape != () and x.size <= IN_A_SENTENCE


def listed(x):
    """Write an array as nested lists."""
    return f"{x:.4g}" if x.ndim == 0 else f"[{', '.join(map(listed, x))}]"


def shape_text(shape):
    return "x".join(map(str, shape)) if shape else "scalar"


def same(x, y, scale=0.0):
    """Whether two arrays are equal but for rounding, of numbers up to theirs or to `scale`."""
    near = 64 * np.finfo(x.dtype).eps
    most = near * max(scale, x.scale, y.scale)
    return x.shape == y.shape and np.allclose(held(x), held(y), near, most, equal_nan=True)


def equal(x, y):
    """Whether two arrays are the same to the last bit, as far as the record holds them."""
    return x.shape == y.shape and np.array_equal(held(x), held(y), equal_nan=True)


def held(x):
    """Put in a row what is held of an array: its sums, then its cells."""
    mean_square_root = x.norm / max(1, x.size) ** 0.5
    return np.array([mean_square_root, x.low, x.high, *x.cells.flat])
