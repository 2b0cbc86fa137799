"""How weights lie in files: plain numbers, and blocks that share a scale among some weights.

Each kind is a NumPy dtype, so a tensor of blocks is an array of records that stays as it is in the
file: `blocks["d"]` are the scales. Names and layouts are those of safetensors and of GGUF.
"""
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

NIBBLE = 15                       # the four low bits of a byte


# ---- from fields to weights: all arrays are (n, ...) for n blocks, d and m (n, 1) float32 ----

def bf16(high):
    """The 16 bits are the high ones of a float32."""
    bits = high.astype(np.uint32) << 16
    return bits.view(np.float32)[:, None]


def q4_0(d, low):
    """w = d (q - 8), q of 4 bits."""
    return d * centred(nibbles(low), 8)


def q4_1(d, m, low):
    """w = d q + m, q of 4 bits."""
    return d * nibbles(low) + m


def q5_0(d, high, low):
    """w = d (q - 16), q of 5 bits."""
    return d * centred(five_bits(high, low), 16)


def q5_1(d, m, high, low):
    """w = d q + m, q of 5 bits."""
    return d * five_bits(high, low) + m


def q8_0(d, q):
    """w = d q, q of 8 bits with a sign."""
    return d * q


def q4_k(d, m, scales, low):
    """Eight groups of 32 weights with scales and minima of their own, q of 4 bits."""
    q = nibbles(low).reshape(-1, 8, 32)
    return affine(d, m, scales, q)


def q5_k(d, m, scales, high, low):
    """As Q4_K, with a fifth bit: bit i of 32 bytes belongs to group i."""
    bits = np.unpackbits(high[:, :, None], axis=2, bitorder="little")           # (n, 32, 8)
    fifth = bits.swapaxes(1, 2) << 4
    q = nibbles(low).reshape(-1, 8, 32)
    return affine(d, m, scales, q | fifth)


def q6_k(low, high, scales, d):
    """w = (d scale) (q - 32) in 16 groups of 16, q of 6 bits."""
    shifts = np.array([[0], [2], [4], [6]], np.uint8)
    two_bits = high[:, :, None] >> shifts & 3                                   # (n, 2, 4, 32)
    two_bits = two_bits.reshape(-1, 2, 128)
    q = nibbles(low) | two_bits << 4
    q = centred(q, 32).reshape(-1, 16, 16)
    scale = d * scales                                                          # (n, 16)
    w = scale[:, :, None] * q
    return w.reshape(-1, 256)


def nibbles(low):
    """Split bytes in two along the last axis: all low halves, then all high halves."""
    return np.concatenate([low & NIBBLE, low >> 4], axis=-1)


def centred(q, zero):
    return q.astype(np.int8) - np.int8(zero)


def five_bits(high, low):
    """Join 4 bits of each weight with a fifth: bit i of 32 belongs to weight i."""
    fifth = np.unpackbits(high, axis=1, bitorder="little")                      # (n, 32)
    return nibbles(low) | fifth << 4


def affine(d, m, scales, q):
    """w = (d scale) q - (m minimum) for q (n, 8, 32)."""
    scale, minimum = scales_and_minima(scales)
    scale, minimum = d * scale, m * minimum                                     # (n, 8)
    w = scale[:, :, None] * q - minimum[:, :, None]
    return w.reshape(-1, 256)


def scales_and_minima(packed):
    """Unpack eight scales and eight minima of 6 bits from 12 bytes, each (n, 8).

    The first four of both are the low 6 bits of 4 bytes each; the last four have 4 bits in
    the last 4 bytes and 2 bits on top of the first eight.
    """
    a, b, c = np.split(packed, 3, axis=1)                                       # (n, 4) each
    scales = np.concatenate([a & 63, c & NIBBLE | a >> 6 << 4], axis=1)
    minima = np.concatenate([b & 63, c >> 4 | b >> 6 << 4], axis=1)
    return scales, minima


# ---- the kinds ----

