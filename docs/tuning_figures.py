"""The pictures of what comes behind a base: preferences, a teacher, rewards."""
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from drawing import BLUE, GREEN, INK, ORANGE, Axes, box, picture, text
from minigrad import softmax


def both_fall(code):
    """Draw what a loss on differences does to two answers alike, by the code of the chapter."""
    ways = code["fall"]()
    steps = np.arange(len(ways))
    axes = Axes(70, 30, 460, 200, (0, len(ways)), (-8, 2))
    parts = axes.frame((0, 100, 200, 300, 400), (-8, -6, -4, -2, 0, 2))
    for i, (name, colour) in enumerate((("chosen", BLUE), ("rejected", ORANGE),
                                        ("anything else", GREEN))):
        parts += [axes.curve(steps, ways[:, i], colour),
                  axes.note(len(ways) + 6, ways[-1, i], name, "start", colour, -5)]
    parts += [text(70, 18, "log p since the start"), text(300, 268, "steps", "middle")]
    return picture(650, 280, "Both answers become less likely, the rejected one faster", parts)


def wanted():
    """Draw what is wanted at one place: by the text, and by a teacher (Distillation)."""
    z = np.array([4.0, 3.0, 0.0, -2.0])
    rows = (("the text", np.eye(4)[0], INK), ("the teacher", softmax(z), BLUE),
            ("at temperature 4", softmax(z / 4), ORANGE))
    parts = []
    for i, (title, p, colour) in enumerate(rows):
        left = 30 + 215 * i
        axes = Axes(left, 40, 170, 140, (0, 4), (0, 1))
        zero = axes.place(0, 0)[1]
        parts += [text(left, 22, title, "start", colour)]
        for j, (name, share) in enumerate(zip(("cat", "dog", "stone", "of"), p)):
            x, y = axes.place(j + 0.1, share)
            parts += box(x, y, 32, zero - y, "", colour, 0.4)
            parts += [text(x + 16, zero + 18, name, "middle"),
                      text(x + 16, y - 5, f"{share:.2f}", "middle", colour)]
    return picture(660, 215, "What is wanted where cat came: one token, or all as likely as they "
                   "are", parts)


MEASURED = Path(__file__).parents[1] / "benchmarks" / "distilling.jsonl"


def overtaken():
    """Draw a student alone and with two teachers, after one pass and four (Distillation)."""
    found = defaultdict(list)
    for row in map(json.loads, MEASURED.read_text(encoding="utf-8").splitlines()):
        found[row["row"], row["mix"]].append(row)
    axes = Axes(60, 40, 330, 220, (0.7, 4.3), (1.5, 1.85))
    parts = axes.frame((1, 2, 3, 4), (1.5, 1.6, 1.7, 1.8))
    parts += [text(60, 22, "nats a character"), text(225, 300, "passes over the text", "middle")]
    for name, mix, weak, colour, up in (
            ("alone", 0.0, "", INK, -1), ("taught by the good one", 0.9, "", BLUE, -8),
            ("taught by the weak one", 0.9, ", weak teacher", ORANGE, -6)):
        rows = [found[passes + weak, mix] for passes in ("1 pass", "4 passes")]
        nats = [np.mean([row["nats"] for row in some]) for some in rows]
        parts += [axes.curve((1, 4), nats, colour),
                  axes.note(4.1, nats[1], name, "start", colour, up)]
        if mix:
            height = axes.place(0, rows[1][0]["teacher"])[1]
            parts += [f'<line x1="60" x2="390" y1="{height:.1f}" y2="{height:.1f}" '
                      f'stroke="{colour}" stroke-dasharray="4 4"/>',
                      text(66, height - 5, "its teacher", "start", colour)]
    return picture(600, 310, "A student alone overtakes a weak teacher within four passes, and "
                   "then is held back by it; not so with a good one", parts)


def baseline():
    """Draw estimates of a gradient, without a baseline and with one (Rewards)."""
    rng = np.random.default_rng(1)
    p, r = softmax(np.array([1.0, 0.5, 0.0, -0.5])), np.array([5.0, 5.0, 6.0, 5.0])
    exact, parts = p * (r - p @ r), []
    for i, (title, colour) in enumerate((("reward", ORANGE), ("less the mean of the group", BLUE))):
        axes = Axes(40 + 330 * i, 40, 270, 200, (-2, 2), (-2, 2))
        parts += [text(40 + 330 * i, 22, title, "start", colour),
                  *axes.frame((-2, 0, 2), (-2, 0, 2))]
        for _ in range(150):
            drawn = rng.choice(4, 16, p=p)
            gain = r[drawn] - (r[drawn].mean() if i else 0)
            g = (gain[:, None] * (np.eye(4)[drawn] - p)).mean(axis=0)
            x, y = axes.place(*g[[0, 2]])
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{colour}" '
                      'fill-opacity="0.6"/>']
        x, y = axes.place(*exact[[0, 2]])
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="none" stroke="{INK}" '
                  'stroke-width="2"/>']
    parts += [text(340, 285, "gradients in two scores, each from 16 answers; the ring is the true "
                   "one", "middle")]
    return picture(690, 295, "With a baseline the same answers say the gradient far more exactly",
                   parts)


DRAWN_HERE = (wanted, overtaken, baseline)
