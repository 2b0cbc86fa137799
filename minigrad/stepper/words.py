"""Every step in one sentence: transcript, page and terminal say the same."""
from collections import Counter

from minigrad.stepper.events import OVERWROTE, TAKEN, backward_pass
from minigrad.stepper.numbers import is_short, listed, shape_text, short


def sentence(t, event):
    """Say one event."""
    node = t.nodes[event.node]
    name = label(node)
    if event.kind == "make":
        return f"{name} = {call(t, node)} = {value(t, node)}"
    if event.kind == "start":
        return f"backward starts: d{name}/d{name} = {short(event.g)}"
    if event.kind == "leaf":
        if event.before is None:
            return f"{name}.grad = {short(event.total)}: all its users have sent"
        return (f"{name}.grad = {short(event.before)} + {short(event.g)} = {short(event.total)}: "
                "it held a gradient already")
    silent = "".join(f"; nobody has sent to {label(t.nodes[i])}: 0" for i in event.silent)
    receiver = label(t.nodes[event.to])
    return f"{name} sends {short(event.sent)} to {receiver}: {addition(event)}{silent}"


def addition(event):
    """Say what a contribution does to the sum."""
    if event.did == TAKEN:
        return f"the first, the sum is {short(event.total)}"
    if event.did == OVERWROTE:
        return f"it overwrites {short(event.before)}, the sum is {short(event.total)}"
    return f"{short(event.before)} + {short(event.sent)} = {short(event.total)}"


def label(node):
    """Name a node: its variable, or its op and number."""
    return node.label.removeprefix("%")


def call(t, node):
    """Write the op as it was called: add(a, b)."""
    names = {i: label(t.nodes[i]) for i in node.refs}
    inputs = list(map(constant, node.given(names)))
    params = [f"{k}={constant(v)}" for k, v in node.params.items() if v is not None]
    return f"{node.op.name}({', '.join(inputs + params)})"


def constant(x):
    """Write an argument that is not a tensor."""
    if hasattr(x, "shape") and x.shape:
        return listed(x) if is_short(x) else f"{x.dtype} {shape_text(x.shape)}"
    text = f"{x:.6g}" if isinstance(x, float) else str(x)
    return text if len(text) <= 30 else text[:27] + "..."


def value(t, node):
    """Write the value of a node, or each of its outputs with its name."""
    if not node.several:
        return short(node.made)
    return ", ".join(f"{label(output)} {short(output.made)}" for output in outputs(t, node))


def outputs(t, node):
    """List the nodes of the outputs of an op with several; none for others."""
    first = node.id + 1
    return t.nodes[first:first + len(node.value)] if node.several else []


def backward_of(t, event):
    """Write the gradient of one input: formula, numbers, result."""
    node = t.nodes[event.node]
    name = f"d{node.names[event.place]}" if event.place < len(node.names) else "dx"
    if "; " in event.formula:
        return f"{name}{summed(event)} = {short(event.sent)} from: {event.formula}"
    steps = [name, event.formula, event.with_numbers] + [short(event.sent)] * (not event.raw)
    text = " = ".join(dict.fromkeys(filter(None, steps)))
    return f"{text}{summed(event)} = {short(event.sent)}" if event.raw else text


def summed(event):
    """Say over which axes the copies that broadcasting made are added up."""
    if not event.raw:
        return ""
    stretched, shape = event.raw.shape, event.sent.shape
    extra = len(stretched) - len(shape)
    axes = [str(j) for j, n in enumerate(stretched)
            if j < extra or shape[j - extra] == 1 != n]
    over = f"axis {axes[0]}" if len(axes) == 1 else f"axes {', '.join(axes)}"
    return f", summed over {over} to {shape_text(shape) if shape else 'one number'}"


def waiting(t, step):
    """List the nodes that hold part of their gradient after a step: (id, received, expected)."""
    first, end = backward_pass(t.events, step)
    expected = received_in(t.events[first:end])
    past = t.events[first:step + 1]
    received = received_in(past)
    done = {event.node for event in past if event.kind != "start"}
    waits = [x for x in received if t.nodes[x].maker not in done]
    return [(x, received[x], expected[x]) for x in waits]


def received_in(events):
    """Count the contributions that each node receives."""
    return Counter(event.to for event in events if event.kind == "send")


def transcript(t):
    """Write all steps, numbered, with the source line of every node."""
    lines, part = [], None
    width = len(str(len(t.events)))
    for i, event in enumerate(t.events):
        now = "forward" if event.kind == "make" else "backward"
        if now != part:
            lines.append(f"{now} pass")
            part = now
        lines.append(f"{i + 1:{width}}  {sentence(t, event)}")
        if event.kind == "make":
            place = t.nodes[event.node].place
            lines.append(f"{'':{width}}  {'':4}{place.line}  {place.text}")
        if event.kind == "send":
            lines.append(f"{'':{width}}  {'':4}{backward_of(t, event)}")
    return "\n".join(lines) + "\n"