@dataclass(frozen=True)
class Kind:
    """What stands for `n_weights` weights in a file, and how they are made float32."""

    dtype: np.dtype
    n_weights: int = 1
    unpack: Callable | None = None                 # fields -> (n, n_weights)


def dtype_of(fields):
    """Make a dtype of `name:code name:code ...`."""
    return np.dtype([tuple(field.split(":")) for field in fields.split()])


def numbers(code):
    return Kind(np.dtype(code))


def block(n_weights, fields, unpack):
    return Kind(dtype_of(fields), n_weights, unpack)


KINDS = {
    "F64": numbers("<f8"), "F32": numbers("<f4"), "F16": numbers("<f2"),
    "I8": numbers("i1"), "I16": numbers("<i2"),
    "I32": numbers("<i4"), "I64": numbers("<i8"),
    "U8": numbers("u1"), "U16": numbers("<u2"),
    "U32": numbers("<u4"), "U64": numbers("<u8"),
    "BOOL": numbers("?"),
    "BF16": block(1, "high:<u2", bf16),
    "Q4_0": block(32, "d:<f2 low:16u1", q4_0),
    "Q4_1": block(32, "d:<f2 m:<f2 low:16u1", q4_1),
    "Q5_0": block(32, "d:<f2 high:4u1 low:16u1", q5_0),
    "Q5_1": block(32, "d:<f2 m:<f2 high:4u1 low:16u1", q5_1),
    "Q8_0": block(32, "d:<f2 q:32i1", q8_0),
    "Q4_K": block(256, "d:<f2 m:<f2 scales:12u1 low:(4,32)u1", q4_k),
    "Q5_K": block(256, "d:<f2 m:<f2 scales:12u1 high:32u1 low:(4,32)u1", q5_k),
    "Q6_K": block(256, "low:(2,64)u1 high:(2,32)u1 scales:16i1 d:<f2", q6_k),
}
NAMES = {kind.dtype: name for name, kind in KINDS.items()}       # dtype -> str

PIECE = 1 << 17                   # weights made at a time: what is between stays in the cache


def kind_of(raw):
    """Name the kind of an array as it lies in a file."""
    return NAMES[raw.dtype]


def shape_of(raw):
    """Return the shape in weights: (..., n) blocks of W weights are (..., n W)."""
    n_weights = KINDS[kind_of(raw)].n_weights
    if n_weights == 1:
        return raw.shape                           # () included
    return *raw.shape[:-1], raw.shape[-1] * n_weights


def dequantised(raw):
    """Return an array as it lies in a file as numbers: floats as float32, others as they are.

    Parameters
    ----------
    raw : array of any dtype in KINDS
        Blocks lie along the last axis.

    Returns
    -------
    x : array
        Views of `raw` where nothing is to be done.
    """
    kind = KINDS[kind_of(raw)]
    if kind.unpack is None:
        return plain_numbers(raw)
    blocks = raw.reshape(-1)
    x = np.empty((len(blocks), kind.n_weights), np.float32)
    n = PIECE // kind.n_weights
    for start in range(0, len(blocks), n):
        x[start:start + n] = unpacked(kind, blocks[start:start + n])
    return x.reshape(shape_of(raw))


def plain_numbers(x):
    if x.dtype.kind == "b":
        return x.view(np.uint8) != 0               # a file may hold other bytes than 0 and 1
    if x.dtype.kind != "f":
        return x
    with np.errstate(all="ignore"):                # infinities and NaN stay as the file has them
        return x.astype(np.float32, copy=False)


def unpacked(kind, blocks):
    """Turn (n,) blocks into (n, n_weights) weights."""
    fields = [field_of(blocks, name) for name in blocks.dtype.names]
    with np.errstate(all="ignore"):
        return kind.unpack(*fields)


def field_of(blocks, name):
    """Return a field of all blocks; scales and minima as (n, 1) float32."""
    x = blocks[name]
    if x.dtype != np.float16:
        return x
    return x.astype(np.float32)[:, None]
