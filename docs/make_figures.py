"""Write docs/figures/: the pictures of the chapters, drawn from numbers that are computed here.

    python docs/make_figures.py

Colours are of a middle lightness, to be read on white and on black. A test compares the files with
what this would write.
"""
import re
from pathlib import Path

import numpy as np

from minigrad import Tensor, backprop, softmax

HERE = Path(__file__).parent
INK, BLUE, ORANGE, GREEN = "#777e88", "#3b82c4", "#d9772b", "#2f9e5b"


# ---- drawing ----

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


# ---- the figures ----

def two_paths():
    """Draw b = a + a, c = b + b with the contributions that backprop sends."""
    a = Tensor(1.0, requires_grad=True)
    b = a + a
    c = b + b
    places = {a: (70, "a"), b: (250, "b"), c: (430, "c")}
    parts = []
    for node, g, grads in backprop(c):
        x, name = places[node]
        parts += [f'<circle cx="{x}" cy="100" r="30" fill="none" stroke="{BLUE}" '
                  'stroke-width="2"/>', text(x, 97, f"{name} = {node.data:g}", "middle", BLUE),
                  text(x, 115, f"g = {g:g}", "middle", ORANGE)]
        for bend, dx in zip((-45, 45), grads):
            parts += [f'<path d="M{x - 26} {100 + bend / 3:.0f} Q{x - 90} {100 + bend * 1.3:.0f} '
                      f'{x - 154} {100 + bend / 3:.0f}" fill="none" stroke="{ORANGE}" '
                      'stroke-width="2"/>',
                      text(x - 90, 100 + bend * (1.1 if bend < 0 else 1.4), f"&#8592; {dx:g}",
                           "middle", ORANGE)]
    parts += [text(250, 20, "b = a + a, c = b + b: values go right, gradients go left and add",
                   "middle")]
    return picture(500, 180, "b = a + a, c = b + b with the gradients on every edge", parts)


def causal_mask(T=7, D=4):
    """Draw the weights of causal attention as a heat map."""
    q, k = np.random.default_rng(4).standard_normal((2, T, D))
    scores = q @ k.T / np.sqrt(D)
    scores[np.triu_indices(T, 1)] = -np.inf
    weights, side, left, top = softmax(scores), 44, 130, 50
    parts = [text(left + T * side / 2, 18, "looks at position", "middle"),
             text(10, top + T * side / 2, "position")]
    for t in range(T):
        parts += [text(left + (t + 0.5) * side, top - 8, t, "middle"),
                  text(left - 10, top + (t + 0.6) * side, t, "end")]
        for s in range(T):
            x, y, w = left + s * side, top + t * side, weights[t, s]
            parts += [f'<rect x="{x}" y="{y}" width="{side}" height="{side}" fill="{BLUE}" '
                      f'fill-opacity="{0.45 * w:.2f}" stroke="{INK}" stroke-width="0.5"/>']
            parts += [text(x + side / 2, y + 27, f"{w:.2f}", "middle")] if s <= t else []
    return picture(left + T * side + 20, top + T * side + 20,
                   "Weights of causal attention: zero above the diagonal, rows sum to one", parts)


def loss_curve():
    """Draw the run of chapter 11, by the code of chapter 11."""
    names = code_of("learn/11_training.md")
    _, losses = names["train"](names["train_rows"], schedule=names["trapezoid"])
    steps = np.arange(1, len(losses) + 1)
    smooth = [np.mean(losses[max(0, i - 5):i]) for i in steps]
    axes = Axes(60, 20, 620, 260, (0, 300), (0.2, 5), log="y")
    levels = ((np.log(names["V"]), "ln V: knows nothing"),
              (10 * np.log(8) / 32, "the sentences, but not what was said"),
              (names["STORY_BITS"] * np.log(2) / 32, "everything: the floor"))
    parts = axes.frame(range(0, 301, 50), (0.2, 0.5, 1, 2, 4))
    for loss, what in levels:
        parts += [axes.curve((0, 300), (loss, loss), INK, 1, "4 4"),
                  axes.note(298 if loss > 0.3 else 2, loss, what,
                            "end" if loss > 0.3 else "start")]
    parts += [axes.curve(steps, losses, BLUE, 0.7), axes.curve(steps, smooth, BLUE, 2.5),
              axes.note(50, 2, "the loss of each batch, and its mean over five", "start", BLUE),
              text(370, 318, "step", "middle"), text(60, 12, "nats per token")]
    rates = Axes(60, 340, 620, 60, (0, 300), (0, 1))
    parts += [*rates.frame((), (0, 1)), rates.curve(steps, [names["trapezoid"](int(s) - 1)
                                                            for s in steps], ORANGE),
              text(370, 420, "warm-up, constant, decay: the learning rate as a share of the "
                   "highest", "middle", ORANGE)]
    return picture(700, 430, "A normal loss curve, with the learning rate below", parts)


def roofline(peak=300.0, bandwidth=38.5):
    """Draw the limits of chapter 12's machine, in GFLOP/s and GB/s, and where its examples lie."""
    axes = Axes(70, 20, 610, 280, (0.05, 1000), (1, 500), log="xy")
    ridge = peak / bandwidth
    parts = axes.frame((0.1, 1, 10, 100, 1000), (1, 10, 100))
    parts += [axes.curve((0.05, ridge, 1000), (0.05 * bandwidth, peak, peak), BLUE, 2.5),
              axes.note(1000, peak, f"arithmetic: {peak:g} GFLOP/s", "end", BLUE),
              axes.note(0.7, 0.7 * bandwidth, f"memory: {bandwidth:g} GB/s", "end", BLUE)]
    examples = ((1 / 12, "add: x + y", "start"), (0.5, "one token times a matrix", "start"),
                (512 / 6, "512 tokens times a matrix", "middle"))
    for x, what, anchor in examples:
        y = min(peak, x * bandwidth)
        px, py = axes.place(x, y)
        parts += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="5" fill="{ORANGE}"/>',
                  text(px + 10 * (anchor == "start"), py + 18, what, anchor, ORANGE)]
    parts += [text(375, 340, "operations for each byte that comes from memory", "middle"),
              text(70, 12, "GFLOP/s, at most")]
    return picture(700, 350, "The roofline: what limits a computation", parts)


def code_of(page):
    """Run the plain snippets of a page, those without prompts, and return its names."""
    names = {}
    for block in re.findall(r"```python\n(.*?)```", (HERE / page).read_text(encoding="utf-8"),
                            flags=re.DOTALL):
        if not block.startswith(">>>"):
            exec(compile(block, page, "exec"), names)
    return names


FIGURES = {"two_paths": two_paths, "causal_mask": causal_mask, "loss_curve": loss_curve,
           "roofline": roofline}


def main():
    folder = HERE / "figures"
    folder.mkdir(exist_ok=True)
    for name, draw in FIGURES.items():
        (folder / f"{name}.svg").write_text(draw(), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
