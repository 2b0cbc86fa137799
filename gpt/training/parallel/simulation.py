"""Play a step of training on ranks that nobody has: a clock for each rank, and messages between.

What a rank does is a generator of actions. `play` lets each go on until it waits for another; what
happens when follows from the actions alone, so the result is always the same.
"""
from typing import NamedTuple

import numpy as np


class Event(NamedTuple):
    """What a rank did for a while, as `World.events` has it."""

    kind: str                      # compute, communicate or wait
    name: str
    began_s: float
    ended_s: float


# ---- actions ----

class Work(NamedTuple):
    """Compute for so long."""

    name: str
    seconds: float


class Send(NamedTuple):
    """Send a message and go on at once; messages of a rank leave one after another."""

    to: int
    name: str
    size: float                    # bytes


class Receive(NamedTuple):
    """Wait for the message of that name from a rank."""

    source: int
    name: str


class Start(NamedTuple):
    """Begin what all ranks of a group do together, and go on at once.

    It begins when the last has come and what the group did before is done.
    """

    name: str
    group: tuple                   # of ranks
    seconds: float
    size: float                    # bytes that each sends


class Finish(NamedTuple):
    """Wait until what was started is done."""

    name: str
    group: tuple


class Player:
    """A rank at play: its clock, what it did, what it sent.

    Parameters
    ----------
    rank : int
    program : iterator of actions
    network : Network
        What its messages go over.
    """

    def __init__(self, rank, program, network):
        self.rank, self.program, self.network = rank, program, network
        self.clock = self.line_free = self.sent_bytes = 0.0
        self.events, self.action = [], next(program, None)

    def go_on(self, arrivals, meetings):
        """Take actions until one has to wait for another rank; return whether any was taken."""
        first = self.action
        while self.action and self.take(self.action, arrivals, meetings):
            self.action = next(self.program, None)
        return self.action is not first

    def take(self, action, arrivals, meetings):
        """Take an action; False if what it waits for is not known yet."""
        if isinstance(action, Work):
            self.go("compute", action.name, self.clock + action.seconds)
        elif isinstance(action, Send):
            self.line_free = max(self.line_free, self.clock) + action.size / self.network.bytes_s
            arrived = self.line_free + self.network.latency_s
            arrivals[self.rank, action.to, action.name] = self.clock, arrived
            self.sent_bytes += action.size
        elif isinstance(action, Receive):
            return self.until(action.name,
                              arrivals.get((action.source, self.rank, action.name)))
        elif isinstance(action, Start):
            meetings.setdefault(action.group, Meetings()).join(action, self.clock)
            self.sent_bytes += action.size
        else:
            return self.until(action.name, meetings[action.group].times.get(action.name))
        return True

    def until(self, name, times):
        """Go on when what goes over the network is over, if it is known when it began and ended.

        It is noted from where it began, which may have been beside what this rank computed.
        """
        if times:
            began, ended = times
            self.go("wait", name, began)
            if ended > began:
                self.events.append(Event("communicate", name, began, ended))
                self.clock = max(self.clock, ended)
        return bool(times)

    def go(self, kind, name, ended):
        """Let time go by, unless it has already."""
        if ended > self.clock:
            self.events.append(Event(kind, name, self.clock, ended))
            self.clock = ended


def spent_s(events, kind):
    """Return how long a rank did something of a kind."""
    return sum(event.ended_s - event.began_s for event in events if event.kind == kind)


class Meetings:
    """What a group of ranks does together, one thing after another."""

    def __init__(self):
        self.free, self.came, self.times = 0.0, {}, {}

    def join(self, action, clock):
        came = self.came.setdefault(action.name, [])
        came.append(clock)
        if len(came) == len(action.group):
            began = max(self.free, *came)
            self.free = began + action.seconds
            self.times[action.name] = began, self.free


def play(programs, networks):
    """Play what ranks do until all are done.

    Parameters
    ----------
    programs : dict of int -> iterator of actions
        By rank.
    networks : dict of int -> Network

    Returns
    -------
    players : dict of int -> Player
        By rank, with `events`, `clock` and `sent_bytes`.

    Raises
    ------
    ValueError
        If ranks wait for each other for ever; it names what for.
    """
    players = {rank: Player(rank, program, networks[rank]) for rank, program in programs.items()}
    arrivals, meetings, moved = {}, {}, True
    while moved:
        moved = False
        for player in players.values():
            moved |= player.go_on(arrivals, meetings)
    stuck = [f"rank {rank} for {player.action.name}" for rank, player in players.items()
             if player.action]
    if stuck:
        raise ValueError(f"ranks wait for ever: {', '.join(stuck)}")
    return players


# ---- failures ----

def lost_to_failures(interval_s, cost_s, mtbf_s, restart_s=0.0, n=4000, seed=0):
    """Play so many failures, and return the share of the time that brought nothing.

    From a failure to the next what counts are whole intervals whose checkpoint was written.
    """
    lasted_s = np.random.default_rng(seed).exponential(mtbf_s, n)                # (n,)
    rounds = np.maximum(lasted_s - restart_s, 0) // (interval_s + cost_s)
    return 1 - interval_s * rounds.sum() / lasted_s.sum()
