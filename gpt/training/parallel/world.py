"""The processes that train together, and what they say to each other, over MPI.

`Alone` is one process without others: the same methods, and nothing is imported. What takes part
in a run asks its world and never MPI: here alone it is imported.

Sums are made in the order of the ranks, ((r0 + r1) + r2) + ..., so that they have the same bits
everywhere and are those of one process that adds the same parts one after another. MPI's own
Allreduce fixes no order.
"""
import itertools
import os
import threading
import time
import warnings
from contextlib import contextmanager

import numpy as np

MEANWHILE = "sum, meanwhile"   # what is noted of a sum that goes on beside other things
ARRIVE_S = 0.3             # for what was said to arrive where mpiexec is
ABORT_S = 2                # for MPI to end all, or this process ends alone
LONGEST_PAUSE_S = 0.02     # between two looks of who waits for others that do something long


class Pulse:
    """What a rank is at, in its world and in all parts of it.

    Attributes
    ----------
    since : float or None
        When it began to work on its own inside of a step; None while it waits for others.
    sent_bytes, events
        As `Alone` has them.
    """

    since = events = None
    sent_bytes = 0

    def busy_s(self):
        since = self.since
        return 0.0 if since is None else time.monotonic() - since

    @contextmanager
    def resting(self):
        """Inside the block others are waited for."""
        before, self.since = self.since, None
        yield
        self.since = before and time.monotonic()


class Alone:
    """A world of one.

    Attributes
    ----------
    rank, size : int
    abreast : int
        How many ranks there are cores for at the same time.
    hosts : list of str
        Of each rank. Ranks that do not share memory have different ones.
    sent_bytes : int
        What this rank has sent to others so far.
    events : list of (kind, name, began_s, ended_s), or None
        What it did, where somebody wants to know: kind is compute, communicate or wait.
    pulse : Pulse
        Which whoever watches this rank reads.
    watch : Watch or None
        Of the ranks of a run.
    """

    rank, size, abreast, watch = 0, 1, 1, None

    def __init__(self):
        self.hosts, self.pulse = ["here"], Pulse()

    @property
    def sent_bytes(self):
        return self.pulse.sent_bytes

    @property
    def events(self):
        return self.pulse.events

    @events.setter
    def events(self, events):
        self.pulse.events = events

    def sum(self, x):
        """Add up an array over all ranks, in place, and return it."""
        return x

    def begin_sum(self, x):
        """Begin to add up a flat array, in place: `look()` at what is returned until it is true."""
        self.sum(x)
        return Done()

    def scatter_sum(self, x, cuts, out, known=None):
        """Write the sum over all ranks of x[cuts[rank]:cuts[rank + 1]] into out; x is flat.

        What is known of the sum, an array like out, comes before that of the first rank.
        """
        add_in_order([x[cuts[0]:cuts[1]]], out, known)
        return out

    def gather(self, x, cuts):
        """Fill all of x, flat, of which each rank has filled x[cuts[rank]:cuts[rank + 1]]."""
        return x

    def share(self, value, root=0):
        """Return what one rank has, any Python object, on all of them."""
        return value

    def collect(self, value):
        """Return what each rank has, any Python objects, on all of them: a list."""
        return [value]

    def by_rows(self, n, compute, piece):
        """Return what compute(rows) returns of all n rows: arrays, of which each rank makes some.

        Parameters
        ----------
        n : int
        compute : callable
            From a slice of the rows to arrays with as many rows.
        piece : int
            So many rows are computed at a time, however many ranks there are: so are the bits.
        """
        pieces = [slice(i, min(i + piece, n)) for i in range(0, n, piece)]
        mine = pieces[slice_of(even_cuts(len(pieces), self.size), self.rank)]
        found = []
        for some in self.collect([*map(compute, mine)]):
            found += some
        return tuple(map(np.concatenate, zip(*found)))

    def part(self, ranks):
        """Return the world of some of the ranks, which all of these call and no others."""
        return self

    def meet(self):
        """Wait for all others, however long they take, and leave them the processor meanwhile."""

    @contextmanager
    def doing(self, kind, name):
        """Note what the block does and how long it takes, if somebody wants to know."""
        began = time.perf_counter()
        yield
        self.note(kind, name, began)

    def note(self, kind, name, began):
        """Note what began then and ends now, if somebody wants to know."""
        if self.events is not None:
            self.events.append((kind, name, began, time.perf_counter()))


