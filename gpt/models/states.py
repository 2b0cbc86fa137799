"""What a net of fixed memory remembers of what it has read: always of the same size."""
import math

import numpy as np

from minigrad.kernels import jit
from minigrad.kernels.memory import empty


class States:
    """A few numbers a sequence and layer, in the place of keys and values.

    Each sequence has two rows in every array: it reads one and writes the other, and when that
    counts, they change places. So whatever is computed twice reads the same twice, and a recording
    of it can be replayed for other rows.

    Parameters
    ----------
    widths : sequence of int
        How many numbers each array holds of a sequence.
    B : int
        Sequences.
    dtype : float dtype

    Attributes
    ----------
    rows : (B, 2) int64
        Where each sequence reads, and where it writes.
    """

    capacity, length = math.inf, 0       # positions: there is room for any number, none is taken
    check_room = staticmethod(lambda n: None)

    def __init__(self, widths, B, dtype=np.float32):
        self.arrays = [np.zeros((2 * B, n), dtype) for n in widths]
        self.rows = rows_at(0, B)                                               # (B, 2)

    @property
    def inputs(self):
        """What differs from call to call, as arrays; the first says where it is written."""
        return self.rows,

    def at(self, rows):
        """Return the same memory for other rows."""
        other = object.__new__(States)
        other.arrays, other.rows = self.arrays, rows
        return other

    def read(self, i):
        """Return array i of the state: (B, n)."""
        memory = self.arrays[i]                                                 # (2 B, n)
        out = empty((len(self.rows), memory.shape[1]), memory.dtype)            # (B, n)
        jit.run(take_rows, memory, self.rows, out)
        return out

    def write(self, i, x):
        """Put x, (B, n), where array i of the next state is."""
        jit.run(put_rows, x, self.rows, self.arrays[i])

    def advance(self, ids):
        """Let what was written be the state, of as many sequences as there are ids (B, T)."""
        rows = self.rows[:len(ids)]
        rows[:] = np.flip(rows, axis=1)

    def keep(self, ids):
        """Go back: to the beginning, as nothing of the way is kept; return 0, how many ids are."""
        self.clear()
        return 0

    def begin_as(self, other):
        """Begin each sequence with what another state, of one sequence, has read."""
        for b in range(len(self.rows)):
            self.adopt(b, other)

    def adopt(self, b, other, row=0):
        """Let sequence b go on from what a sequence of another state, or of this, has read."""
        here = self.rows[b, 0]
        there = other.rows[row, 0]
        for mine, theirs in zip(self.arrays, other.arrays):
            mine[here] = theirs[there]

    def take(self, rows):
        """Let each sequence go on from what that of a row, (B,), has read."""
        here = self.rows[:, 0]                                                  # (B,)
        for memory in self.arrays:
            memory[here] = memory[here[rows]]

    def clear(self):
        """Forget everything."""
        for memory in self.arrays:
            memory[...] = 0

    def state_dict(self):
        """Return the arrays by name; the rows follow from the step."""
        return {str(i): memory for i, memory in enumerate(self.arrays)}

    def load_state_dict(self, values):
        for i, memory in enumerate(self.arrays):
            memory[...] = values[str(i)]


def rows_at(step, B):
    """Return where each sequence reads and writes at a step, (B, 2): the other way at the next."""
    rows = np.arange(2 * B).reshape(B, 2)
    return np.ascontiguousarray(rows[:, ::-1]) if step % 2 else rows


def take_rows(memory, rows, out):
    out[...] = memory[rows[:, 0]]                                               # (B, n)


def put_rows(x, rows, out):
    out[rows[:, 1]] = x
