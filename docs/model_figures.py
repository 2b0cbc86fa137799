"""The pictures of models: attention, the block, tokens, generation; see make_figures.py."""
import numpy as np

from bpe import reference
from drawing import BLUE, GREEN, INK, ORANGE, Axes, arrow, box, grid, line, picture, text
from gpt.picture import opened, traced
from minigrad import softmax
from minigrad.stepper.cost import of_modules


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


def heads():
    """Draw the shapes of attention with three heads (Attention)."""
    colours = BLUE, ORANGE, GREEN
    parts = [*box(10, 70, 70, 80, "x"), text(45, 170, "(T, C)", "middle"), arrow(85, 110, 125, 110)]
    for i, name in enumerate("qkv"):
        parts += [text(135, 58 + 55 * i, f"W{name}"), arrow(160, 53 + 55 * i, 185, 53 + 55 * i)]
        for h, colour in enumerate(colours):
            parts += box(190 + 26 * h, 35 + 55 * i, 26, 40, name, colour, 0.25)
    parts += [line([(127, 53), (127, 163)]), text(229, 205, "(T, C), cut in H", "middle"),
              text(10, 20, "one product for all heads"), text(330, 20, "each head by itself")]
    for h, colour in enumerate(colours):
        y = 35 + 55 * h
        parts += [arrow(275, 105, 325, y + 20, colour),
                  *box(330, y, 130, 40, "attention", colour, 0.1),
                  arrow(465, y + 20, 505, 85 + 20 + 4 * h, colour),
                  *box(510 + 26 * h, 85, 26, 40, "y", colour, 0.25)]
    parts += [text(549, 145, "(T, C)", "middle"), text(510, 75, "side by side"),
              arrow(593, 105, 640, 105), text(617, 98, "Wo", "middle"),
              *box(645, 85, 50, 40, "out"), text(670, 145, "(T, C)", "middle"),
              text(395, 205, "(T, D), three times", "middle")]
    return picture(705, 215, "Attention with three heads: cut, attend, join", parts)


def online_softmax():
    """Draw the running maximum, sum and mean over three blocks of scores (Attention)."""
    scores, values = np.array([[1, 0, 2], [0, 4, 1], [3, 2, 0]]), np.array([[1, 2, 3], [0, 1, 2],
                                                                            [2, 0, 1]])
    parts, m, s, o = [text(10, 58, "scores S"), text(10, 92, "values V")], -np.inf, 0.0, 0.0
    names = (("m", BLUE, "largest so far"), ("s", ORANGE, "sum of exp(S - m)"),
             ("o", ORANGE, "sum of exp(S - m) V"), ("o / s", GREEN, "the mean so far"))
    parts += [text(10, 160 + 32 * i, f"{name}: {what}", "start", colour)
              for i, (name, colour, what) in enumerate(names)]
    for i, (S, V) in enumerate(zip(scores, values)):
        x, larger = 200 + 165 * i, max(m, S.max())
        old, e = np.exp(m - larger), np.exp(S - larger)
        m, s, o = larger, s * old + e.sum(), o * old + e @ V
        parts += [text(x + 60, 22, f"block {i + 1}", "middle"), *grid(x, 35, [S, V], 40)]
        for j, (number, (_, colour, _)) in enumerate(zip((m, s, o, o / s), names)):
            shown = f"{number:g}" if j == 0 else f"{number:.3f}"
            parts += [text(x + 60, 160 + 32 * j, shown, "middle", colour)]
        if i:
            parts += [arrow(x - 75, 187, x + 25, 187, ORANGE),
                      text(x - 25, 180, f"&#215; {old:.3f}", "middle", ORANGE)]
    exact = softmax(scores.ravel().astype(float)) @ values.ravel()
    parts += [text(10, 295, f"the last mean, {o / s:.3f}, is softmax(all scores) @ all values, "
                   f"{exact:.3f}")]
    return picture(690, 305, "The online softmax over three blocks", parts)


