"""Operations that move, copy or select elements. Their vjps move the gradient back."""
from copy import deepcopy

import numpy as np

from minigrad.mistakes import normalized_axes
from minigrad.tensor import detach, op, sum_to_shape


def reshape_inputs(draw):
    x = draw.array()
    return (x,), {"shape": draw.choice([(-1,) if x.size else (0,), x.shape[::-1], (1, *x.shape)])}

@op(inputs=reshape_inputs, replayed=True)
def reshape(x, shape):
    """The same elements in another shape, -1 standing for the size that is left over."""
    return x.reshape(shape), (x.shape,)

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
    if axes is not None:
        axes = tuple(sorted(range(len(axes)), key=[i % len(axes) for i in axes].__getitem__))
    return transpose(g, axes),


def swapaxes(x, axis1, axis2):
    """Exchange two axes: what torch calls transpose(axis1, axis2)."""
    (i,), (j,) = normalized_axes(axis1, x.ndim), normalized_axes(axis2, x.ndim)
    return transpose(x, tuple({i: j, j: i}.get(k, k) for k in range(x.ndim)))


def broadcast_to_inputs(draw):
    x = draw.array()
    stretched = tuple(draw.integer(0, 3) if n == 1 else n for n in x.shape)
    return (x,), {"shape": (*draw.shape(max_dims=2), *stretched)}

@op(inputs=broadcast_to_inputs)
def broadcast_to(x, shape):
    """x repeated to `shape` without a copy; the vjp sums over the repetitions."""
    return np.broadcast_to(x, shape), (x.shape,)

@broadcast_to.vjp
def broadcast_to_vjp(g, shape):
    return sum_to_shape(g, shape),


def index_inputs(draw):
    x = draw.array(draw.shape(min_dims=1, min_side=1))
    n = x.shape[0]
    rows = draw.indices(draw.shape(max_dims=2), n)
    return (x,), {"key": draw.choice([0, slice(None, None, -2), (Ellipsis, None), rows,
                                      rows % 2 == 0 if rows.shape == (n,) else slice(1, None)])}

@op(inputs=index_inputs)
def index(x, key):
    """x[key] with NumPy's slices, integers, None, integer and boolean arrays."""
    return x[key], (x.shape, own(key))

@index.vjp
def index_vjp(g, shape, key):
    return scatter(g, key=key, shape=shape),


def scatter_inputs(draw):
    (x,), params = index_inputs(draw)
    return (draw.array(np.shape(x[params["key"]])),), {**params, "shape": x.shape}

@op(inputs=scatter_inputs)
def scatter(g, key, shape):
    """Zeros of `shape` with g added at [key], and added again where an index repeats."""
    out = np.zeros(shape, g.dtype)
    if may_repeat(key):
        np.add.at(out, key, g)
    else:
        out[key] = g
    return out, (own(key),)

@scatter.vjp
def scatter_vjp(g, key):
    return index(g, key=key),


def may_repeat(key):
    """Whether a key can name a place twice: numbers, slices, None and ... cannot."""
    parts = key if type(key) is tuple else (key,)
    return not all(part is None or part is Ellipsis or isinstance(part, int | np.integer | slice)
                   for part in parts)


def own(key):
    """Copy the arrays and lists in a key: others may write into them before the backward pass."""
    return deepcopy(key) if may_repeat(key) else key


def concatenate_inputs(draw):
    shape = draw.shape(min_dims=1)
    axis = draw.integer(-len(shape), len(shape) - 1)
    sizes = [draw.integer(0, 3) for _ in range(draw.integer(1, 3))]
    before, after = shape[:axis % len(shape)], shape[axis % len(shape) + 1:]
    return tuple(draw.array((*before, n, *after)) for n in sizes), {"axis": axis}

@op(inputs=concatenate_inputs)
def _concatenate(*arrays, axis):
    """Arrays joined along an axis; each receives its slice of g."""
    return np.concatenate(arrays, axis), (np.cumsum([x.shape[axis] for x in arrays[:-1]]), axis)

@_concatenate.vjp
def _concatenate_vjp(g, borders, axis):
    return split(g, borders, axis)


def concatenate(arrays, axis=0):
    """Join a sequence of arrays along an existing axis (torch: cat)."""
    return _concatenate(*arrays, axis=axis)


def stack(arrays, axis=0):
    """Join a sequence of arrays of one shape along a new axis."""
    place, = normalized_axes(axis, arrays[0].ndim + 1)
    return concatenate([x[(slice(None),) * place + (None,)] for x in arrays], place)


def split_inputs(draw):
    shape = draw.shape(min_dims=1)
    axis = draw.integer(-len(shape), len(shape) - 1)
    borders = sorted(draw.integer(0, shape[axis]) for _ in range(draw.integer(0, 2)))
    return (draw.array(shape),), {"sections": draw.choice([1, borders]), "axis": axis}

@op(inputs=split_inputs)
def split(x, sections, axis=0):
    """A tuple of pieces along an axis: a number of equal ones, or cut before the given indices.

    These are NumPy's conventions; torch.split takes the size of the pieces instead.
    """
    return tuple(np.split(x, sections, *normalized_axes(axis, x.ndim))), (axis,)

@split.vjp
def split_vjp(g, axis):
    return concatenate(g, axis),


def getitem(x, key):
    """x[key], where the key may hold tensors."""
    return index(x, key=detach(key))
