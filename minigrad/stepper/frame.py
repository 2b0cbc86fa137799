"""One step of a record as a picture: what the page shows and saves, without a browser."""
import re
from decimal import Decimal
from functools import cache
from html import escape
from importlib.resources import files

import numpy as np

from minigrad.stepper.layout import HEIGHT, MARGIN, WIDTH
from minigrad.stepper.numbers import numbers
from minigrad.stepper.words import label, sentence, waiting

MANY = 40                                             # nodes from which on modules are closed
NAME, LINE = 19, 21                                   # characters that fit into a box
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
    parts += [flow(edge, now.event.sent) for edge in active]
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
        self.open = {x: f"{n}/{of}" for x, n, of in waiting(t, at)}
        self.wanted = {t.root, *(e.to for e in t.events if e.kind == "send")}
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
        ops = {i for i in box.nodes if self.t.nodes[i].op}
        return ops, self.wanted.intersection(box.nodes)

    def flows_along(self, edge, graph):
        """Whether the gradient of this step flows along a line."""
        if self.event.kind != "send":
            return False
        return (edge.end is graph.box_of[self.event.node]
                and edge.start is graph.box_of[self.event.to])

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
            return named(node), self.value_line(node), self.gradient_line(node.id)
        ops, wanted = self.parts(box)
        *_, name = box.module.split(" / ")
        return (fit(name, NAME),
                f"{len(box.nodes)} nodes · {len(ops & self.made)}/{len(ops)} made",
                f"{len(wanted & self.acted)}/{len(wanted)} gradients")

    def value_line(self, node):
        if node.several:
            return f"{len(node.value)} outputs"
        x = numbers(node.value)
        shape = "×".join(map(str, x.shape))
        if node.op and node.id not in self.made:
            return shape or "scalar"
        return fit(f"{shape} {in_box(x)}".strip(), LINE)

    def gradient_line(self, i):
        if not self.t.nodes[i].requires_grad:
            return "no gradient"
        if i not in self.total:
            return "–" if self.started else ""
        part = f" ({self.open[i]})" if i in self.open else ""
        return fit(f"g {in_box(self.total[i])}{part}", LINE)


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


def named(node):
    """Name a box: the variable and the op."""
    name, kind = label(node), node.op.name if node.op else ""
    says_kind = kind == name or name.startswith(f"{kind}_")
    if len(name) > NAME:
        name = f"…{name[2 - NAME:]}"
    return fit(name if says_kind or not kind else f"{name} · {kind}", NAME)


def points(edge):
    """List the points of a line: between them it is straight down, or an S."""
    stops = [edge.start, *edge.bends, edge.end]
    ends = [(item.x, item.y + side * HEIGHT / 2) for item in stops for side in (-1, 1)]
    return ends[1:-1]


def line(edge, active):
    (x0, y0), *rest = points(edge)
    path = f"M{x0:.1f},{y0:g}"
    for x1, y1 in rest:
        middle = (y0 + y1) / 2
        path += (f"L{x1:.1f},{y1:g}" if x0 == x1 else
                 f"C{x0:.1f},{middle:g} {x1:.1f},{middle:g} {x1:.1f},{y1:g}")
        x0, y0 = x1, y1
    return f'<path class="edge{" active" * active}" d="{path}"/>'


def flow(edge, sent):
    """Write what is sent beside the middle of its line."""
    stops = np.array(points(edge))
    curve = np.concatenate(list(map(s_curve, stops, stops[1:])))
    steps = np.hypot(*np.diff(curve, axis=0).T)
    along = np.cumsum([0, *steps])
    x, y = (np.interp(along[-1] / 2, along, column) for column in curve.T)
    return (f'<text class="flow" text-anchor="middle" x="{x:.1f}" y="{y + 4:.1f}">'
            f"↑ {in_box(sent)}</text>")


def s_curve(p, q):
    """Return points of the Bézier curve that leaves p and reaches q straight down."""
    u = np.linspace(0, 1, 65)[:, None]
    v = 1 - u
    down = np.array([0, (q[1] - p[1]) / 2])
    return v**3 * p + 3 * v**2 * u * (p + down) + 3 * v * u**2 * (q - down) + u**3 * q


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
