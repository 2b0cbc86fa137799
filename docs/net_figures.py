"""The pictures of what stands around attention: starts, norms, places, gates and files."""
import contextlib
import io
import json
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from drawing import BLUE, GREEN, INK, ORANGE, Axes, arrow, box, grid, line, picture, text
from gpt.files.safetensors import write_safetensors
from gpt.models.config import ModelConfig
from gpt.models.decoder import GPT
from gpt.models.publishing import as_huggingface
from minigrad import Tensor, dropout, embedding, layer_norm, rotary, rotary_angles


def dot(axes, x, y, colour, radius=3.0):
    px, py = axes.place(x, y)
    return f'<circle cx="{px:.1f}" cy="{py:.1f}" r="{radius:g}" fill="{colour}"/>'


def stuck():
    """Draw where hidden units sit on tanh, for two sizes of the first weights (Networks)."""
    rng, parts = np.random.default_rng(0), []
    x, weights = rng.standard_normal(64), rng.standard_normal((40, 64))
    curve = np.linspace(-20, 20, 201)
    for i, (scale, words) in enumerate(((1.0, "weights of size 1"),
                                        (64 ** -0.5, "of size 1 / sqrt(inputs)"))):
        axes = Axes(30 + 350 * i, 40, 310, 150, (-20, 20), (-1.1, 1.1))
        into = (scale * weights @ x).clip(-20, 20)
        flat = np.mean(np.abs(np.tanh(into)) > 0.99)
        parts += [axes.curve(curve, np.tanh(curve), INK, 1.5),
                  *(dot(axes, a, np.tanh(a), BLUE if abs(np.tanh(a)) < 0.99 else ORANGE)
                    for a in into),
                  text(30 + 350 * i, 20, f"{words}: {flat:.0%} are stuck"),
                  axes.note(0, -1.1, "what goes into tanh", "middle", up=-22)]
    return picture(700, 225, "Hidden units on tanh: orange where it is flat and no gradient passes",
                   parts)


def looked_up(side=46):
    """Draw the backward pass of an embedding (Networks)."""
    ids = np.array([2, 0, 2, 2])
    g = np.array([[1.0, 0], [0, 5], [10, 0], [100, 0]])
    weight = Tensor(np.zeros((4, 2)), requires_grad=True)
    embedding(ids, weight).backward(g)
    show = lambda rows: [[f"{x:g}" for x in row] for row in rows]
    parts = [text(20, 24, "id"), text(80, 24, "g, a row for each place"),
             text(460, 24, "gradient of the table"),
             *grid(20, 40, [[i] for i in ids], side), *grid(80, 40, show(g), side, ORANGE),
             *grid(460, 40, show(weight.grad), side, BLUE)]
    for place, i in enumerate(ids):
        parts += [arrow(80 + 2 * side + 6, 40 + (place + 0.5) * side, 452, 40 + (i + 0.5) * side,
                        GREEN if i == 2 else INK)]
    parts += [text(570, 40 + (v + 0.6) * side, words) for v, words in
              enumerate(("one place", "nobody looked", "three places, added", "nobody looked"))]
    return picture(725, 240, "Backward, each row of the table adds up the places of its id", parts)


def norm_backward():
    """Draw what layer norm takes out of a gradient (Networks)."""
    x, h = np.array([-1.0, 2.0, 0.5, 3.0, -2.0]), np.array([1.0, 2.5, 1.5, 2.0, -0.5])
    x_hat = (x - x.mean()) / x.std()
    leaf = Tensor(x, requires_grad=True)
    layer_norm(leaf, eps=0.0).backward(h)
    steps = (("h arrives", h, ORANGE), ("its mean", np.full(5, h.mean()), INK),
             ("what goes along x&#770;", x_hat * (h * x_hat).mean(), INK),
             ("&#963; dx is left", leaf.grad * x.std(), BLUE))
    parts = []
    for i, (words, bars, colour) in enumerate(steps):
        left = 20 + 175 * i
        axes = Axes(left, 40, 130, 150, (0, 5), (-2, 3))
        zero = axes.place(0, 0)[1]
        parts += [text(left + 65, 22, words, "middle", colour),
                  line([(left, zero), (left + 130, zero)]),
                  text(left + 152, 120, ("&#8722;", "&#8722;", "=", "")[i], "middle")]
        for j, bar in enumerate(bars):
            px, py = axes.place(j + 0.15, max(bar, 0.0))
            parts += box(px, py, 18, abs(axes.place(0, bar)[1] - zero), "", colour, 0.4)
    parts += [text(350, 215, "what would only shift x, or only stretch it, changes nothing behind "
                   "the norm: both are taken away", "middle")]
    return picture(710, 225, "Layer norm, backward: two parts of the gradient are taken out", parts)


