"""Write docs/figures/: the pictures of the chapters, drawn from numbers that are computed here.

    python docs/make_figures.py

A test compares the files with what this would write. The pictures of models (attention, the block,
tokens, generation) are in model_figures.py, those around them (starts, norms, places, gates,
files) in net_figures.py, those of tuning in tuning_figures.py, those of many processes in
parallel_figures.py.
"""
import doctest
import random
import re
import sys
from pathlib import Path

import numpy as np

from minigrad import Tensor, backprop, use

sys.path.insert(0, str(Path(__file__).parent))
import model_figures  # noqa: E402
import net_figures  # noqa: E402
import parallel_figures  # noqa: E402
import tuning_figures  # noqa: E402
from drawing import (  # noqa: E402
    BLUE, GREEN, INK, ORANGE, Axes, arrow, box, grid, line, picture, text)

HERE = Path(__file__).parent


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


def nudges():
    """Draw the error of a central difference of x**3 against its step."""
    steps = [float(f"{digit}e-{k}") for k in range(1, 16) for digit in (7, 4, 2, 1)]
    cube = lambda x: x * x * x
    errors = [abs((cube(1 + h) - cube(1 - h)) / (2 * h) - 3) for h in steps]
    axes = Axes(90, 20, 560, 240, (1e-15, 1), (1e-12, 1), log="xy")
    parts = axes.frame((1e-15, 1e-12, 1e-9, 1e-6, 1e-3, 1), (1e-12, 1e-9, 1e-6, 1e-3, 1))
    for h, error in zip(steps, errors):
        x, y = axes.place(h, max(error, 1e-12))
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{BLUE}"/>']
    best = 1e-16 ** (1 / 3)
    parts += [axes.curve((best, 1), (best ** 2, 1), ORANGE, 1.5),
              axes.curve((1e-15, best), (0.1, 1e-16 / best), ORANGE, 1.5),
              axes.note(6e-3, 1e-3, "the curve bends: h&#178;", "end", ORANGE),
              axes.note(3e-10, 3e-5, "rounding: 10&#8315;&#185;&#8310; / h", "start", ORANGE),
              text(370, 300, "the step h", "middle"),
              text(90, 12, "error of the slope of x&#179; at 1")]
    return picture(680, 310, "The error of a central difference: a step can be too small", parts)


def broadcasting():
    """Draw (2, 3) + (3,) and the way back (From scalars to tensors)."""
    g = np.array([[1, 2, 3], [4, 5, 6]])
    parts = [text(20, 20, "forward: the row is repeated"),
             *grid(20, 40, [["a"] * 3] * 2, colour=BLUE), text(135, 80, "+"),
             *grid(160, 57, [[10, 20, 30]], colour=ORANGE), arrow(270, 74, 300, 74),
             *grid(310, 40, [["a"] * 3] * 2, colour=BLUE), text(425, 80, "+"),
             *grid(450, 40, [[10, 20, 30]] * 2, colour=ORANGE),
             text(20, 155, "backward: what arrives at the copies is added up"),
             *grid(450, 175, g, colour=ORANGE), arrow(440, 209, 410, 209),
             text(310, 214, "sum of rows"), arrow(300, 209, 270, 209),
             *grid(160, 192, [g.sum(axis=0)], colour=ORANGE)]
    return picture(570, 260, "A row of three is stretched to two rows, its gradient is their sum",
                   parts)


def kink():
    """Draw two central differences of relu, at a smooth point and beside the kink."""
    axes, parts = Axes(30, 30, 640, 220, (-1.6, 3.2), (-0.2, 3.2)), []
    relu = lambda x: max(x, 0.0)
    parts += [axes.curve((-1.6, 0, 3.1), (0, 0, 3.1), BLUE, 3)]
    for x in (2.2, 0.2):
        slopes = []
        for h, colour in ((0.8, ORANGE), (0.4, GREEN)):
            low, high = (x - h, relu(x - h)), (x + h, relu(x + h))
            slopes.append((high[1] - low[1]) / (2 * h))
            parts += [axes.curve(*zip(low, high), colour, 2, "6 3")]
            for point in (low, high):
                px, py = axes.place(*point)
                parts += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4" fill="{colour}"/>']
        px, py = axes.place(x, 0)
        one, other = (f"{slope:.3g}" for slope in slopes)
        words = "agree" if one == other else "differ"
        parts += [text(px + 10, py + 28, f"slopes {one} and {other}: they {words}", "middle")]
    parts += [text(30, 20, "relu, measured with the steps 0.8 and 0.4")]
    return picture(700, 270, "Across a kink two central differences disagree", parts)


