"""The stages that text goes through, in order: each changes a text, or tells why it is dropped."""
import functools
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from gpt.data.cleaning.losses import LeftOut, Loss
from gpt.data.cleaning.quality import (
    c4_lines, c4_page, contaminated, fineweb_lines, gopher_quality, gopher_repetition,
    held_out_keys, menu)
from gpt.data.cleaning.repair import identify_language, mask_pii, repair_unicode
from gpt.data.reading import CorpusError


def as_it_is(text):
    return text


def nothing(text):
    return ""


class Stage(NamedTuple):
    """A row: either function may be left out."""

    change: Callable = as_it_is    # text -> text
    drop: Callable = nothing       # text -> why it is dropped, or ""


def is_empty(text):
    return "" if text.strip() else "nothing but white space"


SURE = 0.9                         # that a text is of another language; lists of names are of none


def other_language(wanted, text):
    language, p = identify_language(text)
    other = language != wanted and p >= SURE
    return f"it is {language}, not {wanted}" if other else ""


# What can be named with --filters; `language` takes a value.
FILTERS = {"gopher": Stage(drop=gopher_quality),
           "repetition": Stage(drop=gopher_repetition),
           "c4": Stage(c4_lines, c4_page),
           "menu": Stage(drop=menu),
           "fineweb": Stage(drop=fineweb_lines)}
USUAL = "gopher,repetition,menu"


def unwanted(score, text):
    return "" if score(text) >= 0.5 else "by the classifier, it is not wanted"


def stages_of(filters=USUAL, held_out=(), score=None):
    """Return the stages by name, in order.

    Parameters
    ----------
    filters : str
        Names of FILTERS and language=CODE, commas between; empty for none.
    held_out : sequence of str
        Texts that nothing may have in common with.
    score : callable of str -> float, optional
        How likely a text is wanted.

    Raises
    ------
    CorpusError
        If there is no such filter.
    """
    stages = {"unicode": Stage(repair_unicode, is_empty)}
    for name in filter(None, map(str.strip, filters.split(","))):
        kind, equals, value = name.partition("=")
        if kind == "language" and value:
            stages[name] = Stage(drop=functools.partial(other_language, value))
        elif name in FILTERS:
            stages[name] = FILTERS[name]
        else:
            raise CorpusError(f"there is no filter {name!r}: choose {', '.join(FILTERS)}, "
                              "language=en")
    if held_out:
        keys = held_out_keys(held_out)
        stages["held out"] = Stage(drop=functools.partial(contaminated, keys=keys))
    if score:
        stages["quality"] = Stage(drop=functools.partial(unwanted, score))
    return stages


# ---- what comes of it ----

EXAMPLES = 3                       # of each reason
EXAMPLE_CHARACTERS = 300


def length_class(n):
    """Return a range of lengths, each four times as long as the one before; sorted as words are.

    >>> length_class(300), length_class(50_000)
    ('up to      1,024', 'up to     65,536')
    """
    most = 256
    while n > most:
        most *= 4
    return f"up to {most:>10,}"


class Tally:
    """What came in, and what each stage dropped: counts that add up, and the first examples."""

    def __init__(self, facts=None):
        facts = facts or {}
        self.counts = Counter(facts.get("counts", {}))            # by "in documents" and so on
        self.stages = {name: Counter(row) for name, row in facts.get("stages", {}).items()}
        self.examples = facts.get("examples", {})                 # by stage and reason
        self.losses = [Loss(*row) for row in facts.get("losses", [])]
        self.tables = {name: {row: Counter(found) for row, found in rows.items()}
                       for name, rows in facts.get("tables", {}).items()}

    def facts(self):
        return {"counts": self.counts, "stages": self.stages, "examples": self.examples,
                "losses": self.losses, "tables": self.tables}

    def add(self, other):
        """Add what another one counted."""
        self.counts.update(other.counts)
        for stage, row in other.stages.items():
            self.stages.setdefault(stage, Counter()).update(row)
        for stage, reasons in other.examples.items():
            for reason, found in reasons.items():
                self.show(stage, reason, found)
        self.losses += other.losses
        for name, rows in other.tables.items():
            for row, found in rows.items():
                self.row(name, row).update(found)

    def row(self, name, row):
        """Return the counts in a row of a table."""
        return self.tables.setdefault(name, {}).setdefault(row, Counter())

    def seen(self, what, source, length):
        """Count a document that was read or kept, by its source and by its length."""
        for row in self.row("source", source), self.row("length", length_class(length)):
            row[f"documents {what}"] += 1
            row[f"characters {what}"] += length

    def show(self, stage, reason, found):
        shown = self.examples.setdefault(stage, {}).setdefault(reason, [])
        shown += found[:EXAMPLES - len(shown)]

    def count(self, stage, reason):
        self.stages.setdefault(stage, Counter())[reason] += 1

    def dropped(self, stage, reason, document):
        self.count(stage, reason)
        self.show(stage, reason, [[document.source, document.place,
                                   document.text[:EXAMPLE_CHARACTERS]]])


def without_losses(found, tally):
    """Yield the documents of what was read, and count them; losses are only noted."""
    for each in found:
        if isinstance(each, Loss):
            tally.losses.append(each)
            continue
        if isinstance(each, LeftOut):
            tally.count("reading", each.reason)
            continue
        tally.counts["documents read"] += 1
        tally.counts["characters read"] += len(each.text)
        tally.seen("read", each.source, len(each.text))
        yield each


def applied(name, stage, documents, tally):
    """Yield the documents that a stage keeps, as it changes them."""
    for document in documents:
        document = document._replace(text=stage.change(document.text))
        reason = stage.drop(document.text)
        if reason:
            tally.dropped(name, reason, document)
        else:
            yield document


def masked(documents, tally):
    """Yield the documents with what identifies people masked, which is counted."""
    for document in documents:
        text, counts = mask_pii(document.text)
        tally.counts.update({f"{kind} masked": n for kind, n in counts.items()})
        yield document._replace(text=text)
