"""Draw a record as one HTML file: no server, no network, no script from outside.

The page shows what the record says and computes nothing that the engine could. The files of the
page are in minigrad/stepper/page.
"""
import inspect
import json
from importlib.resources import files
from math import isfinite

import numpy as np

from minigrad.mode import LEVELS
from minigrad.stepper import columns, cost, layout
from minigrad.stepper.numbers import SIDE, Numbers, equal, evenly
from minigrad.stepper.terminal import gradient_at_peak
from minigrad.stepper.variants import VARIANTS, right_sums, run
from minigrad.stepper.words import backward_of, label, sentence

SCRIPTS = ("player.js", "places.js", "graph.js", "arrays.js", "views.js", "quiz.js", "main.js")
MANY = 40                                             # nodes from which on the overview comes first
CELLS = 330_000                                       # numbers in one page, about 10 bytes each
BEST_NUDGE = 6e-6                                     # of finite differences
NUDGES = (0.1, 1e-2, 1e-3, BEST_NUDGE, 1e-9, 1e-12)   # for few small nodes
NUDGE_WORK = 60_000_000                               # elements to recompute for slopes at most
SIZES = {name: getattr(layout, name) for name in
         ("WIDTH", "HEIGHT", "GAP_X", "GAP_Y", "BEND", "MARGIN", "SIDE")}
SIZES["TURN"] = columns.TURN


def page(t, levels=LEVELS, example=None, title="", tokens=()):
    """Return the page as text; the same record gives the same text.

    Parameters
    ----------
    t : minigrad.stepper.record.Trace
        With a backward pass.
    levels : sequence of str
        Which levels the page can compare with the recorded one.
    example : Trace, optional
        A second record that the page offers at one click.
    title : str
        Of a picture of a net, and in a second line more of it: the page begins with what each part
        costs, and nudges nothing.
    tokens : sequence of str
        What the rows of an array (1, T, ...) stand for.
    """
    if t.root is None:
        raise ValueError("the record has no backward pass: call loss.backward() in the with block")
    arrays = Arrays()
    others = [t.at_level(level) for level in levels if level != t.level]
    records = [described(t, arrays, f"yours, level {t.level}", full=not title)]
    for other in others:
        records.append(described(other, arrays, f"yours, level {other.level}"))
    if example is not None:
        records.append(described(example, arrays, "example: b = a + a, c = b + b", full=True))
    levels = [compare(t, other) for other in others]
    ops = described_ops([t, *others])
    data = {
        "records": records, "levels": levels, "arrays": arrays.table(), "ops": ops,
        "box": SIZES, "title": title, "tokens": tokens}
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return filled(text.replace("<", "\\u003c"))         # nothing in it can end the script


def filled(data):
    """Put the parts of the page into its frame."""
    def read(name):
        return (files("minigrad.stepper") / "page" / name).read_text(encoding="utf-8")

    parts = {"STYLE": read("style.css"), "PICTURE": read("picture.css"),
             "SCRIPT": "\n".join(map(read, SCRIPTS)), "DATA": data}
    text = read("index.html")
    for mark, content in parts.items():
        text = text.replace(f"/*{mark}*/", content)
    return text


# ---- arrays ----------------------------------------------------------------------------------

class Arrays:
    """The arrays of a page, each kept once."""

    def __init__(self):
        self.places, self.kept = {}, []

    def add(self, x):
        """Return the place of an array in the table, -1 for none."""
        if x is None:
            return -1
        key = *x[:5], x.cells.tobytes()               # shape, dtype, norm, low, high
        if key not in self.places:
            self.places[key] = len(self.kept)
            self.kept.append(x)
        return self.places[key]

    def table(self):
        """Return all arrays for JSON, with as many cells as the page can hold."""
        shapes = np.array([x.cells.shape for x in self.kept])
        n_cells = lambda side: np.minimum(shapes, side).prod(axis=1).sum()
        side = SIDE
        while side > 4 and n_cells(side) > CELLS:
            side -= 1
        return [array(x, side) for x in self.kept]


def array(x, side):
    rows, columns = (evenly(n, side) for n in x.cells.shape)
    cells = x.cells[np.ix_(rows, columns)].ravel()
    norm, low, high = map(digits, (x.norm, x.low, x.high))
    written = map(digits, cells)
    if x.size <= 16:
        written = map(exact, cells.astype(x.dtype))
    return {
        "shape": x.shape, "type": x.dtype, "bad": x.bad,
        "norm": norm, "low": low, "high": high,
        "rows": x.rows[rows].tolist(),
        "columns": x.columns[columns].tolist(),
        "cells": list(written)}


def digits(value):
    """Make a number fit for JSON, with six digits."""
    return exact(f"{value:.6g}")


def exact(value):
    """Make a number fit for JSON, with all the digits that its dtype has."""
    number = float(str(value))
    return number if isfinite(number) else str(number)


# ---- records ---------------------------------------------------------------------------------

def described(t, arrays, title, full=False):
    """Describe one record; in full also the slopes and the wrong variants."""
    return {
        "title": title, "level": t.level, "root": t.root,
        "nodes": described_nodes(t, arrays),
        "modules": t.names[1], "costs": cost.of_modules(t),
        "runs": described_runs(t, arrays, VARIANTS if full else ()),
        "slopes": slopes(t) if full else {},
        "memory": described_memory(t),
        "pictures": [places(*pair) for pair in t.pictures.items()],
        "beside": t.beside and places((), t.beside),
        "many": len(t.nodes) > MANY}


