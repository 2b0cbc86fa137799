"""Functions without a slope: flat or whole numbers everywhere, or made for their shape alone."""
import operator

import numpy as np

from minigrad.mistakes import normalized_axes
from minigrad.ops.embedding import check_ids
from minigrad.tensor import Op, Tensor, detach


def constant(function, x, *args, **params):
    """Apply a function that is flat or an integer everywhere: of a Tensor, one without gradient.

    torch lets zeros flow back through sign, floor, ceil and round; here nothing flows.
    """
    out = function(detach(x), *(detach(y) for y in args), **params)
    return Tensor(out) if isinstance(x, Tensor) else out


# ---- one number for each ---------------------------------------------------------------------

def sign(x):
    """-1, 0 or 1."""
    return constant(np.sign, x)


def floor(x):
    """The largest whole number that is not larger."""
    return constant(np.floor, x)


def ceil(x):
    """The smallest whole number that is not smaller."""
    return constant(np.ceil, x)


def round(x, decimals=0):
    """The nearest whole number, or multiple of 10**-decimals; halves go to the even one."""
    return constant(np.round, x, decimals)


def isnan(x):
    """Whether an element is no number."""
    return constant(np.isnan, x)


def isinf(x):
    """Whether an element is infinite, with either sign."""
    return constant(np.isinf, x)


def isfinite(x):
    """Whether an element is neither infinite nor no number."""
    return constant(np.isfinite, x)


# ---- one number for many ---------------------------------------------------------------------

def reduced(function, x, axis, keepdims):
    """Reduce over axes that there are; a single number has axis 0, as NumPy's reductions say."""
    if axis is not None:
        normalized_axes(axis, np.ndim(x) or 1)
    return constant(function, x, axis=axis, keepdims=keepdims)


def argmax(x, axis=None, keepdims=False):
    """Where the largest element is, the first one if several tie."""
    return reduced(np.argmax, x, axis, keepdims)


def argmin(x, axis=None, keepdims=False):
    """Where the smallest element is, the first one if several tie."""
    return reduced(np.argmin, x, axis, keepdims)


def any(x, axis=None, keepdims=False):
    """Whether one element at least is not zero."""
    return reduced(np.any, x, axis, keepdims)


def all(x, axis=None, keepdims=False):
    """Whether no element is zero."""
    return reduced(np.all, x, axis, keepdims)


# ---- arrays like another ---------------------------------------------------------------------

def zeros_like(x, dtype=None):
    """Zeros of the shape and dtype of x, or of another dtype."""
    return constant(np.zeros_like, x, dtype=dtype)


def ones_like(x, dtype=None):
    """Ones of the shape and dtype of x, or of another dtype."""
    return constant(np.ones_like, x, dtype=dtype)


def full_like(x, fill_value, dtype=None):
    """One value everywhere, in the shape and dtype of x, or of another dtype."""
    return constant(np.full_like, x, fill_value, dtype=dtype)


def one_hot(ids, num_classes=None):
    """Rows of zeros with a 1 at each id, as integers; as many as the largest id needs, or more.

    Parameters
    ----------
    ids : (...) int
        From 0 to num_classes - 1.
    num_classes : int, optional

    Returns
    -------
    (..., num_classes) int64

    Raises
    ------
    IndexError, TypeError
        If an id is out of range, or no integer.
    """
    rows = np.asarray(detach(ids))
    n = int(rows.max(initial=-1)) + 1 if num_classes is None else operator.index(num_classes)
    check_ids(rows, n)
    return constant(lambda _: (rows[..., None] == np.arange(n)).astype(np.int64), ids)


# ---- dtypes ----------------------------------------------------------------------------------

def _astype(x, dtype):
    return x.astype(dtype), (x.dtype,)

def _astype_vjp(g, dtype):
    return astype(g, dtype),

_astype = Op(_astype)
_astype.vjp(_astype_vjp)


def astype(x, dtype):
    """Convert to another dtype; the gradient is converted back. Integers cut the gradient."""
    dtype = np.dtype(dtype)
    return _astype(x, dtype=dtype) if dtype.kind == "f" else constant(np.ndarray.astype, x, dtype)


def clone(x):
    """The same values in memory of their own; the gradient goes on to x (NumPy: copy)."""
    return astype(x, x.dtype)


# ---- operators -------------------------------------------------------------------------------

COMPARISONS = {
    "__eq__": lambda x, y: constant(operator.eq, x, y),
    "__ne__": lambda x, y: constant(operator.ne, x, y),
    "__lt__": lambda x, y: constant(operator.lt, x, y),
    "__le__": lambda x, y: constant(operator.le, x, y),
    "__gt__": lambda x, y: constant(operator.gt, x, y),
    "__ge__": lambda x, y: constant(operator.ge, x, y),
    "__and__": lambda x, y: constant(operator.and_, x, y),
    "__rand__": lambda x, y: constant(operator.and_, x, y),
    "__or__": lambda x, y: constant(operator.or_, x, y),
    "__ror__": lambda x, y: constant(operator.or_, x, y),
    "__invert__": lambda x: constant(operator.invert, x),
}
