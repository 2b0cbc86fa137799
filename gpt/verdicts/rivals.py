"""Is it better than something simple? What knows less, on the same bytes of the same text."""
import time

import numpy as np

from gpt.models.counting import levels, surprise_at
from gpt.training.baselines import COUNTED_BYTES, XZ_BYTES, affordable, counted_bits, named, xz
from gpt.training.intervals import significant
from gpt.verdicts.blocks import (
    Blocks, bits_of_bytes, bits_per_byte, blocks_of, difference, reading)
from gpt.verdicts.case import FAILS, OK, WARNS, Figure, Line, Unfit

ORDERS = (1, 3, 5, 8)              # of counting models, over bytes; 1 is how often each byte occurs
FAILING, WARNING = 5, 8            # which the net must beat, and which it should
PIECES = 8                         # of the held-out text, each compressed behind the training text
XZ_LEAST = 256                     # bytes of a piece


def is_better(case, seconds):
    """A net that is worth its time beats counting what follows what."""
    data, found = case.text(), reading(case, "val", seconds / 3)
    token_bytes = np.asarray(case.tokenizer.token_bytes)
    ids = np.asarray(data.val)
    bits = bits_of_bytes(found, ids, token_bytes)
    mine = blocks_of(bits)
    beside = counted(data, np.isnan(bits), seconds / 2)
    rows = [("this net", bits_per_byte(mine)), ("uniform", 8.0)]
    rows += [(name, bits_per_byte(blocks)) for name, blocks in beside.values()]
    compressed = xz_behind(data, seconds / 6)
    if compressed:
        rows.append(compressed)
    case.known["val blocks"] = mine
    return verdict_on(mine, beside, figure_of(rows))


def counted(data, not_asked, seconds):
    """Return {order: (name, Blocks)} of counting models, on the bytes that were asked."""
    beginning = lambda n: data.text(data.train, n)
    work = lambda text: [counted_bits(text, text[:len(text) // 10], order) for order in ORDERS]
    train, whole = affordable(beginning, seconds, work, COUNTED_BYTES)
    train, val = (np.frombuffer(text, np.uint8) for text in (train, data.text(data.val)))
    found = {}
    for order in ORDERS:
        bits = surprise_at(levels(train, order, 256), val, 256) / np.log(2)
        name = "bytes alone" if order == 1 else named(f"Kneser-Ney {order}", train, whole)
        bits[not_asked] = np.nan
        found[order] = name, blocks_of(bits)
    return found


def xz_behind(data, seconds):
    """Return what xz needs for pieces of the held-out text behind the training text.

    A piece is what the two together take more than the training text alone.
    """
    stop = time.monotonic() + seconds
    both = lambda n: data.text(data.train, n)
    train, whole = affordable(both, seconds / PIECES, xz, XZ_BYTES)
    val, alone = data.text(data.val), len(xz(train))
    size = max(XZ_LEAST, len(val) // PIECES)
    bits, n_bytes = [], []
    for start in range(0, max(1, len(val) - size + 1), size):
        piece = val[start:start + size]
        bits.append(8 * (len(xz(train + piece)) - alone))
        n_bytes.append(len(piece))
        if time.monotonic() > stop:
            break
    blocks = Blocks(np.array(bits, float), np.array(n_bytes))
    return named("xz behind the training text", train, whole), bits_per_byte(blocks)


def verdict_on(mine, beside, figure):
    """Say how the net stands to counting five and eight bytes in a row."""
    own = bits_per_byte(mine)
    gap = {order: difference(mine, beside[order][1]) for order in (FAILING, WARNING)}
    verdict = FAILS if gap[FAILING].mean > 0 else WARNS if gap[WARNING].mean > 0 else OK
    words = [compared(gap[order], beside[order][0]) for order in gap]
    return Line(f"{own} bits/byte on text it never saw: {', '.join(words)}", verdict, (figure,))


def compared(gap, name):
    """Say which of two is better and by how much."""
    side = "below" if gap.mean <= 0 else "ABOVE"
    doubt = "" if significant(gap) else ", which may be chance"
    half = "" if np.isnan(gap.half) else f" ± {gap.half:.3f}"
    return f"{abs(gap.mean):.3f}{half} {side} {name}{doubt}"


def figure_of(rows):
    """Draw (name, Interval or number) as bars, the worst first."""
    plain = []
    for name, x in rows:
        mean, half = (x, np.nan) if isinstance(x, float) else x
        plain.append((name, round(mean, 4), None if np.isnan(half) else round(half, 4)))
    plain.sort(key=lambda row: -row[1])
    return Figure("Bits per byte of the same text", ("predictor", "bits/byte", "± 95 %"), plain,
                  "bars", "Less is better. The interval is over blocks of the text.")


def classes_are_told_apart(case, seconds):
    """A classifier is right more often than one that always says the commonest label."""
    result = case.facts.get("result") or {}
    if not result.get("beside"):
        raise Unfit("its run wrote down no shares of right answers")
    low, high = result["interval"]
    rows = [(name, round(100 * share, 2), None) for name, share in result["beside"].items()]
    rows.append(("this net", round(100 * result["accuracy"], 2), round(50 * (high - low), 2)))
    simple = result["beside"]["majority class"]
    verdict = FAILS if result["accuracy"] <= simple else WARNS if low <= simple else OK
    figure = Figure("Right answers of the same texts", ("who", "% right", "± 95 %"), rows, "bars",
                    "More is better.")
    return Line(f"{result['accuracy']:.1%} right ({low:.1%} to {high:.1%}), the commonest label "
                f"{simple:.1%}", verdict, (figure,))
