"""Ranks that are threads of one process and take turns: what ranks compute, without MPI."""
import threading

import numpy as np

from gpt.training.parallel.world import Alone, add_in_order, slice_of


class Together:
    """Where ranks meet: each leaves a value, waits for the others, and sees those of all."""

    def __init__(self, size):
        self.size, self.values = size, [None] * size
        self.barrier, self.turn = threading.Barrier(size, timeout=60), threading.Lock()

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
        add_in_order(self.collect(x.copy()), x)
        return x

    def scatter_sum(self, x, cuts, out):
        mine = slice_of(cuts, self.rank)
        self.pulse.sent_bytes += x.nbytes - x[mine].nbytes
        parts = [each[mine] for each in self.collect(x.copy())]
        add_in_order(parts, out)
        return out

    def gather(self, x, cuts):
        mine = x[slice_of(cuts, self.rank)].copy()
        self.pulse.sent_bytes += mine.nbytes * (self.size - 1)
        np.concatenate(self.collect(mine), out=x)
        return x

    def share(self, value, root=0):
        return self.collect(value)[root]

    def meet(self):
        self.collect(None)

    def collect(self, value):
        return self.together.meet(self.rank, value)


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
                together.barrier.abort()
    threads = [threading.Thread(target=of_rank, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return found
