"""Arrays as the laws look at them: tuples that also hold None, magnitudes that skip infinities."""
import numpy as np


# ---- several, some of which may be None ------------------------------------------------------

def is_array(x):
    return isinstance(x, np.ndarray)


def is_float(x):
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def each(change, arrays):
    """Change the arrays among some things; what else is there stays as it is."""
    return tuple(change(x) if is_array(x) else x for x in arrays)


def copies(arrays):
    """Copy what a law hands to a pass that may write into it."""
    return each(np.ndarray.copy, arrays)


def replaced(items, k, x):
    """Return a tuple with another item k."""
    return (*items[:k], x, *items[k + 1:])


def as_tuple(x):
    return x if isinstance(x, tuple) else (x,)


def total(arrays):
    """Return the sum of all elements of some arrays."""
    return float(sum(x.sum() for x in arrays))


def largest_of(arrays):
    """Return the magnitude of the largest finite element of the float arrays, or 0."""
    return max((largest(x) for x in arrays if is_float(x)), default=0)


# ---- one -------------------------------------------------------------------------------------

def largest(x):
    """Return the magnitude of the largest finite element, 0 if there is none."""
    finite = x[np.isfinite(x)]
    return np.abs(finite).max(initial=0)


def all_finite(x):
    return bool(np.isfinite(x).all())


def first(mask):
    """Return the index of the first element that is True."""
    return tuple(int(k) for k in np.argwhere(mask)[0])


def where_largest(x):
    """Return the index of the largest element."""
    place = np.unravel_index(x.argmax(), x.shape)
    return tuple(map(int, place))


def backwards(x):
    """View the array from its end along every axis."""
    return x[(slice(None, None, -1),) * x.ndim]
