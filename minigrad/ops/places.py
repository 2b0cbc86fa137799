"""Shapes and places of the second tier: made of the operations in shape.py, none has a vjp."""
import math
import operator

import numpy as np

from minigrad.mistakes import normalized_axes
from minigrad.ops.elementwise import where
from minigrad.ops.embedding import check_ids
from minigrad.ops.reduce import sum
from minigrad.ops.shape import (
    broadcast_to, concatenate, getitem, reshape, scatter, split, transpose)
from minigrad.tensor import detach


# ---- axes ------------------------------------------------------------------------------------

def expand(x, shape):
    """Repeat x to `shape` without a copy, -1 standing for the size that it has (torch only)."""
    extra = len(shape) - x.ndim
    if -1 in shape[:max(extra, 0)]:
        raise ValueError(f"shape is {shape}, but x has shape {x.shape}: an axis that x does not "
                         "have needs a size")
    own = (None,) * extra + x.shape
    sizes = [m if n == -1 else n for m, n in zip(own, shape)]
    return broadcast_to(x, shape=tuple(sizes))


def flatten(x, start_axis=0, end_axis=-1):
    """Merge the axes from start to end, both included (torch: start_dim, end_dim)."""
    shape = x.shape or (1,)
    start, = normalized_axes(start_axis, len(shape))
    end, = normalized_axes(end_axis, len(shape))
    if start > end:
        raise ValueError(f"axis {start} is behind axis {end}: say the first one to merge first")
    before, after = shape[:start], shape[end + 1:]
    merged = math.prod(shape[start:end + 1])
    return reshape(x, shape=(*before, merged, *after))


def squeeze(x, axis=None):
    """Drop axes of size 1: all, or those given, which must have size 1 (torch keeps others)."""
    axes = normalized_axes(axis, x.ndim)
    if axis is None:
        axes = [i for i in axes if x.shape[i] == 1]
    wrong = [i for i in axes if x.shape[i] != 1]
    if wrong:
        raise ValueError(f"axis {wrong[0]} has size {x.shape[wrong[0]]}, and only axes of size 1 "
                         f"can be dropped from shape {x.shape}")
    left = [n for i, n in enumerate(x.shape) if i not in axes]
    return reshape(x, shape=tuple(left))


def unsqueeze(x, axis):
    """Insert axes of size 1, so that they stand at `axis` (NumPy: expand_dims)."""
    shape, n_new = list(x.shape), np.size(axis)
    for i in sorted(normalized_axes(axis, x.ndim + n_new)):
        shape.insert(i, 1)
    return reshape(x, shape=tuple(shape))


def moveaxis(x, source, destination):
    """Move axes to other places, those that are left keeping their order."""
    source = normalized_axes(source, x.ndim)
    places = normalized_axes(destination, x.ndim)
    if len(source) != len(places):
        raise ValueError(f"source names {len(source)} axes, but destination {len(places)}: each "
                         "axis needs one place")
    axes = [i for i in range(x.ndim) if i not in source]
    for place, i in sorted(zip(places, source)):
        axes.insert(place, i)
    return transpose(x, tuple(axes))


# ---- orders ----------------------------------------------------------------------------------

def flip(x, axis=None):
    """Reverse the order along the given axes, or all."""
    axes = normalized_axes(axis, x.ndim)
    steps = [-1 if i in axes else 1 for i in range(x.ndim)]
    return getitem(x, tuple(slice(None, None, step) for step in steps))


def roll(x, shift, axis=None):
    """Move elements on by `shift` places; what leaves at the end comes in at the front.

    Parameters
    ----------
    x : (...)
    shift : int or tuple of int
    axis : int or tuple of int, optional
        One for each shift; without it the elements move as if x were flat.
    """
    if axis is None:
        flat = roll(flatten(x), shift, 0)
        return reshape(flat, shape=x.shape)
    for by, i in np.broadcast(shift, axis):
        i, = normalized_axes(i, x.ndim)
        n = x.shape[i]
        border = n - operator.index(by) % (n or 1)
        first, last = split(x, [border], axis=i)
        x = concatenate([last, first], axis=i)
    return x


# ---- diagonals -------------------------------------------------------------------------------

def tril(x, k=0):
    """The last two axes with zeros above diagonal k (torch: diagonal)."""
    zero = x.dtype.type(0)
    return where(triangle(x, k), x, zero)


def triu(x, k=0):
    """The last two axes with zeros below diagonal k (torch: diagonal)."""
    zero = x.dtype.type(0)
    return where(triangle(x, k - 1), zero, x)


def triangle(x, k):
    """Return a mask of the last two axes, True up to diagonal k."""
    if x.ndim < 2:
        raise ValueError(f"x has shape {x.shape}, but a triangle needs two axes")
    rows, columns = x.shape[-2:]
    return np.tri(rows, columns, k, dtype=bool)