def bigrams(side=21):
    """Draw the table of bigrams: how likely each character is after each."""
    choice, names = random.Random(1).choice, ["the cat", "the dog", "a bird", "a mouse"]
    said = "".join(f"{choice(names)} {choice(['sees', 'hears', 'likes'])} {choice(names)}.\n"
                   for _ in range(400))
    characters = sorted(set(said))
    counts = np.zeros((len(characters),) * 2)
    for a, b in zip(said, said[1:]):
        counts[characters.index(a), characters.index(b)] += 1
    p = counts / counts.sum(axis=1, keepdims=True)
    shown = [{"\n": "&#8629;", " ": "&#9251;"}.get(c, c) for c in characters]
    left, end = 80, 80 + side * len(shown)
    parts = [text(left, 16, "next character")]
    for i, c in enumerate(shown):
        parts += [text(left + (i + 0.5) * side, 42, c, "middle"),
                  text(left - 10, 50 + (i + 0.75) * side, c, "end")]
        parts += [element for j in range(len(shown)) if p[i, j] > 0
                  for element in box(left + j * side, 50 + i * side, side, side, "", BLUE, p[i, j])]
    parts += [text(end + 15, 50 + (shown.index("t") + 0.75) * side,
                   "after t: h, the end of cat, or a space"),
              text(end + 15, 50 + (shown.index("h") + 0.75) * side, "after h: always e"),
              text(10, 60 + side * len(shown) / 2, "now")]
    return picture(end + 290, 60 + side * len(shown), "Bigram probabilities: a row for each "
                   "character, dark where the next one is likely", parts)


def valley(steep=20.0):
    """Draw the paths of three optimizers down (x**2 + 20 y**2) / 2 (Networks)."""
    def path(step, n=40):
        p, memory, points = np.array([-9.0, 1.5]), np.zeros((2, 2)), []
        for t in range(1, n + 1):
            points.append(tuple(p))
            p = p - step(np.array([1.0, steep]) * p, memory, t)
        return points

    def momentum(g, memory, t):
        memory[0] = 0.8 * memory[0] + g
        return 0.02 * memory[0]

    def adam(g, memory, t):
        memory[0] += 0.1 * (g - memory[0])
        memory[1] += 0.05 * (g * g - memory[1])
        return 0.4 * memory[0] / (1 - 0.9 ** t) / np.sqrt(memory[1] / (1 - 0.95 ** t))
    axes, parts = Axes(20, 40, 660, 200, (-10, 2.5), (-2, 2)), []
    turn = np.linspace(0, 2 * np.pi, 73)
    for level in (0.5, 1.25, 2.5, 5, 9):
        ring = [(x, y) for x, y in zip(level * np.cos(turn), level / steep ** 0.5 * np.sin(turn))
                if -10 <= x <= 2.5]
        parts += [axes.curve(*zip(*ring), INK, 0.7)]
    for i, (name, step, colour) in enumerate((
            ("descent, 40 steps", lambda g, memory, t: 0.092 * g, ORANGE),
            ("with momentum", momentum, BLUE), ("Adam", adam, GREEN))):
        points = path(step)
        parts += [axes.curve(*zip(*points), colour, 1.5),
                  text(20 + 180 * i, 20, name, "start", colour)]
        for point in points:
            x, y = axes.place(*point)
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>']
    return picture(700, 260, "A long valley, steep across and flat along: three ways down", parts)


def adam_start():
    """Draw Adam's running means of a gradient that is always 1, and its steps (Networks)."""
    steps = np.arange(1, 101)
    m, v = 1 - 0.9 ** steps, 1 - 0.999 ** steps
    left, right = (Axes(x, 30, 280, 180, (0, 100), (0, top)) for x, top in ((45, 1.2), (400, 8)))
    parts = [*left.frame((0, 50, 100), (0, 1)), *right.frame((0, 50, 100), (0, 1, 2, 4, 6, 8)),
             left.curve((1, 100), (1, 1), GREEN), left.curve(steps, m, BLUE),
             left.curve(steps, v, ORANGE),
             left.note(98, 1, "both, divided by what is missing", "end", GREEN),
             left.note(98, 0.82, "m", "end", BLUE), left.note(98, 0.1, "v", "end", ORANGE),
             right.curve(steps, m / np.sqrt(v), ORANGE), right.curve((1, 100), (1, 1), GREEN),
             right.note(98, 5, "without correction", "end", ORANGE),
             right.note(98, 1, "with it", "end", GREEN),
             text(45, 16, "running means, if every g is 1"),
             text(400, 16, "length of a step, in learning rates"), text(185, 245, "step", "middle"),
             text(540, 245, "step", "middle")]
    return picture(700, 255, "Bias correction: running means start at zero", parts)


