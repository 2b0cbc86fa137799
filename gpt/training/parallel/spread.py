"""A tensor of a checkpoint of which each rank has a part: made whole when it is written."""
import math

import numpy as np

from gpt.training.parallel.world import slice_of


class Spread:
    """An array of which each rank has a part, for a checkpoint: whole when its bytes are asked.

    All ranks ask together; `before` is called first.

    Parameters
    ----------
    part : array
        What this rank has; what has no axis is here whole.
    shape : tuple of int
        Of the whole array.
    cuts : list of int
        Between the parts of N ranks, counted from its first element: N + 1, some before it or
        behind its end.
    world : World
    """

    def __init__(self, part, shape, cuts, world):
        self.part, self.shape, self.world = part, shape, world
        self.dtype, self.itemsize = part.dtype, part.itemsize
        self.size = math.prod(shape)
        self.nbytes = self.itemsize * self.size
        self.cuts = np.clip(cuts, 0, self.size).tolist()
        self.mine = slice_of(self.cuts, world.rank)
        self.before = lambda: None

    def tobytes(self):
        """Return the bytes of the whole array."""
        self.before()
        flat = np.empty(self.size, self.dtype)
        n_mine = self.mine.stop - self.mine.start
        flat[self.mine] = self.part.reshape(-1)[:n_mine]
        return self.world.gather(flat, self.cuts).tobytes()

    def take(self, values):
        """Take this rank's part of an array."""
        mine, values = self.part, np.asarray(values)
        if mine.ndim:
            mine, values = mine.reshape(-1), values.reshape(-1)[self.mine]
        mine[...] = values
