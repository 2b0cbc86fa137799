"""A chart of lines and points as SVG, for pages that need no script."""
import math
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT, LEFT, BELOW = 640, 320, 56, 36
TICKS = 4


class Curve(NamedTuple):
    """A line, or points alone."""

    name: str
    points: list                   # of (x, y)
    line: bool = True


def chart(curves, x_name, y_name, log=False):
    """Draw curves over one axis, which may be logarithmic; the name of each shows at the pointer.

    Returns
    -------
    str
        An SVG element; a sentence where there is nothing to draw.
    """
    points = [p for curve in curves for p in curve.points if math.isfinite(p[1])]
    if not points:
        return "<p>There is nothing to draw yet.</p>"
    across, up = scale([x for x, _ in points], log), scale([y for _, y in points], False)
    place = lambda p: (LEFT + across.share(p[0]) * (WIDTH - LEFT - 10),
                       (1 - up.share(p[1])) * (HEIGHT - BELOW - 10) + 10)
    parts = [f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='{escape(y_name)} by "
             f"{escape(x_name)}' style='max-width:100%;font:12px system-ui'>"]
    for i, curve in enumerate(curves):
        color = f"hsl({360 * i / len(curves):.0f} 60% 50%)"
        at = [place(p) for p in curve.points if math.isfinite(p[1])]
        parts.append(f"<g stroke='{color}' fill='{color}'><title>{escape(curve.name)}</title>")
        if curve.line:
            corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
            parts.append(f"<polyline points='{corners}' fill='none' stroke-width='1.5'/>")
        parts += [f"<circle cx='{x:.1f}' cy='{y:.1f}' r='2.5'/>" for x, y in at]
        parts.append("</g>")
    for value in across.ticks():
        x, _ = place((value, up.low))
        parts.append(label(x, HEIGHT - BELOW + 16, f"{value:.4g}", "middle"))
    for value in up.ticks():
        _, y = place((across.low, value))
        parts.append(label(LEFT - 6, y + 4, f"{value:.4g}", "end"))
    parts.append(label(WIDTH / 2, HEIGHT - 4, x_name, "middle"))
    parts.append(label(4, 10, y_name, "start"))
    return "".join([*parts, "</svg>"])


def label(x, y, text, anchor):
    return (f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' fill='currentColor'>"
            f"{escape(text)}</text>")


class Scale(NamedTuple):
    """An axis of a chart."""

    low: float
    high: float
    log: bool

    def share(self, x):
        low, high, x = map(math.log, (self.low, self.high, x)) if self.log else (
            self.low, self.high, x)
        return (x - low) / (high - low)

    def ticks(self):
        steps = [i / TICKS for i in range(TICKS + 1)]
        if self.log:
            return [self.low * (self.high / self.low) ** t for t in steps]
        return [self.low + t * (self.high - self.low) for t in steps]


def scale(values, log):
    low, high = min(values), max(values)
    if low == high:
        low, high = (low / 2, high * 2) if log else (low - 1, high + 1)
    return Scale(low, high, log)
