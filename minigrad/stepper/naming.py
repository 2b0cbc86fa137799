"""What stands at the top of each box of a picture: never the same in two boxes."""
from itertools import count

from minigrad.stepper.layout import paths
from minigrad.stepper.words import label, outputs

NAME = 19                                             # characters that fit into a box


def box_names(t):
    """Name the box of each node, and of each module: ({id: name}, {path: name})."""
    nodes, modules, taken = {}, {}, set()
    for node in t.nodes:
        if node.maker == node.id:
            nodes[node.id] = first_free(wishes(title(t, node)), taken)
    for group in t.groups:
        for path in paths(group):
            if path not in modules:
                modules[path] = first_free(wishes_of_module(path), taken)
    return nodes, modules


def wishes_of_module(path):
    """Yield what the box of a module may be called: its name, with more and more around it."""
    names = path.split(" / ")
    for n in range(1, len(names) + 1):
        yield shortened(" / ".join(names[-n:]))
    yield from wishes(path)


def title(t, node):
    """Name a node by the variable, or the variables of its outputs, and the op if there is room."""
    several = [label(x) for x in outputs(t, node) if not x.unnamed]
    name = ", ".join(several) or label(node)
    kind = node.op.name if node.op else ""
    if not kind or name.startswith(f"{kind}_") or name == kind:
        return name
    both = f"{name} · {kind}"
    return both if len(both) <= NAME else name


def shortened(text, left=9):
    """Leave out the middle of a long name: parameters differ at both ends."""
    if len(text) <= NAME:
        return text
    right = NAME - 1 - left
    return f"{text[:left]}…{text[-right:]}"


def wishes(text):
    """Yield what a box may be called, the best first."""
    yield shortened(text)
    yield shortened(text, left=13)
    for i in count(2):
        tail = f"…{i}"
        yield text[:NAME - len(tail)] + tail


def first_free(names, taken):
    name = next(name for name in names if name not in taken)
    taken.add(name)
    return name
