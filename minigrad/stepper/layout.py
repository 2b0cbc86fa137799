"""Where the boxes of a picture go: the algorithm of page/layout.js, for pictures without a browser.

Layers from the inputs down to the loss by longest path, ordered by barycenters, placed by least
squares so that no two boxes overlap. A test holds both to the same places.
"""
from dataclasses import dataclass, field

WIDTH, HEIGHT, GAP_X, GAP_Y, BEND = 148, 56, 18, 44, 10


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
    """A line from a box to one that uses it."""
    start: Item
    end: Item
    bends: list = field(default_factory=list)


@dataclass
class Graph:
    """The boxes and lines of a picture, with their places."""
    boxes: list
    edges: list
    box_of: list                                      # of each node
    width: float = 0.0
    height: float = 0.0


def lay_out(groups, refs, closed=frozenset()):
    """Place a box for each node or closed module.

    Parameters
    ----------
    groups : list of tuple of str
        The modules around each node.
    refs : list of list of int
        The inputs of each node.
    closed : set of str
        Paths of modules, as `paths` gives them, that are one box.

    Returns
    -------
    Graph
    """
    graph = visible(groups, refs, closed)
    assign_layers(graph)
    layers = make_layers(graph)
    order_layers(layers)
    for layer in layers:
        for i, item in enumerate(layer):
            item.want = i * (WIDTH + GAP_X)
        place_layer(layer)
    for sweep in range(16):
        down = sweep % 2 == 0
        for layer in layers if down else layers[::-1]:
            for item in layer:
                near = item.up + item.down if sweep > 11 else item.up if down else item.down
                item.want = mean(near, "x") if near else item.x
            place_layer(layer)
    items = [item for layer in layers for item in layer]
    left = min(item.x - item.width / 2 for item in items)
    for item in items:
        item.x += 16 - left
        item.y = 16 + HEIGHT / 2 + item.layer * (HEIGHT + GAP_Y)
    graph.width = max(item.x + item.width / 2 for item in items) + 16
    graph.height = 32 + len(layers) * (HEIGHT + GAP_Y) - GAP_Y
    return graph


def paths(group):
    """Name the modules around a node, the outermost first: "blocks[0]", "blocks[0] / mlp"."""
    return [" / ".join(group[:i + 1]) for i in range(len(group))]


def common_prefix(groups):
    """Return what all paths start with, so that one outer function is not a box around all."""
    first, last = min(groups), max(groups)
    n = next((i for i, (a, b) in enumerate(zip(first, last)) if a != b), min(len(first), len(last)))
    return first[:n]


def visible(groups, refs, closed):
    boxes, edges, box_of = {}, {}, []
    for i, group in enumerate(groups):
        module = next((path for path in paths(group) if path in closed), None)
        box = boxes.setdefault(i if module is None else module, Item(module=module))
        box.nodes.append(i)
        box_of.append(box)
    for i, inputs in enumerate(refs):
        for j in inputs:
            start, end = box_of[j], box_of[i]
            if start is not end and (start, end) not in edges:
                edges[start, end] = Edge(start, end)
    return Graph(list(boxes.values()), list(edges.values()), box_of)


def assign_layers(graph):
    ins = {box: 0 for box in graph.boxes}
    outs = {box: [] for box in graph.boxes}
    for edge in graph.edges:
        ins[edge.end] += 1
        outs[edge.start].append(edge.end)
    left, ready = dict(ins), [box for box in graph.boxes if not ins[box]]
    for box in ready:                                 # it grows while it is read
        for user in outs[box]:
            user.layer = max(user.layer, box.layer + 1)
            left[user] -= 1
            if not left[user]:
                ready.append(user)
    for box in graph.boxes:                           # a leaf stands right above its first user
        if not ins[box] and outs[box]:
            box.layer = min(user.layer for user in outs[box]) - 1


def make_layers(graph):
    """Sort the boxes into layers; a long line bends at a small item in each that it passes."""
    layers = [[] for _ in range(1 + max(box.layer for box in graph.boxes))]
    for box in graph.boxes:
        layers[box.layer].append(box)
    for edge in graph.edges:
        above = edge.start
        for layer in range(above.layer + 1, edge.end.layer):
            bend = Item(BEND, layer, up=[above])
            above.down.append(bend)
            edge.bends.append(bend)
            layers[layer].append(bend)
            above = bend
        above.down.append(edge.end)
        edge.end.up.append(above)
    return layers


def order_layers(layers):
    def number(layer):
        for i, item in enumerate(layer):
            item.order = i

    for layer in layers:
        number(layer)
    for sweep in range(12):
        down = sweep % 2 == 0
        for layer in layers if down else layers[::-1]:
            for item in layer:
                near = item.up if down else item.down
                item.want = mean(near, "order") if near else item.order
            layer.sort(key=lambda item: (item.want, item.order))
            number(layer)


def place_layer(layer):
    """Place items as near to `want` as possible, in order, a gap apart: pool adjacent violators."""
    blocks, offsets = [], []                          # [sum of places less offsets, how many]
    for i, item in enumerate(layer):
        offsets.append(offsets[-1] + (layer[i - 1].width + item.width) / 2 + GAP_X if i else 0.0)
        blocks.append([item.want - offsets[-1], 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, n = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += n
    places = [total / n for total, n in blocks for _ in range(n)]
    for item, place, offset in zip(layer, places, offsets):
        item.x = place + offset


def mean(items, name):
    return sum(getattr(item, name) for item in items) / len(items)


def edge_points(edge):
    """List the points of a line: between them it is straight down, or an S."""
    half = HEIGHT / 2
    points = [(edge.start.x, edge.start.y + half)]
    for bend in edge.bends:
        points += [(bend.x, bend.y - half), (bend.x, bend.y + half)]
    return [*points, (edge.end.x, edge.end.y - half)]
