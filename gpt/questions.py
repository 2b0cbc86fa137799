"""Multiple choice: which of several texts does a model find the likeliest?

A question is two or more texts of which a part, the ending, is scored: by the sum of the
log-probabilities of its tokens, and by that sum divided by its bytes, so that long endings have no
disadvantage. What the texts begin with is read once, the rest of all of them as one batch.
"""
import json
import math
import re
from typing import NamedTuple

import numpy as np

from gpt.batch import IGNORE, Batch
from gpt.data.corpora import read_text
from gpt.models.heads import surprise
from gpt.models.sampling import encode_prompt
from gpt.settings import ConfigError
from minigrad import no_grad


class Question(NamedTuple):
    """What is asked: of texts that are a context and an ending each, one is right."""

    contexts: list                 # of str
    endings: list                  # of str, as many; a space stands between
    right: int


class Answer(NamedTuple):
    """What a model says to a question."""

    right_by_sum: bool
    right_by_bytes: bool
    chance: float                  # of guessing right
    is_cut: bool                   # whether the beginning did not fit into the context


# ---- files ----

def hellaswag(row):
    """Zellers et al. 2019, arXiv:1905.07830: how does it go on?"""
    context = f"{row['ctx_a']} {row['ctx_b'].capitalize()}"
    context = without_marks(f"{row['activity_label']}: {context}")
    return one_context(context, map(without_marks, row["endings"]), int(row["label"]))


def without_marks(text):
    """Take out what is left in WikiHow's texts of their pages: [title], [step] and others."""
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")


def choices(row):
    """ARC (1803.05457), PIQA (1911.11641): a question and answers to it."""
    return one_context(f"{row['query']}\nAnswer:", row["choices"], int(row["gold"]))


def winogrande(row):
    """Sakaguchi et al. 2019, arXiv:1907.10641: behind which of two texts is this likelier?"""
    contexts = row["context_options"]
    return Question(contexts, [row["continuation"]] * len(contexts), int(row["gold"]))


def one_context(context, endings, right):
    endings = [*endings]
    return Question([context] * len(endings), endings, right)


# the fields by which a file is known -> (row) -> Question
FORMATS = {("activity_label", "ctx_a", "ctx_b", "endings", "label"): hellaswag,
           ("query", "choices", "gold"): choices,
           ("context_options", "continuation", "gold"): winogrande}


def read_questions(name):
    """Read a file of questions, one a line as JSON; their fields say of which kind they are.

    Returns
    -------
    questions : list of Question

    Raises
    ------
    ConfigError
        Naming the line that is no question.
    """
    found = []
    for number, line in enumerate(read_text(name).split("\n"), 1):
        if line.strip():
            try:
                found.append(question_of(json.loads(line)))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                fields = " or ".join(", ".join(known) for known in FORMATS)
                raise ConfigError(f"line {number} of {name} is no question with the fields "
                                  f"{fields} ({line!r:.50})") from error
    if not found:
        raise ConfigError(f"there is no question in {name}: write one on each line, as JSON")
    return found


def question_of(row):
    read = next(read for known, read in FORMATS.items() if row.keys() >= {*known})
    question = read(row)
    contexts, endings, right = question
    fits = len(contexts) == len(endings) >= 2 and 0 <= right < len(endings)
    if not fits or not all(map(str.strip, contexts + endings)):
        raise ValueError("there is nothing to choose from")
    return question


def spread(questions, n):
    """Return about n of the questions, from the first to the last at even distances."""
    if n is None or n >= len(questions):
        return questions
    places = np.linspace(0, len(questions) - 1, n).round().astype(int)
    return [questions[i] for i in places]


# ---- answers ----

def answers(opened, questions):
    """Yield the Answer of a model to each question.

    Parameters
    ----------
    opened : Opened
    questions : iterable of Question
    """
    states = {}                    # number of endings -> state of as many sequences
    for question in questions:
        rows, starts, is_cut = encoded(question, opened.tokenizer, opened.model.config)
        sums = log_probabilities(opened.model, rows, starts, states)            # (K,)
        lengths = [len(ending.encode()) for ending in question.endings]
        by_bytes = sums / np.maximum(lengths, 1)
        yield Answer(sums.argmax() == question.right, by_bytes.argmax() == question.right,
                     1 / len(sums), is_cut)


