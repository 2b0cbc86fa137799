"""Draw a record as one HTML file: no server, no network, no script from outside.

The page shows what the record says and computes nothing that the engine could: its arithmetic is
the layout of the boxes. The files of the page are in minigrad/stepper/page.
"""
import json
from importlib.resources import files

import numpy as np

from minigrad.mode import LEVELS
from minigrad.stepper import cost
from minigrad.stepper.layout import common_prefix
from minigrad.stepper.numbers import numbers, same
from minigrad.stepper.terminal import gradient_at_peak
from minigrad.stepper.variants import VARIANTS, right_sums, run
from minigrad.stepper.words import backward_of, label, sentence

SCRIPTS = ("layout.js", "player.js", "graph.js", "arrays.js", "views.js", "quiz.js", "main.js")
CELLS = 330_000                                       # numbers in one page, about 10 bytes each
STEPS = (0.1, 1e-2, 1e-3, 6e-6, 1e-9, 1e-12)          # of finite differences, for few small nodes
NUDGE_WORK = 60_000_000                              # elements to recompute for slopes at most


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
    records = [record(t, arrays, f"yours, level {t.level}", full=True)]
    records += [record(other, arrays, f"yours, level {other.level}") for other in others]
    if example is not None:
        records.append(record(example, arrays, "example: b = a + a, c = b + b", full=True))
    data = {"records": records, "levels": [compare(t, other) for other in others],
            "arrays": arrays.table()}
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
    folder = files("minigrad.stepper") / "page"
    filled = (folder / "index.html").read_text(encoding="utf-8")
    style, picture = ((folder / name).read_text(encoding="utf-8")
                      for name in ("style.css", "picture.css"))
    script = "\n".join((folder / name).read_text(encoding="utf-8") for name in SCRIPTS)
    for mark, content in (("STYLE", style), ("PICTURE", picture), ("SCRIPT", script),
                          ("DATA", text)):
        filled = filled.replace(f"/*{mark}*/", content)
    return filled


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
        side = 32
        while side > 4 and sum(min(len(x.rows), side) * min(len(x.columns), side)
                               for x in self.kept) > CELLS:
            side -= 1
        return [array(x, side) for x in self.kept]


def array(x, side):
    rows, columns = (np.unique(np.linspace(0, n - 1, min(n, side)).round().astype(int))
                     for n in x.cells.shape)
    cells = x.cells[np.ix_(rows, columns)].ravel()
    exact = x.size <= 16
    return {"shape": list(x.shape), "type": x.dtype, "norm": digits(x.norm),
            "low": digits(x.low), "high": digits(x.high), "bad": x.bad,
            "rows": x.rows[rows].tolist(), "columns": x.columns[columns].tolist(),
            "cells": [digits(v, x.dtype if exact else None) for v in cells]}


def digits(value, dtype=None):
    """Make a number fit for JSON: all its digits if its dtype is given, else six."""
    if not np.isfinite(value):
        return str(float(value))
    if dtype is None:
        return float(f"{value:.6g}")
    return float(str(np.dtype(dtype).type(value)))


def record(t, arrays, title, full=False):
    """Describe one record; in full also the slopes and the wrong variants."""
    work, kept = cost.flops(t), cost.memory(t)
    prefix = common_prefix([n.place.group for n in t.nodes])
    runs = [{"title": "as it should be", "why": "", "verdict": "", "wrong": -1,
             "events": [described(t, e, arrays) for e in t.events]}]
    if full:
        makes = [e for e in runs[0]["events"] if e["kind"] == "make"]
        for outcome in (run(t, variant) for variant in VARIANTS):
            runs.append({"title": outcome.variant.title, "why": outcome.variant.why,
                         "verdict": outcome.verdict,
                         "wrong": len(makes) + outcome.first_wrong if outcome.first_wrong >= 0
                         else -1,
                         "events": makes + [described(t, e, arrays) for e in outcome.events]})
    place, peak = kept.peak
    return {"title": title, "level": t.level, "runs": runs, "root": t.root,
            "nodes": [box(t, node, arrays, len(prefix), work) for node in t.nodes],
            "slopes": slopes(t) if full else {},
            "memory": {"kept": kept.kept, "waiting": kept.waiting, "place": place, "peak": peak,
                       "parameters": cost.parameters_bytes(t),
                       "blocks": [list(b) for b in kept.blocks]}}


