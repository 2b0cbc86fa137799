"""Nets without numbers: to be counted, or to be filled with the weights of others."""
from typing import NamedTuple

import numpy as np


class NoNumbers(np.random.Generator):
    """In the place of a generator of random weights: they get their shapes and no memory."""

    def __init__(self):
        super().__init__(np.random.PCG64(0))

    def standard_normal(self, shape, dtype):
        return Unfilled(shape, dtype)                 # which `normal` multiplies with its std


class Unfilled(NamedTuple):
    """Weights of a shape, all of which are one number in memory, once they have a size."""

    shape: tuple
    dtype: type

    def __mul__(self, std):
        zero = np.zeros((), self.dtype)
        return np.broadcast_to(zero, self.shape)      # with strides of 0
