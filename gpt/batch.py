"""The one record that travels: what a step learns from, what a net reads."""
from typing import NamedTuple

import numpy as np

IGNORE = -100      # a target that does not count; the same number as in torch

# What stands behind a sequence, in the arrays that have an axis of places.
FILLERS = {"ids": 0, "targets": IGNORE, "weights": 0,
           "teacher": 0, "teacher_ids": IGNORE}


class Batch(NamedTuple):
    """Arrays alone: so it can be cut by rows, sent to another process and replayed.

    Shapes: B sequences, T tokens, S tokens of a source, K likeliest tokens of a teacher.
    """

    ids: np.ndarray                            # (B, T) int: what the net reads, padded with 0
    targets: np.ndarray | None = None          # (B, T), or (B,) or (B, n): IGNORE asks nothing
    lengths: np.ndarray | None = None          # (B,) how many ids are real; None for all
    source: np.ndarray | None = None           # (B, S) what an encoder reads
    source_lengths: np.ndarray | None = None   # (B,)
    segments: np.ndarray | None = None         # (B, T) which sentence, or packed document
    teacher: np.ndarray | None = None          # (B, T, K) log-probabilities by another model
    teacher_ids: np.ndarray | None = None      # (B, T, K) of which tokens
    weights: np.ndarray | None = None          # (B, T) what each target counts
    rewards: np.ndarray | None = None          # (B,) what each answer was given
    rows: np.ndarray | None = None             # (B, 2) where a carried state is read, and written
    together: np.ndarray | None = None         # () how many rows are never cut apart: pairs, groups

    @property
    def n_targets(self):
        """How many targets count."""
        return int(np.count_nonzero(self.targets != IGNORE))

    def widened(self, T):
        """Pad the sequences behind to T tokens, which takes as much to compute as any."""
        missing = max(0, T - self.ids.shape[1])
        padded = {}
        for name, filler in FILLERS.items():
            x = getattr(self, name)
            if np.ndim(x) > 1:
                more = [(0, 0)] * x.ndim
                more[1] = 0, missing
                padded[name] = np.pad(x, more, constant_values=filler)
        return self._replace(**padded)

    @property
    def width(self):
        """How many tokens stand side by side: T, or S where a source has more."""
        return max(x.shape[1] for x in (self.ids, self.source) if x is not None)

    def parts(self, size):
        """Cut the rows into batches of at most `size`, groups that belong together staying so."""
        size = max(self.group, size - size % self.group)
        for start in range(0, len(self.ids), size):
            yield self.cut(slice(start, start + size))

    def share(self, i, n):
        """Return part i of n that are as large as can be, the last ones smaller or without rows;
        and the number of its first row.

        They are the `parts` of the size of the first.
        """
        n_groups = len(self.ids) // self.group
        size = self.group * -(-n_groups // n)
        first = i * size
        return self.cut(slice(first, first + size)), first

    def cut(self, rows):
        """Return the batch of a slice of the rows."""
        return Batch(*(x if x is None or np.ndim(x) == 0 else x[rows] for x in self))

    @property
    def group(self):
        """How many rows are never cut apart."""
        return 1 if self.together is None else int(self.together)


class Held:
    """A batch that is learnt from more than once, as a checkpoint keeps it."""

    batch = None

    def state_dict(self):
        known = self.batch._asdict() if self.batch else {}
        found = {}
        for name, x in known.items():
            if x is not None:
                found[name] = np.asarray(x)
        return found

    def load_state_dict(self, values):
        arrays = {name: np.array(x) for name, x in values.items()}
        self.batch = Batch(**arrays) if arrays else None
