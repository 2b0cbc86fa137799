"""One step of a record as a picture: what the page shows and saves, without a browser."""
import re
from decimal import Decimal
from functools import cache
from html import escape
from importlib.resources import files

import numpy as np

from minigrad.stepper.events import backward_pass
from minigrad.stepper.layout import HEIGHT, MARGIN, WIDTH
from minigrad.stepper.words import outputs, received_in, sentence, waiting

MANY = 40                                             # nodes from which on modules are closed
LINE = 21                                             # characters that fit into a box
FLOW_GAP = 9                                          # from a line to what is written beside it
CAPTION = 7.3                                         # width of a character of the caption


def frame(t, step=None, collapse=None, dark=False):
    """Return the SVG of a step; `minigrad.stepper.record.Trace.svg` describes the arguments."""
    at = len(t.events) if step is None else step
    if not 1 <= at <= len(t.events):
        raise ValueError(f"step is {step}, but the record has the steps 1 to {len(t.events)}")
    graph = picture(t, collapse)
    now = Situation(t, at - 1)
    active = [edge for edge in graph.edges if now.flows_along(edge, graph)]
    parts = [line(edge, edge in active) for edge in graph.edges]
    parts += [drawn(box, now) for box in graph.boxes]
    parts += [flow(edge, now) for edge in active]
    return document(graph, parts, f"{at}. {sentence(t, now.event)}", dark)


def picture(t, collapse=None):
    """Choose the layout of a record that a reader sees first, unless another is asked for."""
    one_each, modules = t.pictures
    if collapse is None:
        collapse = len(t.nodes) > MANY
    return modules if collapse else one_each


class Situation:
    """What is known after a step: what is made, the sums, and how much of each has come."""

    def __init__(self, t, at):
        self.t, self.event = t, t.events[at]
        self.names, self.module_names = t.names
        self.open = {x: f"{n}/{of}" for x, n, of in waiting(t, at)}
        start, end = backward_pass(t.events, at)
        self.wanted = {t.root, *received_in(t.events[start:end])}
        self.made, self.acted = set(), set()
        self.total, self.started = {}, False
        for event in t.events[:at + 1]:
            self.add(event)

    def add(self, event):
        if event.kind == "make":
            self.made.add(event.node)
        elif event.kind == "start":
            self.started = True
            self.acted.clear()
            self.total = {event.node: event.g}
        else:
            receiver = event.to if event.kind == "send" else event.node
            self.acted.add(event.node)
            self.total[receiver] = event.total

    def parts(self, box):
        """Return which nodes of a box are made by ops, and which get a gradient."""
        ops = {self.t.nodes[i].maker for i in box.nodes if self.t.nodes[i].op}
        wanted = {self.t.nodes[i].maker for i in self.wanted.intersection(box.nodes)}
        return ops, wanted

    def flows_along(self, edge, graph):
        """Whether the gradient of this step flows along a line."""
        if self.event.kind != "send":
            return False
        return (edge.end is graph.box_of[self.event.node]
                and edge.start is graph.box_of[self.event.to]
                and edge.place in (None, self.event.place))

    def classes(self, box):
        """Say how a box looks."""
        ops, wanted = self.parts(box)
        acts = self.event.node in box.nodes
        receives = self.event.kind == "send" and self.event.to in box.nodes
        looks = {
            "module": box.module is not None,
            "unmade": ops and ops.isdisjoint(self.made),
            "waiting": not self.open.keys().isdisjoint(box.nodes),
            "done": wanted and wanted <= self.acted,
            "now": acts, "to": receives and not acts}
        return " ".join(["box", *filter(looks.get, looks)])

    def lines(self, box):
        """Write the three lines of a box."""
        if box.module is None:
            node = self.t.nodes[box.nodes[0]]
            return self.names[node.id], self.value_line(node), self.gradient_line(node)
        ops, wanted = self.parts(box)
        return (self.module_names[box.module],
                f"{len(box.nodes)} nodes · {len(ops & self.made)}/{len(ops)} made",
                f"{len(wanted & self.acted)}/{len(wanted)} gradients")

    def value_line(self, node):
        if node.several:
            return f"{len(node.value)} outputs"
        x = node.made
        shape = "×".join(map(str, x.shape))
        if node.op and node.id not in self.made:
            return shape or "scalar"
        return fit(f"{shape} {in_box(x)}".strip(), LINE)

    def gradient_line(self, node):
        if not node.requires_grad:
            return "no gradient"
        sums = [x.id for x in outputs(self.t, node)] or [node.id]
        if self.total.keys().isdisjoint(sums):
            return "–" if self.started else ""
        return fit(f"g {' '.join(map(self.so_far, sums))}", LINE)

    def so_far(self, i):
        """Write the sum that a node holds, and how much of it has come if not all."""
        if i not in self.total:
            return "–"
        part = f" ({self.open[i]})" if i in self.open else ""
        return in_box(self.total[i]) + part


