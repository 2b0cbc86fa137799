"""Is it better than something simple? What knows less, on the same bytes of the same text."""
import time

import numpy as np

from gpt.models.counting import levels, surprise_at
from gpt.training.baselines import COUNTED_BYTES, XZ_BYTES, affordable, counted_bits, named, xz
from gpt.training.intervals import significant
from gpt.verdicts.blocks import (
    Blocks, bits_of_bytes, bits_per_byte, blocks_of, difference, reading)
from gpt.verdicts.case import (
    FAILS, OK, WARNS, Figure, Line, Unfit, in_bits, row_of)

ORDERS = (1, 3, 5, 8)              # of counting models, over bytes; 1 is how often each byte occurs
FAILING, WARNING = 5, 8            # which the net must beat, and which it should
PIECES = 8                         # of the held-out text, each compressed behind the training text
XZ_LEAST = 256                     # bytes of a piece
MINE = "this net"


def is_better(case, seconds):
    """A net that is worth its time beats counting what follows what."""
    data, found = case.text(), reading(case, "val", seconds / 3)
    ids, token_bytes = case.tokens("val"), np.asarray(case.tokenizer.token_bytes)
    bits = bits_of_bytes(found, ids, token_bytes)
    mine = blocks_of(bits)
    is_text = token_bytes[ids] > 0                    # not a mark between documents
    val = case.tokenizer.decode_bytes(ids[is_text])
    if len(val) != len(bits):
        raise Unfit("the bytes of its tokens do not add up to its text")
    beside = counted(data, val, np.isnan(bits), seconds / 2)
    means = {MINE: bits_per_byte(mine), "uniform": (8.0, np.nan)}
    for name, blocks in beside.values():
        means[name] = bits_per_byte(blocks)
    name, compressed = xz_behind(data, val, seconds / 6)
    means[name] = compressed
    return verdict_on(mine, beside, figure_of(means))


def counted(data, val, not_asked, seconds):
    """Return {order: (name, Blocks)} of counting models, on the bytes that were asked."""
    beginning = lambda n: data.text(data.train, n)

    def work(text):
        for order in ORDERS:
            counted_bits(text, text[:len(text) // 10], order)
    text, whole = affordable(beginning, seconds, work, COUNTED_BYTES)
    train = np.frombuffer(text, np.uint8)
    val = np.frombuffer(val, np.uint8)
    found = {}
    for order in ORDERS:
        bits = in_bits(surprise_at(levels(train, order, 256), val, 256))
        bits[not_asked] = np.nan
        name = "bytes alone" if order == 1 else f"Kneser-Ney {order}"
        found[order] = named(name, text, whole), blocks_of(bits)
    return found


def xz_behind(data, val, seconds):
    """Return what xz needs for pieces of the held-out text behind the training text.

    A piece is what the two together take more than the training text alone.

    Returns
    -------
    name : str
    mean : Interval
    """
    stop = time.monotonic() + seconds
    beginning = lambda n: data.text(data.train, n)
    train, whole = affordable(beginning, seconds / PIECES, xz, XZ_BYTES)
    alone = len(xz(train))
    size = max(XZ_LEAST, len(val) // PIECES)
    bits, n_bytes = [], []
    for start in range(0, len(val), size):
        piece = val[start:start + size]
        both = xz(train + piece)
        bits.append(8.0 * (len(both) - alone))
        n_bytes.append(len(piece))
        if time.monotonic() > stop:
            break
    blocks = Blocks(np.array(bits), np.array(n_bytes))
    return named("xz behind the training text", train, whole), bits_per_byte(blocks)


def verdict_on(mine, beside, figure):
    """Say how the net stands to counting five and eight bytes in a row."""
    failing, warning = (difference(mine, beside[order][1]) for order in (FAILING, WARNING))
    verdict = FAILS if failing.mean > 0 else WARNS if warning.mean > 0 else OK
    words = (f"{compared(failing, beside[FAILING][0])}, {compared(warning, beside[WARNING][0])}")
    own = bits_per_byte(mine)
    return Line(f"{own} bits/byte on text it never saw: {words}", verdict, (figure,))


def compared(gap, name):
    """Say which of two is better and by how much."""
    side = "below" if gap.mean <= 0 else "ABOVE"
    doubt = "" if significant(gap) else ", which may be chance"
    half = "" if np.isnan(gap.half) else f" ± {gap.half:.3f}"
    return f"{abs(gap.mean):.3f}{half} {side} {name}{doubt}"


def figure_of(means):
    """Draw means by name as bars, the worst first."""
    rows = [row_of(name, *mean) for name, mean in means.items()]
    rows.sort(key=lambda row: -row[1])
    return Figure("Bits per byte of the same text", ("predictor", "bits/byte", "± 95 %"), rows,
                  "bars", "Less is better. The interval is over blocks of the text.")


def classes_are_told_apart(case, seconds):
    """A classifier is right more often than one that always says the commonest label."""
    if not case.task.conclude:
        raise Unfit("this is asked of a net that tells labels apart")
    result = case.facts.get("result") or {}
    if not result.get("beside"):
        raise Unfit("its run wrote down no shares of right answers")
    low, high = result["interval"]
    right, simple = result["accuracy"], result["beside"]["majority class"]
    rows = [row_of(MINE, 100 * right, 50 * (high - low))]
    for name, share in result["beside"].items():
        rows.append(row_of(name, 100 * share, np.nan))
    verdict = FAILS if right <= simple else WARNS if low <= simple else OK
    figure = Figure("Right answers of the same texts", ("who", "% right", "± 95 %"), rows, "bars",
                    "More is better.")
    return Line(f"{right:.1%} right ({low:.1%} to {high:.1%}), the commonest label {simple:.1%}",
                verdict, (figure,))
