"""Pairs of answers of which one is preferred: read, written as a template says, compared.

    {"prompt": "Name a colour.", "chosen": "Blue.", "rejected": "No."}        a line each, or a list
"""
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gpt.data.chats import (
    SAID_FILES, Chats, Conversations, all_records, as_chats, prepare_said, read_said)
from gpt.data.corpora import load_corpus
from gpt.data.documents import TOKEN_FILES, opened
from gpt.data.reading import CorpusError
from gpt.data.templates import Message, choose_template


class Compared(NamedTuple):
    """Pairs as tokens: of each the prompt with the chosen answer, and with the rejected one."""

    chats: Chats                   # 2 n rows, those of a pair in turn
    reference: np.ndarray | None   # (N,) float32: log-probabilities by the frozen model where asked

    def __len__(self):
        return len(self.chats) // 2

    @property
    def lengths(self):
        """The tokens of the longer answer of each, with its prompt: (n,)."""
        return self.chats.lengths.reshape(-1, 2).max(axis=1)

    def rows(self, pairs, width):
        """Return the rows of some pairs, chosen and rejected in turn.

        Returns
        -------
        ids : (2 P, width) int64
        asked : (2 P, width) bool
        reference : (2 P, width) float32, 0 where nothing is asked
        """
        ids, asked = self.chats.rows(rows_of(pairs), width)
        known = np.zeros(ids.shape, np.float32)
        if self.reference is not None:
            places = self.begins(pairs) + np.arange(width)
            known[asked] = self.reference[places[asked]]
        return ids, asked, known

    def begins(self, pairs):
        """Return where the rows of some pairs begin: (2 P, 1)."""
        return self.chats.spans[rows_of(pairs), :1]


def rows_of(pairs):
    """Return the places of the rows of some pairs, chosen and rejected in turn: (2 P,)."""
    return np.stack([2 * pairs, 2 * pairs + 1], axis=1).ravel()


@dataclass(frozen=True)
class Preferences(Conversations):
    """Pairs to learn from and to validate on, `Compared` each."""

    template: str = "none"

    def ids(self, compared):
        return compared.chats.ids

    def pass_tokens(self, T):
        return 2 * int(self.widths(self.train, T).sum())

    def described(self, kind):
        """Say how much there is."""
        name, _ = choose_template(None, self.template)
        return (f"pairs: {len(self.train):,} to learn, {len(self.val):,} to validate on, template "
                f"{name}; {len(self.train.chats.ids):,} tokens; {kind}, "
                f"{self.tokenizer.vocab_size:,} kinds")


# ---- reading ----

def read_preferences(corpus):
    """Return the pairs of a corpus, (asked, chosen, rejected) as messages, none twice.

    Pairs whose answers are the same are left out.

    Raises
    ------
    CorpusError
        If a record is no pair.
    """
    found = dict.fromkeys(pair_of(*each) for each in all_records(corpus))
    return [pair for pair in found if pair[1] != pair[2]]


def pair_of(record, where):
    """Return the pair of a record, whose prompt may be the two fields of Alpaca's."""
    try:
        texts = prompt_of(record), record["chosen"], record["rejected"]
        good = {*map(type, texts)} == {str}
    except (KeyError, TypeError, AttributeError):
        good = False
    if not good:
        raise CorpusError(f"{where} is {record!r:.60}, but must hold prompt, chosen and rejected "
                          "as texts (or instruction and input in the place of prompt)")
    prompt, chosen, rejected = texts
    answers = Message("assistant", chosen), Message("assistant", rejected)
    return Message("user", prompt), *answers


def prompt_of(record):
    """Return the prompt of a record: `prompt`, or `instruction` and `input`."""
    if "prompt" in record:
        return record["prompt"]
    parts = record["instruction"], record.get("input") or ""
    return "\n\n".join(filter(None, parts))


def as_rows(template, pairs, tokenizer, loss_on):
    """Return pairs as `Chats` of two rows each."""
    rows = []
    for asked, chosen, rejected in pairs:
        rows += [(asked, chosen), (asked, rejected)]
    return as_chats(template, rows, tokenizer, "answers")


# ---- the files ----

REFERENCES = {name: f"reference_{name}" for name in TOKEN_FILES}


def prepare_preferences(corpus, settings, folder, tokenizer=None, load=load_corpus, say=None):
    """Tokenize pairs into a run's folder: the arguments are those of `documents.prepare`.

    Returns
    -------
    data : Preferences

    Raises
    ------
    CorpusError
        As `prepare_chats` does.
    """
    program = settings.template or "none"
    prepare_said(corpus, settings, folder, tokenizer, load, read_preferences, as_rows, program)
    return load_preferences(folder, too_long=settings.too_long)


def save_references(folder, references):
    """Write the log-probabilities by the frozen model: of each part, (N,) float32."""
    for path, x in zip(REFERENCES.values(), references):
        with open(folder / path, "wb") as file:
            np.save(file, x)


def load_preferences(folder, sealed=None, too_long="refuse"):
    """Open what `prepare_preferences` wrote, with the references where they are known."""
    known = all((folder / path).exists() for path in REFERENCES.values())
    names = [*SAID_FILES, *(REFERENCES.values() if known else ())]

    def read(folder, tokenizer, sha256):
        chats, program = read_said(folder, tokenizer)
        references = [np.load(folder / path) if known else None for path in REFERENCES.values()]
        parts = map(Compared, chats, references)
        return Preferences(tokenizer, *parts, sha256, template=program, too_long=too_long)
    return opened(folder, names, sealed, read)
