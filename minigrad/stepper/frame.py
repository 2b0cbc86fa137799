"""One step of a record as a picture: what the page shows and saves, without a browser."""
import re
from decimal import Decimal
from html import escape
from importlib.resources import files

import numpy as np

from minigrad.stepper.layout import HEIGHT, WIDTH, common_prefix, edge_points, lay_out, paths
from minigrad.stepper.numbers import numbers
from minigrad.stepper.words import label, sentence, waiting

MANY = 40                                             # nodes from which on modules are closed


def frame(t, step=None, collapse=None, dark=False):
    """Return the SVG of a step; `minigrad.stepper.record.Trace.svg` describes the arguments."""
    at = len(t.events) if step is None else step
    if not 1 <= at <= len(t.events):
        raise ValueError(f"step is {step}, but the record has the steps 1 to {len(t.events)}")
    around = len(common_prefix([node.place.group for node in t.nodes]))
    groups = [node.place.group[around:] for node in t.nodes]
    collapse = len(t.nodes) > MANY if collapse is None else collapse
    closed = {path for group in groups for path in paths(group)} if collapse else set()
    graph = lay_out(groups, [node.refs for node in t.nodes], closed)
    now = Situation(t, at - 1)
    parts = [line(edge, now, graph) for edge in graph.edges]
    parts += [box(item, now) for item in graph.boxes]
    parts += [flow(edge, now) for edge in graph.edges if active(edge, now, graph)]
    return document(graph, parts, f"{at}. {sentence(t, now.event)}", dark)


class Situation:
    """What is known after a step: what is made, the sums, and how much of each has come."""

    def __init__(self, t, at):
        self.t, self.event = t, t.events[at]
        self.open = {x: f"{n}/{of}" for x, n, of in waiting(t, at)}
        self.made, self.wanted = set(), {t.root}
        for event in t.events:
            if event.kind == "send":
                self.wanted.add(event.to)
        for event in t.events[:at + 1]:
            if event.kind == "make":
                self.made.add(event.node)
            elif event.kind == "start":
                self.total, self.acted = {event.node: event.g}, set()
            else:
                self.acted.add(event.node)
                self.total[event.to if event.kind == "send" else event.node] = event.total
        self.started = hasattr(self, "total")
        if not self.started:
            self.total, self.acted = {}, set()

    def classes(self, item):
        """Say how a box looks."""
        ops = [i for i in item.nodes if self.t.nodes[i].op]
        wanted = self.wanted.intersection(item.nodes)
        sends = self.event.kind == "send"
        looks = {"module": item.module is not None,
                 "unmade": ops and not self.made.intersection(ops),
                 "waiting": any(i in self.open for i in item.nodes),
                 "done": wanted and wanted <= self.acted,
                 "now": self.event.node in item.nodes,
                 "to": sends and self.event.to in item.nodes and self.event.node not in item.nodes}
        return " ".join(["box", *(name for name, is_so in looks.items() if is_so)])

    def value_line(self, i):
        node = self.t.nodes[i]
        if type(node.value) is tuple:
            return f"{len(node.value)} outputs"
        x = numbers(node.value)
        shape = "×".join(map(str, x.shape))
        if node.op and i not in self.made:
            return shape or "scalar"
        return fit(f"{shape} {in_box(x)}" if shape else in_box(x), 21)

    def gradient_line(self, i):
        if not self.t.nodes[i].requires_grad:
            return "no gradient"
        if i not in self.total:
            return "–" if self.started else ""
        part = f" ({self.open[i]})" if i in self.open else ""
        return fit(f"g {in_box(self.total[i])}{part}", 21)


# ---- parts of the picture --------------------------------------------------------------------

