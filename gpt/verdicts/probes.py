"""What does each layer make easy to read? Linear probes (Alain & Bengio 2016, arXiv:1610.01644)."""
import math
import re

import numpy as np

from gpt.batch import Batch
from gpt.verdicts.case import TOLD, Figure, Line, Unfit, row_of, streamed
from gpt.verdicts.inside import cut_off, last_layers_first, sample

FEWEST = 200                       # tokens with a label, from which on a probe learns
RIDGE = 1e-2                       # of the mean square of the features
SPEAKERS = 4                       # of a play, those who speak most
SPEAKER = re.compile(r"^([A-Z][A-Za-z' ]{1,30}):$", re.MULTILINE)


def find_more(case, seconds):
    """A probe finds more in this net than in one of the same shape with random weights."""
    windows, rows = sample(case), []
    read = Batch(windows[:, :-1])
    other = case.fresh(seed=case.config.train.seed + 1)
    labels = dict(labelled(case, windows))
    for k in last_layers_first(case, seconds):
        learnt = streamed(cut_off(case.model, k), read)                     # (B, T, C)
        random = streamed(cut_off(other, k), read)
        for name, y in labels.items():
            if can_be_learnt(y):
                found = probed(learnt, y), probed(random, y), commonest(y)
                rows.append((name, *row_of(f"layer {k}", *found)))
    if not rows:
        raise Unfit("there is too little text to learn a probe from")
    rows.sort()
    figure = Figure("Linear probes: % right on text they did not learn from",
                    ("what", "behind", "this net", "random weights", "always the commonest"), rows,
                    "table", "What the net has made easy to read is above what random weights are.")
    best = max(rows, key=lambda row: row[2] - row[3])
    name, behind, mine, random, _ = best
    return Line(f"most above random weights: {name} behind {behind}, {mine:.0f} % right and "
                f"{random:.0f} %", TOLD, (figure,))


# ---- what is asked: (B, T) int, -1 where nothing is ----

def labelled(case, windows):
    """Yield what a probe is asked at each place of windows, (B, T + 1): (name, (B, T) int)."""
    every = range(case.tokenizer.vocab_size)
    first = np.array([first_of(case.tokenizer.decode([i])) for i in every])
    following = first[windows[:, 1:]]                                       # (B, T)
    is_letter = np.char.isalpha(following)
    vowel = np.isin(np.char.lower(following), [*"aeiou"])
    capital = np.char.isupper(following)
    yield "a vowel is next", np.where(is_letter, vowel, -1)
    yield "a capital is next", np.where(is_letter, capital, -1)
    B, T = following.shape
    late = np.arange(T) >= T // 2
    yield "in the second half of the context", np.tile(late.astype(int), (B, 1))
    yield "who speaks", speakers(case, windows[:, :-1])


def first_of(text):
    """Return the first character of a text that is no space, or a space."""
    return (text.strip() or " ")[0]


def speakers(case, windows):
    """Number who speaks at each place, of the few that do most: by lines like `NAME:`."""
    decode, names = case.tokenizer.decode, {}
    who = np.full(windows.shape, -1)
    for b, row in enumerate(windows.tolist()):
        lengths = [len(decode([i])) for i in row]
        ends = np.cumsum(lengths)                                           # in characters
        for match in SPEAKER.finditer(decode(row)):
            number = names.setdefault(match[1], len(names))
            who[b, ends > match.end()] = number
    n = np.bincount(who[who >= 0], minlength=1)
    most = np.argsort(-n, kind="stable")[:SPEAKERS]
    return np.where(np.isin(who, most), who, -1)


def can_be_learnt(y):
    asked = y[y >= 0]
    return len(asked) >= FEWEST and len(np.unique(asked)) > 1


# ---- a probe ----

def probed(x, y):
    """Learn y from x, (B, T, C), in every other row, by ridge regression; test on the others.

    Returns
    -------
    right : float
        In percent.
    """
    asked = y >= 0
    row = np.arange(len(y))[:, None]
    learnt, tested = asked & (row % 2 == 0), asked & (row % 2 == 1)
    classes = np.unique(y[asked])
    X = with_one(x[learnt])                                                 # (n, C + 1)
    Y = np.equal.outer(y[learnt], classes)                                  # (n, K)
    w = ridge_regression(X, Y)
    guess = with_one(x[tested]) @ w
    right = classes[guess.argmax(axis=1)] == y[tested]
    return 100 * float(right.mean()) if len(right) else math.nan


def ridge_regression(X, Y):
    """Return the w, (C, K), that makes X w most like Y and is small."""
    square = X.T @ X
    size = max(square.trace() / len(square), 1e-12)
    ridge = RIDGE * size * np.eye(len(square))
    return np.linalg.solve(square + ridge, X.T @ Y)


def with_one(x):
    """Put a feature that is always 1 behind those of (n, C)."""
    one = np.ones((len(x), 1))
    return np.concatenate([x, one], axis=1)


def commonest(y):
    """Return the share of the commonest label, in percent."""
    asked = y[y >= 0]
    return 100 * np.bincount(asked).max() / len(asked)