# ---- parts of the picture --------------------------------------------------------------------

def drawn(box, now):
    left, top = box.x - WIDTH / 2, box.y - HEIGHT / 2
    kinds = ("name", "small", "small")
    texts = [f'<text x="{box.x:.1f}" y="{top + 16 * i:g}" text-anchor="middle" class="{kind}">'
             f"{plain(words)}</text>"
             for i, (kind, words) in enumerate(zip(kinds, now.lines(box)), 1)]
    is_leaf = box.module is None and now.t.nodes[box.nodes[0]].op is None
    corner = 20 if is_leaf else 6
    return (f'<g class="{now.classes(box)}"><rect x="{left:.1f}" y="{top:g}" '
            f'width="{WIDTH}" height="{HEIGHT}" rx="{corner}"/>{"".join(texts)}</g>')


def plain(words):
    return escape(words, quote=False)


def points(edge):
    """List the points of a line: between them it is straight down, or an S."""
    stops = [edge.start, *edge.bends, edge.end]
    ends = [(item.x, item.y + side * HEIGHT / 2) for item in stops for side in (-1, 1)]
    return [*ends[1:-2], (edge.end.x + edge.port, ends[-2][1])]


def line(edge, active):
    (x0, y0), *rest = points(edge)
    path = f"M{x0:.1f},{y0:g}"
    for x1, y1 in rest:
        middle = (y0 + y1) / 2
        path += (f"L{x1:.1f},{y1:g}" if x0 == x1 else
                 f"C{x0:.1f},{middle:g} {x1:.1f},{middle:g} {x1:.1f},{y1:g}")
        x0, y0 = x1, y1
    return f'<path class="edge{" active" * active}" d="{path}"/>'


def flow(edge, now):
    """Write what is sent above the sender, on the side from which its line does not come."""
    (x0, y0), (x1, y1) = points(edge)[-2:]
    side, anchor = (-1, "end") if x0 > x1 else (1, "start")
    x, y = x1 + side * FLOW_GAP, (y0 + 3 * y1) / 4
    return (f'<text class="flow" text-anchor="{anchor}" x="{x:.1f}" y="{y:.1f}">'
            f"↑ {in_box(now.event.sent)}</text>")


def document(graph, parts, caption, dark):
    """Join the parts; the colours are written out."""
    width = max(graph.width, 2 * MARGIN + CAPTION * len(caption))
    height = graph.height + 30
    style, colours = looks(dark)
    text = "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}">',
        f"<title>{plain(caption)}</title>",
        f"<style>{style}</style>",
        f'<rect width="{width:g}" height="{height:g}" fill="var(--page)"/>', *parts,
        f'<text x="{MARGIN}" y="{graph.height + 18:g}">{plain(caption)}</text>',
        "</svg>", ""])
    return re.sub(r"var\((--[a-z-]+)\)", lambda found: colours[found[1]], text)


@cache
def looks(dark):
    """Read the page's style of pictures, and its colours by name."""
    folder = files("minigrad.stepper") / "page"
    style, picture = ((folder / name).read_text(encoding="utf-8")
                      for name in ("style.css", "picture.css"))
    light, night = re.findall(r":root[^{]*\{(.*?)\}", style, re.S)[:2]
    colours = re.findall(r"(--[a-z-]+): (#\w+)", night if dark else light)
    return picture, dict(colours)


# ---- numbers as the page writes them ---------------------------------------------------------

def in_box(x):
    """Write what fits into a box: the number itself, or the norm."""
    return f"‖{as_in_javascript(x.norm)}‖" if x.shape else as_in_javascript(x.cells[0, 0])


def as_in_javascript(v):
    """Write five digits, as JavaScript does."""
    if np.isnan(v):
        return "NaN"
    if np.isinf(v):
        return "Infinity" if v > 0 else "-Infinity"
    v = float(f"{float(f'{v:.6g}'):.5g}")
    if v == 0:
        return "0"
    if 1e-6 <= abs(v) < 1e21:
        text = f"{Decimal(repr(v)):f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    mantissa, exponent = f"{v:.4e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent):+d}"


def fit(text, n):
    return text if len(text) <= n else text[:n - 1] + "…"