def box(item, now):
    node, x, y = now.t.nodes[item.nodes[0]], item.x, item.y - HEIGHT / 2
    if item.module is None:
        lines = [named(node), now.value_line(node.id), now.gradient_line(node.id)]
    else:
        ops = [i for i in item.nodes if now.t.nodes[i].op]
        wanted = now.wanted.intersection(item.nodes)
        lines = [fit(item.module.split(" / ")[-1], 19),
                 f"{len(item.nodes)} nodes · {len(now.made.intersection(ops))}/{len(ops)} made",
                 f"{len(wanted & now.acted)}/{len(wanted)} gradients"]
    texts = [f'<text x="{x:.1f}" y="{y + 16 * (i + 1):g}" text-anchor="middle" class="{kind}">'
             f"{escape(words, quote=False)}</text>"
             for i, (words, kind) in enumerate(zip(lines, ("name", "small", "small")))]
    corner = 6 if node.op or item.module is not None else 20
    return (f'<g class="{now.classes(item)}"><rect x="{x - WIDTH / 2:.1f}" y="{y:g}" '
            f'width="{WIDTH}" height="{HEIGHT}" rx="{corner}"/>{"".join(texts)}</g>')


def named(node):
    """Name a box: the variable and the op."""
    name, kind = label(node), node.op.name if node.op else ""
    name = f"…{name[-17:]}" if len(name) > 19 else name
    return fit(name if not kind or kind == name or name.startswith(f"{kind}_")
               else f"{name} · {kind}", 19)


def active(edge, now, graph):
    """Whether the gradient of this step flows along a line."""
    return (now.event.kind == "send" and edge.start is graph.box_of[now.event.to]
            and edge.end is graph.box_of[now.event.node])


def line(edge, now, graph):
    points = edge_points(edge)
    path = "M{:.1f},{:g}".format(*points[0])
    for (x0, y0), (x1, y1) in zip(points, points[1:]):
        middle = (y0 + y1) / 2
        path += (f"L{x1:.1f},{y1:g}" if x0 == x1 else
                 f"C{x0:.1f},{middle:g} {x1:.1f},{middle:g} {x1:.1f},{y1:g}")
    return f'<path class="edge{" active" * active(edge, now, graph)}" d="{path}"/>'


def flow(edge, now):
    """Write what is sent beside the middle of its line."""
    points = edge_points(edge)
    u = np.linspace(0, 1, 65)[:, None]
    curve = np.concatenate([(1 - u)**3 * p + 3 * (1 - u)**2 * u * [p[0], (p[1] + q[1]) / 2]
                            + 3 * (1 - u) * u**2 * [q[0], (p[1] + q[1]) / 2] + u**3 * q
                            for p, q in zip(np.array(points), np.array(points[1:]))])
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(curve, axis=0).T))])
    x, y = (np.interp(along[-1] / 2, along, column) for column in curve.T)
    return (f'<text class="flow" text-anchor="middle" x="{x:.1f}" y="{y + 4:.1f}">'
            f"↑ {in_box(now.event.sent)}</text>")


def document(graph, parts, caption, dark):
    """Join the parts; the colours are written out."""
    width, height = max(graph.width, 32 + 7.3 * len(caption)), graph.height + 30
    page = files("minigrad.stepper") / "page"
    style = (page / "style.css").read_text(encoding="utf-8")
    light, night = re.findall(r":root[^{]*\{(.*?)\}", style, re.S)[:2]
    colours = dict(re.findall(r"(--[a-z-]+): (#\w+)", night if dark else light))
    text = "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}">',
        f"<title>{escape(caption, quote=False)}</title>",
        f"<style>{(page / 'picture.css').read_text(encoding='utf-8')}</style>",
        f'<rect width="{width:g}" height="{height:g}" fill="var(--page)"/>', *parts,
        f'<text x="16" y="{graph.height + 18:g}">{escape(caption, quote=False)}</text>',
        "</svg>", ""])
    return re.sub(r"var\((--[a-z-]+)\)", lambda found: colours[found[1]], text)


# ---- numbers as the page writes them ---------------------------------------------------------

def in_box(x):
    """Write what fits into a box: the number itself, or the norm."""
    return f"‖{brief(x.norm)}‖" if x.shape else brief(x.cells[0, 0])


def brief(v):
    """Write five digits, as JavaScript does."""
    if not np.isfinite(v):
        return "NaN" if np.isnan(v) else "Infinity" if v > 0 else "-Infinity"
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
