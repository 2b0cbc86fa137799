"""What is inside? What each layer already knows, read by the net's own head; and its units."""
import copy
import time

import numpy as np

from gpt.batch import Batch
from gpt.data.windows import spread_windows
from gpt.verdicts.activity import UNITS, watched
from gpt.verdicts.blocks import answers
from gpt.verdicts.case import (
    TOLD, WARNS, Figure, Line, Unfit, in_bits, row_of, scores_of, streamed)

SAMPLE = 4096                      # tokens that are looked at
UNITS_SHOWN, CONTEXTS, SHOWN = 3, 5, 40    # of a layer, of a unit, characters of a context


def sample(case):
    """Return windows of the held-out text, (B, T + 1), the same for all questions."""
    case.writes()
    if "sample" not in case.known:
        ids = np.asarray(case.text().val)
        T = min(case.config.model.context_length, len(ids) - 1)
        B = max(2, SAMPLE // T)
        case.known["sample"], _ = next(spread_windows(ids, T, B))
    return case.known["sample"]


def cut_off(model, k):
    """Return a net like this whose layers end behind the k-th: it shares the weights."""
    shorter = copy.copy(model)
    shorter.blocks = model.blocks[:k]
    return shorter


def last_layers_first(case, seconds):
    """Yield the numbers of the layers, 1 the lowest, as long as there is time: at least one."""
    stop = time.monotonic() + seconds
    blocks = getattr(case.model, "blocks", None)
    if not blocks:
        raise Unfit("this net is not made of a list of layers")
    for k in range(len(blocks), 0, -1):
        yield k
        if time.monotonic() > stop:
            break


def lens(case, seconds):
    """The scores that the head gives behind each layer get better from layer to layer.

    nostalgebraist 2020, the logit lens.
    """
    windows = sample(case)
    targets, rows, guess = windows[:, 1:].reshape(-1), [], None
    n_bytes = np.asarray(case.tokenizer.token_bytes)[targets].sum()
    for k in last_layers_first(case, seconds):
        x = streamed(cut_off(case.model, k), Batch(windows[:, :-1]))        # (B, T, C)
        x = x.reshape(len(targets), -1)
        found = answers(scores_of(case.model, x), targets, targets, targets)
        guess = found.guess if guess is None else guess
        alike = 100 * np.mean(found.guess == guess)
        bits = in_bits(found.nats.sum()) / n_bytes
        rows.insert(0, row_of(f"layer {k}", bits, alike))
    figure = Figure("The head of the net behind each layer",
                    ("behind", "bits/byte", "% the same token as at the end"), rows, "table",
                    "How good the prediction would be if the net ended there.")
    bits = [row[1] for row in rows]
    words = ", ".join(f"{x:.2f}" for x in bits)
    return Line(f"bits/byte read off behind each layer: {words}",
                TOLD if bits[-1] <= min(bits) else WARNS, (figure,))


def units(case, seconds):
    """What the units that stand out most answer to."""
    windows, rows = sample(case)[:16], []
    forward = lambda: case.model.stream(Batch(windows[:, :-1]))
    for depth, op, y in watched(case.model, forward):
        if op in UNITS and y.ndim == 3:
            rows += strongest(case, windows, depth, y)
    if not rows:
        raise Unfit("no operation of this net makes units with a nonlinearity")
    figure = Figure("Units and the contexts in which they are strongest",
                    ("layer", "unit", "how strong", "behind"), rows)
    n = len({row[:2] for row in rows})
    layer, unit, _, behind = rows[0]
    return Line(f"{n} units are shown with what they answer to; unit {unit} of layer {layer} to "
                f"{behind[-20:]!r}", TOLD, (figure,))


def strongest(case, windows, depth, y):
    """Return rows for the units of (B, T, n) whose maximum stands out most."""
    T, n = y.shape[1:]
    flat = y.reshape(-1, n)                                                 # (B T, n)
    spread = np.maximum(flat.std(axis=0), 1e-12)
    sharp, rows = flat.max(axis=0) / spread, []
    for unit in np.argsort(-sharp, kind="stable")[:UNITS_SHOWN]:
        strong = np.argsort(-flat[:, unit], kind="stable")
        for place in strong[:CONTEXTS]:
            b, t = divmod(int(place), T)
            before = windows[b, max(0, t - SHOWN):t + 1].tolist()
            text = case.tokenizer.decode(before)[-SHOWN:]
            _, size = row_of("", float(flat[place, unit]))
            rows.append((depth, int(unit), size, text))
    return rows