all_rows = Alone().by_rows         # where one process makes them


class World(Alone):
    """The processes that mpiexec has started; arrays are C-contiguous, of any dtype."""

    def __init__(self, comm):
        super().__init__()
        self.comm, self.rank, self.size = comm, comm.Get_rank(), comm.Get_size()
        self.abreast = self.size
        self.second = comm.Dup()       # of sums meanwhile: no message is taken for another's
        self.tags = itertools.cycle(range(1 << 15))       # MPI has so many at least
        self.hosts = hosts_of(comm)

    def sum(self, x):
        flat = x.reshape(-1)
        cuts = even_cuts(flat.size, self.size)
        self.scatter_sum(flat, cuts, flat[slice_of(cuts, self.rank)])
        self.gather(flat, cuts)
        return x

    def scatter_sum(self, x, cuts, out, known=None):
        parts = np.empty((self.size, out.size), x.dtype)          # (N, mine): one from each rank
        sizes = np.diff(cuts) * x.itemsize
        self.pulse.sent_bytes += int(x.nbytes - sizes[self.rank])
        with self.talking("scatter_sum"):
            self.comm.Alltoallv([as_bytes(x), sizes], [as_bytes(parts), [out.nbytes] * self.size])
        add_in_order(parts, out, known)
        return out

    def gather(self, x, cuts):
        sizes = np.diff(cuts) * x.itemsize
        mine = x[slice_of(cuts, self.rank)].copy()
        self.pulse.sent_bytes += mine.nbytes * (self.size - 1)
        with self.talking("gather"):
            # Allgatherv takes 2 to 30 times as long (MPICH 5.0, measured).
            self.comm.Iallgatherv(as_bytes(mine), [as_bytes(x), sizes]).Wait()
        return x

    def begin_sum(self, x):
        return Sum(self, x)

    def share(self, value, root=0):
        with self.pulse.resting():
            return self.comm.bcast(value, root)

    def collect(self, value):
        with self.pulse.resting():
            return self.comm.allgather(value)

    def send(self, x, to, tag=0):
        """Begin to send an array; it stays as it is until the request that is returned is done:
        `request.wait()`."""
        self.pulse.sent_bytes += x.nbytes
        return self.comm.Isend(as_bytes(x), to, tag)

    def receive(self, out, source, tag=0):
        """Wait for an array, fill `out` with it, and return it."""
        if self.events is not None:
            with self.pulse.resting(), self.doing("wait", f"from {source}"):
                self.comm.Probe(source, tag)
        with self.pulse.resting(), self.doing("communicate", f"from {source}"):
            self.comm.Recv(as_bytes(out), source, tag)
        return out

    def meet(self):
        request, pause_s = self.comm.Ibarrier(), 1e-5
        while not request.Test():
            time.sleep(pause_s)
            pause_s = min(1.5 * pause_s, LONGEST_PAUSE_S)

    def abort(self, status):
        """End all processes on all hosts, and let MPI say nothing; it drops what is on its way."""
        time.sleep(ARRIVE_S)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        late = threading.Timer(ABORT_S, os._exit, [status])
        late.daemon = True
        late.start()
        self.comm.Abort(status)

    def part(self, ranks):
        some = World(self.comm.Create_group(self.comm.Get_group().Incl(ranks)))
        some.pulse = self.pulse
        return some

    @contextmanager
    def talking(self, name):
        """Note what all ranks do together: first how long the others are waited for."""
        with self.pulse.resting():
            if self.events is not None:
                with self.doing("wait", name):
                    self.comm.Barrier()
            with self.doing("communicate", name):
                yield


