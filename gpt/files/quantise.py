"""Make blocks of weights, as llama.cpp does: the scale of a block follows from its largest."""
import numpy as np

from gpt.files.blocks import KINDS

TOO_LARGE = 65520                 # from here on a float of 16 bits is infinite


def quantised(x, kind):
    """Turn weights into what lies in a file.

    Parameters
    ----------
    x : (..., n) array of floats
        n is a multiple of 32 where the kind is one of blocks.
    kind : {"F32", "F16", "Q8_0", "Q4_0"}

    Returns
    -------
    raw : (..., n) floats or (..., n / 32) records

    Raises
    ------
    ValueError
        If weights are not finite or too large for 16 bits, or rows are not whole blocks.
    """
    if kind not in MADE:
        raise ValueError(f"kind is {kind!r}, but what can be made is {', '.join(MADE)}")
    n, dtype = KINDS[kind].n_weights, KINDS[kind].dtype
    x = np.asarray(x, np.float32)
    if n == 1:
        return MADE[kind](x)
    *rows, n_columns = x.shape
    if n_columns % n:
        raise ValueError(f"weights of shape {x.shape} are not rows of blocks of {n}: keep them F16")
    raw = np.empty((*rows, n_columns // n), dtype)
    fields = MADE[kind](x.reshape(-1, n))
    for name, values in zip(dtype.names, fields, strict=True):
        raw[name] = values.reshape(raw[name].shape)
    return raw


def f32(x):
    return x


def f16(x):
    largest = np.abs(x).max(initial=0)
    if not largest < TOO_LARGE:                    # not a number is not, either
        raise ValueError(f"weights or scales reach {largest:.4g}, but floats of 16 bits end at "
                         "65504: keep them F32")
    return x.astype(np.float16)


def q8_0(x):
    """d = max |x| / 127, q = x / d to the nearest, halves away from 0."""
    largest = np.abs(x).max(axis=1, keepdims=True)
    d = largest / np.float32(127)                                               # (n, 1)
    scale = f16(d)[:, 0]
    y = x * inverse(d)
    whole = np.trunc(y)
    q = whole + np.trunc(2 * (y - whole))                                       # exact
    return scale, q.astype(np.int8)


def q4_0(x):
    """d = (x of the largest |x|) / -8, q = x / d + 8 to the nearest, at most 15."""
    place = np.abs(x).argmax(axis=1)[:, None]
    largest = np.take_along_axis(x, place, axis=1)
    d = largest / np.float32(-8)                                                # (n, 1)
    scale = f16(d)[:, 0]
    q = x * inverse(d) + np.float32(8.5)
    first, second = np.hsplit(np.minimum(q, 15).astype(np.uint8), 2)
    return scale, first | second << 4


def inverse(d):
    """1 / d, and 0 where that is infinite."""
    with np.errstate(divide="ignore", over="ignore"):
        y = 1 / d
    return np.where(np.isfinite(y), y, np.float32(0))


MADE = {"F32": f32, "F16": f16, "Q8_0": q8_0, "Q4_0": q4_0}
