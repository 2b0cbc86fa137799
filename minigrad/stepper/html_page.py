"""Draw a record as one HTML file: no server, no network, no script from outside.

The page shows what the record says and computes nothing that the engine could. The files of the
page are in minigrad/stepper/page.
"""
import json
from importlib.resources import files

import numpy as np

from minigrad.mode import LEVELS
from minigrad.stepper import cost, layout
from minigrad.stepper.frame import picture
from minigrad.stepper.numbers import evenly, numbers, same
from minigrad.stepper.terminal import gradient_at_peak
from minigrad.stepper.variants import VARIANTS, right_sums, run
from minigrad.stepper.words import backward_of, label, sentence

SCRIPTS = ("player.js", "places.js", "graph.js", "arrays.js", "views.js", "quiz.js", "main.js")
CELLS = 330_000                                       # numbers in one page, about 10 bytes each
NUDGES = (0.1, 1e-2, 1e-3, 6e-6, 1e-9, 1e-12)         # of finite differences, for few small nodes
NUDGE = 6e-6                                          # where there are more
NUDGE_WORK = 60_000_000                               # elements to recompute for slopes at most
SIZES = {"width": layout.WIDTH, "height": layout.HEIGHT, "gapX": layout.GAP_X,
         "gapY": layout.GAP_Y, "bend": layout.BEND, "margin": layout.MARGIN}
CARRIED = {"make": (), "start": ("g", "before", "total"), "leaf": ("g", "before", "total"),
           "send": ("g", "before", "total", "sent", "raw")}  # kind of event -> its arrays


def page(t, levels=LEVELS, example=None):
    """Return the page as text; the same record gives the same text.

    Parameters
    ----------
    t : minigrad.stepper.record.Trace
        With a backward pass.
    levels : sequence of str
        Which levels the page can compare with the recorded one.
    example : Trace, optional
        A second record that the page offers at one click.
    """
    if t.root is None:
        raise ValueError("the record has no backward pass: call loss.backward() in the with block")
    arrays = Arrays()
    others = [t.at_level(level) for level in levels if level != t.level]
    records = [described(t, arrays, f"yours, level {t.level}", full=True)]
    for other in others:
        records.append(described(other, arrays, f"yours, level {other.level}"))
    if example is not None:
        records.append(described(example, arrays, "example: b = a + a, c = b + b", full=True))
    data = {
        "records": records,
        "levels": [compare(t, other) for other in others],
        "arrays": arrays.table(),
        "box": SIZES}
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return filled(text.replace("</", "<\\/"))


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
        key = (x.shape, x.dtype, x.norm, x.low, x.high, x.cells.tobytes())
        if key not in self.places:
            self.places[key] = len(self.kept)
            self.kept.append(x)
        return self.places[key]

    def table(self):
        """Return all arrays for JSON, with as many cells as the page can hold."""
        shapes = np.array([x.cells.shape for x in self.kept])
        side = 32
        while side > 4 and np.minimum(shapes, side).prod(axis=1).sum() > CELLS:
            side -= 1
        return [array(x, side) for x in self.kept]


def array(x, side):
    rows, columns = (evenly(n, side) for n in x.cells.shape)
    cells = x.cells[np.ix_(rows, columns)].ravel()
    dtype = x.dtype if x.size <= 16 else None         # few cells have all their digits
    return {
        "shape": list(x.shape),
        "type": x.dtype,
        "norm": digits(x.norm),
        "low": digits(x.low),
        "high": digits(x.high),
        "bad": x.bad,
        "rows": x.rows[rows].tolist(),
        "columns": x.columns[columns].tolist(),
        "cells": [digits(v, dtype) for v in cells]}


def digits(value, dtype=None):
    """Make a number fit for JSON: all its digits if its dtype is given, else six."""
    if not np.isfinite(value):
        return str(float(value))
    if dtype is None:
        return float(f"{value:.6g}")
    shortest = str(np.dtype(dtype).type(value))
    return float(shortest)


# ---- records ---------------------------------------------------------------------------------

def described(t, arrays, title, full=False):
    """Describe one record; in full also the slopes and the wrong variants."""
    one_each, modules = t.pictures
    return {
        "title": title,
        "level": t.level,
        "root": t.root,
        "nodes": described_nodes(t, arrays),
        "runs": described_runs(t, arrays, VARIANTS if full else ()),
        "slopes": slopes(t) if full else {},
        "memory": described_memory(t),
        "open": places(one_each),
        "closed": places(modules),
        "collapsed": picture(t) is modules}


def described_nodes(t, arrays):
    work, groups = cost.flops(t), layout.inner_groups(t.nodes)
    return [described_node(node, group, arrays) | {"flops": work.get(node.id, (0, 0))}
            for node, group in zip(t.nodes, groups)]


