"""How weights lie in files: plain numbers, and blocks that share a scale among some weights.

Each kind is a NumPy dtype, so a tensor of blocks is an array of records that stays as it is in the
file: `blocks["d"]` are the scales. Names and layouts are those of safetensors and of GGUF.
"""
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

NIBBLE = 15                       # the four low bits


@dataclass(frozen=True)
class Kind:
    """What stands for `n_weights` weights in a file, and how they are made float32."""
    dtype: np.dtype
    n_weights: int = 1
    unpack: Callable | None = None                 # (n,) blocks -> (n, n_weights) float32


def plain(code):
    """Describe a kind that NumPy knows."""
    return Kind(np.dtype(code))


def blocks(n_weights, unpack, *fields):
    """Describe a kind of blocks by the fields of one."""
    return Kind(np.dtype(list(fields)), n_weights, unpack)


def halves(bytes_):
    """Split bytes in two: all low halves, then all high halves, along the last axis."""
    return np.concatenate([bytes_ & NIBBLE, bytes_ >> 4], axis=-1)


def column(x):
    """Make (n,) numbers (n, 1) of float32."""
    return x.astype(np.float32)[:, None]


def bf16(x):
    """Put the 16 bits where float32 has its high ones."""
    bits = x["high"].astype(np.uint32) << 16
    return bits.view(np.float32)[:, None]


def q4_0(x):
    """w = d (q - 8), q of 4 bits."""
    q = halves(x["low"]).astype(np.int8) - np.int8(8)
    return column(x["d"]) * q


def q4_1(x):
    """w = d q + m, q of 4 bits."""
    return column(x["d"]) * halves(x["low"]) + column(x["m"])


def fifth_bits(x):
    """Join 4 low bits of each weight with its bit of `high`."""
    high = np.unpackbits(x["high"], axis=-1, bitorder="little")                 # (n, 32)
    return halves(x["low"]) | high << 4


def q5_0(x):
    """w = d (q - 16), q of 5 bits."""
    q = fifth_bits(x).astype(np.int8) - np.int8(16)
    return column(x["d"]) * q


def q5_1(x):
    """w = d q + m, q of 5 bits."""
    return column(x["d"]) * fifth_bits(x) + column(x["m"])


def q8_0(x):
    """w = d q, q of 8 bits with a sign."""
    return column(x["d"]) * x["q"]


def scales_and_minima(packed):
    """Unpack eight scales and eight minima of 6 bits from 12 bytes, each (n, 8).

    The first four of both are the low 6 bits of 4 bytes each; the last four have 4 bits in
    the last 4 bytes and 2 bits on top of the first eight.
    """
    a, b, c = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.concatenate([a & 63, c & NIBBLE | a >> 6 << 4], axis=1)
    minima = np.concatenate([b & 63, c >> 4 | b >> 6 << 4], axis=1)
    return scales, minima


def affine(x, q):
    """w = (d scale) q - (m minimum), in eight groups of 32: q is (n, 8, 32)."""
    scales, minima = scales_and_minima(x["scales"])
    scale = column(x["d"]) * scales                                             # (n, 8)
    minimum = column(x["m"]) * minima
    w = scale[:, :, None] * q - minimum[:, :, None]
    return w.reshape(len(x), 256)


def q4_k(x):
    """Eight groups with scales and minima of their own, q of 4 bits."""
    return affine(x, halves(x["low"]).reshape(len(x), 8, 32))


def q5_k(x):
    """As Q4_K, with a fifth bit: bit i of 32 bytes belongs to group i."""
    high = np.unpackbits(x["high"][:, :, None], axis=-1, bitorder="little")     # (n, 32, 8)
    low = halves(x["low"]).reshape(len(x), 8, 32)
    return affine(x, low | high.swapaxes(1, 2) << 4)


def q6_k(x):
    """w = (d scale) (q - 32), q of 6 bits, in 16 groups of 16."""
    shifts = np.array([0, 2, 4, 6], np.uint8)[:, None]
    high = x["high"] >> shifts & 3                                              # (n, 2, 4, 32)
    q = halves(x["low"]) | high.reshape(len(x), 2, 128) << 4
    q = q.reshape(len(x), 16, 16).astype(np.int8) - np.int8(32)
    scale = column(x["d"]) * x["scales"]                                        # (n, 16)
    return (scale[:, :, None] * q).reshape(len(x), 256)


SCALE, MINIMUM, GROUPS = ("d", "<f2"), ("m", "<f2"), ("scales", "u1", 12)
LOW = ("low", "u1", 16)

KINDS = {
    "F64": plain("<f8"), "F32": plain("<f4"), "F16": plain("<f2"),
    "I8": plain("i1"), "I16": plain("<i2"), "I32": plain("<i4"), "I64": plain("<i8"),
    "U8": plain("u1"), "U16": plain("<u2"), "U32": plain("<u4"), "U64": plain("<u8"),
    "BOOL": plain("?"),
    "BF16": blocks(1, bf16, ("high", "<u2")),
    "Q4_0": blocks(32, q4_0, SCALE, LOW),
    "Q4_1": blocks(32, q4_1, SCALE, MINIMUM, LOW),
    "Q5_0": blocks(32, q5_0, SCALE, ("high", "u1", 4), LOW),
    "Q5_1": blocks(32, q5_1, SCALE, MINIMUM, ("high", "u1", 4), LOW),
    "Q8_0": blocks(32, q8_0, SCALE, ("q", "i1", 32)),
    "Q4_K": blocks(256, q4_k, SCALE, MINIMUM, GROUPS, ("low", "u1", (4, 32))),
    "Q5_K": blocks(256, q5_k, SCALE, MINIMUM, GROUPS, ("high", "u1", 32), ("low", "u1", (4, 32))),
    "Q6_K": blocks(256, q6_k, ("low", "u1", (2, 64)), ("high", "u1", (2, 1, 32)),
                   ("scales", "i1", 16), SCALE),
}
NAMES = {kind.dtype: name for name, kind in KINDS.items()}       # dtype -> str

PIECE = 4096                      # blocks unpacked at a time: what is between stays in the cache


def kind_of(raw):
    """Name the kind of an array as it lies in a file."""
    return NAMES[raw.dtype]


def shape_of(raw):
    """Return the shape in weights: (..., n) blocks of W weights are (..., n W)."""
    n_weights = KINDS[kind_of(raw)].n_weights
    return raw.shape if n_weights == 1 else (*raw.shape[:-1], raw.shape[-1] * n_weights)


def dequantised(raw):
    """Return an array as it lies in a file as numbers: floats as float32, others as they are.

    Parameters
    ----------
    raw : array of any dtype in KINDS
        Blocks lie along the last axis.

    Returns
    -------
    x : array
        float32 arrays are not copied.
    """
    kind = KINDS[kind_of(raw)]
    if raw.dtype.kind == "b":
        return raw.view(np.uint8) != 0             # a file may hold other bytes than 0 and 1
    if kind.unpack is None:
        return floats(raw) if raw.dtype.kind == "f" else raw
    blocks = raw.reshape(-1)
    x = np.empty((len(blocks), kind.n_weights), np.float32)
    with np.errstate(all="ignore"):                # as the file has it, infinities too
        for start in range(0, len(blocks), PIECE):
            piece = slice(start, start + PIECE)
            x[piece] = kind.unpack(blocks[piece])
    return x.reshape(shape_of(raw))


def floats(x):
    """Make floats float32."""
    with np.errstate(all="ignore"):
        return x.astype(np.float32, copy=False)
