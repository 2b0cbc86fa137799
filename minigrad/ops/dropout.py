"""Dropout."""
from math import prod

import numpy as np

from minigrad.kernels import jit
from minigrad.kernels.jit import helper
from minigrad.kernels.llvm import widest_vectors
from minigrad.kernels.memory import empty, empty_like
from minigrad.kernels.rows import BLOCK, first_fits, plain, row_kernel
from minigrad.mistakes import checked_rng
from minigrad.tensor import op


def dropout(x, rate, rng=None):
    """Set each element to zero with probability `rate` and scale up the rest.

    Parameters
    ----------
    x : (...)
    rate : float, 0 to below 1
        Taken as the nearest multiple of 1/65536: two random bytes decide on an element.
    rng : numpy.random.Generator, optional
        Without one nothing is dropped: that is how evaluation differs from training.

    Returns
    -------
    (...)

    Raises
    ------
    ValueError
        If `rate` is outside [0, 1).

    References
    ----------
    Srivastava et al. 2014, Journal of Machine Learning Research 15.
    """
    check_rate(rate)
    if rng is None or rate == 0:
        return x
    key = empty((), np.int64)
    jit.run(draw_key, checked_rng(rng), key)
    return keyed_dropout(x, key, rate)


def draw_key(rng, out):
    """Write a random key into out, ()."""
    out[...] = rng.integers(2 ** 63)


def keyed_dropout_inputs(draw):
    x = draw.array(draw.shape())
    key = draw.integer(0, 2 ** 63 - 1)
    return [x], {"key": key, "rate": draw.choice([0.1, 0.5])}

def doubled(f, x):
    """With one key, dropout is linear."""
    y = f(x)
    return f(2 * x), 2 * y

@op(inputs=keyed_dropout_inputs, replayed=True, scale=doubled)
def keyed_dropout(x, key, rate):
    """`dropout` whose random numbers follow from a key, so that nothing of them is stored.

    y = x m, with 0 or 1 / (1 - rate) in the mask m, which is made once more for dx = g m. Element
    4 i + j of x, counted in C order, gets bits 16 j to 16 j + 15 of the i-th number of SplitMix64.

    Parameters
    ----------
    x : (...)
    key : int or () int64, 0 to 2**63 - 1
    rate : float, 0 to below 1
        Taken as the nearest multiple of 1/65536.

    Returns
    -------
    (...)

    Raises
    ------
    ValueError
        If `key` or `rate` is outside its range.

    References
    ----------
    Srivastava et al. 2014, Journal of Machine Learning Research 15; Steele et al. 2014, Fast
    splittable pseudorandom number generators (SplitMix64).
    """
    check_key(key)
    mask = dropout_mask(x.shape, x.dtype, key, rate)
    return x * mask, (key, rate)

@keyed_dropout.vjp
def keyed_dropout_vjp(g, key, rate):
    return g * dropout_mask(g.shape, g.dtype, key, rate),


def dropout_mask(shape, dtype, key, rate):
    """Return what elements are multiplied with: 0, or what keeps their mean."""
    n = prod(shape)
    dropped, scale = threshold_and_scale(rate)
    i = np.arange(1, -(-n // 4) + 1, dtype=np.uint64)
    words = split_mix(np.uint64(key), i).view(np.uint16)      # four to a number
    mask = (words[:n] >= dropped) * dtype.type(scale)
    return mask.reshape(shape)

def threshold_and_scale(rate):
    """Return below which of 65,536 equally likely numbers to drop, and how to scale the rest."""
    check_rate(rate)
    dropped = min(round(rate * 65536), 65535)
    return dropped, 65536 / (65536 - dropped)

def check_rate(rate):
    if not 0 <= rate < 1:
        raise ValueError(f"the dropout rate is {rate}, but it must be at least 0 and below 1")

def check_key(key):
    if not 0 <= key < 2 ** 63:
        raise ValueError(f"the key is {key}, but must be from 0 to 2**63 - 1: draw it with "
                         "int(rng.integers(2**63))")

def split_mix(key, i):
    """Return the i-th numbers of SplitMix64 from a key on, for an array of i; all are uint64."""
    z = key + i * GOLDEN
    z = (z ^ (z >> SHIFTS[0])) * FACTORS[0]
    z = (z ^ (z >> SHIFTS[1])) * FACTORS[1]
    return z ^ (z >> SHIFTS[2])

GOLDEN = np.uint64(0x9E3779B97F4A7C15)                # 2**64 over the golden ratio
FACTORS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
SHIFTS = np.uint64(30), np.uint64(27), np.uint64(31)


# ---- fast path -------------------------------------------------------------------------------

@keyed_dropout.fast(when=first_fits)
def keyed_dropout_fast(x, key, rate):
    if not isinstance(key, np.ndarray):                   # whose values are `draw_key`'s
        check_key(key)
        key = np.array(key, np.int64)
    dropped, scale = threshold_and_scale(rate)
    scale = x.dtype.type(scale)
    out = empty_like(x)
    source, target = plain(x).reshape(-1), out.reshape(-1)
    n_blocks = -(-x.size // BLOCK)
    _keyed_dropout(n_blocks, source, key.reshape(1), dropped, scale, target)
    return out, (key, rate)

@keyed_dropout.fast_vjp
def keyed_dropout_fast_vjp(g, key, rate):
    return keyed_dropout_fast(g, key, rate)[0],

_split_mix = helper(split_mix)

@row_kernel
def _keyed_dropout(start, stop, x, key, dropped, scale, out):
    widest_vectors()
    key = np.uint64(key[0])
    quarter = BLOCK // 4
    i = np.arange(1, quarter + 1).astype(np.uint64)
    zero = x.dtype.type(0)
    for block in range(start, stop):
        first = np.uint64(block * quarter)
        words = _split_mix(key, i + first).view(np.uint16)
        source, target = x[block * BLOCK:], out[block * BLOCK:]
        for j in range(min(BLOCK, source.size)):
            kept = words[j] >= dropped
            target[j] = source[j] * (scale if kept else zero)