def dropped():
    """Draw dropout and its backward pass (Networks)."""
    x, g = (Tensor(np.array(row), requires_grad=True) for row in ([[2.0, 1, 4, 3, 5, 1]],
                                                                  [[1.0, 2, 1, 4, 2, 3]]))
    y = dropout(x, 0.5, np.random.default_rng(1))
    y.backward(g.data)
    mask = y.data / x.data
    show = lambda row: [[f"{v:g}" for v in row[0]]]
    parts = [text(20, 66, "forward"), text(20, 146, "backward")]
    for left, name, row, top, colour in (
            (110, "x", x.data, 45, BLUE), (330, "times m, as it was drawn", mask, 45, ORANGE),
            (550, "y", y.data, 45, BLUE), (110, "dx", x.grad, 125, GREEN),
            (330, "times the same m", mask, 125, ORANGE), (550, "g", g.data, 125, GREEN)):
        parts += [text(left, top - 10, name, "start", colour),
                  *grid(left, top, show(row), 30, colour)]
    parts += [arrow(295, 60, 322, 60), arrow(515, 60, 542, 60),
              arrow(542, 140, 515, 140), arrow(322, 140, 295, 140)]
    return picture(745, 170, "Dropout: what was dropped gets no gradient", parts)


def rotary_turns():
    """Draw a query and a key at three pairs of places, two apart (The GPT block)."""
    cos, sin = rotary_angles(16, 2, dtype=np.float64)
    q, k = np.array([1.0, 0.2]), np.array([0.3, 0.8])
    parts = []
    for i, (later, earlier) in enumerate(((3, 1), (7, 5), (15, 13))):
        axes = Axes(35 + 225 * i, 40, 180, 180, (-1.2, 1.2), (-1.2, 1.2))
        x, y = axes.place(0, 0)
        ends = [rotary(np.tile(v, (16, 1)), cos, sin)[at] for v, at in ((q, later), (k, earlier))]
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="75" fill="none" stroke="{INK}" '
                  'stroke-width="0.5"/>']
        for name, end, at, colour in zip("qk", ends, (later, earlier), (BLUE, ORANGE)):
            px, py = axes.place(*end)
            parts += [arrow(x, y, px, py, colour),
                      axes.note(*(1.12 * end), f"{name} at {at}", side_of(end), colour, -5)]
        parts += [text(x, 245, f"q &#183; k = {ends[0] @ ends[1]:.3f}", "middle")]
    parts += [text(20, 20, "one pair of features, turned by its place: the angle between q and k "
                   "stays if the distance does")]
    return picture(700, 255, "Rotary positions: a score depends on the distance alone", parts)


def side_of(end):
    """Say at which end of a label the tip of an arrow is."""
    return "middle" if abs(end[0]) < 0.3 else "start" if end[0] > 0 else "end"


