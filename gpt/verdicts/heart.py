"""Has it learnt by heart? What it repeats of its text, and whether that held the test."""
import re
import time

import numpy as np

from gpt.batch import Batch
from gpt.data.reading import END_OF_TEXT
from gpt.data.windows import rows_from
from gpt.models.sampling import Sampling, write
from gpt.training.baselines import longest_copied_span
from gpt.training.intervals import wilson
from gpt.verdicts.blocks import bits_of_bytes, bits_per_byte, blocks_of, reading
from gpt.verdicts.case import (
    FAILS, OK, WARNS, Figure, Line, Unfit, row_of_share, scores_of, streamed)

WINDOW = 13                        # words, as in Brown et al. 2020, arXiv:2005.14165, appendix C
MOST_OVERLAP, MOST_REPEATED = 0.05, 0.25
READ_BYTES = 64 << 20              # of a longer text the beginning is compared
PREFIX = 50                        # tokens that are given, and as many that must follow
PREFIXES = 400
NAMED = 10                         # documents that are named, at most
PIECE = 4096                       # bytes that count as a document where a text has no ends
WORD = re.compile(rb"[\w'\x80-\xff]+")
FACTOR = np.uint64(0x9E3779B97F4A7C15)


# ---- the held-out text within the training text ----

def windows_of(text):
    """Number every 13 words in a row of a text: (n,) uint64, and (n,) where each begins."""
    numbers, starts = [], []
    for match in WORD.finditer(text.lower()):
        numbers.append(hash(match.group()))
        starts.append(match.start())
    numbers = np.array(numbers, np.int64).astype(np.uint64)
    n = max(0, len(numbers) - WINDOW + 1)
    keys = np.zeros(n, np.uint64)
    for i in range(WINDOW):
        keys = keys * FACTOR + numbers[i:i + n]
    return keys, np.array(starts[:n], np.int64)


def held_out_is_new(case, seconds):
    """The text it is tested on does not stand in the text it learnt from."""
    keys, starts, known, text = both_windows(case)
    if not len(keys):
        raise Unfit(f"the held-out text has fewer than {WINDOW} words")
    there = np.isin(keys, known)
    share, named = there.mean(), documents(text, starts, there)
    figure = Figure("Held-out documents that stand in the training text",
                    ("document", "share of its windows", "begins"), named)
    said = f"{share:.2%} of the held-out {WINDOW}-word windows stand in the training text"
    if not named:
        return Line(said, OK)
    name, _, begins = named[0]
    return Line(f"{said}, most in {name} ({begins!r:.50})",
                FAILS if share > MOST_OVERLAP else OK, (figure,))


def both_windows(case):
    """Return keys and places of the held-out text, the keys of the other, and the former itself."""
    if "windows" not in case.known:
        if case.task.conclude:
            raise Unfit("its texts are short and labelled: they may well repeat each other")
        if case.facts.get("corpus_name") == "stories":
            raise Unfit("this text is made up of a few sentences: it repeats itself by design")
        data = case.text()
        text = data.text(data.val, READ_BYTES)
        learnt, _ = windows_of(data.text(data.train, READ_BYTES))
        case.known["windows"] = *windows_of(text), learnt, text
    return case.known["windows"]


def documents(text, starts, there):
    """Name the documents with the most windows that stand elsewhere: (name, share, beginning)."""
    end = re.escape(END_OF_TEXT.encode())
    ends = [match.end() for match in re.finditer(end, text)]
    unit = "document" if ends else "piece"
    begins = np.array([0, *(ends or range(PIECE, len(text), PIECE))])
    owner = np.searchsorted(begins, starts, side="right") - 1               # (n,)
    n = np.bincount(owner, minlength=len(begins))
    hits = np.bincount(owner, there, len(begins))
    found = []
    for i in np.argsort(-hits, kind="stable")[:NAMED]:
        if hits[i]:
            begin = text[begins[i]:begins[i] + 60].decode("utf-8", "replace")
            name = f"{unit} {i + 1} of {len(begins)}"
            found.append((name, round(hits[i] / n[i], 4), begin.strip()))
    return found


