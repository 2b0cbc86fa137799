"""What every rank does in one step of a run, noted by each on its own clock."""
import time
from typing import NamedTuple

from gpt.training.memory import used_bytes
from gpt.training.parallel.world import MEANWHILE
from gpt.training.step import train_steps


class Noted(NamedTuple):
    """What a rank did in a step."""

    host: str
    events: list                   # of (kind, name, began_s, ended_s) since the ranks met
    step_s: float
    sent_bytes: int
    memory_bytes: int              # of its process


def steps_noted(run, number, tell=None):
    """Take the steps of a run on all ranks; in that of the given number each notes what it does.

    Parameters
    ----------
    run : Run
    number : int or None
        As the records count: the first step is 1.
    tell : callable, optional
        Is given a list of Noted, one of each rank.

    Yields
    ------
    StepRecord
    """
    steps, world = train_steps(run), run.way.world
    while True:
        if run.step + 1 == number:
            world.meet()
            world.events, sent, began = [], world.sent_bytes, time.perf_counter()
        record = next(steps, None)
        if record is None:
            return
        if run.step == number:
            noted = world.collect(taken(world, began, world.sent_bytes - sent))
            world.events = None
            if tell:
                tell(noted)
        yield record


def taken(world, began, sent):
    """Return what this rank noted: times count from where all ranks met, whatever its clock."""
    step_s = time.perf_counter() - began
    events = [(kind, name, start - began, end - began) for kind, name, start, end in world.events]
    return Noted(world.hosts[world.rank], filled(events, step_s), step_s, sent,
                 used_bytes())


def filled(events, step_s):
    """Add what was done between: where a rank neither waits nor sends, it computes."""
    found, reached = [], 0.0
    for event in sorted(events, key=lambda event: event[2]):
        kind, name, began, ended = event
        found.append(event)
        if name != MEANWHILE:
            found.append(("compute", "compute", reached, began))
            reached = max(reached, ended)
    found.append(("compute", "compute", reached, step_s))
    return [event for event in found if event[3] > event[2]]
