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
        norm = np.sqrt(np.square(exact).sum())        # np.linalg.norm wakes all threads of BLAS
    return Numbers(x.shape, x.dtype.name, float(norm), float(low), float(high), bad,
                   rows, columns, cells)


def evenly(n, most):
    """Choose at most `most` of n places, evenly spaced, first and last among them."""
    places = np.linspace(0, n - 1, min(n, most))
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


def same(x, y):
    """Whether two arrays are equal but for rounding."""
    if x.shape != y.shape:
        return False
    near = 1e-4 if x.dtype == "float32" else 1e-9
    scale = max(x.norm, y.norm)
    cells = np.allclose(x.cells, y.cells, rtol=near, atol=near * scale, equal_nan=True)
    return bool(cells and np.isclose(x.norm, y.norm, rtol=near, equal_nan=True))
