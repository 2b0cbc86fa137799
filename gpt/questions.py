"""Multiple choice: which of several texts does a model find the likeliest?

A question is two or more texts of which a part, the ending, is scored: by the sum of the
log-probabilities of its tokens, and by that sum divided by its bytes, so that long endings have no
disadvantage. What the texts begin with is read once, the rest of all of them as one batch.
"""
import re
from typing import NamedTuple

import numpy as np

from gpt.batch import IGNORE, Batch
from gpt.models.heads import surprise
from gpt.models.sampling import begin_alike, encode_prompt
from gpt.prompts import read_records
from gpt.settings import ConfigError
from gpt.training.intervals import wilson
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
    endings = [*map(without_marks, row["endings"])]
    return one_context(context, endings, row["label"])


def without_marks(text):
    """Take out what is left in WikiHow's texts of their pages: [title], [step] and others."""
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")


def choices(row):
    """ARC (1803.05457), PIQA (1911.11641): a question and answers to it."""
    return one_context(f"{row['query']}\nAnswer:", row["choices"], row["gold"])


def winogrande(row):
    """Sakaguchi et al. 2019, arXiv:1907.10641: behind which of two texts is this likelier?"""
    contexts, ending = row["context_options"], row["continuation"]
    return Question(contexts, [ending] * len(contexts), int(row["gold"]))


def one_context(context, endings, right):
    return Question([context] * len(endings), endings, int(right))


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
    fields = " or ".join(", ".join(known) for known in FORMATS)
    return read_records(name, question_of, "question", fields)


def question_of(row):
    for known, read in FORMATS.items():
        if row.keys() >= {*known}:
            contexts, endings, right = question = read(row)
            there_are_two = len(contexts) == len(endings) >= 2
            if there_are_two and right in range(len(endings)) and all(
                    map(str.strip, contexts + endings)):
                return question
    raise ValueError("there is nothing to choose from")


def spread(questions, n):
    """Return about n of the questions, from the first to the last at even distances."""
    if n is None or n >= len(questions):
        return questions
    places = np.linspace(0, len(questions) - 1, n)
    return [questions[round(i)] for i in places]


# ---- answers ----

def answers(opened, questions):
    """Yield the Answer of a model to each question.

    Parameters
    ----------
    opened : Opened
    questions : iterable of Question

    Raises
    ------
    ConfigError
        If the ending of one has more tokens than the context.
    """
    states = {}                    # number of endings -> state of as many sequences
    for question in questions:
        rows, starts, is_cut = encoded(question, opened.tokenizer, opened.model.config)
        sums = log_probabilities(opened.model, rows, starts, states)            # (K,)
        lengths = [len(ending.encode()) for ending in question.endings]
        by_sum, by_bytes = sums.argmax(), (sums / lengths).argmax()
        right = question.right
        yield Answer(by_sum == right, by_bytes == right, 1 / len(sums), is_cut)


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
    longest = max(map(len, rows)) - 1                 # the last token is not read
    beyond = max(0, longest - config.context_length)
    if beyond >= min(starts):
        raise ConfigError(f"the answer {question.endings[0]!r:.40} has more tokens than the "
                          f"context of {config.context_length}: use a model with a longer one")
    rows, starts = without_first(beyond, rows, starts)
    return rows, starts, beyond > 0


def without_first(n, rows, starts):
    return [row[n:] for row in rows], [start - n for start in starts]


def log_probabilities(model, rows, starts, states):
    """Sum the log-probabilities of the tokens from `starts` on, (K,), in nats.

    Parameters
    ----------
    model : Module
        With `stream`, `head`, `start`.
    rows : list of list of int
    starts : list of int
        At least 1.
    states : dict of int -> state
        Kept from call to call: making one takes as long as a question.
    """
    n = min(shared(rows), min(starts)) - 1            # the last token before an ending is read by
    begin = rows[0][:n]                               # all
    batch = padded(*without_first(n, rows, starts))
    with no_grad():
        state = after(model, begin, len(rows), states)
        x = model.stream(batch, state)                                          # (K, T, C)
        nats = []
        for k in range(len(rows)):
            one = slice(k, k + 1)
            nats.append(surprise(x[one], model.head, batch.targets[one], n=1.0).item())
    return -np.array(nats)


def shared(rows):
    """Return how many ids all rows begin with."""
    return min(begin_alike(rows[0], row) for row in rows)


def padded(rows, starts):
    """Return a Batch of rows but their last ids, and of the targets from `starts` on."""
    T = max(map(len, rows)) - 1
    ids = np.zeros((len(rows), T), np.int64)
    targets = np.full((len(rows), T), IGNORE)
    for k, (row, start) in enumerate(zip(rows, starts)):
        last = len(row) - 1
        ids[k, :last] = row[:-1]
        targets[k, start - 1:last] = row[start:]
    return Batch(ids, targets)


def after(model, ids, K, states):
    """Return the state of K sequences that all have read ids, a list."""
    state = cleared(model, K, states)
    if ids:
        ids, one = np.array([ids]), cleared(model, 1, states)
        model.stream(Batch(ids), one)
        one.advance(ids)
        state.begin_as(one)
    return state


def cleared(model, K, states):
    if K not in states:
        nothing = Batch(np.zeros((K, 1), np.int64))
        states[K] = model.start(nothing)
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
    n = len(answers)
    by_sum, by_bytes, chance, n_cut = map(sum, zip(*answers))
    return Score(n, int(n_cut), chance / n, int(by_sum), int(by_bytes))


def centred(share, chance):
    """Return 0 for guessing and 1 for all right."""
    return (share - chance) / (1 - chance)


def told(name, found):
    """Say a Score in lines."""
    yield (f"{name}: {found.n:,} questions, by chance {100 * found.chance:.1f} % are right"
           + (f"; {found.n_cut:,} begin before the context of this model" if found.n_cut else ""))
    for how, right in (("by the sum of log-probabilities", found.by_sum),
                       ("divided by the bytes of the ending", found.by_bytes)):
        low, high = wilson(right, found.n)
        share = right / found.n
        yield (f"    {how:36}{100 * share:5.1f} % right ({100 * low:.1f} to {100 * high:.1f}), "
               f"centred {centred(share, found.chance):.3f}")
