"""Labelled texts: read from .tsv, .csv or .jsonl, each text once, split by the text itself."""
import csv
import hashlib
import io
import json
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

import bpe
from bpe.files import write_text
from bpe.tokenfile import save_tokens
from gpt.data.corpora import load_corpus
from gpt.data.documents import TOKEN_FILES, Dataset, opened, token_folder
from gpt.data.reading import END_OF_TEXT, CorpusError, is_text
from gpt.data.tokens.kinds import framed, train_tokenizer
from gpt.data.windows import rows_from


class Texts(NamedTuple):
    """Texts as tokens, one behind the other, each with the number of its label."""

    ids: np.ndarray                # (N,)
    spans: np.ndarray              # (n, 3) int64: where each begins and ends, and its label

    def __len__(self):
        return len(self.spans)

    @property
    def lengths(self):
        """How many tokens each has, (n,)."""
        begins, ends, _ = self.spans.T
        return ends - begins

    def padded(self, rows, T):
        """Return the first T tokens of some texts, (B, width) int64 padded with 0, and lengths.

        The width is that of the longest, rounded up to one of few.
        """
        begins = self.spans[rows, 0]
        lengths = np.minimum(self.lengths[rows], T)                             # (B,)
        step = max(1, T // 4)
        width = min(T, -(-int(lengths.max()) // step) * step)
        ids = rows_from(self.ids, begins, width)                                # (B, width)
        real = np.arange(width) < lengths[:, None]
        return np.where(real, ids, 0), lengths


@dataclass(frozen=True)
class Labelled(Dataset):
    """Texts to learn and to validate on, `Texts` each, with the names of their labels."""

    labels: tuple = ()

    def ids(self, texts):
        return texts.ids

    def strings(self, texts):
        """Return the texts as they were read."""
        return [self.tokenizer.decode(texts.ids[begin:end].tolist())
                for begin, end, _ in texts.spans.tolist()]

    def pass_tokens(self, T):
        """Return how many tokens of steps go once over the texts: a step has room for T of each."""
        return T * len(self.train)

    def check(self, T, batch_tokens):
        """Do nothing: texts may be shorter than the context."""

    @property
    def settings(self):
        """What the data say of a run: its settings, by name."""
        return {"vocab_size": self.tokenizer.vocab_size, "labels": ",".join(self.labels)}

    def described(self, kind):
        """Say how much there is."""
        spans = np.concatenate([self.train.spans, self.val.spans])
        counts = np.bincount(spans[:, 2], minlength=len(self.labels))
        shares = [f"{name} {100 * n / len(spans):.1f} %" for name, n in zip(self.labels, counts)]
        return (f"texts: {len(self.train):,} to learn, {len(self.val):,} to validate on, each "
                f"once; {', '.join(shares)}; {kind}, {self.tokenizer.vocab_size:,} kinds of tokens")


# ---- reading ----

def read_labelled(corpus):
    """Return [(label, text)] of a corpus, without those that were there before.

    Raises
    ------
    CorpusError
        If a document is no text, or a line of it holds no label and text.
    """
    found = {}                                        # text -> label
    for document in corpus.documents:
        if not is_text(document):
            raise CorpusError(f"{corpus.source} is not UTF-8 text: convert it")
        for label, text in labelled_lines(document.decode("utf-8").removeprefix("\ufeff")):
            found.setdefault(text.strip(), label.strip())
    found.pop("", None)
    return [(label, text) for text, label in found.items()]


def labelled_lines(text):
    """Yield (label, text): of JSON, a line each; of a label, a tab and a text; of a CSV."""
    lines = [line for line in text.split("\n") if line.strip()]     # U+2028 is a part of a line
    first = lines[0] if lines else ""
    if first.lstrip().startswith("{"):
        return map(of_json, lines)
    if "\t" in first:
        headed = first.strip().split("\t") == ["label", "text"]
        return map(of_tabs, lines[headed:])
    return of_csv(text, first)


def of_json(line):
    try:
        row = json.loads(line)
        return str(row["label"]), str(row["text"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorpusError(f"{line!r:.60} is no JSON with label and text: mend it") from error


def of_tabs(line):
    label, tab, text = line.partition("\t")
    if not tab:
        raise CorpusError(f"{line!r:.60} has no tab between label and text: mend it")
    return label, text


def of_csv(text, first):
    rows = csv.DictReader(io.StringIO(text, newline=""))
    try:
        if {"label", "text"} <= {*(rows.fieldnames or ())}:
            return [(row["label"] or "", row["text"] or "") for row in rows]
    except csv.Error as error:
        raise CorpusError(f"the CSV cannot be read behind line {rows.line_num}: {error}") from error
    raise CorpusError(f"labelled texts are label, tab, text; or JSON lines or a CSV with label "
                      f"and text; but the first line is {first!r:.60}")


# ---- the split ----

def split_by_text(pairs, val_fraction):
    """Hold out the share of the texts whose SHA256 is smallest: the same ones in any order."""
    digest = lambda pair: hashlib.sha256(pair[1].encode()).digest()
    chosen = sorted(pairs, key=digest)
    n = min(len(pairs) - 1, max(1, round(val_fraction * len(pairs))))
    return chosen[n:], chosen[:n]


def labels_of(train, val):
    """Return the labels in order.

    Raises
    ------
    CorpusError
        If there are no texts of either part, one label alone, or one that is never learnt.
    """
    if not train or not val:
        raise CorpusError(f"there are {len(train)} labelled texts to learn from and {len(val)} "
                          "others to validate on: give some of each")
    labels = sorted({label for label, _ in train})
    if len(labels) < 2:
        raise CorpusError(f"all texts to learn have the label {labels[0]!r}: there is nothing to "
                          "tell apart")
    for label, _ in [*train, *val]:
        if "," in label or not label or label not in labels:
            raise CorpusError(f"the label {label!r:.60} is empty, has a comma, or stands at no "
                              "text to learn from: name it otherwise, or put labels before texts")
    return labels


# ---- the files ----

SPANS = {"train.npy": "train_texts.npy", "val.npy": "val_texts.npy"}
LABELS = "labels.json"


def prepare_labelled(corpus, settings, folder, tokenizer=None, load=load_corpus, say=None):
    """Tokenize labelled texts into a run's folder: the arguments are those of `documents.prepare`.

    Returns
    -------
    data : Labelled

    Raises
    ------
    CorpusError
        As `documents.prepare` does; and if there are too few texts or labels.
    """
    pairs = read_labelled(corpus)
    folder = token_folder(folder, corpus, settings, tokenizer)
    train, val = split_by_text(pairs, settings.val_fraction)
    if settings.val:
        val = read_labelled(load([settings.val]))
        known = {text for _, text in val}
        train = [pair for pair in pairs if pair[1] not in known]
    labels = labels_of(train, val)
    documents = [text.encode() for _, text in train]
    others = [text.encode() for _, text in val]
    try:
        tokenizer = tokenizer or train_tokenizer(settings.tokenizer, settings.vocabulary,
                                                 documents + others, documents, [END_OF_TEXT])
        tokenizer.save(folder / "tokenizer.json")
        for name, part in zip(TOKEN_FILES, (train, val)):
            write_texts(folder, name, part, labels, tokenizer)
        write_text(folder / LABELS, json.dumps(labels))
    except (OSError, ValueError) as error:
        raise CorpusError(f"the texts cannot be tokenized: {error}") from error
    return load_labelled(folder)


def write_texts(folder, name, pairs, labels, tokenizer):
    rows = [encode(tokenizer, text) for _, text in pairs]
    save_tokens(folder / name, map(np.array, rows), tokenizer)
    numbers = [labels.index(label) for label, _ in pairs]
    with open(folder / SPANS[name], "wb") as file:
        np.save(file, spans_of(rows, numbers))


def encode(tokenizer, text):
    """Return the ids of a text, with what the model expects around it, as a list: at least one.

    A model that expects nothing has read documents with an end between them: so it reads this.
    """
    ids = tokenizer.encode_array(text, disallowed_special=()).tolist()
    end = tokenizer.special_tokens.get(END_OF_TEXT)
    if end is None or any(tokenizer.frame):
        return framed(tokenizer, ids) or [0]
    return [end, *ids, end]


def spans_of(rows, numbers):
    """Return where rows begin and end that stand one behind the other, and their labels: (n, 3)."""
    lengths = np.array([*map(len, rows)])
    ends = lengths.cumsum()
    return np.stack([ends - lengths, ends, numbers], axis=1).astype(np.int64)


def load_labelled(folder, sealed=None):
    """Open what `prepare_labelled` wrote; the arguments are those of `load_dataset`."""
    return opened(folder, [*TOKEN_FILES, *SPANS.values(), LABELS], sealed, texts_in)


def texts_in(folder, tokenizer, sha256):
    parts = []
    for name, spans in SPANS.items():
        ids = bpe.load_tokens(folder / name, tokenizer)
        parts.append(Texts(ids, np.load(folder / spans)))
    labels = json.loads((folder / LABELS).read_text(encoding="utf-8"))
    return Labelled(tokenizer, *parts, sha256, labels=tuple(labels))