class Done:
    """A sum that is done at once."""

    def look(self):
        return True


class Sum:
    """A sum over all ranks that is under way, and goes on whenever somebody looks at it.

    All ranks begin their sums in the same order. Parts are messages from rank to rank: these are
    under way while nobody looks, where MPI's own Ialltoallv sends a piece at each look (18 sums
    over 1 Gbit/s with a look every 3 ms: 0.10 s, and 4.4; measured with MPICH 5.0).
    """

    def __init__(self, world, x):
        self.world, self.x, self.tag = world, x, next(world.tags)
        self.began = time.perf_counter()
        cuts = even_cuts(x.size, world.size)
        self.shares = [x[slice_of(cuts, rank)] for rank in range(world.size)]
        self.out = self.shares[world.rank]
        self.parts = np.empty((world.size, self.out.size), x.dtype)   # (N, mine); None once added
        self.parts[world.rank] = self.out
        self.requests = self.exchange(self.shares, self.parts)

    def look(self):
        """Go on if the others have, and return whether it is done."""
        if self.requests and all(request.Test() for request in self.requests):
            self.requests = [] if self.parts is None else self.gather()
            if not self.requests:
                self.world.note("communicate", MEANWHILE, self.began)
        return not self.requests

    def gather(self):
        """Add up what has come, and begin to send it round."""
        add_in_order(self.parts, self.out)
        self.parts = None
        return self.exchange([self.out] * self.world.size, self.shares)

    def exchange(self, sent, received):
        """Begin to send each other rank one array, and to receive one."""
        comm, requests = self.world.second, []
        for rank, (x, out) in enumerate(zip(sent, received)):
            if rank != self.world.rank:
                self.world.pulse.sent_bytes += x.nbytes
                requests += [comm.Irecv(as_bytes(out), rank, self.tag),
                             comm.Isend(as_bytes(x), rank, self.tag)]
        return requests


class Outbox:
    """What is on its way to other ranks, and stays as it is until it has arrived."""

    def __init__(self, world):
        self.world, self.sent = world, []

    def send(self, x, to, tag=0):
        x = np.ascontiguousarray(x)
        self.sent.append((self.world.send(x, to, tag), x))

    def finish(self):
        """Wait until all has arrived."""
        with self.world.pulse.resting():
            for request, _ in self.sent:
                request.wait()
        self.sent = []


def as_bytes(x):
    """View an array as bytes, which MPI carries whatever they mean."""
    return x.reshape(-1).view(np.uint8)


def add_in_order(parts, out, known=None):
    """Write the sum of the rows of (N, n) into out, (n,), the first row first or behind `known`."""
    np.copyto(out, parts[0] if known is None else known + parts[0])
    for part in parts[1:]:
        out += part


def even_cuts(n, shares):
    """Return where to cut n things into shares that differ by one at most.

    >>> even_cuts(10, 4)
    [0, 2, 5, 7, 10]
    """
    return [n * i // shares for i in range(shares + 1)]


def slice_of(cuts, rank):
    return slice(cuts[rank], cuts[rank + 1])


def hosts_of(comm):
    """Return the host of each rank; of a name that several have, with the first of its ranks."""
    from mpi4py import MPI
    near = comm.Split_type(MPI.COMM_TYPE_SHARED)
    first = near.bcast(comm.Get_rank())
    near.Free()
    found = comm.allgather((MPI.Get_processor_name(), first))
    firsts = {}
    for name, first in found:
        firsts.setdefault(name, set()).add(first)
    return [f"{name}/{first}" if len(firsts[name]) > 1 else name for name, first in found]


def joined():
    """Return the world of all processes that mpiexec has started with this one."""
    with warnings.catch_warnings():                   # what is suspicious is told in our words
        warnings.simplefilter("ignore")
        from mpi4py import MPI
    return World(MPI.COMM_WORLD)


def library():
    """Return the name and version of the MPI that is spoken here."""
    from mpi4py import MPI
    return MPI.Get_library_version().split("\n")[0].strip("\0 ")