def described_nodes(t, arrays):
    found = []
    names, _ = t.names
    for node, group in zip(t.nodes, t.groups):
        doc = node.op and node.op.__doc__ or ""
        found.append({
            "label": label(node), "name": names.get(node.id),
            "origin": node.origin, "refs": node.refs, "maker": node.maker,
            "op": node.op.name if node.op else "",
            "doc": doc.strip().split("\n")[0],
            "formula": node.formula, "numbers": node.with_numbers, "names": node.names,
            "elementwise": is_elementwise(node.op),
            "needs": node.requires_grad, "value": arrays.add(node.made),
            "shape": f"{len(node.value)} outputs" if node.several else "",
            "seconds": [digits(node.forward_s), digits(node.backward_s)],
            "cost": t.costs[node.id],
            **node.place._asdict(), "group": group})
    return found


def described_ops(records):
    """Say of each op what its page says: {name: text, and the source of its two functions}."""
    ops = {node.op for t in records for node in t.nodes if node.op}
    found = {}
    for op in sorted(ops, key=lambda op: op.name):
        forward, vjp = map(source, op.bodies["reference"])
        doc = inspect.cleandoc(op.__doc__ or "")
        found[op.name] = dict(doc=doc, forward=forward, vjp=vjp)
    return found


def source(function):
    """Return the text of a function, nothing where it is not to be had."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return ""


def is_elementwise(op):
    """Whether an op works on each number by itself."""
    return bool(op and op.core_ndim) and not any(op.core_ndim)


def described_runs(t, arrays, variants):
    """Describe the events of the right backward pass, and of the wrong ones."""
    events = [described_event(t, e, arrays) for e in t.events]
    runs = [{"title": "as it should be", "wrong": -1, "events": events}]
    makes = [e for e in events if e["kind"] == "make"]
    for variant in variants:
        outcome = run(t, variant)
        first = outcome.first_wrong
        wrong_events = [described_event(t, e, arrays) for e in outcome.events]
        runs.append({
            "title": variant.title, "why": variant.why, "verdict": outcome.verdict,
            "wrong": -1 if first < 0 else len(makes) + first,
            "events": makes + wrong_events})
    return runs


def described_event(t, e, arrays):
    """Describe an event; its arrays are places in the table."""
    found = dict(kind=e.kind, node=e.node, says=sentence(t, e))
    if e.kind == "send":
        found |= dict(to=e.to, place=e.place, formula=e.formula)
        found["vjp"] = backward_of(t, e)
    for name, x in e._asdict().items():
        if isinstance(x, Numbers):
            found[name] = arrays.add(x)
    return found


def described_memory(t):
    found = cost.memory(t)
    place, peak = found.peak
    return {**found._asdict(), "place": place, "peak": peak,
            "parameters": cost.parameters_bytes(t)}


def places(closed, graph):
    """Say which modules are closed, where the boxes stand, and where the lines bend."""
    def place(item):
        return dict(x=round(item.x, 2), y=item.y)

    at = {box: i for i, box in enumerate(graph.boxes)}
    boxes, lines = [], []
    for box in graph.boxes:
        boxes.append({"nodes": box.nodes, "module": box.module} | place(box))
    for edge in graph.edges:
        bends = [place(bend) for bend in edge.bends]
        ends = at[edge.start], at[edge.end]
        port = round(edge.port, 2)
        turns = np.round(edge.turns, 2).tolist()
        lines.append({
            "ends": ends, "bends": bends, "turns": turns,
            "place": edge.place, "port": port})
    size = dict(width=graph.width, height=graph.height)
    return dict(closed=sorted(closed), boxes=boxes, lines=lines, **size)


def slopes(t):
    """Nudge every node, as far as the work allows: {id: where, gradient, [[h, slope], ...]}."""
    sizes = [0 if node.several else node.value.size for node in t.nodes]
    after = np.cumsum(sizes[::-1])[::-1]              # elements of a node and of all behind it
    tiny = len(t.nodes) <= 40 and max(sizes) <= 100
    found, left = {}, NUDGE_WORK
    for node in sorted(t.nodes, key=lambda node: node.op is not None):
        peak = gradient_at_peak(t, node.id)
        work = 2 * int(after[node.id])
        if peak is None or work > left:
            continue
        left -= work
        i, index, g = peak
        nudges = NUDGES if tiny else [BEST_NUDGE]
        pairs = [[h, exact(t.slope(i, index, h))] for h in nudges]
        found[i] = {"index": index, "g": exact(g), "slopes": pairs}
    return found


# ---- levels ----------------------------------------------------------------------------------

def compare(t, other):
    """Set the nodes of a record beside those of another level that do the same."""
    mine, theirs = right_sums(t.events), right_sums(other.events)
    made, leaf_of = {}, {}                            # node -> what it became at the other level
    for node in other.nodes:
        if node.op:
            made.setdefault(node.origin, []).append(node)
        else:
            leaf_of[node.origin] = node
    rows, leaves = [], []
    for node in t.nodes:
        parts = made.get(node.id) if node.op else [leaf_of[node.id]]
        if parts is None or node.several:
            continue
        result = parts[-1]
        here, there = mine.get(node.id), theirs.get(result.id)
        off = difference(here, there)
        if node.op is None:
            leaves += [] if off is None else [[node.id, off]]
            continue
        seconds = node.forward_s, sum(part.forward_s for part in parts)
        rows.append({
            "node": node.id, "boxes": len(parts),
            "value": difference(node.made, result.made),
            "gradient": off, "seconds": list(map(digits, seconds))})
    return {"level": other.level, "rows": rows, "leaves": leaves}


def difference(x, y):
    """Say how far two arrays differ, relative to the larger one's norm; None if incomparable."""
    if x is None or y is None or x.shape != y.shape:
        return None
    if equal(x, y):
        return 0.0
    scale = max(x.norm, y.norm)
    most = np.abs(x.cells - y.cells).max()
    return digits(float(most) / scale if scale else 0.0)