def described_node(node, group, arrays):
    name, doc = (node.op.name, node.op.__doc__ or "") if node.op else ("", "")
    return {
        "label": label(node),
        "op": name,
        "doc": doc.strip().split("\n")[0],
        "refs": node.refs,
        "group": group,
        "line": node.place.line,
        "text": node.place.text,
        "inner": node.place.inner,
        "formula": node.formula,
        "numbers": node.with_numbers,
        "needs": node.requires_grad,
        "value": -1 if node.several else arrays.add(numbers(node.value)),
        "shape": f"{len(node.value)} outputs" if node.several else "",
        "seconds": [digits(node.forward_s), digits(node.backward_s)],
        "origin": node.origin}


def described_runs(t, arrays, variants):
    """Describe the events of the right backward pass, and of the wrong ones."""
    events = [described_event(t, e, arrays) for e in t.events]
    runs = [{"title": "as it should be", "why": "", "verdict": "", "wrong": -1, "events": events}]
    makes = [e for e in events if e["kind"] == "make"]
    for variant in variants:
        outcome = run(t, variant)
        first = outcome.first_wrong
        wrong_events = [described_event(t, e, arrays) for e in outcome.events]
        runs.append({
            "title": variant.title,
            "why": variant.why,
            "verdict": outcome.verdict,
            "wrong": -1 if first < 0 else len(makes) + first,
            "events": makes + wrong_events})
    return runs


def described_event(t, e, arrays):
    out = {"kind": e.kind, "node": e.node, "says": sentence(t, e)}
    out |= {name: arrays.add(getattr(e, name)) for name in CARRIED[e.kind]}
    if e.kind == "send":
        out |= {"to": e.to, "place": e.place, "vjp": backward_of(t, e)}
    return out


def described_memory(t):
    found = cost.memory(t)
    place, peak = found.peak
    return {
        "kept": found.kept,
        "waiting": found.waiting,
        "place": place,
        "peak": peak,
        "parameters": cost.parameters_bytes(t),
        "blocks": found.blocks}


def places(graph):
    """Say where the boxes of a picture stand, and where its lines bend."""
    at = {box: i for i, box in enumerate(graph.boxes)}
    boxes = [{"nodes": box.nodes, "module": box.module, "x": round(box.x, 2), "y": box.y}
             for box in graph.boxes]
    lines = [{"from": at[edge.start], "to": at[edge.end],
              "bends": [{"x": round(bend.x, 2), "y": bend.y} for bend in edge.bends]}
             for edge in graph.edges]
    return {"width": graph.width, "height": graph.height, "boxes": boxes, "lines": lines}


def slopes(t):
    """Nudge every node, as far as the work allows: {id: where, gradient, [[h, slope], ...]}."""
    sizes = [0 if node.several else node.value.size for node in t.nodes]
    after = np.cumsum(sizes[::-1])[::-1]              # elements of a node and of all behind it
    tiny = len(t.nodes) <= 40 and max(sizes) <= 100
    found, left = {}, NUDGE_WORK
    for node in sorted(t.nodes, key=lambda n: (n.op is not None, n.id)):
        peak, work = gradient_at_peak(t, node.id), 2 * int(after[node.id])
        if peak is None or work > left:
            continue
        left -= work
        found[node.id] = nudged(t, peak, NUDGES if tiny else (NUDGE,))
    return found


def nudged(t, peak, nudges):
    node, index, g = peak
    pairs = [[h, digits(t.slope(node, index, h), "float64")] for h in nudges]
    return {"index": list(index), "g": digits(g, "float64"), "slopes": pairs}


# ---- levels ----------------------------------------------------------------------------------

def compare(t, other):
    """Set the nodes of a record beside those of another level that do the same."""
    mine, theirs = right_sums(t.events), right_sums(other.events)
    made, leaves = {}, {}                             # node -> what it became at the other level
    for node in other.nodes:
        if node.op is None:
            leaves[node.origin] = node.id
        else:
            made.setdefault(node.origin, []).append(node)
    rows = []
    for node in t.nodes:
        if node.op is None or node.id not in made or node.several:
            continue
        parts = made[node.id]
        result = parts[-1]
        seconds = [node.forward_s, sum(part.forward_s for part in parts)]
        rows.append({
            "node": node.id,
            "boxes": len(parts),
            "value": difference(numbers(node.value), numbers(result.value)),
            "gradient": difference(mine.get(node.id), theirs.get(result.id)),
            "seconds": list(map(digits, seconds))})
    own_leaves = [n.id for n in t.nodes if n.op is None and n.id in mine]
    pairs = [[i, difference(mine[i], theirs.get(leaves.get(i)))] for i in own_leaves]
    return {"level": other.level, "rows": rows, "leaves": pairs}


def difference(x, y):
    """Say how far two arrays differ, relative to the larger one's norm; None if incomparable."""
    if x is None or y is None or x.shape != y.shape:
        return None
    if same(x, y) and x.norm == y.norm:
        return 0.0
    scale = max(x.norm, y.norm)
    most = np.abs(x.cells - y.cells).max()
    return digits(float(most) / scale if scale else 0.0)
