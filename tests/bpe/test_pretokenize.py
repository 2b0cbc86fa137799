"""Pre-tokens: the scanners equal the book version, and both equal tiktoken."""
import json
import os
import random

import numpy as np
import peers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpe import Tokenizer, reference
from bpe.pretokenize import (
    GPT2_SPELLINGS, NAMED, PATTERNS, Splitter, side_by_side, split_offsets, to_bytes)
from bpe.scan import SCANNERS, SPARE
from bpe.unicode_ranges import PACKED, UNICODE, class_table, pack

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
ALPHABET = list("aAbBsStTlLvVrReEdDmM12 \n\r\t'/!.-") + [
    "ſ", "é", "É", "中", "ǅ", "ʰ", "\u0301", "\u00a0", "\u3000", "\u2028", "\x85", "٣", "½", "😀",
    "\x1c", "\u200b", "'s", "'LL", "   ", "\r\n", "ABc"]
BROKEN = [bytes([b]) for b in (0x80, 0xBF, 0xC0, 0xC5, 0xE2, 0xED, 0xA0, 0xF0, 0x90, 0xF4, 0xFF)]
words = st.lists(st.sampled_from(ALPHABET), max_size=90).map("".join)
texts = words | st.text(max_size=60)
raw = st.lists(st.sampled_from([a.encode() for a in ALPHABET] + BROKEN), max_size=90).map(b"".join)
patterns = st.sampled_from([*sorted(NAMED), ("digits", "gpt2"), (r"a+", "numbers", "llama3")])


def ends_of(pieces):
    return np.cumsum([len(piece) for piece in pieces], dtype=np.int64).tolist()


@given(raw, patterns)
def test_scanners_equal_the_book_on_any_bytes(data, pattern):
    assert split_offsets(data, pattern).tolist() == ends_of(reference.split(data, pattern))


@given(texts, patterns)
def test_scanners_equal_the_book_on_text(text, pattern):
    found = split_offsets(to_bytes(text), pattern)
    assert found.tolist() == ends_of(reference.split(text, pattern))


@given(st.lists(raw, max_size=5), patterns | st.just(r"\w+"))
def test_documents_in_one_array_do_not_join(documents, pattern):
    pieces = [piece for document in documents for piece in reference.split(document, pattern)]
    found = Splitter(pattern).split(*side_by_side(documents))
    assert found.tolist() == ends_of(pieces)


@given(raw, st.sampled_from([r"\w+|\s+", r"\p{L}+", r".", r"x*", r"(?<=a)b"]))
def test_a_users_pattern_loses_no_byte(data, pattern):
    pieces = reference.split(data, pattern)
    assert b"".join(pieces) == data
    assert split_offsets(data, pattern).tolist() == ends_of(pieces)


@given(texts, st.sampled_from(GPT2_SPELLINGS))
def test_other_spellings_of_gpt2_split_alike(text, spelling):
    text = text.translate(dict.fromkeys(map(ord, "\x1c\x1d\x1e\x1f")))
    found = split_offsets(to_bytes(text), spelling)
    assert found.tolist() == ends_of(reference.split(text, "gpt2"))


@given(st.text(st.characters(max_codepoint=127), max_size=90), st.sampled_from(sorted(NAMED)))
def test_ascii_splits_alike_by_its_own_classes_and_by_all(text, name):
    matches = reference.compiled(name).finditer(text)
    assert [match.span() for match in matches] == [
        match.span() for match in reference.matches(text, name)]


def test_every_start_in_a_block_of_64_bytes_splits_alike():
    tail = "'s\u3000 x\u00a0don't \n  'tis\u2003\u2003y".encode()
    for pattern in PATTERNS:
        for shift in range(70):
            data = b"q" * shift + tail
            assert split_offsets(data, pattern).tolist() == ends_of(reference.split(data, pattern))


@pytest.mark.parametrize("name", SCANNERS)
@pytest.mark.parametrize("n", [0, 1, 3, 63, 64, 65, 130])
def test_nothing_is_written_beyond_the_room_that_a_scanner_is_given(name, n):
    data = np.frombuffer((b"a1!" * 50)[:n], np.uint8)      # each byte is a pre-token
    classes, ends = np.full(n + 64, 7, np.uint8), np.full(n + SPARE + 9, -1)
    limits = np.array([n])
    SCANNERS[name](data, limits, class_table(), classes, ends)
    assert (ends[n + SPARE:] == -1).all()


def test_a_million_bytes_of_one_kind_are_split_in_linear_time():
    for byte in (b"a", b" ", b"\n", b"A", b"'", b"\xff"):
        for pattern in PATTERNS:
            assert split_offsets(byte * 10**6, pattern).tolist() == [10**6]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_code_point_splits_as_in_tiktoken(pattern):
    golden = json.loads(peers.GOLDEN.read_text())
    assert peers.digest_of_every_code_point(pattern) == golden[f"every code point, {pattern}"]


def test_the_class_table_is_its_packed_text():
    table = class_table()
    assert len(table) == 0x110000
    assert pack(table & UNICODE) == PACKED.replace("\n", "")


def test_a_pattern_needs_a_step():
    with pytest.raises(ValueError, match="no steps"):
        Tokenizer([], pattern=[])


def test_lone_surrogates_become_replacement_characters_and_pairs_one_character():
    assert to_bytes("a\ud800b") == "a\ufffdb".encode()
    assert to_bytes("\ud83d\ude00") == "😀".encode()


def test_a_pattern_that_is_no_regular_expression_is_named():
    with pytest.raises(ValueError, match=r"pattern '\(' is none of gpt2, cl100k, o200k"):
        split_offsets(b"a", "(")


# ---- with tiktoken ----

@pytest.mark.extra("tiktoken")
def test_classes_are_those_of_tiktoken():
    for mask, kind, pattern in ((UNICODE, 5, r"[\p{Lu}\p{Lt}]"), (UNICODE, 6, r"\p{Ll}"),
                                (UNICODE, 7, r"[\p{Lm}\p{Lo}]"), (UNICODE, 3, r"\p{M}"),
                                (UNICODE, 8, r"\p{N}"), (UNICODE, 16, r"\s")):
        expected = peers.tiktoken_members(pattern)
        assert np.flatnonzero(class_table() & mask == kind).tolist() == expected
    assert set(map(chr, peers.tiktoken_members("(?i:[sdmtlver])"))) == set("sSdDmMtTlLvVeErRſ")


@pytest.mark.extra("tiktoken")
@pytest.mark.parametrize("pattern", PATTERNS)
def test_fuzz_strings_split_as_in_tiktoken(pattern):
    rng = random.Random(7)
    for _ in range(50 if THOROUGH else 1):
        texts = ["".join(rng.choices(ALPHABET, k=rng.randint(1, 24))) for _ in range(300)]
        for text, ours, theirs in zip(texts, peers.our_splits(texts, pattern),
                                      peers.tiktoken_splits(texts, pattern)):
            assert ours == theirs, text


@pytest.mark.thorough
@pytest.mark.extra("tiktoken")
@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_code_point_splits_as_tiktoken_says_now(pattern):
    peers.compare_every_code_point(pattern)
