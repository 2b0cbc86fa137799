"""What pictures are made of: SVG elements as strings, and axes.

Colours are of a middle lightness, to be read on white and on black.
"""
import numpy as np

INK, BLUE, ORANGE, GREEN = "#777e88", "#3b82c4", "#d9772b", "#2f9e5b"


def picture(width, height, title, parts):
    """Join SVG elements to a file."""
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="system-ui, sans-serif" font-size="14" role="img">',
        f"<title>{title}</title>", *parts, "</svg>", ""])


def line(points, colour=INK, width=1.0, dash=""):
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dash = f' stroke-dasharray="{dash}"' if dash else ""
    return (f'<polyline points="{path}" fill="none" stroke="{colour}" '
            f'stroke-width="{width:g}"{dash}/>')


def text(x, y, words, anchor="start", colour=INK):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{words}</text>'


def box(x, y, width, height, words="", colour=INK, fill=0.0):
    """A rectangle with a word in its middle; `fill`, 0 to 1, is how full of colour it is."""
    parts = [f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="3" '
             f'fill="{colour}" fill-opacity="{fill:.2f}" stroke="{colour}"/>']
    middle = y + height / 2 + 5
    return parts + ([text(x + width / 2, middle, words, "middle", colour)] if words != "" else [])


def arrow(x0, y0, x1, y1, colour=INK, dash=""):
    """A straight arrow from one point to another."""
    length = np.hypot(x1 - x0, y1 - y0)
    dx, dy = 7 * (x1 - x0) / length, 7 * (y1 - y0) / length
    barbs = [(x1 - dx - dy / 2, y1 - dy + dx / 2), (x1, y1), (x1 - dx + dy / 2, y1 - dy - dx / 2)]
    return line([(x0, y0), (x1, y1)], colour, 1.5, dash) + line(barbs, colour, 1.5)


def grid(x, y, rows, side=34, colour=INK, fills=None):
    """A table of numbers, row by row, in cells of `side`."""
    parts = []
    for i, row in enumerate(rows):
        for j, number in enumerate(row):
            fill = fills[i][j] if fills is not None else 0
            parts += box(x + j * side, y + i * side, side, side, number, colour, fill)
    return parts


class Axes:
    """A rectangle on the page that stands for a range of numbers; `log` says of which axes."""

    def __init__(self, left, top, width, height, xs, ys, log=""):
        self.box, self.xs, self.ys, self.log = (left, top, width, height), xs, ys, log

    def place(self, x, y):
        left, top, width, height = self.box
        right, up = self.share("x", x, *self.xs), self.share("y", y, *self.ys)
        return left + right * width, top + (1 - up) * height

    def share(self, axis, v, low, high):
        if axis in self.log:
            v, low, high = np.log([v, low, high])
        return (v - low) / (high - low)

    def curve(self, xs, ys, colour, width=2.0, dash=""):
        return line([self.place(x, y) for x, y in zip(xs, ys)], colour, width, dash)

    def note(self, x, y, words, anchor="start", colour=INK, up=6):
        px, py = self.place(x, y)
        return text(px, py - up, words, anchor, colour)

    def frame(self, xticks, yticks):
        left, top, width, height = self.box
        parts = [line([(left, top), (left, top + height), (left + width, top + height)])]
        for x in xticks:
            px, py = self.place(x, self.ys[0])
            parts += [line([(px, py), (px, py + 5)]), text(px, py + 20, f"{x:g}", "middle")]
        for y in yticks:
            px, py = self.place(self.xs[0], y)
            parts += [line([(px - 5, py), (px, py)]), text(px - 9, py + 5, f"{y:g}", "end")]
        return parts
