"""A model's tensors by name, read when they are asked for."""
import mmap
import os
from collections.abc import Mapping
from math import prod

import numpy as np

from gpt.files.blocks import KINDS, dequantised, kind_of, shape_of

MOST_DIMENSIONS = 64              # as many as NumPy has
MOST_WEIGHTS = 1 << 60            # an array counts no more bytes than 1 << 63


class FileError(ValueError):
    """A file that cannot be read or written; the message says why in one sentence."""


class Weights(Mapping):
    """Tensors by name, in the order of the file; nothing is read before it is asked for.

    `weights[name]` is float32 for every kind of float, integers and truths as they are. It may
    be a read-only view of the file: copy it before you write into it.

    Parameters
    ----------
    tensors : dict of str to array
        As they lie in the file.
    metadata : dict
        Of safetensors: str to str. Of GGUF: str to int, float, bool, str, list of str, or array.
    maps : iterable of mmap
        Of the files that the tensors lie in.
    """

    def __init__(self, tensors, metadata, maps=()):
        self.tensors = tensors
        self.metadata = metadata
        self.maps = tuple(maps)

    def __getitem__(self, name):
        x = dequantised(self.tensors[name])
        return np.require(x, requirements=["ALIGNED"])       # files need not align tensors

    def __iter__(self):
        return iter(self.tensors)

    def __len__(self):
        return len(self.tensors)

    def __contains__(self, name):
        return name in self.tensors                # without reading it

    def arrays(self):
        """Read all tensors as they are stored, into memory of their own: name -> array."""
        return {name: np.array(x) for name, x in self.tensors.items()}

    @property
    def names(self):
        """The names of all tensors, in order."""
        return list(self.tensors)

    def shape(self, name):
        """Return the shape in weights, rows first; nothing is read."""
        return shape_of(self.tensors[name])

    def kind(self, name):
        """Name how a tensor is stored: "F32", "BF16", "Q4_1" and so on (KINDS)."""
        return kind_of(self.tensors[name])

    def raw(self, name):
        """Return a read-only view of a tensor as it lies in the file.

        Quantised ones are (..., n) records along rows, `raw["d"]` being the scales; BF16 has the
        one field "high"; others are arrays of numbers.
        """
        return self.tensors[name]


    def let_go(self):
        """Let the system forget what was read of the files: it is read again where asked for."""
        for data in self.maps:
            if hasattr(mmap, "MADV_DONTNEED"):     # where there is none, it does so by itself
                data.madvise(mmap.MADV_DONTNEED)


def shown(name):
    """Return a name from a file as it may stand in a sentence: breaks escaped, cut when long."""
    return f"{name!r:.80}"


def wrong(path, name, what):
    """Make the error of a tensor."""
    return FileError(f"{path}: tensor {shown(name)} {what}")


def mapped(path):
    """Map a file into memory: what is not touched is not read, and slices are bytes."""
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise FileError(f"{path} is empty")
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def n_bytes_of(path, name, kind, shape):
    """Return how many bytes a tensor takes, after a look at its shape."""
    n_weights, item = KINDS[kind].n_weights, KINDS[kind].dtype.itemsize
    sides = [max(n, 1) for n in shape]             # (0, 1 << 62) is too much for NumPy, too
    if len(shape) > MOST_DIMENSIONS or prod(sides) >= MOST_WEIGHTS:
        raise wrong(path, name, f"has an impossible shape: {shape!r:.80}")
    row = shape[-1] if shape else 1
    if row % n_weights:
        raise wrong(path, name, f"has rows of {row} weights, which {kind}, in blocks of "
                    f"{n_weights}, cannot hold")
    return prod(shape) // n_weights * item


def tensor_at(data, begin, kind, shape):
    """View a part of a mapped file as a tensor."""
    block = KINDS[kind]
    if block.n_weights > 1:
        shape = (*shape[:-1], shape[-1] // block.n_weights)
    raw = np.frombuffer(data, block.dtype, prod(shape), begin)
    return raw.reshape(shape)