def lstm_cell():
    """Draw one step of an LSTM (Gates)."""
    def knot(x, y, sign, colour):
        return [f'<circle cx="{x}" cy="{y}" r="12" fill="none" stroke="{colour}" '
                'stroke-width="2"/>', text(x, y + 5, sign, "middle", colour)]
    parts = [text(20, 65, "c before", "start", BLUE), arrow(85, 60, 168, 60, BLUE),
             *knot(181, 60, "&#215;", ORANGE), arrow(195, 60, 317, 60, BLUE),
             *knot(330, 60, "+", BLUE), arrow(344, 60, 600, 60, BLUE),
             text(610, 65, "c after", "start", BLUE),
             text(350, 22, "the state: one factor and one sum from step to step", "middle", BLUE)]
    for x, name, what in ((181, "f", "keep?"), (290, "i", "take in?"), (370, "n", "what is new"),
                          (520, "o", "show?")):
        parts += [*box(x - 22, 175, 44, 32, name, ORANGE if name != "n" else GREEN, 0.2),
                  text(x, 225, what, "middle"), arrow(x, 262, x, 234)]
    parts += [arrow(181, 175, 181, 75, ORANGE), arrow(290, 175, 322, 132, ORANGE),
              arrow(370, 175, 339, 132, GREEN), *knot(330, 122, "&#215;", INK),
              arrow(330, 109, 330, 74), line([(520, 60), (520, 80)], BLUE, 1.5),
              *box(492, 80, 56, 28, "tanh", INK), arrow(520, 108, 520, 122),
              *knot(520, 135, "&#215;", ORANGE), arrow(520, 175, 520, 149, ORANGE),
              arrow(534, 135, 600, 135), text(610, 140, "h, what is shown"),
              line([(150, 262), (560, 262)]),
              text(350, 282, "the input and h before, by W: z; gates are sigmoids, n is a tanh",
                   "middle")]
    return picture(740, 295, "One step of an LSTM: the state is kept by a factor and a sum", parts)


def who_sees(code):
    """Draw which tokens each place sees, by the code of the chapter (Who sees whom)."""
    make, draw, Batch = code["make"], code["draw"], code["Batch"]
    ids, side, parts = np.array([[1, 2, 3, 4, 5]]), 26, []
    both = Batch(ids[:, :3], source=ids, source_lengths=np.array([4]))
    nets = (("decoder", make("decoder"), Batch(ids), "ids", 20, 40),
            ("encoder", make("encoder", causal=False), Batch(ids), "ids", 200, 40),
            ("encoder-decoder: itself", make("encoder_decoder"), both, "ids", 380, 40),
            ("and its source", make("encoder_decoder"), both, "source", 560, 40))
    for name, net, batch, changed, left, top in nets:
        with contextlib.redirect_stdout(io.StringIO()) as said:
            draw(net, batch, changed)
        rows = [row.split() for row in said.getvalue().splitlines()]
        parts += [text(left, 22, name)]
        parts += grid(left, top, [[""] * len(row) for row in rows], side, BLUE,
                      [[0.5 * (cell == "#") for cell in row] for row in rows])
    parts += [text(20, 195, "a row for each place, a column for each token: full where it is seen. "
                   "The last column is padding.")]
    return picture(710, 210, "Who sees whom: decoder, encoder, and both", parts)


def model_file():
    """Draw a safetensors file, and the header's way to a tensor (What is in a model file)."""
    weight = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.safetensors"
        write_safetensors(path, {"layer.weight": weight, "layer.bias": weight[0]}, {})
        data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + length])
    parts = [*box(20, 50, 110, 44, length, ORANGE, 0.2), text(75, 40, "8 bytes", "middle", ORANGE),
             *box(130, 50, 220, 44, "header, as JSON", INK, 0.1),
             text(240, 40, f"{length} bytes", "middle"), arrow(75, 94, 75, 116, ORANGE),
             text(20, 134, "how long the header is", "start", ORANGE)]
    left, scale = 350, 9
    for i, (name, colour) in enumerate((("layer.weight", BLUE), ("layer.bias", GREEN))):
        begin, end = header[name]["data_offsets"]
        x, y = left + scale * begin, 165 + 32 * i
        parts += [*box(x, 50, scale * (end - begin), 44, name, colour, 0.2),
                  text(x + scale * (end - begin) / 2, 40, f"{end - begin} bytes", "middle", colour),
                  text(140, y, f"{name}: {header[name]['dtype']}, {header[name]['shape']}, "
                       f"from {begin} to {end}", "start", colour),
                  arrow(425, y - 5, x + scale * (end - begin) / 2, 100, colour)]
    parts += [arrow(240, 94, 240, 144)]
    return picture(700, 210, "A safetensors file: a length, a list, and bytes", parts)


