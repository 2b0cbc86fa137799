"""Ranks in groups, of which each has a whole copy that it shares out: hybrid sharding.

What is gathered often, weights, stays within a group; between groups go shares of sums alone. A
sum passes through the groups in the order of their ranks, so that it has the same bits as ever:

    group 0    s = r0 + r1  ->
    group 1                     s = (s + r2) + r3  ->
    group 2                                            s = (s + r4) + r5

and comes back the same way. The next bucket follows at once, and no group waits for those behind
it before all are on their way. With S ranks in each of G groups a rank sends psi (S - 1) / S
within its group, as for one group, and 2 (G - 1) / G psi / S to other groups in the mean.

Zhang et al. 2022, MiCS, arXiv:2205.00119, section 3; Zhao et al. 2023, arXiv:2304.11277, 3.2.2.
"""
import numpy as np

from gpt.training.parallel.world import Outbox


class Groups:
    """The group of this rank, and the ranks of other groups that have the same share.

    Parameters
    ----------
    world : World
    size : int
        Ranks of a group: those that follow one another.

    Attributes
    ----------
    mine : World
        The ranks of this group.
    n, number : int
        How many groups there are, and which is this one.
    """

    def __init__(self, world, size):
        self.n = world.size // size
        self.number, place = divmod(world.rank, size)
        ranks = [*range(world.size)]
        first = self.number * size
        near, alike = ranks[first:first + size], ranks[place::size]
        self.mine = world.part(near) if self.n > 1 else world
        self.alike = world.part(alike)
        self.out = Outbox(self.alike)

    @property
    def is_last(self):
        return self.number == self.n - 1

    def add_up(self, x, cuts, out):
        """Write this rank's share of the sum over its group, and those before it, into out.

        Parameters
        ----------
        x : (n,) array
            What this rank adds.
        cuts : list of int
            Between the shares of a group.
        out : (cuts[i + 1] - cuts[i],) array
        """
        known = None
        if self.number:
            known = np.empty_like(out)
            self.alike.receive(known, self.number - 1)
        self.mine.scatter_sum(x, cuts, out, known)
        if not self.is_last:
            self.out.send(out.copy(), self.number + 1)

    def hand_back(self, shares):
        """Let all groups have the sums that the last group has."""
        for share in shares:
            if not self.is_last:
                self.alike.receive(share, self.number + 1)
            if self.number:
                self.out.send(share, self.number - 1)
        self.out.finish()
