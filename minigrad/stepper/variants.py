"""Wrong on purpose: the same backprop with another order, or another way of adding.

Each variant is a mistake that learners make. All run `minigrad.tensor.backprop` over the recorded
expression; `first_wrong` says where the first number is not what it should be.
"""
from collections import Counter
from itertools import islice
from typing import NamedTuple

from minigrad.stepper.again import replay
from minigrad.stepper.numbers import same, short
from minigrad.stepper.words import label, sentence
from minigrad.tensor import add_gradients, topological_order, traced_inputs

MOST_STEPS = 200                                      # of backprop; recursion may need 2**n


def depth_first(root, leaves=()):
    """Visit a node whenever one of its users is visited, ready or not: naive recursion."""
    yield root
    for x in traced_inputs(root, leaves):
        yield from depth_first(x, leaves)


def assign(so_far, dx, ours=False):
    """Forget the contributions that came before."""
    return dx, False


def add_new(so_far, dx, ours=False):
    """Add without writing into a sum that somebody else may still hold."""
    return add_gradients(so_far and (so_far[0], False), dx)


class Variant(NamedTuple):
    """A way to get backprop wrong."""
    name: str
    title: str
    why: str
    how: dict                                         # what backprop is given in place of its own
    passes: int = 1                                   # backward passes without zeroing in between
    shown: int = 1                                    # how many of the last passes are recorded


VARIANTS = (
    Variant("recursion", "naive recursion, no topological order",
            "A node passes its sum on before all of its users have sent, and again at each later "
            "visit, so what it had passed on already is counted twice.",
            {"order": depth_first, "add": add_new, "take": dict.__getitem__}),
    Variant("assign", "= in place of +=",
            "A tensor that is used twice gets two contributions; the second overwrites the first.",
            {"order": topological_order, "add": assign}),
    Variant("no_zero_grad", "zero_grad forgotten",
            "The gradient of the step before is still in .grad, and this step's is added to it.",
            {}, passes=2),
    Variant("twice", "backward called twice",
            "Both passes add to .grad, so it holds twice the gradient. (The engine refuses unless "
            "the first call says retain_graph=True, because it has freed what the vjps need.)",
            {}, passes=2, shown=2),
)


class Outcome(NamedTuple):
    """What a variant did."""
    variant: Variant
    events: list
    first_wrong: int                                  # place in `events`, -1 if nothing is wrong
    verdict: str


def run(t, variant):
    """Run one variant over the expression of a record."""
    again, root = replay(t)
    note = ""
    for i in range(variant.passes):
        if variant.passes - i == variant.shown:
            again.events.clear()
        steps = again.read(root, t.root_g, retain_graph=True, **variant.how)
        note = take(steps, variant) or note
    events = again.events
    first = first_wrong(events, t.events)
    verdict = "Every number is right here."
    if first >= 0:
        said = sentence(again.record, events[first])
        verdict = f"The first wrong number: {said}. {truth(t, events[first])}"
    return Outcome(variant, list(events), first, verdict + note)


def take(steps, variant):
    """Take the steps of one backward pass, and say what ended it, if not its end."""
    limit = MOST_STEPS if variant.how.get("order") is depth_first else None
    n_steps = 0
    try:
        for node, g, _ in islice(steps, limit):
            n_steps += 1
            if node.op is None and variant.passes > 1:
                node.grad = g if node.grad is None else node.grad + g
    except RecursionError:
        return " Python's recursion limit ended it."
    if n_steps == limit:
        return f" It was stopped after {limit} nodes: each shared node doubles the work."
    return ""


def truth(t, event):
    """Say what the number of an event should have been."""
    x = event.node if event.kind == "leaf" else event.to
    from_leaf = event.kind == "leaf" or t.nodes[x].op is None
    target = right_sums(t.events)[x]
    what = f"{label(t.nodes[x])}.grad" if from_leaf else f"the gradient of {label(t.nodes[x])}"
    return f"When all is added up, {what} should be {short(target)}"


def right_sums(events):
    """Collect the gradient of every node from a right record."""
    return {e.node: e.g for e in events if e.kind != "make"}


def first_wrong(events, right_events):
    """Find the first event after which some sum is wrong for good: used, or left, as it is.

    A sum is wrong if it differs from the node's gradient when the node passes it on, when nothing
    more will come, or when more has come than the node has users.
    """
    right = right_sums(right_events)
    expected = Counter(e.to for e in right_events if e.kind == "send")
    received = Counter()
    for i, event in enumerate(events):
        if event.kind == "start":
            received.clear()
        elif event.kind == "leaf":
            if not same(event.total, right[event.node]):
                return i
        elif event.kind == "send":
            received[event.to] += 1
            final = received[event.to] > expected[event.to] or taken_next(events, i)
            if final and not same(event.total, right[event.to]):
                return i
    return -1


def taken_next(events, i):
    """Whether the receiver of event i acts, or the record ends, before it receives again."""
    x = events[i].to
    for event in events[i + 1:]:
        if event.node == x and event.kind in ("send", "leaf"):
            return True
        if event.to == x:
            return False
    return True
