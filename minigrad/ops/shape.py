"""Operations that move, copy or select elements. Their vjps move the gradient back."""
from copy import deepcopy

import numpy as np

from minigrad.mistakes import checked_axis, normalized_axes
from minigrad.tensor import detach, op, sum_to_shape


def reshape_inputs(draw):
    x = draw.array()
    shapes = [(-1,), x.shape[::-1], (1, *x.shape)]
    return (x,), {"shape": draw.choice(shapes)}

@op(inputs=reshape_inputs, replayed=True)
def reshape(x, shape):
    """The same elements in another shape, -1 standing for the size that is left over."""
    return x.reshape(shape), (x.shape,)               # the elements stay where they are

@reshape.vjp
def reshape_vjp(g, shape):
    return g.reshape(shape),


def transpose_inputs(draw):
    x = draw.array()
    return (x,), {"axes": draw.permutation(x.ndim)}

@op(inputs=transpose_inputs)
def transpose(x, axes=None):
    """Axes in another order, or reversed, as in NumPy; torch calls this permute."""
    return x.transpose(axes), (None if axes is None else tuple(axes),)

@transpose.vjp
def transpose_vjp(g, axes):
    if axes is not None:                              # the inverse: where each axis has gone
        axes = np.argsort(normalized_axes(axes, g.ndim)).tolist()
    return transpose(g, axes),


def swapaxes(x, axis1, axis2):
    """Exchange two axes: what torch calls transpose(axis1, axis2)."""
    (i,), (j,) = normalized_axes(axis1, x.ndim), normalized_axes(axis2, x.ndim)
    axes = list(range(x.ndim))
    axes[i], axes[j] = j, i
    return transpose(x, tuple(axes))


def broadcast_to_inputs(draw):
    x = draw.array()
    stretched = tuple(draw.integer(0, 3) if n == 1 else n for n in x.shape)
    return (x,), {"shape": draw.shape(max_dims=2) + stretched}

@op(inputs=broadcast_to_inputs)
def broadcast_to(x, shape):
    """x repeated to `shape` without a copy; the vjp sums over the repetitions."""
    return np.broadcast_to(x, shape), (x.shape,)      # a view with strides of 0

@broadcast_to.vjp
def broadcast_to_vjp(g, shape):
    return sum_to_shape(g, shape),


def index_inputs(draw):
    x = draw.array(draw.shape(min_dims=1, min_side=1))
    rows = draw.indices(draw.shape(max_dims=2), len(x))
    is_even = np.arange(len(x)) % 2 == 0
    keys = [0, slice(None, None, -2), (..., None), rows, is_even]
    return (x,), {"key": draw.choice(keys)}

@op(inputs=index_inputs)
def index(x, key):
    """x[key] with NumPy's slices, integers, None, integer and boolean arrays."""
    return x[key], (x.shape, own(key))                # a view where NumPy gives one

@index.vjp
def index_vjp(g, shape, key):
    return scatter(g, key=key, shape=shape),


def scatter_inputs(draw):
    (x,), params = index_inputs(draw)
    return (x[params["key"]],), {**params, "shape": x.shape}

@op(inputs=scatter_inputs)
def scatter(g, key, shape):
    """Zeros of `shape` with g added at [key], and added again where an index repeats."""
    out = np.zeros(shape, g.dtype)
    if may_repeat(key):
        np.add.at(out, key, g)                        # out[key] += g would add once
    else:
        out[key] = g
    return out, (own(key),)

@scatter.vjp
def scatter_vjp(g, key):
    return index(g, key=key),


ONCE = int | np.integer | slice | type(...) | None    # names each place at most once

def may_repeat(key):
    """Whether a key can name a place twice: only arrays and lists can."""
    parts = key if type(key) is tuple else (key,)
    return not all(isinstance(part, ONCE) for part in parts)


def own(key):
    """Copy the arrays and lists in a key: others may write into them before the backward pass."""
    return deepcopy(key) if may_repeat(key) else key


def concatenate_inputs(draw):
    (x,), params = split_inputs(draw)
    return split(x, **params), {"axis": params["axis"]}

@op(inputs=concatenate_inputs)
def _concatenate(*arrays, axis):
    """Arrays joined along an axis; each receives its slice of g."""
    y = np.concatenate(arrays, axis)
    ends = np.cumsum([x.shape[axis] for x in arrays])         # (n,)
    return y, (ends[:-1], axis)

@_concatenate.vjp
def _concatenate_vjp(g, borders, axis):
    return split(g, borders, axis)


def concatenate(arrays, axis=0):
    """Join a sequence of arrays along an existing axis (torch: cat)."""
    return _concatenate(*arrays, axis=checked_axis(axis))


def stack(arrays, axis=0):
    """Join a sequence of arrays of one shape along a new axis."""
    place, = normalized_axes(checked_axis(axis), arrays[0].ndim + 1)
    key = (slice(None),) * place + (None,)            # x[:, :, None]
    return concatenate([x[key] for x in arrays], place)


def split_inputs(draw):
    x = draw.array(draw.shape(min_dims=1))
    axis = draw.axis(x.ndim)
    borders = [draw.integer(0, x.shape[axis]) for _ in range(draw.integer(0, 2))]
    sections = draw.choice([1, sorted(borders)])
    return (x,), {"sections": sections, "axis": axis}

@op(inputs=split_inputs)
def split(x, sections, axis=0):
    """A tuple of pieces along an axis: a number of equal ones, or cut before the given indices.

    These are NumPy's conventions; torch.split takes the size of the pieces instead.
    """
    normalized_axes(axis, x.ndim)                     # or say which there are
    return tuple(np.split(x, sections, axis)), (axis,)

@split.vjp
def split_vjp(g, axis):
    return concatenate(g, axis),


def getitem(x, key):
    """x[key], where the key may hold tensors."""
    return index(x, key=detach(key))