def vanishing():
    """Draw how much gradient arrives so many steps back, by the code of the chapter."""
    arriving, back = code_of("learn/nets/recurrent.md")["arriving"], (0, 8, 16, 31)
    axes = Axes(80, 25, 560, 230, (0, 31), (1e-11, 100), log="y")
    parts = axes.frame(back, (1e-9, 1e-6, 1e-3, 1))
    for scale, colour, up in ((0.5, ORANGE, 12), (1.0, BLUE, -32), (1.5, GREEN, 12)):
        with use("reference"):
            shares = arriving(scale)
        parts += [axes.curve(back, shares, colour, 2.5),
                  axes.note(16, shares[2], f"weights times {scale:g}", "start", colour, up)]
        for x, y in (axes.place(t, share) for t, share in zip(back, shares)):
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>']
    parts += [text(360, 295, "steps back from the end", "middle"),
              text(80, 14, "size of the gradient that arrives, as a share of the last")]
    return picture(680, 305, "The vanishing gradient", parts)


def loss_curve():
    """Draw the run of the chapter on training, by its code."""
    names = code_of("learn/gpt/training.md")
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


def ladder():
    """Draw the rungs of Making it fast, as its table has them, on a logarithmic scale."""
    table = (HERE / "learn" / "gpt" / "making_it_fast.md").read_text(encoding="utf-8")
    rungs = re.findall(r"\| ?(\d?) \| ([^|]+) \| ([\d.]+) \| [\d.]+%", table)
    parts, width = [], lambda speed: 360 * np.log10(speed / 0.004) / np.log10(400 / 0.004)
    for i, (rung, change, speed) in enumerate(rungs):
        y, colour = 40 + 30 * i, BLUE if rung else INK
        change = change if rung else "NumPy (OpenBLAS), one core"
        parts += [text(290, y + 16, f"{rung} {change}", "end", colour),
                  *box(300, y, width(float(speed)), 22, "", colour, 0.5),
                  text(710, y + 16, speed, "end", colour)]
    x = 300 + width(179)
    bottom = 45 + 30 * len(rungs)
    parts += [line([(x, 28), (x, bottom)], ORANGE, 1.5, "4 4"),
              text(x, 20, "the top of one core, 179 GFLOP/s", "end", ORANGE),
              text(300, bottom + 20, "GFLOP/s; each bar's length is a logarithm")]
    return picture(720, bottom + 30, "From three Python loops to the speed of the machine", parts)


def roofline(peak=300.0, bandwidth=38.5):
    """Draw the limits of a machine, in GFLOP/s and GB/s, and where examples lie."""
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
    """Run the plain snippets of a page, and of those with prompts the definitions: its names."""
    names = {}
    for block in re.findall(r"```python\n(.*?)```", (HERE / page).read_text(encoding="utf-8"),
                            flags=re.DOTALL):
        if not block.startswith(">>>"):
            exec(compile(block, page, "exec"), names)
            continue
        for example in doctest.DocTestParser().get_examples(block):
            if example.source.startswith(("import ", "from ", "class ", "def ")):
                exec(compile(example.source, page, "exec"), names)
    return names


def who_sees():
    """Draw which tokens each place sees (Who sees whom)."""
    with use("reference"):
        return net_figures.who_sees(code_of("learn/nets/who_sees_whom.md"))


def both_fall():
    """Draw what a loss on differences does to both answers (Preferences)."""
    return tuning_figures.both_fall(code_of("learn/tuning/preferences.md"))


DRAWN_HERE = (nudges, two_paths, broadcasting, kink, bigrams, valley, adam_start, vanishing,
              loss_curve, ladder, roofline, who_sees, both_fall)
FIGURES = {draw.__name__: draw for draw in (
    *DRAWN_HERE, *model_figures.DRAWN_HERE, *net_figures.DRAWN_HERE,
    *tuning_figures.DRAWN_HERE, *parallel_figures.DRAWN_HERE)}


def main():
    folder = HERE / "figures"
    folder.mkdir(exist_ok=True)
    for name, draw in FIGURES.items():
        (folder / f"{name}.svg").write_text(draw(), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