def box(t, node, arrays, skip, work):
    """Describe a node."""
    several = type(node.value) is tuple
    return {"label": label(node), "op": node.op.name if node.op else "", "refs": node.refs,
            "names": node.names and list(node.names), "group": list(node.place.group[skip:]),
            "line": node.place.line, "text": node.place.text, "inner": node.place.inner,
            "formula": node.formula, "numbers": node.with_numbers, "needs": node.requires_grad,
            "doc": (node.op.__doc__ or "").strip().split("\n")[0] if node.op else "",
            "value": -1 if several else arrays.add(numbers(node.value)),
            "shape": f"{len(node.value)} outputs" if several else "",
            "seconds": [digits(node.forward_s), digits(node.backward_s)],
            "flops": work.get(node.id, (0, 0)), "origin": node.origin,
            "saved": sum(nbytes for _, nbytes in node.saved)}


def described(t, e, arrays):
    """Describe an event."""
    out = {"kind": e.kind, "node": e.node, "says": sentence(t, e)}
    if e.kind != "make":
        out |= {"g": arrays.add(e.g), "before": arrays.add(e.before), "total": arrays.add(e.total)}
    if e.kind == "send":
        out |= {"to": e.to, "place": e.place, "sent": arrays.add(e.sent), "raw": arrays.add(e.raw),
                "vjp": backward_of(t, e)}
    return out


def slopes(t):
    """Nudge every node, as far as the work allows: {id: where, gradient, [[h, slope], ...]}."""
    sizes = [0 if type(n.value) is tuple else n.value.size for n in t.nodes]
    after = np.cumsum(sizes[::-1])[::-1]
    tiny = len(t.nodes) <= 40 and max(sizes) <= 100
    found, done = {}, 0
    for node in sorted(t.nodes, key=lambda n: (n.op is not None, n.id)):
        peak = gradient_at_peak(t, node.id)
        if peak is None or done + 2 * after[node.id] > NUDGE_WORK:
            continue
        done += 2 * int(after[node.id])
        _, index, g = peak
        found[node.id] = {
            "index": list(map(int, index)), "g": digits(g, "float64"),
            "slopes": [[h, digits(t.slope(node.id, index, h), "float64")]
                       for h in (STEPS if tiny else (6e-6,))]}
    return found


def compare(t, other):
    """Set the nodes of a record beside those of another level that do the same."""
    rows = []
    mine, theirs = right_sums(t.events), right_sums(other.events)
    made = {}
    for node in other.nodes:
        if node.op is not None:
            made.setdefault(node.origin, []).append(node)
    for node in t.nodes:
        if node.op is None or node.id not in made or type(node.value) is tuple:
            continue
        parts = made[node.id]
        rows.append({"node": node.id, "boxes": len(parts),
                     "value": equal(numbers(node.value), numbers(parts[-1].value)),
                     "gradient": equal(mine.get(node.id), theirs.get(parts[-1].id)),
                     "seconds": [digits(node.forward_s), digits(sum(p.forward_s for p in parts))]})
    leaves = {n.origin: n.id for n in other.nodes if n.op is None}
    return {"level": other.level, "rows": rows,
            "leaves": [[n.id, equal(mine[n.id], theirs.get(leaves.get(n.id)))]
                       for n in t.nodes if n.op is None and n.id in mine]}


def equal(x, y):
    """Say how far two arrays differ, relative to the larger one's norm; None if incomparable."""
    if x is None or y is None or x.shape != y.shape:
        return None
    if same(x, y) and x.norm == y.norm:
        return 0.0
    scale = max(x.norm, y.norm)
    return digits(float(np.abs(x.cells - y.cells).max()) / scale if scale else 0.0)
