"""Where the boxes of a picture go; the page draws them there.

Layers from the inputs down to the loss by longest path, ordered by barycenters, placed by least
squares so that no two boxes overlap.
"""
import re
from collections import Counter
from dataclasses import dataclass, field

WIDTH, HEIGHT = 148, 56                               # of a box
GAP_X, GAP_Y = 18, 44                                 # between boxes, at least
BEND, MARGIN, SIDE = 10, 16, 40                       # width of a bend; around the picture
PORTS = 24                                            # between lines that end at one box, at most
FEWEST = 4                                            # boxes of an overview
ALIKE = 3                                             # modules of a list that are one box, at least
MORE = " more like it"                                # how those are called that follow the first


@dataclass(eq=False)
class Item:
    """A box, or a bend of a line where it passes a layer."""
    width: float = WIDTH
    layer: int = 0
    nodes: list = field(default_factory=list)         # ids; none in a bend
    module: str | None = None                         # the path of a closed module
    up: list = field(default_factory=list)            # neighbours in the layers above and below
    down: list = field(default_factory=list)
    x: float = 0.0
    y: float = 0.0
    order: int = 0
    want: float = 0.0


@dataclass(eq=False)
class Edge:
    """A line from a box to one that uses it: one for each operand, but one between modules."""
    start: Item
    end: Item
    place: int | None = None                          # which input of `end` it is, if one node
    bends: list = field(default_factory=list)
    port: float = 0.0                                 # where it meets `end`, from the middle
    turns: list = field(default_factory=list)         # where it rises from a column to the next


@dataclass
class Graph:
    """The boxes and lines of a picture, with their places."""
    boxes: list
    edges: list
    box_of: list                                      # of each node
    width: float = 0.0
    height: float = 0.0


def pictures(nodes, groups):
    """Lay out the nodes of a record with other modules closed each time: {closed modules: Graph}.

    First with a box for each node, then as an overview, then with one module of that open and
    what is around it, but for what is in those that are like another.
    """
    closed = overview(groups)
    choices = [frozenset(), closed]
    for path in dict.fromkeys(path for group in groups for path in paths(told_once(group))):
        choices.append(closed - set(paths(path.split(" / "))))
    return {choice: lay_out(nodes, groups, choice) for choice in dict.fromkeys(choices)}


def told_once(group):
    """Return the modules around a node, as far as they are not inside of one like another."""
    like_others = [i for i, name in enumerate(group) if name.endswith(MORE)]
    return group[:like_others[0] + 1] if like_others else group


def overview(groups):
    """Close all modules, but open the largest until there are some boxes: a set of paths."""
    closed = {path for group in groups for path in paths(group)}
    while True:
        boxes = Counter(closing(group, closed) for group in groups)
        single = boxes.pop(None, 0)
        if not boxes or single + len(boxes) >= FEWEST:
            return frozenset(closed)
        closed.remove(max(boxes, key=boxes.get))


def closing(group, closed):
    """Return the module whose box a node is in, None if it has a box of its own."""
    return next((path for path in paths(group) if path in closed), None)


def lay_out(nodes, groups, closed=frozenset()):
    """Place a box for each node or closed module.

    Parameters
    ----------
    nodes : list of minigrad.stepper.events.Node
    groups : list of tuple of str
        The modules around each node.
    closed : set of str
        Paths of modules, as `paths` gives them, that are one box.

    Returns
    -------
    Graph
    """
    graph = visible(nodes, groups, closed)
    assign_layers(graph)
    layers = make_layers(graph)
    order_layers(layers)
    finish(graph, layers)
    return graph


def finish(graph, layers):
    """Place the items of layers that are in order."""
    place_layers(layers)
    set_ports(graph)
    measure(graph, layers)


# ---- what is visible -------------------------------------------------------------------------

def inner_groups(nodes):
    """Return the modules around each node, but for the functions that are around all.

    Around those of a list that are alike is one more, "blocks × 12"; around those that follow the
    first, another: "11 more like it".
    """
    groups = [node.place.group for node in nodes]
    around = len(common_prefix(groups))
    groups = [group[around:] for group in groups]
    many = alike(nodes, groups)
    return [tuple(within(group, many)) for group in groups]


def alike(nodes, groups):
    """Find modules of a list whose parameters have the same shapes: {module: what is around it}."""
    inside, lists = {}, {}                            # module -> nodes; what is alike -> modules
    for node, group in zip(nodes, groups):
        for i in range(len(group)):
            inside.setdefault(group[:i + 1], []).append(node)
    for module, found in inside.items():
        listed = re.fullmatch(r"(.+)\[\d+\]", module[-1])
        shapes = tuple(node.value.shape for node in found if not node.op)
        if listed and shapes:
            lists.setdefault((module[:-1], listed[1], shapes), []).append(module)
    around = {}
    for (_, name, _), modules in lists.items():
        n, (first, *others) = len(modules), modules
        if n >= ALIKE and in_a_row([node.id for module in modules for node in inside[module]]):
            around[first] = [f"{name} × {n}"]
            around |= dict.fromkeys(others, [*around[first], f"{n - 1}{MORE}"])
    return around


def in_a_row(ids):
    """Whether nothing was made between nodes: else a line could leave their box and come back."""
    return max(ids) - min(ids) + 1 == len(ids)


def within(group, many):
    """Yield the modules around a node, before each what is around it and those like it."""
    for i, name in enumerate(group):
        yield from many.get(group[:i + 1], ())
        yield name