def diagonal(x, offset=0, axis1=0, axis2=1):
    """The elements whose index along axis2 is that along axis1 plus the offset, on a last axis."""
    x = moveaxis(x, (axis1, axis2), (-2, -1))
    rows, columns = x.shape[-2:]
    below, above = max(-offset, 0), max(offset, 0)
    n = min(rows - below, columns - above)
    i = np.arange(max(n, 0))                                  # (n,)
    return getitem(x, (..., i + below, i + above))            # (..., n)


def diag(x, k=0):
    """Diagonal k of a matrix, or for a vector the matrix of zeros that has it there."""
    if x.ndim not in (1, 2):
        raise ValueError(f"x has shape {x.shape}, but must be a vector or a matrix: see diagonal()")
    if x.ndim == 2:
        return diagonal(x, k)
    n = len(x) + abs(k)
    i = np.arange(len(x))
    key = i + max(-k, 0), i + max(k, 0)
    return scatter(x, key=key, shape=(n, n))


def trace(x, offset=0, axis1=0, axis2=1):
    """The sum along a diagonal."""
    return sum(diagonal(x, offset, axis1, axis2), axis=-1)


# ---- sizes -----------------------------------------------------------------------------------

def pad(x, pad_width, constant_values=0.0):
    """Put constants around x.

    Parameters
    ----------
    x : (...)
    pad_width : int, or pairs of ints
        How many (before, after) each axis, from the first one on, as in NumPy; torch starts with
        the last axis. One number or one pair serves all axes.
    constant_values : float
    """
    widths = np.asarray(pad_width)
    if widths.dtype.kind not in "iu" or widths.min(initial=0) < 0:
        raise ValueError(f"pad_width is {pad_width}, but must hold whole numbers from 0 on")
    sides = zip(x.shape, np.broadcast_to(widths, (x.ndim, 2)).tolist())
    shape, inside = [], []
    for n, (before, after) in sides:
        shape.append(before + n + after)
        inside.append(slice(before, before + n))
    mask = np.ones(shape, bool)
    mask[tuple(inside)] = False
    y = scatter(x, key=tuple(inside), shape=tuple(shape))
    return masked_fill(y, mask, x.dtype.type(constant_values))


def masked_fill(x, mask, value):
    """The number `value` where the mask holds, else x."""
    return where(mask, value, x)


def chunk(x, chunks, axis=0):
    """Cut into at most `chunks` pieces along an axis, all but the last equally large (torch)."""
    if chunks < 1:
        raise ValueError(f"chunks is {chunks}, but there must be one piece at least")
    axis, = normalized_axes(axis, x.ndim)
    n = x.shape[axis]
    size = math.ceil(n / chunks) or 1
    borders = list(range(size, n, size))
    return split(x, borders, axis=axis)


def repeat(x, repeats, axis=None):
    """Repeat each element of an axis, or of the flattened array (torch: repeat_interleave).

    For torch's repeat, which lays whole copies side by side, see `tile`.
    """
    if axis is None:
        x, axis = reshape(x, shape=(-1,)), 0
    axis, = normalized_axes(axis, x.ndim)
    places = np.arange(x.shape[axis])
    places = np.repeat(places, detach(repeats))
    return getitem(x, (slice(None),) * axis + (places,))


def tile(x, reps):
    """Lay copies of x side by side, reps[i] of them along axis i (torch: the method repeat)."""
    reps = (reps,) if np.ndim(reps) == 0 else tuple(reps)
    ndim = max(len(reps), x.ndim)
    reps = (1,) * (ndim - len(reps)) + reps
    sizes = (1,) * (ndim - x.ndim) + x.shape
    once, copies, shape = [], [], []
    for r, n in zip(reps, sizes):
        once += [1, n]
        copies += [r, n]
        shape.append(r * n)
    y = reshape(x, shape=tuple(once))                         # (1, n, ...)
    y = broadcast_to(y, shape=tuple(copies))                  # (r, n, ...)
    return reshape(y, shape=tuple(shape))                     # (r n, ...)


# ---- places ----------------------------------------------------------------------------------

def gather(x, axis, ids):
    """Pick one element along an axis for each id: y[i, j] = x[i, ids[i, j]] for axis 1 (torch).

    Parameters
    ----------
    x : (...)
    axis : int
    ids : (...) int, with as many axes as x
        Along the others at most as long as x. NumPy's take_along_axis is the same, with its
        arguments in the order x, ids, axis.
    """
    ids = np.asarray(detach(ids))
    axis, = normalized_axes(axis, x.ndim)
    if ids.ndim != x.ndim:
        raise ValueError(f"ids has shape {ids.shape}, but x has shape {x.shape}: give them as many "
                         "axes")
    check_ids(ids, x.shape[axis])
    key = list(np.indices(ids.shape, sparse=True))            # of each axis its own places
    key[axis] = ids
    return getitem(x, tuple(key))
