"""What is inside? What each layer already knows: read by the net's own head, and by probes."""
import copy
import re
import time

import numpy as np

from gpt.batch import Batch
from gpt.data.windows import spread_windows
from gpt.training.layers import depths
from gpt.verdicts.activity import UNITS
from gpt.verdicts.blocks import answers
from gpt.verdicts.case import TOLD, WARNS, Figure, Line, Unfit, bits, scores_of, streamed
from minigrad import watch
from minigrad.tensor import Tensor

SAMPLE = 4096                      # tokens that are looked at
NEURONS, CONTEXTS, SHOWN = 3, 5, 40    # of a layer, of a neuron, characters of a context
FEWEST = 200                       # tokens with a label, from which on a probe learns
RIDGE = 1e-2                       # of the mean square of the features
SPEAKER = re.compile(r"^([A-Z][A-Za-z' ]{1,30}):$", re.MULTILINE)


def sample(case):
    """Return windows of the held-out text, (B, T + 1), the same for all questions."""
    case.writes()
    if "sample" not in case.known:
        ids = np.asarray(case.text().val)
        T = min(case.config.model.context_length, len(ids) - 1)
        windows, _ = next(spread_windows(ids, T, max(2, SAMPLE // T)))
        case.known["sample"] = windows
    return case.known["sample"]


def cut_off(model, k):
    """Return a net like this whose layers end behind the k-th: it shares the weights."""
    if not getattr(model, "blocks", None):
        raise Unfit("this net is not made of a list of layers")
    shorter = copy.copy(model)
    shorter.blocks = model.blocks[:k]
    return shorter


def layers(case):
    return range(1, len(getattr(case.model, "blocks", ())) + 1)


# ---- the head of the net, behind each layer (nostalgebraist 2020, the logit lens) ----

def lens(case, seconds):
    """The scores that the head gives behind each layer get better from layer to layer."""
    windows = sample(case)
    targets, rows, last = windows[:, 1:].reshape(-1), [], None
    length = np.asarray(case.tokenizer.token_bytes)[targets].sum()
    stop = time.monotonic() + seconds
    for k in reversed(layers(case)):
        if time.monotonic() > stop and rows:
            break
        x = streamed(cut_off(case.model, k), Batch(windows[:, :-1]))        # (B, T, C)
        scores = scores_of(case.model, x.reshape(len(targets), -1))
        found = answers(scores, targets, targets, targets)
        last = found.guess if last is None else last
        rows.append((f"layer {k}", round(float(bits(found.nats.sum()) / length), 3),
                     round(100 * float((found.guess == last).mean()), 1)))
    if not rows:
        raise Unfit("this net is not made of a list of layers")
    rows.reverse()
    figure = Figure("The head of the net behind each layer",
                    ("behind", "bits/byte", "% the same token as at the end"), rows, "table",
                    "How good the prediction would be if the net ended there.")
    words = ", ".join(f"{row[1]:.2f}" for row in rows)
    best = min(row[1] for row in rows)
    return Line(f"bits/byte read off behind each layer: {words}",
                TOLD if rows[-1][1] <= best else WARNS, (figure,))


# ---- probes (Alain & Bengio 2016, arXiv:1610.01644) ----

def probes(case, seconds):
    """What a linear classifier finds in each layer, beside what it finds with random weights."""
    windows, rows = sample(case), []
    other = case.fresh(seed=case.config.train.seed + 1)
    labels = {name: y for name, y in labelled(case, windows)
              if (y >= 0).sum() >= FEWEST and len({*y[y >= 0].tolist()}) > 1}
    stop = time.monotonic() + seconds
    for k in reversed(layers(case)):
        if time.monotonic() > stop and rows:
            break
        learnt, random = (streamed(cut_off(model, k), Batch(windows[:, :-1]))
                          for model in (case.model, other))                 # each (B, T, C)
        for name, y in labels.items():
            rows.append((name, f"layer {k}", round(100 * probed(learnt, y), 1),
                         round(100 * probed(random, y), 1), round(100 * commonest(y), 1)))
    if not rows:
        raise Unfit("there is too little text, or no list of layers, to learn a probe")
    rows.sort()
    figure = Figure("Linear probes: % right on text they did not learn from",
                    ("what", "behind", "this net", "random weights", "always the commonest"), rows,
                    "table", "What the net has made easy to read is above what random weights are.")
    best = max(rows, key=lambda row: row[2] - row[3])
    return Line(f"most above random weights: {best[0]} behind {best[1]}, {best[2]:.0f} % right and "
                f"{best[3]:.0f} %", TOLD, (figure,))


def labelled(case, windows):
    """Yield what a probe is asked at each place of windows, (B, T + 1): (name, (B, T) int).

    -1 asks nothing.
    """
    V, decode = case.tokenizer.vocab_size, case.tokenizer.decode
    first = np.array([(decode([i]).strip() or " ")[0] for i in range(V)])
    following = first[windows[:, 1:]]                                       # (B, T)
    is_letter = np.char.isalpha(following)
    yield "a vowel is next", np.where(is_letter, np.isin(np.char.lower(following), [*"aeiou"]), -1)
    yield "a capital is next", np.where(is_letter, np.char.isupper(following), -1)
    B, T = following.shape
    yield "in the second half of the context", np.tile(np.arange(T) >= T // 2, (B, 1)).astype(int)
    yield "who speaks", speakers(case, windows[:, :-1])


def speakers(case, windows):
    """Number who speaks at each place, of the four that do most: by lines like `NAME:`."""
    decode, who, names = case.tokenizer.decode, np.full(windows.shape, -1), {}
    for b, row in enumerate(windows.tolist()):
        ends = np.cumsum([len(decode([i])) for i in row])                   # in characters
        for match in SPEAKER.finditer(decode(row)):
            number = names.setdefault(match[1], len(names))
            who[b, ends > match.end()] = number
    n = np.bincount(who[who >= 0], minlength=1)
    kept = np.argsort(-n, kind="stable")[:4]
    return np.where(np.isin(who, kept), who, -1)


def probed(x, y):
    """Learn y from x, (B, T, C), on every other row of B, by ridge regression; test on the rest.

    Returns
    -------
    share : float
        That is right.
    """
    asked, half = y >= 0, (np.arange(len(x)) % 2 == 0)[:, None]
    learnt, tested = asked & half, asked & ~half
    one = np.ones((*x.shape[:2], 1), x.dtype)
    x = np.concatenate([x, one], axis=-1).astype(np.float64)                # (B, T, C + 1)
    classes = np.unique(y[asked])
    X, Y = x[learnt], (y[learnt][:, None] == classes) * 1.0
    ridge = RIDGE * max((X ** 2).mean(), 1e-12) * len(X) * np.eye(X.shape[1])
    w = np.linalg.solve(X.T @ X + ridge, X.T @ Y)                           # (C + 1, classes)
    guess = classes[(x[tested] @ w).argmax(axis=1)]
    return float((guess == y[tested]).mean()) if tested.any() else 0.0


def commonest(y):
    """Return the share of the commonest label."""
    return np.bincount(y[y >= 0]).max() / (y >= 0).sum()


# ---- neurons ----

def neurons(case, seconds):
    """What the units with the sharpest taste answer to most."""
    windows, layer, nodes = sample(case)[:16], depths(case.model), []
    with watch(nodes.append):
        case.model.stream(Batch(windows[:, :-1]))
    rows, depth = [], 0
    for node in nodes:
        known = [layer[x] for x in node.inputs if isinstance(x, Tensor) and x in layer]
        depth = max([depth, *known])
        y = node.data[0] if isinstance(node.data, tuple) else node.data
        if node.op.name in UNITS and y.ndim == 3:
            rows += strongest(case, windows, depth, y)
    if not rows:
        raise Unfit("no operation of this net makes units with a nonlinearity")
    figure = Figure("Units and the contexts in which they are strongest",
                    ("layer", "unit", "how strong", "behind"), rows)
    top = rows[0]
    return Line(f"{len({row[:2] for row in rows})} units are shown with what they answer to; unit "
                f"{top[1]} of layer {top[0]} to {top[3][-20:]!r}", TOLD, (figure,))


def strongest(case, windows, depth, y):
    """Yield rows for the units of (B, T, n) whose maximum stands out most."""
    flat = y.reshape(-1, y.shape[-1])                                       # (B T, n)
    sharp = flat.max(axis=0) / np.maximum(flat.std(axis=0), 1e-12)
    rows, T = [], y.shape[1]
    for unit in np.argsort(-sharp, kind="stable")[:NEURONS]:
        for place in np.argsort(-flat[:, unit], kind="stable")[:CONTEXTS]:
            b, t = divmod(int(place), T)
            before = case.tokenizer.decode(windows[b, max(0, t - SHOWN):t + 1].tolist())
            rows.append((depth, int(unit), round(float(flat[place, unit]), 3), before[-SHOWN:]))
    return rows