def common_prefix(groups):
    """Return what all paths start with, so that one outer function is not a box around all."""
    first, last = min(groups), max(groups)
    n = 0
    while n < min(len(first), len(last)) and first[n] == last[n]:
        n += 1
    return first[:n]


def paths(group):
    """Name the modules around a node, the outermost first: "blocks[0]", "blocks[0] / mlp"."""
    return [" / ".join(group[:i + 1]) for i in range(len(group))]


def visible(nodes, groups, closed):
    boxes, edges, box_of = {}, {}, []
    for node, group in zip(nodes, groups):
        module = closing(group, closed)
        key = node.maker if module is None else module
        box = boxes.setdefault(key, Item(module=module))
        box.nodes.append(node.id)
        box_of.append(box)
    for node, user in zip(nodes, box_of):
        for place, i in node.wires:
            start = box_of[i]
            is_module = start.module is not None or user.module is not None
            key = start, user, None if is_module else place
            if start is not user:
                edges.setdefault(key, Edge(*key))
    return Graph(list(boxes.values()), list(edges.values()), box_of)


# ---- layers ----------------------------------------------------------------------------------

def assign_layers(graph):
    left = {box: 0 for box in graph.boxes}            # inputs that have no layer yet
    users = {box: [] for box in graph.boxes}
    for edge in graph.edges:
        left[edge.end] += 1
        users[edge.start].append(edge.end)
    leaves = [box for box in graph.boxes if not left[box]]
    ready = leaves.copy()
    for box in ready:                                 # it grows while it is read
        for user in users[box]:
            user.layer = max(user.layer, box.layer + 1)
            left[user] -= 1
            if not left[user]:
                ready.append(user)
    for box in leaves:                                # right above its first user
        if users[box]:
            box.layer = min(user.layer for user in users[box]) - 1


def make_layers(graph):
    """Sort the boxes into layers; a long line bends at a small item in each that it passes."""
    layers = [[] for _ in range(1 + max(box.layer for box in graph.boxes))]
    for box in graph.boxes:
        layers[box.layer].append(box)
    for edge in graph.edges:
        passed = range(edge.start.layer + 1, edge.end.layer)
        edge.bends = [Item(BEND, layer) for layer in passed]
        for bend in edge.bends:
            layers[bend.layer].append(bend)
        stops = [edge.start, *edge.bends, edge.end]
        for above, below in zip(stops, stops[1:]):
            above.down.append(below)
            below.up.append(above)
    return layers


def sweeps(layers, times):
    """Go through the layers down and up in turn: yield (sweep, is it down, layer)."""
    for sweep in range(times):
        down = sweep % 2 == 0
        for layer in layers if down else layers[::-1]:
            yield sweep, down, layer


def order_layers(layers):
    """Put each item where its neighbours are on average, to have few lines cross."""
    for layer in layers:
        number(layer)
    for _, down, layer in sweeps(layers, 12):
        for item in layer:
            near = item.up if down else item.down
            item.want = mean([x.order for x in near]) if near else item.order
        layer.sort(key=lambda item: (item.want, item.order))
        number(layer)


def number(layer):
    for i, item in enumerate(layer):
        item.order = i


# ---- places ----------------------------------------------------------------------------------

def place_layers(layers):
    """Move each item to where its neighbours are on average, as far as others let it."""
    for layer in layers:
        for item in layer:
            item.want = item.order * (WIDTH + GAP_X)
        place_layer(layer)
    for sweep, down, layer in sweeps(layers, 16):
        for item in layer:
            near = item.up if down else item.down
            if sweep > 11:
                near = item.up + item.down
            item.want = mean([x.x for x in near]) if near else item.x
        place_layer(layer)


def place_layer(layer):
    """Place items as near to `want` as possible, in order, a gap apart: pool adjacent violators."""
    offsets = offsets_in(layer)
    blocks = []                                       # [sum of places less offsets, how many]
    for item, offset in zip(layer, offsets):
        blocks.append([item.want - offset, 1])
        while len(blocks) > 1 and average(blocks[-2]) > average(blocks[-1]):
            total, n = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += n
    places = [average(block) for block in blocks for _ in range(block[1])]
    for item, place, offset in zip(layer, places, offsets):
        item.x = place + offset


def offsets_in(layer):
    """Return how far the items must be from the first one at least."""
    offsets = [0.0]
    for left, right in zip(layer, layer[1:]):
        offsets.append(offsets[-1] + (left.width + right.width) / 2 + GAP_X)
    return offsets


def average(block):
    total, n = block
    return total / n


def mean(values):
    return sum(values) / len(values)


def set_ports(graph):
    """Spread the ends of the lines over the upper side of each box, as they come, uncrossed."""
    coming = {box: [] for box in graph.boxes}
    for edge in graph.edges:
        coming[edge.end].append(edge)
    for edges in coming.values():
        edges.sort(key=lambda edge: [edge.start, *edge.bends][-1].x)
        step = min(PORTS, (WIDTH - PORTS) / max(1, len(edges) - 1))
        for i, edge in enumerate(edges):
            edge.port = step * (i - (len(edges) - 1) / 2)


def measure(graph, layers):
    """Move all items into view, and say how large the picture is."""
    items = [item for layer in layers for item in layer]
    left = min(item.x - item.width / 2 for item in items)
    for item in items:
        item.x += SIDE - left
        item.y = MARGIN + HEIGHT / 2 + item.layer * (HEIGHT + GAP_Y)
    right = max(item.x + item.width / 2 for item in items)
    graph.width = right + SIDE
    graph.height = 2 * MARGIN + len(layers) * (HEIGHT + GAP_Y) - GAP_Y
