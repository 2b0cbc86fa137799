"""What is to be trained on how many ranks, and what each of them does in a step, to be played."""
from typing import NamedTuple

from gpt.settings import ConfigError
from gpt.training.parallel import costs
from gpt.training.parallel.costs import FLOAT32, Network, Widths
from gpt.training.parallel.schedules import (
    BACKWARD, FORWARD, INPUT, SCHEDULES, WEIGHT, most_alive)
from gpt.training.parallel.simulation import (
    Finish, Receive, Send, Start, Work, play, spent_s)


class Size(NamedTuple):
    """A net, as far as it matters here."""

    name: str
    parameters: float
    n_layer: int
    d_model: int
    flops_per_token: float         # forward and backward


class Job(NamedTuple):
    """Training on ranks: copies of the net, each cut into stages; the ranks of a copy in a row."""

    size: Size
    ranks: int
    batch_tokens: float            # of a step, over all ranks
    flops: float                   # that a rank does in a second
    network: Network
    stages: int = 1
    pipeline: str = "1f1b"
    micro_batches: int = 1
    zero: int = 0
    overlap: bool = False          # sums go on while the rest of the backward pass is computed
    served_s: float = 0.0          # by the processor for a byte that is sent while it computes
    update_s: float = 0.0          # of the optimizer, for all parameters of a stage
    widths: Widths = FLOAT32
    stragglers: dict = {}          # rank -> by which factor it is slower
    slow_links: dict = {}          # rank -> bytes a second

    @property
    def copies(self):
        return self.ranks // self.stages

    @property
    def micro_tokens(self):
        return self.batch_tokens / self.copies / self.micro_batches

    @property
    def layers(self):
        """Of a stage."""
        return max(1, round(self.size.n_layer / self.stages))

    @property
    def psi(self):
        """Parameters of a stage."""
        return self.size.parameters / self.stages

    @property
    def needed_s(self):
        """How long a step would take if all ranks did nothing but compute."""
        return self.batch_tokens * self.size.flops_per_token / self.flops / self.ranks

    def pass_s(self, rank):
        """Return how long a rank takes for the forward pass of a micro-batch.

        The gradient of the inputs takes as long, and that of the weights.
        """
        flops = self.micro_tokens * self.size.flops_per_token / self.stages / 3
        return flops / self.flops * self.stragglers.get(rank, 1)

    def link(self, rank):
        rate = self.slow_links.get(rank, self.network.bytes_s)
        return Network(rate, self.network.latency_s)

    def half_bytes(self):
        """Return what a rank sends in a reduce-scatter of all its gradients, or in a gather."""
        return costs.reduce_scatter(self.widths.gradient * self.psi, self.copies)

    def message_bytes(self):
        """Return the size of what a stage hands to the next for a micro-batch."""
        return self.widths.gradient * self.micro_tokens * self.size.d_model

    def passes(self, stage):
        schedule = SCHEDULES[self.pipeline]
        return schedule(stage, self.stages, self.micro_batches)

    def most_alive(self):
        """Return of how many micro-batches a stage has activations, at most."""
        return max(most_alive(self.passes(stage)) for stage in range(self.stages))

    def kinds(self):
        """Return the copies that are alike: of each kind a list."""
        found = {}
        for copy in range(self.copies):
            ranks = range(copy * self.stages, (copy + 1) * self.stages)
            key = tuple((self.stragglers.get(r, 1), self.slow_links.get(r)) for r in ranks)
            found.setdefault(key, []).append(copy)
        return [*found.values()]


def check(job):
    """Refuse a job that nobody could run.

    Raises
    ------
    ConfigError
        That names the value and the remedy.
    """
    if job.ranks % job.stages:
        raise ConfigError(f"ranks is {job.ranks}, which {job.stages} stages cannot share: use "
                          f"{-(-job.ranks // job.stages) * job.stages}")
    if job.stages > job.size.n_layer:
        raise ConfigError(f"stages is {job.stages}, but the net has {job.size.n_layer} layers: "
                          "use fewer")
    if job.micro_tokens < 1:
        least = job.copies * job.micro_batches
        raise ConfigError(f"batch_tokens is {job.batch_tokens:g}, too few for {job.copies} copies "
                          f"with {job.micro_batches} micro-batches each: use {least} or more")
    for name, ranks in (("straggler", job.stragglers), ("slow_link", job.slow_links)):
        for rank in ranks:
            if not 0 <= rank < job.ranks:
                raise ConfigError(f"{name} names rank {rank}, but ranks go from 0 to "
                                  f"{job.ranks - 1}")


# ---- what a rank does ----

