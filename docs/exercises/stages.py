"""The check of a schedule: what all stages do, played."""
from judge import Wrong, call

from gpt.training.parallel.costs import bubble
from gpt.training.parallel.schedules import (
    BACKWARD, FORWARD, Pass, bubble_share, laid_out, most_alive)


def check_schedule(names):
    for p, m in ((1, 1), (1, 3), (2, 1), (2, 4), (3, 5), (4, 2), (4, 8), (5, 7)):
        given = f"with {p} stages and {m} micro-batches"
        orders = [passes_of(names, stage, p, m) for stage in range(p)]
        for stage, order in enumerate(orders):
            fault = fault_of_passes(order, p - stage, m)
            if fault:
                raise Wrong("schedule", f"{given}, stage {stage}: {fault}")
        waits = waiting(orders, p, m, given)
        least = bubble("1f1b", p, m)
        if waits > least + 1e-9:
            raise Wrong("schedule", f"{given}, a stage waits {waits:.1%} of the time, and "
                        f"{least:.1%} would do", "it could go back sooner, or begin more before")


def passes_of(names, stage, p, m):
    """Return the order of a stage as passes."""
    result = call(names, "schedule", stage, p, m)
    try:
        pairs = [(str(kind), int(i)) for kind, i in result]
    except (TypeError, ValueError):
        raise Wrong("schedule", f"it gives {result!r:.60}, not pairs of a kind and a micro-batch"
                    ) from None
    return [Pass(stage, i, kind) for kind, i in pairs]


def fault_of_passes(order, most, m):
    """Say in words what is wrong with the order of one stage, None for nothing."""
    wanted = {(i, kind) for i in range(m) for kind in (FORWARD, BACKWARD)}
    at = {(each.micro_batch, each.kind): place for place, each in enumerate(order)}
    for i, kind in [*wanted - at.keys(), *at.keys() - wanted]:
        return f"{kind} {i} is {'missing' if (i, kind) in wanted else 'no pass of this batch'}"
    if len(order) > len(at):
        return "a pass stands there twice"
    for i in range(m):
        if at[i, BACKWARD] < at[i, FORWARD]:
            return f"backward {i} comes before forward {i}, whose activations it needs"
    alive = most_alive(order)
    if alive > most:
        return f"it keeps the activations of {alive} micro-batches, and {most} would do"
    return None


def waiting(orders, p, m, given):
    """Return which share of the time stages wait."""
    try:
        timeline = [*laid_out(lambda stage, p, m: orders[stage], p, m)]
    except ValueError as error:
        raise Wrong("schedule", f"{given}, {error}") from None
    return bubble_share(timeline, p)
