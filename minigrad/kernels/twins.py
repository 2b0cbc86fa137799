"""The instructions of `llvm` in NumPy, for NUMBA_DISABLE_JIT=1: slow, but easy to step through.

A vector is an array, and a pointer a view of one element.
"""
import ctypes

import numpy as np

from minigrad.kernels.cache import vector_bytes


def lanes(dtype):
    """Return how many numbers of a dtype one vector register holds."""
    return vector_bytes() // np.dtype(dtype).itemsize


# ---- memory ----------------------------------------------------------------------------------

def view(pointer, *shape, steps=(1,)):
    """View memory from a pointer on, with strides in elements."""
    strides = [step * pointer.itemsize for step in steps]
    return np.lib.stride_tricks.as_strided(pointer, shape, strides)

def at(x, n):
    step = 1 if n >= 0 else -1
    way = view(x, abs(n) + 1, steps=(step,))
    return way[-1:]

def pointer_at(address, like):
    kind = np.ctypeslib.as_ctypes_type(like.dtype)
    return ctypes.cast(int(address), ctypes.POINTER(kind))

def copy(target, source, n):
    view(target, n)[:] = view(source, n)

def load(pointer, n):
    count = lanes(pointer.dtype)
    return view(at(pointer, n), count).copy()

def load_some(pointer, n, mask, default):
    there = view(at(pointer, n), np.count_nonzero(mask))
    return np.append(there, default[len(there):])

def store(x, pointer, n, mask=...):
    x = x[mask]
    view(at(pointer, n), x.size)[:] = x


# ---- vectors and tiles -----------------------------------------------------------------------

where, largest, total = np.where, np.max, np.sum

def lanes_of(x):
    return lanes(x.dtype)

def splat(x):
    return np.full(lanes(x.dtype), x)

def lanes_before(n, x):
    return np.arange(x.size) < n

def lanes_from(n, x):
    return np.arange(x.size) >= n

def multiply_add(x, y, z):
    return x * y + z

def pointers_of(n):
    def point(pointer, step, m):
        places = [step * min(i, m - 1) for i in range(n)]
        return tuple(at(pointer, place) for place in places)
    return point

def zeros_of(n):
    def zeros(pointer):
        count = lanes(pointer.dtype)
        return (np.zeros(count, pointer.dtype),) * n
    return zeros

def add_outer(tile, rows, k, b):
    width, count = len(tile) // len(rows), tile[0].size
    row_b = view(b, width, count, steps=(count, 1))
    products = (at(row, k) * x for row in rows for x in row_b)
    return tuple(map(np.add, tile, products))

def add_products(tile, rows, k, b):
    if rows[0].dtype != np.int32:
        return add_outer(tile, rows, k, b)
    width, count = len(tile) // len(rows), tile[0].size
    row_b = view(b, width, count, steps=(count, 1))
    for half in lower, upper:
        left, right = [half(at(row, k)) for row in rows], half(row_b)
        products = (x * y for x in left for y in right)
        tile = tuple(map(np.add, tile, products))
    return tile

def lower(pairs):
    """Return the first numbers of pairs of bfloat16 as float32."""
    bits = pairs.astype(np.uint32)
    return (bits << 16).view(np.float32)

def upper(pairs):
    bits = pairs.astype(np.uint32)
    return (bits & 0xFFFF0000).view(np.float32)

def held(like):
    return 2 if like.dtype == np.int32 else 1

def joined(x, y, like):
    if like.dtype != np.int32:
        return x
    low, high = rounded_bits(x), rounded_bits(y)
    return np.uint32(low | high << 16).view(np.int32)

def shortened(x):
    return np.uint32(rounded_bits(x) << 16).view(np.float32)

def rounded_bits(x):
    """Return the 16 bits of a float32 rounded to bfloat16."""
    bits = int(np.float32(x).view(np.uint32))
    if x != x:
        return bits >> 16 | 64
    odd = bits >> 16 & 1
    return bits + 0x7FFF + odd >> 16

def put(tile, rows, add):
    width, count = len(tile) // len(rows), tile[0].size
    places = [(row, v * count) for row in rows for v in range(width)]
    before = [load(*place) for place in places]
    for x, y, place in zip(before, tile, places):
        store(x + y if add else y, *place)

def add_blocks(sums, rows, weights, b):
    n = lanes(rows[0].dtype) * b
    products = [load(row, n) * load(w, n) for row in rows for w in weights]
    return tuple(map(np.add, sums, products))

def put_totals(sums, rows, n, step):
    width = len(sums) // len(rows)
    for i, x in enumerate(sums):
        column = min(i % width, n - 1) * step
        view(at(rows[i // width], column), 1)[:] = x.sum()

def transpose(m, source, lds, out, ldo):
    n = lanes(out.dtype)
    rows = np.minimum(np.arange(n), m - 1)
    square = view(source, m, n, steps=(lds, 1))[rows]
    view(out, n, n, steps=(ldo, 1))[:] = square.T


# ---- numbers ---------------------------------------------------------------------------------

def is_float32(x):
    return np.result_type(x) == np.float32

def like(x, c):
    return np.result_type(x).type(c)

def pick(x, c32, c64):
    return like(x, c32 if is_float32(x) else c64)

def polynomial(x, c32, c64):
    *rest, y = c32 if is_float32(x) else c64
    for a in reversed(rest):
        y = y * x + like(x, a)
    return y

def power_of_two(x):
    size, mantissa = (4, 23) if is_float32(x) else (8, 52)
    bits = np.asarray(x).view(f"i{size}") << mantissa
    return bits.view(f"f{size}")[()]

def exponent(x):
    extra = pick(x, 2.0**23 + 126, 2.0**52 + 1022)
    return like(x, np.frexp(x)[1] + extra)

def significand(x):
    return np.frexp(x)[0]


def spread(function, n, arrays):
    return function(0, n, *arrays)
