"""Prompts that are to be answered, each a record with whatever is known of it.

    {"prompt": "12+34=", "output": "046"}        a line each; or instruction and input for prompt
"""
import json
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

import bpe
from bpe.files import write_text
from bpe.tokenfile import save_tokens
from gpt.data.chats import all_records, split_by_question
from gpt.data.corpora import load_corpus
from gpt.data.documents import TOKEN_FILES, Dataset, opened, token_folder
from gpt.data.preferences import prompt_of
from gpt.data.reading import CorpusError
from gpt.data.templates import Message, choose_template, conversation_ids, special_id
from gpt.settings import ConfigError


class Prompts(NamedTuple):
    """Prompts as tokens, one behind the other, and their records."""

    ids: np.ndarray                # (N,)
    spans: np.ndarray              # (n, 2) int64: where each begins and ends
    records: list                  # of dict, with "prompt"

    def __len__(self):
        return len(self.spans)

    @property
    def lengths(self):
        return self.spans[:, 1] - self.spans[:, 0]                              # (n,)

    def rows(self, chosen):
        """Return some prompts of one length: (B, P) int64."""
        width = self.lengths[chosen[0]]
        places = self.spans[chosen, :1] + np.arange(width)
        return np.asarray(self.ids[places], np.int64)


@dataclass(frozen=True)
class Asked(Dataset):
    """Prompts to learn from and to validate on, `Prompts` each."""

    template: str = "none"
    start: dict = field(default_factory=dict)        # what was measured of it before

    def ids(self, prompts):
        return prompts.ids

    def width(self, T):
        """Return how many tokens a row may have: answers are as long as they are let."""
        return T

    def pass_tokens(self, T):
        """Return how many tokens of steps go once over the prompts: a row of T for each."""
        return T * len(self.train)

    def check(self, T, batch_tokens):
        """Refuse prompts that leave no room for an answer."""
        lengths = np.concatenate([self.train.lengths, self.val.lengths])
        longest = int(lengths.max())
        if longest >= T:
            raise CorpusError(f"context_length is {T}, but the longest prompt has {longest} "
                              f"tokens: use --context_length {2 * longest}")

    @property
    def settings(self):
        return {"vocab_size": self.tokenizer.vocab_size, "template": self.template}

    @property
    def ends(self):
        """The tokens that end an answer."""
        _, template = choose_template(None, self.template)
        named = {special_id(name, self.tokenizer) for name in template.specials}
        return named | {*self.tokenizer.special_tokens.values()}

    def described(self, kind):
        """Say how much there is."""
        name, _ = choose_template(None, self.template)
        return (f"prompts: {len(self.train):,} to learn, {len(self.val):,} to validate on, "
                f"template {name}; {kind}, {self.tokenizer.vocab_size:,} kinds of tokens")


# ---- reading ----

def read_prompts(corpus):
    """Return [(message of the user, record)] of a corpus, no prompt twice.

    Raises
    ------
    CorpusError
        If a record has no prompt.
    """
    found = {}
    for record, where in all_records(corpus):
        try:
            prompt = prompt_of(record)
        except (KeyError, TypeError, AttributeError):
            prompt = None
        if type(prompt) is not str or not prompt:
            raise CorpusError(f"{where} is {record!r:.60}, but must hold a prompt (or instruction "
                              "and input)")
        found.setdefault(prompt, record | {"prompt": prompt})
    return [(Message("user", prompt), record) for prompt, record in found.items()]


# ---- the files ----

SPANS = {name: f"spans_{name}" for name in TOKEN_FILES}
RECORDS = {name: f"{name.removesuffix('.npy')}.json" for name in TOKEN_FILES}
SAID, START = "template.json", "start.json"


def prepare_prompts(corpus, settings, folder, tokenizer=None, load=load_corpus, say=None):
    """Tokenize prompts into a run's folder: the arguments are those of `documents.prepare`.

    Returns
    -------
    data : Asked

    Raises
    ------
    CorpusError
        As `documents.prepare` does; and if there are too few, or the tokenizer cannot write them.
    """
    asked = read_prompts(corpus)
    folder = token_folder(folder, corpus, settings, tokenizer)
    if settings.val:
        val = read_prompts(load([settings.val]))
        known = {message for message, _ in val}
        train = [each for each in asked if each[0] not in known]
    else:
        train, val = held_out(asked, settings.val_fraction)
    if not train or not val:
        raise CorpusError(f"there are {len(train)} prompts to learn from and {len(val)} others to "
                          "validate on: give some of each")
    program = settings.template or "none"
    try:
        tokenizer.save(folder / "tokenizer.json")
        for name, part in zip(TOKEN_FILES, (train, val)):
            save_prompts(folder, name, part, program, tokenizer)
        write_text(folder / SAID, json.dumps(program))
    except ConfigError as error:
        raise CorpusError(str(error)) from error
    return load_prompts(folder)


def held_out(asked, val_fraction):
    """Hold out the same prompts as where they are learnt with their answers."""
    records, messages = dict(asked), [(message,) for message, _ in asked]
    train, val = split_by_question(messages, val_fraction)
    with_record = lambda part: [(message, records[message]) for message, in part]
    return with_record(train), with_record(val)


def save_prompts(folder, name, part, program, tokenizer):
    _, template = choose_template(None, program)
    messages, records = zip(*part)
    ids = [conversation_ids(template, [message], tokenizer) for message in messages]
    lengths = np.array([*map(len, ids)], np.int64)
    ends = lengths.cumsum()
    spans = np.stack([ends - lengths, ends], axis=1)                            # (n, 2)
    save_tokens(folder / name, map(np.array, ids), tokenizer)
    with open(folder / SPANS[name], "wb") as file:
        np.save(file, spans)
    write_text(folder / RECORDS[name], json.dumps(records))


def from_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def save_start(folder, facts):
    write_text(folder / START, json.dumps(facts))


def load_prompts(folder, sealed=None):
    """Open what `prepare_prompts` wrote; the arguments are those of `load_dataset`."""
    def read(folder, tokenizer, sha256):
        parts = []
        for name in TOKEN_FILES:
            ids = np.asarray(bpe.load_tokens(folder / name, tokenizer))
            spans = np.load(folder / SPANS[name])
            parts.append(Prompts(ids, spans, from_json(folder / RECORDS[name])))
        program = from_json(folder / SAID)
        start = from_json(folder / START) if known else {}
        return Asked(tokenizer, *parts, sha256, template=program, start=start)
    known = [name for name in [START] if (folder / name).exists()]
    names = [*TOKEN_FILES, *SPANS.values(), *RECORDS.values(), SAID, *known]
    return opened(folder, names, sealed, read)