class Rank:
    """What one rank of a job does in a step.

    Parameters
    ----------
    job : Job
    rank : int
    group : tuple of int
        The ranks that hold the same stage of other copies, this one included: one of each kind.
    """

    def __init__(self, job, rank, group):
        self.job, self.rank, self.group = job, rank, group
        self.stage = rank % job.stages
        self.pass_s = job.pass_s(rank)
        self.is_split = job.copies > 1 and (job.overlap or job.zero >= 2)
        slowest = min(job.link(r).bytes_s for r in group)
        self.ring = Network(slowest, job.network.latency_s)
        self.begun = []            # what goes on beside the backward pass
        self.owed_s = 0.0          # to what was begun, by what is computed next

    def program(self):
        """Yield the actions of a step."""
        for each in self.job.passes(self.stage):
            takes = getattr(self, each.kind.replace(" ", "_"))
            yield from takes(each.micro_batch)
        for name in self.begun:
            yield Finish(name, self.group)
        yield from self.end()

    def forward(self, i):
        if self.stage:
            yield Receive(self.rank - 1, f"{FORWARD} {i}")
        yield from self.layers(f"{FORWARD} {i}", 1)
        if self.stage < self.job.stages - 1:
            yield Send(self.rank + 1, f"{FORWARD} {i}", self.job.message_bytes())

    def input_gradient(self, i):
        yield from self.way_back(INPUT, i, 1)

    def backward(self, i):
        yield from self.way_back(BACKWARD, i, 2, self.sums_after(i))

    def way_back(self, kind, i, n_passes, sums=False):
        if self.stage < self.job.stages - 1:
            yield Receive(self.rank + 1, f"{kind} {i}")
        yield from self.layers(f"{kind} {i}", n_passes, sums)
        if self.stage:
            yield Send(self.rank - 1, f"{kind} {i}", self.job.message_bytes())

    def weight_gradient(self, i):
        yield from self.layers(f"{WEIGHT} {i}", 1, self.sums_after(i), gathers=False)

    def sums_after(self, i):
        """Whether gradients are summed while those of this micro-batch are computed."""
        return self.job.zero >= 2 or i == self.job.micro_batches - 1

    def layers(self, name, n_passes, sums=False, gathers=True):
        """Compute layer by layer where something is sent between; else all at once."""
        job = self.job
        gathers = gathers and job.zero == 3 and job.copies > 1
        n = job.layers if gathers or (sums and self.is_split) else 1
        half = job.half_bytes() / n
        for k in range(n):
            if gathers:
                yield from self.gathered(name, k, n, half)
            yield Work(name, n_passes * self.pass_s / n + self.owed_s)
            self.owed_s = 0.0
            if sums and self.is_split:
                yield self.meet(f"sum {name}.{k}", half, 1 if job.zero else 2)
                self.begun.append(f"sum {name}.{k}")
                if not job.overlap:
                    yield Finish(self.begun.pop(), self.group)

    def gathered(self, name, k, n, half):
        """Have the weights of a layer; with overlap those of the next are on their way."""
        ahead = (k, k + 1) if k == 0 else (k + 1,)
        for j in ahead if self.job.overlap else (k,):
            if j < n:
                yield self.meet(f"gather {name}.{j}", half)
        yield Finish(f"gather {name}.{k}", self.group)

    def meet(self, name, half, n_times=1):
        seconds = n_times * self.ring.ring_s(half, self.job.copies)
        if self.job.overlap:
            self.owed_s += self.job.served_s * n_times * half
        return Start(name, self.group, seconds, n_times * half)

    def end(self):
        """Sum what is not summed yet, update; where that was done in shares, gather weights."""
        job, half = self.job, self.job.half_bytes()
        if job.copies > 1 and not self.is_split:
            yield self.meet("sum", half, 1 if job.zero else 2)
            yield Finish("sum", self.group)
        yield Work("update", job.update_s / (job.copies if job.zero else 1))
        if job.copies > 1 and job.zero in (1, 2):
            yield self.meet("gather", half)
            yield Finish("gather", self.group)


def played(job):
    """Play a step of a job, one copy of each kind: `Played`."""
    check(job)
    kinds = job.kinds()
    ranks = [[kind[0] * job.stages + stage for kind in kinds] for stage in range(job.stages)]
    programs = {rank: Rank(job, rank, tuple(group)).program() for group in ranks
                for rank in group}
    players = play(programs, {rank: job.link(rank) for rank in programs})
    alike = {kind[0] * job.stages + stage: len(kind) for kind in kinds
             for stage in range(job.stages)}
    return Played(job, players, alike)


class Played(NamedTuple):
    """A step of a job that was played."""

    job: Job
    players: dict                  # rank -> Player: one of each kind
    alike: dict                    # rank -> how many do the same

    @property
    def step_s(self):
        return max(player.clock for player in self.players.values())

    @property
    def tokens_s(self):
        return self.job.batch_tokens / self.step_s

    @property
    def efficiency(self):
        """Which share of the arithmetic of all ranks is used."""
        return self.job.needed_s / self.step_s

    @property
    def bubble(self):
        """Return the share of the time until the last pass ends in which a rank computes not."""
        over_s = max(last_s(player.events) for player in self.players.values())
        busy_s = sum(self.alike[rank] * spent_s(player.events, "compute")
                     for rank, player in self.players.items())
        return 1 - busy_s / self.job.ranks / over_s

    @property
    def sent_bytes(self):
        """Of the rank that sends most."""
        return max(player.sent_bytes for player in self.players.values())

    @property
    def memory_bytes(self):
        """Return (weights, gradients and state; activations) of the rank that needs most."""
        job = self.job
        states = costs.state_bytes(job.psi, job.copies, job.zero, job.widths)
        numbers = costs.activation_numbers(job.micro_tokens, job.layers, job.size.d_model)
        return states, job.most_alive() * numbers * job.widths.gradient


def last_s(events):
    """Return when the last pass ended."""
    return max(event.ended_s for event in events if event.kind == "compute")
