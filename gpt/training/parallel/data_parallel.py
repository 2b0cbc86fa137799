"""Data parallel: each rank has the whole net, takes its rows of the batch, and sums gradients.

Every rank draws the whole batch, as it follows from seed and step, and so the others need not be
told of theirs. The gradients that are summed in the order of the ranks are those of one process
with as many micro-batches, to the last bit; so is all that follows from them.

Where all ranks share memory, a step is replayed and its gradients are summed behind it: there
nothing is gained by doing it meanwhile (measured). Between hosts the sum of a bucket begins when
`backprop` has yielded its last leaf, while the layers below are still computed.
"""
import time
from contextlib import contextmanager
from itertools import islice

import numpy as np

from gpt.training.step import OneProcess, loss_of, micro_batches
from minigrad import backprop

BUCKET = 1 << 20           # numbers that are summed at a time: in memory they stay in the cache
BETWEEN_HOSTS = 1 << 18    # the same, while the layers below are computed


class DataParallel(OneProcess):
    """How the work of a step is shared out: each rank takes a part of the rows."""

    summed = "behind the step, as they share memory"

    def described(self):
        hosts = {host: self.world.hosts.count(host) for host in self.world.hosts}
        where = ", ".join(f"{n} on {host}" for host, n in hosts.items())
        yield (f"ranks: {where}; each takes a part of the rows, and gradients are summed "
               f"{self.summed}")
        if self.world.abreast < self.world.size:
            yield (f"slow: there are cores for {self.world.abreast} of {self.world.size} ranks, "
                   "and who waits for others takes one, too: start fewer")
        yield from self.world.watch.described() if self.world.watch else ()

    def rows(self, B):
        return -(-B // self.world.size)

    def goes_on(self):
        self.run.plan, goes_on = self.world.share((self.run.plan, super().goes_on()))
        self.world.pulse.since = time.monotonic() if goes_on else None
        return goes_on

    def stop(self):
        self.world.share((self.run.plan, False))

    def agreed(self, x):
        x, self.world.pulse.since = self.world.share(x), None
        return x

    @contextmanager
    def whole(self):
        self.gather_carried()
        yield
        self.world.meet()

    def gradients(self, batch, n, first=0):
        batch, first = batch.share(self.world.rank, self.world.size)
        loss = super().gradients(batch, n, first)
        is_there = [x.grad is not None for x in self.run.trained]
        loss, found = self.counted(loss, is_there)
        for some in buckets(found):
            self.add_up(some)
        return loss

    def counted(self, loss, is_there):
        """Return the loss of all ranks, and the parameters that have a gradient on any."""
        numbers = np.array([loss, *is_there], np.float64)
        loss, *found = self.world.sum(numbers).tolist()
        return loss, [x for x, n in zip(self.run.trained, found) if n]

    def add_up(self, parameters):
        """Add up the gradients of some parameters over all ranks."""
        flat = Flat(parameters)
        for x, view in flat.views.items():
            np.copyto(view, NOTHING if x.grad is None else x.grad)
        self.world.sum(flat.data)
        for x, view in flat.views.items():
            x.grad = view.copy() if x.grad is None else x.grad
            np.copyto(x.grad, view)

    def gather_carried(self):
        """Let every rank have what all sequences carry from batch to batch."""
        if not self.run.carried:
            return
        N, B = self.world.size, len(self.run.carried.rows)
        size = -(-B // N)
        cuts = [min(i * size, B) for i in range(N + 1)]
        for memory in self.run.carried.arrays:        # (2 B, width): two rows for each sequence
            width = memory.size // B
            self.world.gather(memory.reshape(-1), [cut * width for cut in cuts])


NOTHING = -0.0             # what changes no number, not even 0 or -0, that it is added to


class Flat:
    """Some parameters' gradients in one array."""

    def __init__(self, parameters):
        sizes = [x.size for x in parameters]
        self.data = np.empty(sum(sizes), parameters[0].dtype)
        cuts = np.cumsum([0, *sizes])
        self.views = {}                               # parameter -> its part, in its shape
        for x, start, stop in zip(parameters, cuts, cuts[1:]):
            self.views[x] = self.data[start:stop].reshape(x.shape)


def buckets(parameters, size=BUCKET):
    """Yield lists of parameters, in order, each of so many numbers in all or a little more."""
    some = []
    for x in parameters:
        some.append(x)
        if sum(x.size for x in some) >= size:
            yield some
            some = []
    if some:
        yield some


class Overlapping(DataParallel):
    """Between hosts: what is sent is on its way while the next layers are computed."""

    summed = "while they are computed"

    def renew(self):
        self.loss_of = loss_of(self.run)
        behind = reversed(self.run.trained)           # about as backprop yields them
        self.flats = [Flat(some) for some in buckets(behind, BETWEEN_HOSTS)]

    def gradients(self, batch, n, first=0):
        batch, first = batch.share(self.world.rank, self.world.size)
        parts, loss = [*micro_batches(self.run, batch, first)], 0.0
        sums = Sums(self.world, self.flats)
        for i, (part, rng) in enumerate(parts, 1):
            result = self.loss_of(*part, n, rng=rng)
            loss += result.item()
            for node, g, _ in backprop(result):
                if node.op is None:
                    sums.add(node, g, last=i == len(parts))
        is_there = [x in sums.found for x in self.run.trained]
        sums.finish()
        loss, found = self.counted(loss, is_there)
        found = {*found}
        for flat in self.flats:
            for x, view in flat.views.items():
                x.grad = view if x in found else None
        return loss


class Sums:
    """The gradients of a step, whose buckets are summed one after another as they become whole."""

    def __init__(self, world, flats):
        self.world, self.flats = world, flats
        self.views = {x: view for flat in flats for x, view in flat.views.items()}
        self.missing = [set(flat.views) for flat in flats]
        self.found, self.begun = set(), []

    def add(self, x, g, last):
        """Take in the gradient of a leaf; after the last of its micro-batches it is whole."""
        if x in self.found:
            self.views[x] += g
        else:
            np.copyto(self.views[x], g)
            self.found.add(x)
        if last:
            for missing in self.missing:
                missing.discard(x)
            self.begin()

    def begin(self):
        """Begin the sums of buckets that are whole, always in order, and go on with the others."""
        waiting = zip(self.flats, self.missing)
        for flat, missing in islice(waiting, len(self.begun), None):
            if missing:
                break
            self.begun.append(self.world.begin_sum(flat.data))
        all(sum.look() for sum in self.begun)

    def finish(self):
        """Begin what is left, as far as it goes, and wait for all of them."""
        for x, view in self.views.items():
            if x not in self.found:
                view[...] = NOTHING
        self.missing = [set() for _ in self.flats]
        self.begin()
        with self.world.pulse.resting(), self.world.doing("wait", "gradients"):
            while not all(sum.look() for sum in self.begun):
                pass
