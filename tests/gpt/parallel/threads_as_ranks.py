"""Ranks that are threads of one process and take turns: what ranks compute, without MPI."""
import threading
from collections import defaultdict

import numpy as np

from gpt.training.parallel.world import Alone, add_in_order, slice_of


class Together:
    """Where ranks meet: each leaves a value, waits for the others, and sees those of all."""

    def __init__(self, size, turn=None):
        self.size, self.values = size, [None] * size
        self.turn, self.barrier = turn or threading.Lock(), threading.Barrier(size, timeout=60)
        self.sent, self.came = defaultdict(list), threading.Condition(self.turn)
        self.parts = {}                                   # ranks -> Together

    def part(self, ranks):
        if ranks not in self.parts:
            self.parts[ranks] = Together(len(ranks), self.turn)
        return self.parts[ranks]

    def post(self, address, x):
        self.sent[address].append(x)
        self.came.notify_all()

    def take(self, address):
        if not self.came.wait_for(lambda: self.sent[address] or self.barrier.broken, timeout=60):
            raise TimeoutError(f"nothing was sent from {address[0]} to {address[1]}")
        if self.barrier.broken:
            raise threading.BrokenBarrierError
        return self.sent[address].pop(0)

    def abort(self):
        self.barrier.abort()
        self.came.notify_all()
        for part in self.parts.values():
            part.abort()

    def meet(self, rank, value):
        self.values[rank] = value
        self.wait()
        seen = list(self.values)
        self.wait()
        return seen

    def wait(self):
        """Let others go on meanwhile: kernels are called by one thread at a time."""
        self.turn.release()
        try:
            self.barrier.wait()
        finally:
            self.turn.acquire()


class Rank(Alone):
    """One of them."""

    def __init__(self, rank, together):
        super().__init__()
        self.rank, self.size, self.together = rank, together.size, together
        self.hosts = ["here"] * self.size

    def sum(self, x):
        self.pulse.sent_bytes += 2 * x.nbytes * (self.size - 1) // self.size
        add_in_order(self.collect(x.copy()), x)
        return x

    def scatter_sum(self, x, cuts, out, known=None):
        mine = slice_of(cuts, self.rank)
        self.pulse.sent_bytes += x.nbytes - x[mine].nbytes
        parts = [each[mine] for each in self.collect(x.copy())]
        add_in_order(parts, out, known)
        return out

    def gather(self, x, cuts):
        mine = x[slice_of(cuts, self.rank)].copy()
        self.pulse.sent_bytes += mine.nbytes * (self.size - 1)
        np.concatenate(self.collect(mine), out=x)
        return x

    def send(self, x, to, tag=0):
        self.pulse.sent_bytes += x.nbytes
        self.together.post((self.rank, to, tag), x.copy())
        return Sent()

    def receive(self, out, source, tag=0):
        out[...] = self.together.take((source, self.rank, tag))
        return out

    def part(self, ranks):
        some = Rank(ranks.index(self.rank), self.together.part(tuple(ranks)))
        some.pulse = self.pulse
        return some

    def share(self, value, root=0):
        return self.collect(value)[root]

    def meet(self):
        self.collect(None)

    def collect(self, value):
        return self.together.meet(self.rank, value)


class Sent:
    """A message that needs no more attention."""

    def wait(self):
        pass


def on_ranks(size, function):
    """Call function(world) on ranks; return what each of them returned, or raise what one raised.
    """
    together, found, errors = Together(size), [None] * size, []

    def of_rank(rank):
        with together.turn:
            try:
                found[rank] = function(Rank(rank, together))
            except threading.BrokenBarrierError:          # another rank raised
                pass
            except BaseException as error:
                errors.append(error)
                together.abort()
    threads = [threading.Thread(target=of_rank, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return found