def training_text_is_said_once(case, seconds):
    """The training text does not say everything twice."""
    _, _, known, _ = both_windows(case)
    if not len(known):
        raise Unfit(f"the training text has fewer than {WINDOW} words")
    share = 1 - len(np.unique(known)) / len(known)
    verdict = FAILS if share > MOST_REPEATED else WARNS if share > MOST_OVERLAP else OK
    return Line(f"{share:.2%} of the {WINDOW}-word windows of the training text stood in it before",
                verdict)


# ---- what it says again ----

def gap_is_small(case, seconds):
    """It does about as well on text it never saw as on text it learnt from."""
    held_out = reading(case, "val", seconds / 2)
    learnt = reading(case, "train", seconds / 2, len(held_out.nats))
    data = case.text()
    new, old = mean_of(case, held_out, data.val), mean_of(case, learnt, data.train)
    gap = new.mean / old.mean - 1
    verdict = WARNS if gap > 0.25 else OK
    return Line(f"{old} bits/byte on text it learnt from, {new} on text it never saw: "
                f"{100 * gap:+.0f} %", verdict)


def mean_of(case, found, ids):
    """Return the bits a byte of a Reading of ids: `Interval`."""
    bits = bits_of_bytes(found, np.asarray(ids), case.tokenizer.token_bytes)
    return bits_per_byte(blocks_of(bits))


def continues_verbatim(case, seconds):
    """It continues passages of the training text word for word no more often than new ones.

    What it would write, always the likeliest, is the passage exactly if each token of that is the
    likeliest behind those before: one pass tells.
    """
    case.writes()
    n, data = min(PREFIX, case.config.model.context_length // 2), case.text()
    old, n_old = continued(case.model, data.train, n, seconds / 2)
    new, n_new = continued(case.model, data.val, n, seconds / 2)
    low, _ = wilson(old, n_old)
    _, high = wilson(new, n_new)
    rows = [row_of_share("training text", old, n_old), row_of_share("held-out text", new, n_new)]
    figure = Figure("Passages that are continued word for word", ("of the", "%", "± 95 %"), rows,
                    "bars")
    return Line(f"of {n_old} passages of {n} tokens it continues {old} of the training text word "
                f"for word for {n} more, and {new} of {n_new} of text it never saw",
                WARNS if low > high else OK, (figure,))


def continued(model, ids, n, seconds):
    """Count passages of ids, spread over them, that are continued: how many, of how many."""
    right = asked = 0
    last, stop = len(ids) - 2 * n - 1, time.monotonic() + seconds
    if last < 1:
        raise Unfit(f"its texts are shorter than {2 * n} tokens")
    starts = np.linspace(0, last, PREFIXES).astype(np.int64)
    for rows in np.array_split(np.unique(starts), 8):
        right += verbatim(model, ids, rows, n)
        asked += len(rows)
        if time.monotonic() > stop:
            break
    return right, asked


def verbatim(model, ids, starts, n):
    """Count the passages whose second n tokens are each the likeliest."""
    windows = rows_from(ids, starts, 2 * n)                                 # (B, 2 n)
    x = streamed(model, Batch(windows[:, :-1]))[:, n - 1:]                  # (B, n, C)
    guess = scores_of(model, x).argmax(axis=-1)
    same = guess == windows[:, n:]
    return int(same.all(axis=1).sum())


def copies(case, seconds):
    """The longest piece of what it writes that stands in the training text, beside new text's."""
    case.writes()
    data, wrote = case.text(), written(case, seconds / 2)
    text, n = data.text(data.train, READ_BYTES), len(wrote)
    mine = longest_copied_span(wrote, text)
    theirs = longest_copied_span(data.text(data.val, n), text)
    usual = max(len(theirs), 20)
    return Line(f"of {n:,} bytes that it wrote, the longest piece that stands in the training text "
                f"has {len(mine)}: {mine.decode('utf-8', 'replace')!r:.80}; of as much new text "
                f"{len(theirs)}", WARNS if len(mine) > 3 * usual else OK)


def written(case, seconds):
    """Return what the net writes by itself in so many seconds, up to 400 tokens: bytes."""
    sample, stop = "", time.monotonic() + seconds
    pieces = write(case.model, case.tokenizer, "", Sampling(), max_tokens=400)
    for piece in pieces:
        sample += piece
        if time.monotonic() > stop:
            break
    return sample.encode()
