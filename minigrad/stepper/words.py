"""Every step in one sentence: transcript, page and terminal say the same."""
from minigrad.stepper.numbers import is_short, listed, numbers, same, shape_text, short


def sentence(t, event):
    """Say one event."""
    node = t.nodes[event.node]
    name = label(node)
    if event.kind == "make":
        return f"{name} = {call(t, node)} = {value(node)}"
    if event.kind == "start":
        return f"backward starts: d{name}/d{name} = {short(event.g)}"
    if event.kind == "leaf":
        if event.before is None:
            return f"{name}.grad = {short(event.total)}: all its users have sent"
        return (f"{name}.grad = {short(event.before)} + {short(event.g)} = {short(event.total)}: "
                "it held a gradient already")
    return f"{name} sends {short(event.sent)} to {label(t.nodes[event.to])}: {addition(event)}"


def addition(event):
    """Say what a contribution does to the sum."""
    if event.before is None:
        return f"the first, the sum is {short(event.total)}"
    if event.before.norm and same(event.total, event.sent):
        return f"it overwrites {short(event.before)}, the sum is {short(event.total)}"
    return f"{short(event.before)} + {short(event.sent)} = {short(event.total)}"


def label(node):
    """Name a node: its variable, or its op and number."""
    if not node.label.startswith("%"):
        return node.label
    return f"{node.op.name if node.op else 'leaf' if node.requires_grad else 'constant'}_{node.id}"


def call(t, node):
    """Write the op as it was called: add(a, b)."""
    inputs = [label(t.nodes[x.id]) if hasattr(x, "id") else constant(x) for x in node.args]
    params = [f"{k}={constant(v)}" for k, v in node.params.items() if v is not None]
    return f"{node.op.name}({', '.join(inputs + params)})"


def constant(x):
    """Write an argument that is not a tensor."""
    if hasattr(x, "shape") and x.shape:
        return listed(x) if is_short(x) else f"{x.dtype} {shape_text(x.shape)}"
    text = f"{x:.6g}" if isinstance(x, float) else str(x)
    return text if len(text) <= 30 else text[:27] + "..."


def value(node):
    """Write the value of a node; of several outputs, how many."""
    if node.several:
        return f"{len(node.value)} outputs"
    return short(numbers(node.value))


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
    expected, received = {}, {}
    for i, event in enumerate(t.events):
        if event.kind == "start":
            received = {}
        if event.kind == "send":
            expected[event.to] = expected.get(event.to, 0) + 1
            if i <= step:
                received[event.to] = received.get(event.to, 0) + 1
    done = {event.node for event in t.events[:step + 1] if event.kind in ("send", "leaf")}
    return [(x, n, expected[x]) for x, n in received.items() if x not in done]


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
