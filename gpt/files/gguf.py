"""GGUF, versions 2 and 3: facts by name, a list of tensors, and the tensors, often as blocks.

`GGUF | version | n_tensors | n_facts | facts | tensors' names, shapes, kinds, offsets | bytes`
"""
import struct

import numpy as np

from gpt.files.blocks import KINDS
from gpt.files.weights import (FileError, Weights, check_apart, mapped, n_bytes_of, shown,
                               tensor_at)

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MOST_DIMENSIONS = 4
DEEPEST = 4                       # lists in lists
ALIGNMENT = "general.alignment"

# What stands for a type of a fact; 8 is text and 9 a list.
NUMBERS = {0: "u1", 1: "i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?",
           10: "<u8", 11: "<i8", 12: "<f8"}
NUMBERS = {code: np.dtype(dtype) for code, dtype in NUMBERS.items()}
TEXT, LIST = 8, 9
# What stands for the kind of a tensor; those not in KINDS are known by name only.
STORED = {0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1",
          10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K",
          16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S",
          22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64",
          29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4"}


def open_gguf(path):
    """Open a file; facts and the list of tensors are read, the tensors are not.

    Returns
    -------
    weights : Weights
        Shapes have rows first, as NumPy's; the file has them the other way round.

    Raises
    ------
    FileError
        If the file is not whole, contradicts itself or has kinds of blocks not in KINDS.

    References
    ----------
    https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
    """
    data = mapped(path)
    reader = Reader(path, data)
    n_tensors, n_facts = reader.beginning()
    metadata = reader.facts(n_facts)
    infos = reader.infos(n_tensors)
    alignment = alignment_of(path, metadata)
    start = -(-reader.at // alignment) * alignment
    places = {name: place_of(path, name, info, start, alignment, len(data))
              for name, info in infos.items()}
    check_apart(path, [(begin, begin + n, name) for name, (begin, n, _, _) in places.items()])
    tensors = {name: tensor_at(data, *place) for name, place in places.items()}
    return Weights(tensors, metadata)


def alignment_of(path, metadata):
    """Return of how many bytes each tensor's offset is a multiple."""
    alignment = metadata.get(ALIGNMENT, 32)
    if type(alignment) is not int or alignment <= 0 or alignment & alignment - 1:
        raise FileError(f"{path}: {ALIGNMENT} is {alignment!r:.40}, but must be a power of two")
    return alignment


def place_of(path, name, info, start, alignment, size):
    """Return (begin, n_bytes, kind, shape) of a tensor, all inside the file."""
    shape, code, offset = info
    kind = STORED.get(code, f"number {code}")
    if kind not in KINDS:
        raise FileError(f"{path}: tensor {shown(name)} is of kind {kind}, which is not read here: "
                        "take a file of Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K, F16, BF16 "
                        "or F32")
    n_bytes = n_bytes_of(path, name, kind, shape)
    if offset % alignment or start + offset + n_bytes > size:
        raise FileError(f"{path}: tensor {shown(name)} takes {n_bytes} bytes at offset {offset}, "
                        f"but the file has {size} bytes and offsets are multiples of {alignment}; "
                        "fetch it again")
    return start + offset, n_bytes, kind, shape


class Reader:
    """A place in the head of a file, which moves on as what stands there is read."""

    def __init__(self, path, data):
        self.path = path
        self.data = memoryview(data)
        self.at = 0

    def take(self, n_bytes):
        """Return the next bytes."""
        end = self.at + n_bytes
        if end > len(self.data):
            raise FileError(f"{self.path} is cut off or damaged: {n_bytes} bytes are wanted at "
                            f"{self.at}, but the file has {len(self.data)}; fetch it again")
        taken = self.data[self.at:end]
        self.at = end
        return taken

    def number(self, code):
        """Read one number of a format of `struct`."""
        return struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}")))[0]

    def text(self):
        """Read a length and as many bytes of UTF-8."""
        at = self.at
        taken = self.take(self.number("Q"))
        try:
            return str(taken, "utf-8")
        except UnicodeDecodeError:
            raise FileError(f"{self.path}: the text at byte {at} is not UTF-8") from None

    def beginning(self):
        """Read how many tensors and facts there are, after what makes the file a GGUF."""
        if self.take(4) != MAGIC:
            raise FileError(f"{self.path} is not a GGUF file")
        version = self.number("I")
        if version not in VERSIONS:
            swapped = version & 0xffff == 0
            what = "is written for big-endian machines" if swapped else f"has version {version}"
            raise FileError(f"{self.path} {what}, but what is read here is GGUF 2 and 3, "
                            "little-endian: convert it again from its source")
        return self.number("Q"), self.number("Q")

    def facts(self, count):
        """Read names and values."""
        found = {}
        for _ in range(count):
            name = self.text()
            self.check_new(name, found)
            found[name] = self.value(self.number("I"), name)
        return found

    def check_new(self, name, found):
        if name in found:
            raise FileError(f"{self.path}: {shown(name)} stands there twice")

    def value(self, code, name, depth=0):
        """Read a number, a text, or a list of values of one type (numbers as an array)."""
        if code in NUMBERS:
            return self.array(NUMBERS[code], 1, name)[0].item()
        if code == TEXT:
            return self.text()
        if code != LIST or depth == DEEPEST:
            what = "lists in lists too deep" if code == LIST else f"type {code}"
            raise FileError(f"{self.path}: {shown(name)} has {what}: that is not known here")
        inner, count = self.number("I"), self.number("Q")
        if inner in NUMBERS:
            return self.array(NUMBERS[inner], count, name)
        return [self.value(inner, name, depth + 1) for _ in range(count)]

    def array(self, dtype, count, name):
        """Read numbers behind each other as an array of its own."""
        taken = self.take(count * dtype.itemsize)
        if dtype.kind == "b" and max(taken, default=0) > 1:
            raise FileError(f"{self.path}: {shown(name)} is neither true nor false")
        return np.frombuffer(taken, dtype).copy()

    def infos(self, count):
        """Read (shape, kind, offset) of each tensor by name."""
        found = {}
        for _ in range(count):
            name = self.text()
            self.check_new(name, found)
            found[name] = self.shape(name), self.number("I"), self.number("Q")
        return found

    def shape(self, name):
        """Read the number of dimensions and them, the last first."""
        n = self.number("I")
        if n > MOST_DIMENSIONS:
            raise FileError(f"{self.path}: tensor {shown(name)} is said to have {n} dimensions")
        return tuple(self.number("Q") for _ in range(n))[::-1]