def encoded(question, tokenizer, config):
    """Encode the texts of a question.

    Returns
    -------
    rows : list of (T,) list of int
        The last tokens that fit into the context.
    starts : list of int
        Where the ending begins in each.
    is_cut : bool
    """
    rows, starts = [], []
    for context, ending in zip(question.contexts, question.endings):
        context = context.rstrip()                    # the space is the ending's
        whole = encode_prompt(tokenizer, f"{context} {ending}")
        alone = encode_prompt(tokenizer, context)
        rows.append(whole)
        starts.append(min(len(alone), len(whole) - 1))
    beyond = max(0, max(map(len, rows)) - config.context_length - 1)
    if beyond >= min(starts):
        raise ConfigError(f"the answer {question.endings[0]!r:.40} has more tokens than the "
                          f"context of {config.context_length}: use a model with a longer one")
    return [row[beyond:] for row in rows], [start - beyond for start in starts], beyond > 0


def log_probabilities(model, rows, starts, states):
    """Sum the log-probabilities of the tokens from `starts` on, (K,), in nats.

    Parameters
    ----------
    rows : list of list of int
    starts : list of int
        At least 1.
    states : dict of int -> state
        Kept from call to call: making one takes as long as a question.
    """
    n = min(shared(rows), min(starts)) - 1            # the last token before an ending is read by
    batch, targets = padded([row[n:] for row in rows], [start - n for start in starts])   # all
    with no_grad():
        state = after(model, rows[0][:n], len(rows), states)
        x = model.stream(batch, state)                                          # (K, T, C)
        nats = [surprise(x[k:k + 1], model.head, targets[k:k + 1], n=1.0).item()
                for k in range(len(rows))]
    return -np.array(nats)


def shared(rows):
    """Return how many ids all rows begin with."""
    n = min(map(len, rows))
    same = (np.array([row[:n] for row in rows]) == rows[0][:n]).all(0)          # (n,)
    return n if same.all() else int(same.argmin())


def padded(rows, starts):
    """Return a Batch of rows but their last ids, and the targets from `starts` on, (K, T)."""
    T = max(map(len, rows)) - 1
    ids = np.zeros((len(rows), T), np.int64)
    targets = np.full((len(rows), T), IGNORE)
    for k, (row, start) in enumerate(zip(rows, starts)):
        ids[k, :len(row) - 1] = row[:-1]
        targets[k, start - 1:len(row) - 1] = row[start:]
    return Batch(ids), targets


def after(model, ids, K, states):
    """Return the state of K sequences that all have read ids, a list."""
    state = cleared(model, K, states)
    if ids:
        one, read = cleared(model, 1, states), np.array([ids])
        model.stream(Batch(read), one)
        one.advance(read)
        state.begin_as(one)
    return state


def cleared(model, K, states):
    if K not in states:
        states[K] = model.start(Batch(np.zeros((K, 1), np.int64)))
    states[K].clear()
    return states[K]


# ---- how many are right ----

class Score(NamedTuple):
    """What comes of many answers."""

    n: int
    n_cut: int
    chance: float
    by_sum: int                    # right ones
    by_bytes: int


def score(answers):
    """Count what is right of at least one answer."""
    by_sum, by_bytes, chances, cut = map(list, zip(*answers))
    n = len(cut)
    return Score(n, sum(cut), sum(chances) / n, sum(by_sum), sum(by_bytes))


def interval(right, n, z=1.96):
    """Return between which shares the true one is, with 95 % certainty (Wilson 1927).

    >>> "{:.3f} {:.3f}".format(*interval(430, 1000))
    '0.400 0.461'
    """
    p, weight = right / n, z * z / n
    middle = (p + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(p * (1 - p) / n + weight / (4 * n))
    return middle - half, middle + half


def centred(share, chance):
    """Return 0 for guessing and 1 for all right."""
    return (share - chance) / (1 - chance)


def told(name, found):
    """Say a Score in lines."""
    yield (f"{name}: {found.n:,} questions, by chance {100 * found.chance:.1f} % are right"
           + (f"; {found.n_cut:,} begin before the context of this model" if found.n_cut else ""))
    for how, right in (("by the sum of log-probabilities", found.by_sum),
                       ("divided by the bytes of the ending", found.by_bytes)):
        low, high = interval(right, found.n)
        share = right / found.n
        yield (f"    {how:36}{100 * share:5.1f} % right ({100 * low:.1f} to {100 * high:.1f}), "
               f"centred {centred(share, found.chance):.3f}")