def residual_stream():
    """Draw a block: a stream, and two branches that read it and add to it (The GPT block)."""
    y, parts = 60, [*box(10, 43, 90, 34, "embedding", INK), line([(100, 60), (600, 60)], BLUE, 4),
                    arrow(600, 60, 606, 60, BLUE), *box(608, 43, 82, 34, "norm", INK),
                    text(649, 98, "then scores", "middle")]
    for x, name, what, colour in ((130, "attention", "looks at other positions", ORANGE),
                                  (370, "MLP", "thinks about what is there", GREEN)):
        parts += [line([(x, y), (x, 130)], colour, 1.5), arrow(x, 130, x + 15, 130, colour),
                  *box(x + 17, 113, 50, 34, "norm", colour),
                  arrow(x + 67, 130, x + 85, 130, colour),
                  *box(x + 87, 113, 90, 34, name, colour, 0.2),
                  line([(x + 177, 130), (x + 200, 130)], colour, 1.5),
                  arrow(x + 200, 130, x + 200, y + 12, colour),
                  f'<circle cx="{x + 200}" cy="{y}" r="11" fill="none" stroke="{colour}" '
                  'stroke-width="2"/>', text(x + 200, y - 18, "+", "middle", colour),
                  text(x + 100, 172, what, "middle", colour)]
    parts += [text(350, 25, "the residual stream: the gradient comes back along it untouched",
                   "middle", BLUE),
              text(350, 200, "one block; L of them follow each other", "middle")]
    return picture(700, 210, "A block of a GPT: two branches read the stream and add to it", parts)


def merges():
    """Draw how `newest` is put together, merge by merge, as Byte-pair encoding learns it."""
    counts = {"low": 5, "lower": 2, "newest": 6, "widest": 3}
    learnt = reference.train([word for word, n in counts.items() for _ in range(n)], 7, "gpt2")
    tokens, word, side = reference.vocabulary(learnt), tuple(b"newest"), 60
    places, parts = [(40 + side * i, 40 + side * i) for i in range(6)], []
    for (x, _), i in zip(places, word):
        parts += box(x - 16, 20, 32, 28, tokens[i].decode(), INK)
    depth, tops = 0, [48] * 6
    for k, pair in enumerate(learnt):
        if pair not in zip(word, word[1:]):
            continue
        i, depth = list(zip(word, word[1:])).index(pair), depth + 1
        (left, _), (_, right), y = places[i], places[i + 1], 40 + 52 * depth
        x, new = (left + right) / 2, 256 + k
        for j in (i, i + 1):
            parts += [line([(sum(places[j]) / 2, tops[j]), (x, y - 14)], BLUE, 1.5)]
        parts += [*box(x - 34, y - 14, 68, 28, tokens[new].decode(), BLUE, 0.15),
                  text(400, y + 5, f"merge {k + 1}: {tokens[pair[0]].decode()} + "
                       f"{tokens[pair[1]].decode()}")]
        word = (*word[:i], new, *word[i + 2:])
        places[i:i + 2], tops[i:i + 2] = [(left, right)], [y + 14]
    return picture(600, 60 + 52 * depth, "newest, put together from bytes by five merges", parts)


def windows():
    """Draw inputs and targets cut from a text (Training)."""
    words = "One day Gwen lost the kite near the garden . Gwen looked".split()
    parts, width = [text(10, 40, "text")], 58
    for i, word in enumerate(words):
        x, inside = 80 + 61 * i, 2 <= i < 9
        parts += box(x, 22, width, 28, word, BLUE if inside else INK, 0.12 * inside)
        if 2 <= i < 8:
            parts += [*box(x, 92, width, 28, word, BLUE, 0.2),
                      arrow(x + width / 2, 122, x + width / 2, 148),
                      *box(x, 150, width, 28, words[i + 1], ORANGE, 0.2)]
    parts += [text(10, 111, "inputs"), text(10, 169, "targets"),
              text(80, 75, "a window of T + 1 = 7 tokens: six questions, each with its answer"),
              text(80, 200, "a question is all that stands up to its position, not its word alone")]
    return picture(820, 212, "Inputs and targets are the same tokens, shifted by one", parts)


