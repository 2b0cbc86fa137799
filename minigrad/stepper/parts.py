"""What a computation is made of and what each part costs, as a tree in text."""
from minigrad.stepper.cost import of_modules
from minigrad.stepper.layout import paths, told_once
from minigrad.stepper.numbers import shape_text
from minigrad.stepper.words import label, outputs

HEAD = "part", "shape", "parameters", "FLOP", "backward", "bytes kept"
WIDE = 36                                             # characters of the first column
UNITS = "", "k", "M", "G", "T"


def tree(t):
    """Write the parts of a record, a line each, in the order in which they are used.

    Shapes are those of what comes out. Of modules that are alike the first one is opened.
    """
    lines = [line(*HEAD)]
    for depth, name, shape, cost in rows(t):
        indented = "  " * depth + name
        lines.append(line(indented, shape, *map(short, cost)))
    return "\n".join(lines)


def line(name, shape, *numbers):
    columns = "".join(f"{n:>11}" for n in numbers)
    return f"{name[:WIDE]:{WIDE}} {shape:>12}{columns}".rstrip()


def short(n):
    """Write a number in few characters, 7.09M; nothing for none."""
    power = 0
    while n >= 999.5 and power < len(UNITS) - 1:
        n /= 1000
        power += 1
    return f"{n:.3g}{UNITS[power]}" if n else ""


def rows(t):
    """Yield (depth, name, shape, Cost) for each module and each node that is in no closed one."""
    of_module, last = of_modules(t), last_nodes(t)
    seen = set()
    yield 0, "all", "", of_module[""]
    for node, group, cost in zip(t.nodes, t.groups, t.costs):
        shown = told_once(group)
        for depth, path in enumerate(paths(shown)):
            if path in seen:
                continue
            seen.add(path)
            yield depth, shown[depth], shape_of(t, last[path]), of_module[path]
        if shown == group and not node.hands_on:
            yield len(group), name_of(node), shape_of(t, node), cost


def name_of(node):
    """Name a node within its module."""
    if node.op:
        return node.op.name
    *_, name = label(node).split(".")
    return name


def last_nodes(t):
    """Find the node that comes out of each module: {path: Node}."""
    last = {}
    for node, group in zip(t.nodes, t.groups):
        last |= dict.fromkeys(paths(group), node)
    return last


def shape_of(t, node):
    """Write the shape of a node, or of its first output."""
    first = (outputs(t, node) or [node])[0]
    return shape_text(first.made.shape)
