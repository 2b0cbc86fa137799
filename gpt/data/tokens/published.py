"""The tokenizer of a published model, step by step as its `tokenizer.json` says.

    text   "Hello <mask>world"
    added  [Hello ] <mask> [world]      texts that are one token each      (added)
    normal [hello ] <mask> [world]      lower case, accents, spaces        (normalizers)
    words  [hello]  <mask> [world]      the pieces that no token crosses   (splitters)
    ids    7592 103 2088                WordPiece, Unigram, merges         (models)

The steps are plain Python with a cache of words. Where a model is byte-level BPE, `bpe` does the
last two, far faster; then only what it lacks is done here.
"""
import hashlib
import json
from array import array
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np

import bpe
from bpe.decode import bytes_of, checked_errors
from bpe.files import check, write_text
from bpe.huggingface import numbered
from bpe.pretokenize import to_bytes
from bpe.stream import Specials
from gpt.data.tokens.added import OPTIONS, Cutter, added_tokens
from gpt.data.tokens.characters import checked_text
from gpt.data.tokens.fast import fast_words
from gpt.data.tokens.frames import frame_of
from gpt.data.tokens.models import model_of
from gpt.data.tokens.normalizers import normalizer_of
from gpt.data.tokens.pieces import decoder_of
from gpt.data.tokens.splitters import splitter_of

KEPT_WORDS, KEPT_LENGTH = 1 << 17, 64
SHORT = 2_000                # characters: shorter texts are no reason to make tables for kernels
PARTS = {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
         "post_processor", "decoder", "model"}
DROPPED = {"truncation": "a long text keeps all its tokens",
           "padding": "nothing is put behind a short text"}


