"""What scans over time share: one product a step with weights that are packed once.

A step of a recurrent net multiplies a few rows, one for each sequence, by the same matrix as the
step before. So the matrix is packed once, in panels of `WIDTH` columns; a panel stays in the cache
while all rows of a thread pass by. Threads share the sequences, which know nothing of each other.
"""
import numpy as np

from minigrad.kernels import jit, vmath
from minigrad.kernels.llvm import REGISTERS
from minigrad.kernels.memory import empty
from minigrad.kernels.rows import fits, plain
from minigrad.kernels.tiles import at, lanes, small_tile_of

DEPTH = 256                                          # of a block of a panel that stays in the cache
# Rows of a tile, two vectors wide: as many as the registers hold, or one or two less, so that any
# number of rows is cut into tiles of about one height.
TALLEST = 8 if REGISTERS == 32 else 6
_tall, _middle, _short = (small_tile_of(TALLEST - less, 2) for less in range(3))


def takes(x, *others):
    """Whether the kernel of a scan takes these: float arrays of one type, not small, none empty."""
    if not fits(x) or x.ndim != 3:
        return False
    return all(type(y) is np.ndarray and y.dtype == x.dtype for y in others)


def room(B, n, dtype):
    """Return (B, > n) to hold one step: whole panels wide, and one more.

    Without that one, rows would often lie 4 KB apart and compete for the same lines of the cache.
    """
    width = panel_width(dtype)
    return empty((B, (n // width + 2) * width), dtype)


def narrowed(x, like):
    """Return what `room` was made for: an array of its own, without the rest of the panels."""
    out = empty(like.shape, x.dtype)
    jit.run(np.copyto, out, x[:, :like.shape[1]])
    return out


def panel_width(dtype):
    return 2 * lanes(np.dtype(dtype))


def packed(weight, transposed):
    """Return a matrix b, `weight` or its transpose, as (panels, k, width): zeros fill the last."""
    k, n = weight.shape[::-1] if transposed else weight.shape
    width = panel_width(weight.dtype)
    count = -(-n // width)
    panels = empty((count, k, width), weight.dtype)
    jit.run(_pack, plain(weight), transposed, n, panels)
    return panels


@jit.kernel
def _pack(weight, transposed, n, out):
    panels, depth, width = out.shape
    for p in range(panels):
        for k in range(depth):
            for j in range(width):
                column = p * width + j
                if column >= n:
                    out[p, k, j] = 0
                elif transposed:
                    out[p, k, j] = weight[column, k]
                else:
                    out[p, k, j] = weight[k, column]


@jit.helper
def multiply(rows, first, step, start, stop, panels, out):
    """out[b] = row b of `rows` times the matrix in `panels`, for b in range(start, stop).

    Row b begins `first + b step` numbers behind the beginning of `rows`.
    """
    depth, width = panels.shape[1], panels.shape[2]
    wide, n = out.shape[1], stop - start
    tiles = (n + TALLEST - 1) // TALLEST
    for k in range(0, depth, DEPTH):
        kc, adds = min(DEPTH, depth - k), k > 0
        for p in range(panels.shape[0]):
            panel = at(panels, (p * depth + k) * width)
            for i in range(tiles):
                b = start + i * n // tiles
                m = start + (i + 1) * n // tiles - b
                left = at(rows, first + b * step + k), step, 1
                target = at(out, b * wide + p * width)
                if m == TALLEST:
                    _tall(m, kc, left, panel, width, target, wide, adds)
                elif m == TALLEST - 1:
                    _middle(m, kc, left, panel, width, target, wide, adds)
                else:
                    _short(m, kc, left, panel, width, target, wide, adds)


@jit.helper
def begin(before, start, stop, state):
    """Copy the rows of a thread."""
    for b in range(start, stop):
        state[b] = before[b]


@jit.helper
def at_time(h, h0, b, t):
    """Return the row of (B, T, H) at a time, or before the first one that of h0."""
    return h[b, t] if t >= 0 else h0[b]


@vmath.scalar
def slope(y):
    """The slope of the sigmoid where it is y."""
    return y * (vmath.like(y, 1) - y)


@vmath.scalar
def tanh_slope(y):
    """The slope of tanh where it is y."""
    return vmath.like(y, 1) - y * y