def temperature():
    """Draw the probabilities of four tokens at five temperatures (Sampling and the KV cache)."""
    z, parts = np.array([3.0, 2.0, 1.0, 0.0]), []
    for i, degree in enumerate((0.25, 0.5, 1, 2, 100)):
        axes = Axes(20 + 135 * i, 30, 120, 150, (0, 4), (0, 1))
        for j, p in enumerate(softmax(z / degree)):
            x, y = axes.place(j + 0.1, p)
            parts += [*box(x, y, 24, 180 - y, "", BLUE, 0.45),
                      text(x + 12, y - 5, f"{p:.2f}"[1:], "middle")]
        parts += [line([(20 + 135 * i, 180), (140 + 135 * i, 180)]),
                  text(80 + 135 * i, 200, f"temperature {degree:g}", "middle", ORANGE)]
    return picture(700, 215, "The same logits, 3, 2, 1 and 0, at five temperatures", parts)


def kv_cache(T=6, side=30):
    """Draw what a new token computes with a cache and without (Sampling and the KV cache)."""
    parts = []
    for left, title, again in ((60, "without a cache: all again", True),
                               (390, "with one: a row, a key, a value", False)):
        parts += [text(left - 20, 20, title)]
        for t in range(T):
            for s in range(t + 1):
                new = t == T - 1
                colour, fill = (ORANGE, 0.5) if new or again else (INK, 0.0)
                parts += box(left + s * side, 45 + t * side, side, side, "", colour, fill)
        for s in range(T):
            new = again or s == T - 1
            colour, fill = (ORANGE, 0.5) if new else (BLUE, 0.2)
            parts += box(left + s * side, 60 + T * side, side, side, "k, v", colour, fill)
    parts += [text(left + T * side + 10, 80 + T * side, "blue: kept", "start", BLUE),
              text(60, 115 + T * side, "orange is computed for the newest token, the last row")]
    return picture(690, 125 + T * side, "With a KV cache only the last row is new", parts)


def whole_net(layers=4):
    """Draw the parts of a small GPT-2, and the share of each in what it costs (GPT)."""
    net = opened(None, "gpt2", dict(n_layer=layers, d_model=48, n_head=4, context_length=32))
    t, _ = traced(net)
    costs = of_modules(t)
    places = {"embedded": 50, "norm1": 132, "attention": 168, "norm2": 204, "mlp": 240,
              "final_norm": 292, "surprise": 338}
    whole = costs[""]
    parts = [*box(60, 98, 180, 180), text(70, 117, f"{layers} such"),
             text(10, 16, f"{whole.parameters:,} parameters; there and back "
                  f"{(whole.forward + whole.backward) // 32:,} operations a token")]
    kinds = (("parameters", 290, BLUE), ("operations", 420, ORANGE), ("bytes kept", 550, GREEN))
    parts += [text(x, 40, what, "start", colour) for what, x, colour in kinds]
    for (name, y), below in zip(places.items(), [*places.values()][1:] + [None]):
        parts += box(75, y, 150, 26, name)
        parts += [arrow(150, y + 26, 150, below)] if below else []
        here = [cost for path, cost in costs.items() if path.split(" / ")[-1] == name]
        n, forward, backward, kept = map(sum, zip(*here))
        shares = (n / whole.parameters, (forward + backward) / (whole.forward + whole.backward),
                  kept / whole.kept)
        for share, (_, x, colour) in zip(shares, kinds):
            parts += [*box(x, y + 4, max(1, 60 * share), 18, "", colour, 0.5),
                      text(x + 60 * share + 6, y + 18, f"{share:.1%}", "start", colour)]
    return picture(680, 375, "The parts of a GPT with the share of each in parameters, operations "
                   "and memory", parts)


DRAWN_HERE = (causal_mask, heads, online_softmax, residual_stream, merges, windows, temperature,
              kv_cache, whole_net)
