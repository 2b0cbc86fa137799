"""Conversations to learn from: read, written as a template says, held out by the question."""
import hashlib
import json
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

import bpe
from bpe.files import write_text
from bpe.tokenfile import save_tokens
from gpt.data.corpora import load_corpus
from gpt.data.documents import TOKEN_FILES, Dataset, opened, token_folder
from gpt.data.pairs import rounded
from gpt.data.reading import END_OF_TEXT, CorpusError, is_text
from gpt.data.templates import (
    Message, choose_template, conversation_ids, cut, encoded, ids_of, strip)
from gpt.data.tokens.kinds import train_tokenizer, with_specials
from gpt.data.windows import rows_from
from gpt.settings import ConfigError


class Chats(NamedTuple):
    """Conversations as tokens, one behind the other."""

    ids: np.ndarray                # (N,)
    asked: np.ndarray              # (N,) bool: what is to be predicted
    spans: np.ndarray              # (n, 2) int64: where each begins and ends

    def __len__(self):
        return len(self.spans)

    @property
    def lengths(self):
        return self.spans[:, 1] - self.spans[:, 0]                              # (n,)

    def rows(self, chosen, width):
        """Return the first tokens of some conversations, and which of them are asked.

        Returns
        -------
        ids : (B, width) int64, padded with 0
        asked : (B, width) bool
        """
        begins = self.spans[chosen, 0]
        real = np.arange(width) < self.lengths[chosen, None]                    # (B, width)
        ids = rows_from(self.ids, begins, width)
        asked = rows_from(self.asked, begins, width).astype(bool)
        return np.where(real, ids, 0), real & asked


@dataclass(frozen=True)
class Conversations(Dataset):
    """Chats to learn from and to validate on, with the template that wrote them."""

    template: str = "plain"        # a row of TEMPLATES, or a program that is recognised as one
    too_long: str = "refuse"

    def ids(self, chats):
        return chats.ids

    @property
    def longest(self):
        """How many tokens the longest one has that is learnt from."""
        return int(self.train.lengths.max())

    def width(self, T):
        """Return how many tokens of a row are read where the net takes T: the last is a target."""
        return min(T, int(rounded(self.longest - 1)))

    def widths(self, part, T):
        """Return the width of each row of a part of the data, (n,)."""
        return few_widths(part.lengths - 1, self.width(T))

    def pass_tokens(self, T):
        return int(self.widths(self.train, T).sum())

    def check(self, T, batch_tokens):
        """Refuse what is longer than the context, or tell that it is cut."""
        lengths = np.concatenate([self.train.lengths, self.val.lengths])
        return check_lengths(lengths, T, self.too_long)

    @property
    def settings(self):
        return {"vocab_size": self.tokenizer.vocab_size, "template": self.template}

    def described(self, kind):
        """Say how much there is."""
        name, _ = choose_template(None, self.template)
        share = self.train.asked.mean()
        return (f"conversations: {len(self.train):,} to learn, {len(self.val):,} to validate on, "
                f"template {name}; {share:.0%} of {len(self.train.ids):,} tokens are to be "
                f"predicted; {kind}, {self.tokenizer.vocab_size:,} kinds")


