"""Blocks beside each other: the picture of all nodes is cut where a block begins, into columns.

Lines that pass a cut turn at the bottom of their column, rise between the two, and turn again.
"""
import re
from bisect import bisect_right

from minigrad.stepper.layout import (
    GAP_X, GAP_Y, HEIGHT, MARGIN, SIDE, assign_layers, finish, make_layers, order_layers, visible)

FEWEST_ROWS = 12                                      # of a picture that is worth cutting
TURN = 36                                             # how far the curve of a turn reaches
LANE = 10                                             # between lines that rise beside each other


def beside(nodes, groups):
    """Lay out a box for each node, blocks in columns.

    Returns
    -------
    Graph or None
        With the `turns` of its lines; None where there are no blocks, or few rows.
    """
    graph = visible(nodes, groups, frozenset())
    assign_layers(graph)
    cuts = beginnings(graph, nodes, groups)
    if not cuts or max(box.layer for box in graph.boxes) < FEWEST_ROWS:
        return None
    make_room(graph, nodes, cuts)
    layers = make_layers(graph)
    order_layers(layers)
    finish(graph, layers)
    starts = [0, *[cut + i for i, cut in enumerate(cuts)], len(layers)]
    columns = [layers[start:end] for start, end in zip(starts, starts[1:])]
    put_beside(graph, columns)
    return graph


def beginnings(graph, nodes, groups):
    """Find the layers in which a block begins, when those before it have ended."""
    layers = {}                                       # block -> of its ops
    for node, group, box in zip(nodes, groups, graph.box_of):
        block = block_of(group)
        if block and node.op:
            layers.setdefault(block, []).append(box.layer)
    found, end = [], None
    for block in sorted(layers.values(), key=min):
        start = min(block)
        if end is not None and start > end:
            found.append(start)
        end = max(end or 0, *block)
    return found


def block_of(group):
    """Return the outermost module around a node that stands in a list, None for none."""
    for i, name in enumerate(group, 1):
        if re.search(r"\[\d+\]$", name):
            return group[:i]
    return None


def make_room(graph, nodes, cuts):
    """Put an empty layer before each cut, for the parameters that are used first behind it."""
    used = {}
    for box in graph.boxes:
        if nodes[box.nodes[0]].op:
            box.layer += bisect_right(cuts, box.layer)
    for edge in graph.edges:
        used.setdefault(edge.start, []).append(edge.end.layer)
    for box, users in used.items():
        if not nodes[box.nodes[0]].op:
            box.layer = min(users) - 1


def put_beside(graph, columns):
    """Move the items of each column to their places, and find where lines rise between two."""
    edge_of = passing(graph)
    step, top = HEIGHT + GAP_Y, MARGIN + TURN
    right = SIDE - GAP_X
    for column in columns:
        first = column[0][0].layer
        left = right + GAP_X
        for _, edge in sorted(edge_of.get(first, ()), key=leftmost_last):
            edge.turns.append(left)
            left += LANE
        items = [item for layer in column for item in layer]
        for item in items:
            item.y = top + HEIGHT / 2 + (item.layer - first) * step
        right = moved(items, left + GAP_X)
    n_rows = max(map(len, columns))
    graph.width = right + SIDE
    graph.height = 2 * top + n_rows * step - GAP_Y


def leftmost_last(pair):
    """Order lines so that those which rise beside each other do not cross."""
    x, _ = pair
    return -x


def passing(graph):
    """List the lines that come into each layer: {layer: [(x above it, Edge)]}."""
    found = {}
    for edge in graph.edges:
        stops = [edge.start, *edge.bends, edge.end]
        for above, below in zip(stops, stops[1:]):
            found.setdefault(below.layer, []).append((above.x, edge))
    return found


def moved(items, left):
    """Move items to the right of a place, and return where they end."""
    by = left - min(map(left_of, items))
    for item in items:
        item.x += by
    return max(left_of(item) + item.width for item in items)


def left_of(item):
    return item.x - item.width / 2