def put_below():
    """Draw the arrays of a published block put below each other (A published model)."""
    config = ModelConfig(vocab_size=50, context_length=32, n_layer=1, n_head=4, n_kv_head=2,
                         d_model=32, d_mlp=48, norm="rms", mlp="swiglu", qk_norm=False,
                         embedding_norm=False, init="scaled")
    _, theirs = as_huggingface(GPT(config, np.random.default_rng(0)))
    parts = [text(20, 20, "theirs, of one block"), text(455, 20, "ours")]
    top, colours = 35, {"q": BLUE, "k": ORANGE, "v": GREEN, "gate": BLUE, "up": GREEN}
    for ours, family, names in (("query_key_value", "self_attn", ("q", "k", "v")),
                                ("gate and up, one product", "mlp", ("gate", "up"))):
        below = top
        for name in names:
            rows, columns = theirs[f"model.layers.0.{family}.{name}_proj.weight"].shape
            height, colour = 1.25 * rows, colours[name]
            parts += [*box(20, top, 60, height, name, colour, 0.2),
                      text(95, top + height / 2 + 5, f"{family}.{name}_proj  ({rows}, {columns})",
                           "start", colour),
                      arrow(320, top + height / 2, 445, below + height / 2, colour),
                      *box(455, below, 60, height, name, colour, 0.2)]
            top, below = top + height + 12, below + height
        parts += [text(530, below - 4, ours)]
        top += 12
    return picture(720, top, "Three matrices of queries, keys and values become one", parts)


MEASURED = Path(__file__).parents[1] / "benchmarks" / "models.jsonl"


def who_wins():
    """Draw what each net reaches by its CPU-seconds, on the machine with the most of it."""
    rows = [json.loads(line) for line in MEASURED.read_text(encoding="utf-8").splitlines()]
    here, _ = Counter(row["machine"] for row in rows).most_common(1)[0]
    losses, counted = defaultdict(lambda: defaultdict(list)), 0.0
    for row in rows:
        if row["machine"] == here and row["seconds"]:
            losses[row["net"]][row["seconds"]].append(row["loss"])
        elif row["machine"] == here:
            counted = row["loss"]
    seconds = sorted({s for net in losses.values() for s in net})
    axes = Axes(60, 40, 400, 330, (seconds[0] / 1.1, seconds[-1]), (1.45, 2.6), log="xy")
    parts = axes.frame(seconds, (1.5, 1.6, 1.8, 2, 2.2, 2.4))
    parts += [axes.curve(axes.xs, (counted, counted), INK, 1, "4 4"),
              axes.note(seconds[0] * 1.5, counted, "Kneser-Ney, order 7", up=-16),
              text(60, 22, "nats a character"),
              text(260, 408, "CPU-seconds of one thread", "middle")]
    below = Counter()                                 # the last label in a column, to stand under
    last = lambda net: np.mean(losses[net][max(losses[net])])
    for net in sorted(losses, key=last, reverse=True):
        colour = FAMILIES.get(net, INK)
        ways = sorted((s, np.mean(found)) for s, found in losses[net].items())
        x, y = axes.place(*ways[-1])
        below[x] = max(below[x] + 15, y + 5)
        parts += [axes.curve(*zip(*ways), colour), *(dot(axes, *way, colour) for way in ways),
                  text(x + 12, below[x], f"{net}, {ways[-1][1]:.3f}", "start", colour)]
    return picture(620, 420, "What each net reaches in how many CPU-seconds: less is better", parts)


FAMILIES = (dict.fromkeys(("rnn", "gru", "lstm", "mingru"), BLUE) | {"conv": GREEN}
            | dict.fromkeys(("gpt2", "llama", "portable", "fast"), ORANGE))
DRAWN_HERE = (stuck, looked_up, norm_backward, dropped, rotary_turns, lstm_cell, model_file,
              put_below, who_wins)
