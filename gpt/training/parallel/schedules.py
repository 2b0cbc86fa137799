"""In which order a stage of a pipeline takes its passes, and when each would happen.

A net is cut into p stages, a batch into m micro-batches. Each stage takes each micro-batch forward,
when the stage before it has, and back, when the stage behind it has. A schedule is the order in
which one stage does so: a generator of passes, which follows from (stage, p, m) alone.

    1f1b, p = 2, m = 3, a backward pass taking twice as long; a stage waits where there is a dot

    stage 0   F0 F1 .  B0 B0 F2 B1 B1 .  B2 B2
    stage 1   .  F0 B0 B0 F1 B1 B1 F2 B2 B2 .
"""
from collections import defaultdict, deque
from statistics import fmean
from typing import NamedTuple

FORWARD = "forward"
BACKWARD = "backward"              # both of the following
INPUT = "input gradient"           # which the stage before waits for
WEIGHT = "weight gradient"         # which nobody waits for


class Pass(NamedTuple):
    """A stage takes a micro-batch forward or back."""

    stage: int
    micro_batch: int
    kind: str


# ---- schedules: (stage, n_stages, n_micro_batches) -> passes in order ----

def gpipe(stage, n_stages, n_micro_batches):
    """All forward, then all back (Huang et al. 2019, arXiv:1811.06965): m activations are kept."""
    for i in range(n_micro_batches):
        yield Pass(stage, i, FORWARD)
    for i in range(n_micro_batches):
        yield Pass(stage, i, BACKWARD)


def one_forward_one_backward(stage, n_stages, n_micro_batches):
    """Go back as soon as it can be, so that at most p - r activations are kept on stage r.

    Narayanan et al. 2019, PipeDream, SOSP; with a flush, 2021, arXiv:2104.04473, figure 3.
    """
    ahead = min(n_stages - stage, n_micro_batches)
    for i in range(ahead):
        yield Pass(stage, i, FORWARD)
    for i in range(n_micro_batches):
        yield Pass(stage, i, BACKWARD)
        if i + ahead < n_micro_batches:
            yield Pass(stage, i + ahead, FORWARD)


def zero_bubble(stage, n_stages, n_micro_batches):
    """The same, but stage r puts off the gradients of its weights, by r micro-batches: ZB-H1.

    What the stage before waits for comes sooner, and the rest fills the bubble at the end. What is
    kept for the weights makes p micro-batches alive on every stage, as on the first before.

    Qi et al. 2024, arXiv:2401.10241, 2.1.
    """
    ahead = min(n_stages - stage, n_micro_batches)
    for i in range(ahead):
        yield Pass(stage, i, FORWARD)
    for i in range(n_micro_batches):
        yield Pass(stage, i, INPUT)
        if i >= stage:
            yield Pass(stage, i - stage, WEIGHT)
        if i + ahead < n_micro_batches:
            yield Pass(stage, i + ahead, FORWARD)
    for i in range(max(0, n_micro_batches - stage), n_micro_batches):
        yield Pass(stage, i, WEIGHT)


SCHEDULES = {"gpipe": gpipe, "1f1b": one_forward_one_backward, "zero_bubble": zero_bubble}


# ---- when each pass would happen ----

class Timed(NamedTuple):
    """When a pass began and ended, in seconds."""

    each: Pass
    began: float
    ended: float


def alike(each):
    """Return how long a pass takes, where all do but that back, which is two."""
    return 2.0 if each.kind == BACKWARD else 1.0


def needs(each, n_stages):
    """Return what must be done before a pass can begin; a backward pass counts as its INPUT."""
    stage, i, kind = each
    if kind == FORWARD:
        return [Pass(stage - 1, i, FORWARD)] if stage else []
    if kind == WEIGHT:
        return [Pass(stage, i, INPUT)]
    behind = [Pass(stage + 1, i, INPUT)] if stage + 1 < n_stages else []
    return [Pass(stage, i, FORWARD), *behind]


def laid_out(schedule, n_stages, n_micro_batches, seconds=alike, message_s=0.0):
    """Yield when each pass happens on stages that have a clock each: Timed, stage by stage in turn.

    Parameters
    ----------
    schedule : callable
        One of SCHEDULES.
    n_stages, n_micro_batches : int
    seconds : callable
        (Pass) -> how long it takes.
    message_s : float
        How long what a pass has made is under way to another stage.

    Raises
    ------
    ValueError
        If the stages wait for one another for ever.
    """
    orders = [deque(schedule(stage, n_stages, n_micro_batches)) for stage in range(n_stages)]
    free = [0.0] * n_stages                               # when each stage has done what it began
    ended = {}                                            # Pass -> s
    while any(orders):
        before = len(ended)
        for order in orders:
            while order and all(x in ended for x in needs(order[0], n_stages)):
                each = order.popleft()
                arrived = [ended[x] + message_s * (x.stage != each.stage)
                           for x in needs(each, n_stages)]
                began = max([free[each.stage], *arrived])
                free[each.stage] = began + seconds(each)
                ended[done_by(each)] = free[each.stage]
                yield Timed(each, began, free[each.stage])
        if len(ended) == before:
            raise ValueError(f"no stage of {n_stages} can go on: the next pass of each waits for "
                             "one that comes later")


def done_by(each):
    """Return what others wait for of a pass."""
    return each._replace(kind=INPUT) if each.kind == BACKWARD else each


def bubble_share(timeline, n_stages):
    """Return the share of the time, from the first pass to the last, in which stages wait."""
    timeline = list(timeline)
    begun = min(x.began for x in timeline)
    whole = max(x.ended for x in timeline) - begun
    busy = sum(x.ended - x.began for x in timeline)
    return 1 - busy / (n_stages * whole)


def mean_seconds(timeline):
    """Return how long the passes of each stage and kind took in the mean: {(stage, kind): s}."""
    found = defaultdict(list)
    for each, began, ended in timeline:
        found[each.stage, each.kind].append(ended - began)
    return {key: fmean(times) for key, times in found.items()}


def foreseen(timeline, schedule, n_stages, message_s=0.0):
    """Return the bubble of passes that all take as long as those of their stage and kind did.

    Where these are alike on all stages, and messages take no time, it is that of the papers.

    Parameters
    ----------
    timeline : list of Timed
        Of a step that was taken.
    schedule : callable
    n_stages : int
    message_s : float
    """
    took, m = mean_seconds(timeline), 1 + max(x.each.micro_batch for x in timeline)
    seconds = lambda each: took[each.stage, each.kind]
    return bubble_share(laid_out(schedule, n_stages, m, seconds, message_s), n_stages)


def most_alive(passes, until=(BACKWARD, WEIGHT)):
    """Return of how many micro-batches a stage keeps something at a time, at most.

    With `until` (BACKWARD, INPUT): of how many all that the way back needs.
    """
    alive = most = 0
    for each in passes:
        alive += each.kind == FORWARD
        most = max(most, alive)
        alive -= each.kind in until
    return most