class PublishedTokenizer:
    """Any tokenizer of Hugging Face's `tokenizers`; used like `bpe.Tokenizer`.

    Parameters
    ----------
    facts : dict
        The JSON of a `tokenizer.json`.
    path : path
        What errors call it.

    Attributes
    ----------
    special_tokens, added_tokens : dict of str -> int
    frame : (tuple of int, tuple of int)
        What the model expects before and behind a text.
    notes : list of str
        What of the file is not done here, and makes no difference to the ids of a text.

    Raises
    ------
    ValueError
        In one sentence: where in the file, what is wrong or not known here.
    """

    def __init__(self, facts, path="tokenizer.json"):
        check(path, "the JSON", facts, isinstance(facts, dict), "an object")
        for name in sorted(facts.keys() - PARTS):
            raise ValueError(f"{path}: {name!r:.60} is not known here, and may change the ids: "
                             f"leave it out if you can")
        self.path = Path(path)
        self._model = model_of(path, facts)
        self._normalize = normalizer_of(path, facts)
        self._split = splitter_of(path, facts)
        self._added = added_tokens(path, facts, self._model.vocab)
        self.special_tokens, self.added_tokens = (
            {token.text: token.id for token in self._added if token.special == kind}
            for kind in (True, False))
        piece, self._starts_with_space = decoder_of(path, facts)
        ids = self._model.vocab | self.special_tokens | self.added_tokens
        self.vocab_size = max(ids.values(), default=-1) + 1
        self.tokens = [None] * self.vocab_size
        for text, i in ids.items():
            self.tokens[i] = piece(text)
        self.frame = frame_of(path, facts)
        for i in chain(*self.frame):
            known = 0 <= i < self.vocab_size
            check(path, "an id of post_processor", i, known, "that of a token")
        self.notes = [f"{name} is left out: {instead}" for name, instead in DROPPED.items()
                      if facts.get(name)]
        self._kept = with_merges(facts, joined)
        self._borders = self._model.borders() if hasattr(self._model, "borders") else None
        self._known = {}      # word -> its ids
        self._choices = {}    # what is allowed -> how to cut

    # ---- text to ids ----

    def encode(self, text, *, allowed_special=(), disallowed_special="all", threads=None):
        """Turn text into a list of ids; the arguments are those of `bpe.Tokenizer.encode`."""
        return self.encode_array(text, allowed_special=allowed_special, threads=threads,
                                 disallowed_special=disallowed_special).tolist()

    def encode_array(self, text, *, allowed_special=(), disallowed_special="all", threads=None):
        """Turn a str or UTF-8 bytes into an (N,) int32 array, without the frame.

        Raises
        ------
        ValueError
            If a disallowed special token stands in the text.
        """
        text = to_bytes(checked_text(text)).decode()  # lone surrogates become U+FFFD
        specials, early, late = self._choice(allowed_special, disallowed_special)
        specials.refuse(text.encode())
        ids = array("i")
        for start, between, i in early(text):
            if i is not None:
                ids.append(i)
                continue
            for inner, words, i in late(self._normalize(between)):
                if i is not None:
                    ids.append(i)
                else:
                    self._encode_words(words, start == inner == 0, threads, ids)
        return np.array(ids, np.int32)

    def _encode_words(self, text, at_start, threads, out):
        """Encode what stands between two added tokens; the ids go behind those in `out`."""
        fast = self._fast if len(text) >= SHORT or "_fast" in vars(self) else None
        if fast and not fast.lacks(text):
            out.frombytes(fast.encode(text, threads).tobytes())
            return
        for word in self._split(text, at_start):
            for part in self._borders.split(word) if self._borders else [word]:
                out.extend(self._word_ids(part))

    def _word_ids(self, word):
        ids = self._known.get(word)
        if ids is None:
            ids = self._model(word)
            if len(self._known) == KEPT_WORDS:
                self._known.clear()
            if len(word) <= KEPT_LENGTH:
                self._known[word] = ids
        return ids

    @cached_property
    def _fast(self):
        """The kernels of `bpe`, or None where the model is no byte-level BPE that they can do."""
        return fast_words(self.path, self.facts)

    def _choice(self, allowed, disallowed):
        """What is refused, and how to cut before and after normalizing."""
        key = tuple(names if isinstance(names, str) else frozenset(names)
                    for names in (allowed, disallowed))
        if key not in self._choices:
            specials = Specials(self.special_tokens, *key)
            tokens = [token for token in self._added
                      if not token.special or token.text.encode() in specials.ids]
            early = {token.text: token for token in tokens if not token.normalized}
            late = {}
            for token in sorted(tokens, key=lambda token: not token.special):
                if token.normalized:
                    late.setdefault(self._normalize(token.text), token)
            late.pop("", None)
            self._choices[key] = specials, Cutter(early), Cutter(late)
        return self._choices[key]

    # ---- ids to text ----

    def decode_bytes(self, ids):
        """Turn ids into bytes, each token by itself; a ValueError names the first that is none."""
        return bytes_of(ids, self.tokens)

    def decode(self, ids, errors="replace"):
        """Turn the ids of a whole text into a str, without the space that encoding has put first.
        """
        data = self.decode_bytes(ids)
        data = data.removeprefix(b" ") if self._starts_with_space else data
        return data.decode("utf-8", checked_errors(errors))

    def decoder(self, errors="replace"):
        """Make a decoder for ids that come one by one and continue a text."""
        return bpe.StreamDecoder(self, errors)

    # ---- what it is made of ----

    @property
    def facts(self):
        """The JSON that it was made of."""
        return with_merges(self._kept, split)

    def with_more(self, names):
        """Make a tokenizer that has special tokens more, with ids behind all others."""
        known = self.facts.get("added_tokens") or []
        texts = [*(token["content"] for token in known), *names]
        ids = numbered(texts, self._model.vocab)[len(known):]
        more = [dict.fromkeys(OPTIONS, False) | {"content": name, "id": i, "special": True}
                for name, i in zip(names, ids)]
        return PublishedTokenizer(self.facts | {"added_tokens": known + more}, self.path)

    @cached_property
    def token_bytes(self):
        """(V,) int32: how many bytes of normalized text each id stands for, 0 for special tokens.
        """
        lengths = np.array([len(token or b"") for token in self.tokens], np.int32)
        lengths[list(self.special_tokens.values())] = 0
        return lengths

    def fingerprint(self):
        """Name this tokenizer by 16 hexadecimal digits: equal names mean equal ids."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self):
        text = json.dumps(self.facts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def save(self, path):
        """Write the `tokenizer.json`."""
        write_text(Path(path), json.dumps(self.facts, ensure_ascii=False, indent=1) + "\n")

    def __repr__(self):
        return (f"PublishedTokenizer({self.vocab_size} tokens, "
                f"{self._kept['model'].get('type')}, {len(self.special_tokens)} of them special)")


# ---- merges as one text: a list of 50,000 takes five times as much memory ----

BETWEEN = "\0"


def with_merges(facts, change):
    """Return facts with their merges changed, if there are any."""
    model = facts["model"]
    if not model.get("merges"):
        return facts
    return facts | {"model": model | {"merges": change(model["merges"])}}


def joined(merges):
    """Join texts; what are no texts, or have in them what stands between, stay a list."""
    try:
        text = BETWEEN.join(merges)
    except TypeError:
        return merges
    return text if text.count(BETWEEN) == len(merges) - 1 else merges


def split(merges):
    return merges.split(BETWEEN) if isinstance(merges, str) else merges
