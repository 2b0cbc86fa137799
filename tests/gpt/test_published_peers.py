"""Tokenizers of published models: the ids and texts of Hugging Face's `tokenizers`.

`MINIGRAD_MODELS` names a folder of folders with a tokenizer.json each; without it small ones, made
here, are compared.
"""
import json
import os
import random
import unicodedata
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from published_cases import CASES, fuzz

from bpe.unicode_ranges import pack
from gpt.data.tokens import unicode_classes
from gpt.data.tokens.kinds import framed, load_tokenizer, tokenizer_of

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
FOLDER = os.environ.get("MINIGRAD_MODELS")
FAMILIES = sorted(path.parent for path in Path(FOLDER).glob("*/tokenizer.json")) if FOLDER else []


def theirs_of(facts):
    import tokenizers
    return tokenizers.Tokenizer.from_str(json.dumps(facts | dict(truncation=None, padding=None)))


def same(ours, theirs, texts, decodes=True):
    """Compare ids, what is around them, and the text that they become."""
    for text in texts:
        expected = theirs.encode(text, add_special_tokens=False).ids
        ids = ours.encode(text, allowed_special="all")
        assert ids == expected, repr(text)
        assert framed(ours, ids) == theirs.encode(text).ids, repr(text)
        if decodes:
            assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=False), repr(text)


@pytest.mark.extra("tokenizers")
@pytest.mark.parametrize("name", CASES)
def test_ids_are_those_of_hugging_face(name):
    facts = CASES[name]
    texts = fuzz(facts, 10_000 if THOROUGH else 300, seed=1)
    same(tokenizer_of(facts), theirs_of(facts), texts, decodes=name not in NOT_DECODED)


# There a normalized added token is decoded as it was looked for: "no" for "NO".
NOT_DECODED = {"options"}


def of_all_scripts(names, n, seed=3):
    """Texts of one script, of several, and of what tokenizers treat specially."""
    pick = random.Random(seed)
    known = [chr(c) for c in range(0x20000) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
    blocks = [known[k:k + 128] for k in range(0, len(known), 128)]
    latin = [*"abcdefghij ABC  .,'!?-_\n\t0123456789éüß", "'s", " the", "  ", "\r\n", "▁", "Σ", "ſ",
             "ﬁ", "㋿", "e\u0301", "\u200d", "\ufeff", "\u3000", "\0", "\x1c", "\x85", "<0x41>",
             "##ing", "👩\u200d👧", "\ufffd", "\U000e0001"]
    for k in range(n):
        script = [latin, pick.choice(blocks) + [" ", "1"], latin + pick.sample(known, 20) + names]
        yield "".join(pick.choices(script[k % 3], k=pick.randint(0, 25)))


@pytest.mark.extra("tokenizers")
@pytest.mark.parametrize("folder", FAMILIES, ids=lambda folder: folder.name)
def test_ids_of_real_files_are_those_of_hugging_face(folder):
    facts = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    names = [token["content"] for token in facts["added_tokens"]]
    texts = of_all_scripts(names[:20] + names[-20:], 10_000 if THOROUGH else 1_000)
    ours, theirs = load_tokenizer(folder), theirs_of(facts)
    same(ours, theirs, islice(texts, 300), decodes=False)
    getattr(ours, "_fast", None)                       # from here on kernels cut and merge
    same(ours, theirs, texts, decodes=False)


def test_there_are_real_files():
    if not FAMILIES:
        pytest.skip("MINIGRAD_MODELS, a folder of published tokenizers, is not set")


@pytest.mark.thorough
@pytest.mark.extra("tokenizers")
def test_classes_are_what_hugging_face_cuts_and_drops():
    from tokenizers import normalizers, pre_tokenizers
    cut, word = pre_tokenizers.Punctuation(), pre_tokenizers.Whitespace()
    clean = normalizers.BertNormalizer(True, False, False, False)
    accents = normalizers.BertNormalizer(False, False, True, False)
    strip = normalizers.StripAccents()
    table = np.zeros(0x110000, np.uint8)
    for code in range(0x110000):
        if code >> 11 == 27:  # a surrogate
            continue
        c = chr(code)
        found = (len(cut.pre_tokenize_str(f"a{c}b")) == 3,
                 code not in (0, 0xFFFD) and not clean.normalize_str(c),
                 not strip.normalize_str(c), not accents.normalize_str(c),
                 word.pre_tokenize_str(f"a{c}")[0][0] == f"a{c}")
        table[code] = sum(1 << k for k, is_it in enumerate(found) if is_it)
    inert = unicode_classes.classes() & unicode_classes.INERT
    assert pack(table | inert) == unicode_classes.PACKED.replace("\n", "")
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        theirs = getattr(normalizers, form)()
        for code in np.flatnonzero(inert).tolist():
            assert theirs.normalize_str(chr(code)) == chr(code) or code == 0x11938
