"""A chart of lines and points as SVG, for pages that need no script."""
import math
from html import escape
from itertools import chain
from typing import NamedTuple

WIDTH, HEIGHT, LEFT, BELOW = 640, 320, 56, 36
ABOVE, RIGHT = 28, 24
TICKS = 4


class Curve(NamedTuple):
    """A line, or points alone."""

    name: str
    points: list                   # of (x, y)
    line: bool = True

    def drawable(self, log):
        """Leave out what has no place: the loss of a run that diverged, the logarithm of 0."""
        lowest = 0 if log else -math.inf
        points = [(x, y) for x, y in self.points if x > lowest and math.isfinite(y)]
        return self._replace(points=points)


def chart(curves, x_name, y_name, log=False):
    """Draw curves over one axis, which may be logarithmic; the name of each shows at the pointer.

    Returns
    -------
    str
        An SVG element; a sentence where there is nothing to draw.
    """
    curves = [curve.drawable(log) for curve in curves]
    points = [*chain(*[curve.points for curve in curves])]
    if not points:
        return "<p>There is nothing to draw yet.</p>"
    xs, ys = zip(*points)
    across, up = scale(xs, log), scale(ys, False)

    def place(point):
        x, y = across.share(point[0]), up.share(point[1])
        below = HEIGHT - BELOW
        return LEFT + x * (WIDTH - LEFT - RIGHT), below - y * (below - ABOVE)
    parts = [f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='{escape(y_name)} by "
             f"{escape(x_name)}' style='max-width:100%;font:12px system-ui'>"]
    for i, curve in enumerate(curves):
        color = color_of(i, len(curves))
        at = [*map(place, curve.points)]
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
    parts.append(label(4, 12, y_name, "start"))
    return "".join([*parts, "</svg>"])


def color_of(i, n):
    """Return the color of one of n curves."""
    return f"hsl({360 * i / n:.0f} 60% 50%)"


def label(x, y, text, anchor):
    return (f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' fill='currentColor'>"
            f"{escape(text)}</text>")


class Scale(NamedTuple):
    """An axis of a chart."""

    low: float
    high: float
    log: bool

    def share(self, x):
        if self.log:
            return math.log(x / self.low) / math.log(self.high / self.low)
        return (x - self.low) / (self.high - self.low)

    def ticks(self):
        return [self.at(i / TICKS) for i in range(TICKS + 1)]

    def at(self, share):
        if self.log:
            return self.low * (self.high / self.low) ** share
        return self.low + share * (self.high - self.low)


def scale(values, log):
    low, high = min(values), max(values)
    if low == high:
        low, high = (low / 2, high * 2) if log else (low - 1, high + 1)
    return Scale(low, high, log)
