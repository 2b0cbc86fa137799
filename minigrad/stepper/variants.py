"""Wrong on purpose: the same backprop with another order, or another way of adding.

Each variant is a mistake that learners make. All run `minigrad.tensor.backprop` over the recorded
expression; `first_wrong` says where the first number is not what it should be.
"""
from collections import Counter
from itertools import islice
from typing import NamedTuple

from minigrad.stepper.again import replay
from minigrad.stepper.events import ADDED, backward_pass
from minigrad.stepper.numbers import same, short
from minigrad.stepper.words import label, sentence
from minigrad.tensor import add_gradients, topological_order, traced_inputs

MOST_STEPS = 200                                      # of backprop, or more than there are nodes


def depth_first(root, leaves=()):
    """Visit a node whenever one of its users is visited, ready or not: naive recursion."""
    yield root
    for x in traced_inputs(root, leaves):
        yield from depth_first(x, leaves)


def assign(so_far, dx, ours=False):
    """Forget the contributions that came before (each output of several has its own)."""
    if so_far and type(dx) is tuple:
        pairs = zip(so_far[0], dx)
        return tuple(a if b is None else b for a, b in pairs), False
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
    stopped, most = "", max(MOST_STEPS, 1 + len(t.nodes))
    for i in range(variant.passes):
        if variant.passes - i == variant.shown:
            again.forget_steps()
        steps = again.read(root, t.root_g, retain_graph=True, **variant.how)
        stopped = take(steps, variant, most) or stopped
    events, right = again.events, t.at_level(t.level)
    first = first_wrong(right, again.record, bool(stopped))
    verdict = "Every number is right here."
    if first >= 0:
        said = sentence(again.record, events[first])
        verdict = f"The first wrong number: {said}. {truth(right, events[first])}."
    verdict += stopped + written(t, right)
    return Outcome(variant, list(events), first, verdict)


def written(t, right):
    """Say so if the expression, computed again, has other gradients than it had."""
    before = right_sums(last_pass(t.events))
    now = right_sums(last_pass(right.events))
    leaves = [i for i in now if t.nodes[i].op is None]
    if all(same(before[i], now[i]) for i in leaves):
        return ""
    return (" An array was written in place while you traced: this is what the expression gives "
            "without that.")


def take(steps, variant, most):
    """Take the steps of one backward pass, and say what ended it, if not its end."""
    limit = most if variant.how.get("order") is depth_first else None
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
    target = right_sums(last_pass(t.events))[x]
    what = f"{label(t.nodes[x])}.grad" if from_leaf else f"the gradient of {label(t.nodes[x])}"
    return f"When all is added up, {what} should be {short(target)}"


# ---- the first wrong number ------------------------------------------------------------------

def last_pass(events):
    """Return the events of the last backward pass."""
    return events[slice(*backward_pass(events, len(events) - 1))]


def right_sums(events):
    """Collect the gradient of every node from a right backward pass."""
    sums = {e.to: e.total for e in events if e.kind == "send"}
    return sums | {e.node: e.g for e in events if e.kind != "make"}


def first_wrong(t, other, stopped=False):
    """Find the first event of `other` after which a sum is wrong for good: used, or left, as is.

    A sum is what was put into it. It can be wrong only if these are not the contributions of the
    right pass, each once, or if something was there before; and it is, if its number is another.
    The outputs of one op are passed on together: there the first that is sent shows the mistake.
    """
    right_pass = last_pass(t.everything)
    right, complete = right_sums(right_pass), contributions(right_pass)
    sums, scales = {}, {}

    def is_wrong(x, number):
        as_it_should = sums.get(x) == complete.get(x)
        return not (as_it_should or same(number, right[x], scales.get(x, 0.0)))

    for i, event in enumerate(other.everything):
        if event.kind == "start":
            sums, scales = {}, {}
        if event.kind == "send":
            put_in(sums, event)
            scales[event.to] = max(scales.get(event.to, 0.0), event.sent.scale)
        if event.kind == "leaf" and event.before is not None:
            sums[event.node] = None                   # not only what this pass put in
        sender, x = event.node, event.to if event.kind == "send" else event.node
        if t.nodes[sender].several and is_wrong(sender, event.g):
            return place_of(event, other)
        final = is_final(other.everything, i, sums, complete, stopped)
        if final and not t.nodes[x].several and is_wrong(x, event.total):
            return place_of(event, other)
    return -1


def place_of(event, other):
    same_event = [shown is event for shown in other.events]
    return same_event.index(True)


def contributions(events):
    """Collect which contributions each node receives: {id: how often each (sender, input)}."""
    sums = {}
    for event in events:
        if event.kind == "send":
            put_in(sums, event)
    return sums


def put_in(sums, event):
    """Do to the sum of a receiver what an event did."""
    if event.did != ADDED:
        sums[event.to] = Counter()
    sums[event.to][event.node, event.place] += 1


def is_final(events, i, sums, complete, stopped):
    """Whether a sum stays as it is after event i until it is used, or has too much in it."""
    event = events[i]
    if event.kind != "send":
        return event.kind == "leaf"
    too_much = sums[event.to] - complete[event.to]
    return bool(too_much) or taken_next(events, i, at_end=not stopped)


def taken_next(events, i, at_end):
    """Whether the receiver of event i acts before it receives again; `at_end` if neither comes."""
    x = events[i].to
    for event in events[i + 1:]:
        if event.node == x and event.kind in ("send", "leaf"):
            return True
        if event.to == x:
            return False
    return at_end