def few_widths(lengths, most):
    """Return lengths, (n,), rounded up to one of four, `most` at most: so shapes come again."""
    step = -(-most // 4)
    return step * np.clip(-(-lengths // step), 1, 4)


def check_lengths(lengths, T, too_long):
    """Refuse conversations of more tokens than the context has, or return how many are cut."""
    n, longest = int((lengths > T + 1).sum()), int(lengths.max())
    if not n:
        return None
    what = (f"context_length is {T}, but {n:,} of {len(lengths):,} conversations are longer, "
            f"the longest {longest:,} tokens")
    if too_long == "refuse":
        raise CorpusError(f"{what}: use --context_length {longest - 1}, or --too_long cut")
    return f"{what}: of these the first {T + 1:,} tokens count"


# ---- reading ----

def read_chats(corpus):
    """Return the conversations of a corpus, lists of Message, none twice.

    Raises
    ------
    CorpusError
        If a document is no text, or a record of it is no conversation.
    """
    return [*dict.fromkeys(tuple(messages_of(*each)) for each in all_records(corpus))]


def all_records(corpus):
    """Yield the records of a corpus, each with words for where it stands."""
    for document in corpus.documents:
        if not is_text(document):
            raise CorpusError(f"{corpus.source} is not UTF-8 text: convert it")
        for i, record in enumerate(records(document.decode().removeprefix("\ufeff")), 1):
            yield record, f"record {i} of {corpus.source}"


def records(text):
    """Return what a text of JSON holds, as a list: one value, or one on each line."""
    try:
        facts = json.loads(text)
        return facts if isinstance(facts, list) else [facts]
    except (ValueError, RecursionError):
        lines = [line for line in text.split("\n") if line.strip()]
    return [*map(of_line, lines)]


def of_line(line):
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{line!r:.60} is no JSON: give conversations as JSON, a list or one a "
                          "line") from error


def messages_of(record, where):
    """Return the messages of a record: `messages`, or the three fields of Alpaca's.

    Raises
    ------
    CorpusError
        If it holds no conversation that ends with an answer.
    """
    try:
        if "messages" in record:
            said = [Message(row["role"], row["content"]) for row in record["messages"]]
        else:
            parts = record["instruction"], record.get("input") or ""
            asked = "\n\n".join(filter(None, parts))
            said = [Message("user", asked), Message("assistant", record["output"])]
        texts = all(isinstance(content, str) for _, content in said)
    except (KeyError, TypeError, AttributeError):
        said, texts = [], False
    roles = [role for role, _ in said]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    pairs = len(turns) // 2
    if not texts or not pairs or turns != ["user", "assistant"] * pairs:
        raise CorpusError(f"{where} is {record!r:.60}, but must hold messages, of user and "
                          "assistant in turns behind a system's if there is one, or instruction, "
                          "input and output")
    return said


def split_by_question(chats, val_fraction):
    """Hold out those chats whose first words of the user have the smallest SHA256: (train, val)."""
    first = lambda said: next(content for role, content, *_ in said if role == "user")
    digest = lambda said: hashlib.sha256(first(said).encode()).digest()
    chosen = sorted({*map(digest, chats)})
    n = min(len(chosen) - 1, max(1, round(val_fraction * len(chosen))))
    held = {*chosen[:n]}
    return ([said for said in chats if digest(said) not in held],
            [said for said in chats if digest(said) in held])


# ---- as tokens ----

def written(template, said, tokenizer):
    """Write a conversation as a model will read it: (ids, where each answer begins and ends).

    An answer ends with the first token behind it, which the model has to say, too. Answers are
    encoded by themselves, as they are made.
    """
    heard, answers = [], []
    for role, content in said:
        if role == "assistant":
            before = conversation_ids(template, heard, tokenizer)
            content = encoded(template.said.replace("{}", strip(template, content)), tokenizer)
            answers.append((len(before), len(before) + len(content) + 1))
        heard.append(Message(role, content))
    end = tokenizer.special_tokens.get(END_OF_TEXT)
    after = ids_of(cut(template.end, template), tokenizer)
    if end is not None and not template.specials:
        after = [end]
    return [*before, *content, *after], answers


def as_chats(template, chats, tokenizer, loss_on):
    """Return conversations as `Chats`; with loss_on "all" all but the first token is asked."""
    rows, flags = [], []
    for said in chats:
        ids, answers = written(template, said, tokenizer)
        asked = np.full(len(ids), loss_on == "all")
        for begin, end in answers:
            asked[begin:end] = True
        rows.append(np.array(ids))
        flags.append(asked)
    ends = np.cumsum([*map(len, rows)])
    begins = np.append(0, ends[:-1])
    spans = np.stack([begins, ends], axis=1).astype(np.int64)
    return Chats(np.concatenate(rows), np.concatenate(flags), spans)


def encoded_chats(corpus, tokenizer, program):
    """Return the conversations of another text, as a model with this template reads them."""
    _, template = choose_template(None, program)
    return as_chats(template, read_chats(corpus), tokenizer, "answers")


# ---- the files ----

PARTS = {name: (f"asked_{name}", f"spans_{name}") for name in TOKEN_FILES}
SAID = "template.json"
SAID_FILES = (*TOKEN_FILES, *PARTS["train.npy"], *PARTS["val.npy"], SAID)


def prepare_chats(corpus, settings, folder, tokenizer=None, load=load_corpus, say=None):
    """Tokenize conversations into a run's folder: the arguments are those of `documents.prepare`.

    Returns
    -------
    data : Conversations

    Raises
    ------
    CorpusError
        As `documents.prepare` does; and if there are too few conversations, or a template that
        the tokenizer cannot write.
    """
    program = settings.template or "plain"
    prepare_said(corpus, settings, folder, tokenizer, load, read_chats, as_chats, program)
    return load_chats(folder, too_long=settings.too_long)


def prepare_said(corpus, settings, folder, tokenizer, load, read, as_rows, program):
    """Write what was said into a run's folder: `read` by corpus, made tokens by `as_rows`."""
    chats = read(corpus)
    folder = token_folder(folder, corpus, settings, tokenizer)
    if settings.val:
        train, val = chats, read(load([settings.val]))
        train = [said for said in train if said not in val]
    else:
        train, val = split_by_question(chats, settings.val_fraction)
    if not train or not val:
        raise CorpusError(f"there are {len(train)} conversations to learn from and {len(val)} "
                          "others to validate on: give some of each")
    try:
        _, template = choose_template(None, program)
        tokenizer = tokenizer or tokenizer_for(settings, template, train, val)
        tokenizer = with_specials(tokenizer, template.specials)
        tokenizer.save(folder / "tokenizer.json")
        for name, part in zip(TOKEN_FILES, (train, val)):
            found = as_rows(template, part, tokenizer, settings.loss_on)
            save_chats(folder, name, found, tokenizer)
        write_text(folder / SAID, json.dumps(program))
    except ConfigError as error:
        raise CorpusError(str(error)) from error
    except (OSError, ValueError) as error:
        raise CorpusError(f"the conversations cannot be tokenized: {error}") from error


def tokenizer_for(settings, template, train, val):
    """Train a tokenizer on what is said; a text of the template joins, so that it can be written.
    """
    texts = [[content.encode() for said in part for _, content in said] for part in (train, val)]
    frame = "".join((template.user, template.reply, template.said, template.end, template.system))
    learnt = [frame.encode(), *texts[0]]
    return train_tokenizer(settings.tokenizer, settings.vocabulary, learnt + texts[1], learnt,
                           [END_OF_TEXT])


def save_chats(folder, name, chats, tokenizer):
    save_tokens(folder / name, [chats.ids], tokenizer)
    for path, x in zip(PARTS[name], (chats.asked, chats.spans)):
        with open(folder / path, "wb") as file:
            np.save(file, x)


def load_chats(folder, sealed=None, too_long="refuse"):
    """Open what `prepare_chats` wrote; the arguments are those of `load_dataset`."""
    def read(folder, tokenizer, sha256):
        parts, program = read_said(folder, tokenizer)
        return Conversations(tokenizer, *parts, sha256, template=program, too_long=too_long)
    return opened(folder, SAID_FILES, sealed, read)


def read_said(folder, tokenizer):
    """Return the two parts that `prepare_said` wrote, `Chats` each, and their template."""
    parts = []
    for name, others in PARTS.items():
        ids = bpe.load_tokens(folder / name, tokenizer)
        parts.append(Chats(ids, *(np.load(folder / path) for path in others)))
    return parts, json.loads((folder / SAID).read_text(encoding="utf-8"))
