"""Multiple choice: which of several texts does a model find the likeliest?

A question is two or more texts of which a part, the ending, is scored: by the sum of the
log-probabilities of its tokens, and by that sum divided by its bytes, so that long endings have no
disadvantage. Several questions are read at a time, and what the texts of one begin with but once.
"""
import re
from typing import NamedTuple

import numpy as np

from gpt.batch import Batch
from gpt.models.branching import Branches
from gpt.models.decoder import GPT
from gpt.models.sampling import encode_prompt
from gpt.prompts import read_records
from gpt.settings import ConfigError
from gpt.training.intervals import wilson
from minigrad import linear_cross_entropy, no_grad, use

READ_TOKENS = 4096                 # of the questions that are answered at a time


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

class Asked(NamedTuple):
    """A question as tokens."""

    question: Question
    rows: list                     # of lists of ids: the last tokens of each text that fit in
    starts: list                   # where the ending begins in each
    is_cut: bool                   # whether the beginning did not fit into the context


def answers(opened, questions):
    """Yield the Answer of a model to each question; some questions are read at a time.

    Parameters
    ----------
    opened : Opened
    questions : iterable of Question

    Raises
    ------
    ConfigError
        If the ending of one has more tokens than the context.
    """
    config = opened.model.config
    for group in groups(encoded(each, opened.tokenizer, config) for each in questions):
        with use(precision="int8"):
            sums = log_probabilities(opened.model, group)
        yield from map(answered, group, sums)


def groups(asked):
    """Yield lists of questions that together have about READ_TOKENS."""
    group, n = [], 0
    for one in asked:
        group.append(one)
        n += sum(map(len, one.rows))
        if n >= READ_TOKENS:
            yield group
            group, n = [], 0
    if group:
        yield group


def answered(asked, sums):
    """Return the Answer that sums of log-probabilities, (K,), make."""
    right = asked.question.right
    lengths = [len(ending.encode()) for ending in asked.question.endings]
    by_sum, by_bytes = sums.argmax(), (sums / lengths).argmax()
    return Answer(by_sum == right, by_bytes == right, 1 / len(sums), asked.is_cut)


def encoded(question, tokenizer, config):
    """Encode the texts of a question: Asked."""
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
    rows = [row[beyond:] for row in rows]
    return Asked(question, rows, [start - beyond for start in starts], beyond > 0)


def log_probabilities(model, asked):
    """Sum the log-probabilities of the tokens of endings, in nats.

    Parameters
    ----------
    model : Module
        With `stream` and `head`.
    asked : list of Asked

    Returns
    -------
    sums : list of (K,)
        Of the K texts of each question.
    """
    texts = [[row[:-1] for row in each.rows] for each in asked]
    starts = [start for each in asked for start in each.starts]
    with no_grad():
        x, rows = read(model, texts)                                            # (N, C)
        scored = [row[start - 1:] for row, start in zip(rows, starts)]
        targets = [row[start:] for each in asked for row, start in zip(each.rows, each.starts)]
        nats = linear_cross_entropy(x[np.concatenate(scored)], model.head,
                                    np.concatenate(targets), reduction="none").data
    ends = np.cumsum([*map(len, scored)])
    sums = [-part.sum(dtype=np.float64) for part in np.split(nats, ends[:-1])]
    cuts = np.cumsum([len(each.rows) for each in asked])
    return np.split(np.array(sums), cuts[:-1])


def read(model, questions):
    """Read all texts of some questions, lists of lists of ids.

    Returns
    -------
    x : (N, C) array
        What the head takes.
    rows : list of (T,) int
        In which of the N rows each text is.
    """
    if isinstance(model, GPT):
        state = Branches(model.config, questions, model.head.dtype)
        return model.stream(Batch(state.ids), state).data[:, 0], state.rows
    texts = [text for question in questions for text in question]
    T = max(map(len, texts))
    ids = np.zeros((len(texts), T), np.int64)
    for b, text in enumerate(texts):
        ids[b, :len(text)] = text
    x = model.stream(Batch(ids)).data                                           # (B, T, C)
    rows = [b * T + np.arange(len(text)) for b, text in enumerate(texts)]
    return x.reshape(-1, x.shape[-1]), rows


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
