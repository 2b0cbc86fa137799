"""What a report asks, in order: sections of questions, and how they share the time."""
import time
from collections.abc import Callable
from typing import NamedTuple

from gpt.settings import ConfigError
from gpt.verdicts import (
    activity, calibration, canaries, code, groups, heart, inside, learning, luck, pairs, probes,
    rivals)
from gpt.verdicts.case import FAILS, NONE, Line, Unfit


class Question(NamedTuple):
    """A row: what must hold, in words, how it is asked, and its share of the time."""

    name: str
    ask: Callable                  # (case, seconds) -> Line; Unfit where it makes no sense
    share: float = 1


class Section(NamedTuple):
    """Questions that belong together."""

    key: str
    title: str
    questions: tuple


CODE = Section("code", "Is the code right for this very net?", (
    Question("a net that has learnt nothing begins at ln V", learning.begins_with_nothing),
    Question("the gradient of the whole net is its slope", learning.gradient_is_the_slope, 8),
    Question("no token changes what stands before it", code.is_causal),
    Question("read token by token it says the same", code.cache_is_inert),
    Question("padding and neighbours change nothing", code.padding_is_inert),
    Question("the same text gets the same scores twice", code.repeats),
    Question("the order of tokens counts", code.knows_the_order),
    Question("the target is the next token", code.next_is_asked),
    Question("the loss is the surprise at the targets", code.loss_is_the_surprise),
    Question("encoded text comes back", code.text_comes_back),
    Question("all numbers are finite", code.all_is_finite),
    Question("no layer is out of proportion", activity.sizes_by_layer, 2),
    Question("units are alive", activity.dead_units),
    Question("every parameter has learnt", learning.all_have_learnt),
    Question("one batch can be learnt by heart", learning.learns_a_batch, 12)))

SECTIONS = (CODE, Section("simple", "Is it better than something simple?", (
    Question("better than counting five bytes in a row", rivals.is_better, 24),
    Question("better than the commonest label", rivals.classes_are_told_apart))),
    Section("heart", "Has it learnt by heart?", (
        Question("the held-out text is new", heart.held_out_is_new, 6),
        Question("the training text is said once", heart.training_text_is_said_once),
        Question("new text is predicted as well as old", heart.gap_is_small, 8),
        Question("passages are not continued word for word", heart.continues_verbatim, 6),
        Question("what it writes is its own", heart.copies, 8),
        Question("what stood there a few times is forgotten", canaries.are_forgotten, 3))),
    Section("doubt", "Does it know what it does not know?", (
        Question("it is as often right as it is sure", calibration.is_calibrated),
        Question("more context helps", groups.by_position),
        Question("frequent tokens are easier", groups.by_frequency),
        Question("kinds of characters", groups.by_kind),
        Question("the most surprising places", calibration.surprises))),
    Section("inside", "What is inside?", (
        Question("each layer brings the answer nearer", inside.lens, 3),
        Question("what a probe finds in each layer", probes.find_more, 6),
        Question("what units answer to", inside.units, 2),
        Question("of two sentences the right one is likelier", pairs.prefers_the_right, 4))),
    Section("luck", "Is it luck?", (
        Question("other seeds end alike", luck.seeds_agree),)))

# What takes no time to speak of: for the end of a training.
BRIEF = CODE._replace(questions=tuple(row for row in CODE.questions if row.share <= 2))
SECONDS = 45                       # for all of it, unless told
TOO_LATE = Line("there was no time left: give it more --seconds", NONE)


class Answer(NamedTuple):
    """What was asked, and what came of it."""

    section: Section
    question: Question
    line: Line
    seconds: float


def answers(case, seconds=SECONDS, sections=SECTIONS):
    """Ask all questions within about so many seconds; what one does not need goes to the next.

    Yields
    ------
    Answer
    """
    asked = [(section, question) for section in sections for question in section.questions]
    end, shares = time.monotonic() + seconds, sum(question.share for _, question in asked)
    for section, question in asked:
        began = time.monotonic()
        left = end - began
        line = answer(question, case, left * question.share / shares) if left > 0 else TOO_LATE
        shares -= question.share
        yield Answer(section, question, line, time.monotonic() - began)


def answer(question, case, seconds):
    """Ask one question: a Line; what cannot be computed at all fails."""
    try:
        return question.ask(case, seconds)
    except Unfit as reason:
        return Line(str(reason), NONE)
    except (FloatingPointError, ConfigError) as error:
        return Line(str(error), FAILS)


def failed(found):
    """Return the names of what failed."""
    return [answer.question.name for answer in found if answer.line.verdict == FAILS]
