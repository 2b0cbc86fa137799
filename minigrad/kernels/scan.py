"""What scans over time share: one product a step with weights that are packed once.

A step of a recurrent net multiplies a few rows, one for each sequence, by the same matrix as the
step before. So the matrix is packed once, in panels of `WIDTH` columns; a panel stays in the cache
while all rows of a thread pass by. Threads share the sequences, which know nothing of each other.
In bfloat16 a panel holds pairs along k (`pairs`), and each row is rounded to pairs, too.
"""
import numpy as np

from minigrad.kernels import bfloat16, jit, vmath
from minigrad.kernels.llvm import REGISTERS
from minigrad.kernels.memory import empty
from minigrad.kernels.pairs import HAS_PAIRS, add_products, held, joined, read_assembly
from minigrad.kernels.rows import fits, plain
from minigrad.kernels.tiles import at, lanes, small_tile_of
from minigrad.mode import mode

DEPTH = 256                                          # of a block of a panel that stays in the cache
# Rows of a tile, two vectors wide: as many as the registers hold, or one or two less, so that any
# number of rows is cut into tiles of about one height.
TALLEST = 8 if REGISTERS == 32 else 6
_tall, _middle, _short = (small_tile_of(TALLEST - less, 2, add_products) for less in range(3))


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


if HAS_PAIRS:
    read_assembly()

def packed(weight, transposed, n_rows):
    """Pack a matrix, `weight` or its transpose, to multiply so many rows by it.

    Returns
    -------
    (panels, k, width), or pairs (panels, k / 2, width) of int32
        Panels for the rows, and then those of the matrix; zeros fill the last one.
    """
    k, n = weight.shape[::-1] if transposed else weight.shape
    width, depth, dtype = panel_width(weight.dtype), k, weight.dtype
    large = dtype == np.float32 and n_rows * weight.size >= bfloat16.LARGE
    if large and mode.precision == "bfloat16":
        depth, dtype = -(-k // 2), np.int32
    first = -(-n_rows // width)
    count = first + -(-n // width)
    panels = empty((count, depth, width), dtype)
    of_matrix = panels[first:]
    jit.run(_pack, plain(weight), transposed, n, of_matrix)
    return panels


@jit.kernel
def _pack(weight, transposed, n, out):
    panels, depth, width = out.shape
    for p in range(panels):
        first, panel = p * width, out[p]
        there = min(width, n - first)
        panel[:, there:] = 0
        for j in range(there):
            column = first + j
            row = weight[column] if transposed else weight[:, column]
            _hold(row, panel[:, j], out)


@jit.helper
def _hold(source, target, like):
    """Write the numbers of source one behind the other, as pairs if an array holds these."""
    size, zero = held(like), source.dtype.type(0)
    whole = min(target.size, source.size // size)
    for d in range(whole):
        first = size * d
        last = first + size - 1
        target[d] = joined(source[first], source[last], like)
    if whole < target.size:                          # a pair of which half is there
        target[whole] = joined(source[size * whole], zero, like)


@jit.helper
def multiply(rows, first, step, start, stop, panels, out):
    """out[b] = row b of `rows` times the matrix in `panels`, for b in range(start, stop).

    Row b begins `first + b step` numbers behind the beginning of `rows`; it is copied, and rounded
    in bfloat16, to the panels that are there for it.
    """
    depth, width = panels.shape[1], panels.shape[2]
    wide, n = out.shape[1], stop - start
    of_rows = (len(out) + width - 1) // width
    tiles = (n + TALLEST - 1) // TALLEST
    _offer(rows, first, step, start, stop, panels)
    for k in range(0, depth, DEPTH):
        kc, adds = min(DEPTH, depth - k), k > 0
        for p in range(panels.shape[0] - of_rows):
            panel = at(panels, ((of_rows + p) * depth + k) * width)
            for i in range(tiles):
                b = start + i * n // tiles
                m = start + (i + 1) * n // tiles - b
                left = at(panels, b * depth + k), depth, 1
                target = at(out, b * wide + p * width)
                if m == TALLEST:
                    _tall(m, kc, left, panel, width, target, wide, adds)
                elif m == TALLEST - 1:
                    _middle(m, kc, left, panel, width, target, wide, adds)
                else:
                    _short(m, kc, left, panel, width, target, wide, adds)


@jit.helper
def _offer(rows, first, step, start, stop, panels):
    """Copy rows to the panels, as what these hold."""
    depth = panels.shape[1]
    numbers = rows.reshape(rows.size)
    out = panels.reshape(panels.size)
    for b in range(start, stop):
        row, place = first + b * step, b * depth
        _hold(numbers[row:], out[place:place + depth], panels)


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
