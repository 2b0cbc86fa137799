"""Ids: by the plain path, by the kernels, by the book version and by tiktoken they are the same."""
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vocabularies import (
    MERGES, TEXT, by_kernels, data_folder, fuzz_strings, merge_lists, published, raw_bytes,
    script_strings, texts, tokenizer)

from bpe import Tokenizer, backtrack, pairs, reference
from bpe.jit import kernel

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
TOKENIZERS = {pattern: tokenizer(pattern) for pattern in ("gpt2", "cl100k", "o200k", r"\w+|\W")}


@given(raw_bytes, st.sampled_from(sorted(TOKENIZERS)))
def test_plain_path_and_kernels_equal_the_book(data, pattern):
    ours = TOKENIZERS[pattern]
    ids = reference.encode(data, MERGES, pattern)
    assert ours.encode(data, disallowed_special=()) == ids == by_kernels(ours, data)
    assert ours.decode_bytes(ids) == data


@given(merge_lists(), st.text("abc ", max_size=120), st.booleans())
def test_any_list_of_merges_is_applied_lowest_rank_first_then_leftmost(lists, text, whole_words):
    merges, made = lists
    ours = Tokenizer(merges, "gpt2", merge_ids=made, whole_words=whole_words)
    assert by_kernels(ours, text) == ours.encode(text)


@given(merge_lists(), st.text("abc", min_size=1, max_size=300))
def test_tokens_that_fit_are_what_merging_makes_of_a_word(lists, word):
    merges, made = lists
    ours = Tokenizer(merges, r"[^,]+", merge_ids=made)
    assert by_kernels(ours, word) == ours.vocabulary.encode_word(word.encode())
    tables, n = ours._encoder.tables, len(word)
    data, work = np.frombuffer(word.encode() + bytes(16), np.uint8), pairs.new_work(n)
    out = np.empty(n, np.int32)
    merged = out[:pairs.merge_word(data, 0, n, tables, work, out, 0)].tolist()
    if len(tables.tree.facts):  # the merges are in an order that has a tree
        assert _by_tree(data, n, tables, work) == merged


@kernel
def _encode_word(data, n, tables, work, out):
    return backtrack.encode_word(data, 0, n, tables, work, out, 0)


def _by_tree(data, n, tables, work):
    out = np.empty(n, np.int32)
    return out[:_encode_word(data, n, tables, work, out)].tolist()


@pytest.mark.extra("tiktoken")
@pytest.mark.parametrize("name", ["r50k_base", "cl100k_base"])
def test_ids_equal_tiktoken_on_fuzz_strings(name):
    ours, theirs = published(name)
    n = 10**6 if THOROUGH else 4000
    strings = [*fuzz_strings(n, seed=n), *script_strings(n, ours.tokens, seed=n)]
    for text, ids in zip(strings, ours.encode_batch(strings, disallowed_special=())):
        assert ids.tolist() == theirs.encode_ordinary(text), repr(text)
    for text in strings[::n // 100]:
        assert ours.encode(text, disallowed_special=()) == theirs.encode_ordinary(text), repr(text)


@pytest.mark.parametrize("name", ["r50k_base", "cl100k_base"])
def test_ids_equal_the_published_test_plans(name):
    folder = data_folder() / "tiktoken"
    ours = Tokenizer.load(folder / f"{name}.tiktoken")
    plans = (folder / "TestPlans.txt").read_text("utf-8").split("EncodingName: ")
    plans = [plan.partition("\nSample: ")[2] for plan in plans if plan.startswith(name)]
    assert len(plans) == 64
    for plan in plans:
        text, _, ids = plan.rstrip("\n").rpartition("\nEncoded: ")
        assert ours.encode(text) == json.loads(ids) == by_kernels(ours, text)


@pytest.mark.thorough
@pytest.mark.extra("tiktoken")
@pytest.mark.parametrize("name", ["r50k_base", "cl100k_base"])
def test_ids_equal_tiktoken_on_100_mb_of_mixed_text(name):
    ours, theirs = published(name)
    n_bytes = 0
    folders = [data_folder(), *map(Path, {os.path.dirname(os.__file__), np.__path__[0], *sys.path})]
    seen = set()
    for path in (path for folder in folders for path in sorted(folder.rglob("*.*"))):
        if path.suffix in {".py", ".txt", ".md", ".rst", ".json", ".h", ".html", ".pyi", ".jsonl"}:
            if path.resolve() in seen or path.stat().st_size > 2e7:
                continue
            seen.add(path.resolve())
            text = path.read_bytes().decode("utf-8", "replace")
            assert ours.encode(text, disallowed_special=()) == theirs.encode_ordinary(text), path
            n_bytes += len(text)
        if n_bytes > 1e8:
            return
    assert n_bytes > 1e8, "this machine has less text than 100 MB"


@pytest.mark.extra("tiktoken")
@pytest.mark.parametrize("text", [
    "a" * 10**6, "ab" * 10**5, " " * 10**5, "\n" * 10**5, "1" * 10**5, "é" * 10**5, "世" * 10**5,
    "\x00" * 1000, "aaab" * 3000 + "b" * 5000, "xyz" * 2 * 10**5])
def test_degenerate_texts_equal_tiktoken(text):
    ours, theirs = published("cl100k_base")
    assert ours.encode(text) == theirs.encode_ordinary(text)


@pytest.mark.thorough
def test_a_word_of_50_mb_takes_near_linear_time():
    ours = tokenizer()
    ids = ours.encode_array("theaaaabab" * 5 * 10**6)
    assert ours.token_bytes[ids].sum() == 5 * 10**7


def test_words_longer_than_any_cache_or_buffer():
    ours = tokenizer()
    for n in (*range(1, 70), 252, 253, 254, 255, 256, 300):
        word = ("the" + "ab" * n)[:n]
        assert by_kernels(ours, word + " " + word) == [
            i for w in (word, " " + word) for i in ours.vocabulary.encode_word(w.encode())]
    once = by_kernels(ours, "theab" * 60)
    for n in (13, 14, 150, 9000):  # around the room for words that is always there
        assert by_kernels(ours, "theab" * 60 * n) == once * n


def test_a_long_token_is_a_whole_word_to_the_kernels_too():
    ranks = {bytes([i]): i for i in range(256)}
    ranks |= {b"ab" * n: 255 + n for n in range(1, 4)} | {b"ab" * 150: 300, b"ab" * 200: 301}
    ours = Tokenizer(None, "gpt2", ranks=ranks)
    for n in (1, 3, 7, 8, 149, 150, 151, 200):
        assert by_kernels(ours, "ab" * n) == ours.encode("ab" * n)
    assert by_kernels(ours, "ab" * 150) == [300]


def test_a_cache_has_a_limit_and_nothing_changes_where_it_starts_anew():
    ours = tokenizer()
    encoder = ours._encoder
    n_slots, n_store = len(encoder.seed.slots) >> 2, len(encoder.seed.store)
    short = " ".join(f"{k:x}the{k * k:x}" for k in range(30_000))
    long = " ".join(f"{'abcdefgh'[k % 8] * 90}the{k:x}" for k in range(2_000))
    for text in (short, long):
        encoder.max_slots = 1 << 20
        ids = by_kernels(ours, text)
        encoder.max_slots = n_slots
        encoder._idle.clear()
        assert by_kernels(ours, text) == ids and ours.decode(ids) == text
        cache = encoder._idle[0].cache
        assert len(cache.slots) == 4 * n_slots and len(cache.store) <= max(n_store, 8 * n_slots)


@given(texts)
def test_pair_ranks_of_merges_and_of_tokens_give_the_same_ids(text):
    by_merges = TOKENIZERS["cl100k"]
    assert RANKED.encode(text) == by_merges.encode(text) == by_kernels(RANKED, text)


RANKED = Tokenizer(None, "cl100k", ranks={
    token: i for i, token in enumerate(TOKENIZERS["cl100k"].tokens[:406])})


def test_merges_are_recovered_from_ranks():
    assert RANKED.merges.tolist() == [list(pair) for pair in MERGES]
    ranks = {bytes([i]): i for i in range(256)} | {b"ab": 256, b"abcd": 257, b"cab": 258}
    ours = Tokenizer(None, "gpt2", ranks=ranks)
    assert ours.merges.tolist() == [[97, 98], [99, 256]]
    assert ours.vocabulary.more_tokens == {257: b"abcd"}  # no two tokens make it
    for text, ids in (("abcd", [257]), ("xabcd", [120, 256, 99, 100]),
                      (" abcd", [32, 256, 99, 100]), ("cab", [258]), ("cabc", [258, 99])):
        assert ours.encode(text) == ids == by_kernels(ours, text)


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_threads_do_not_change_ids(threads):
    ours = tokenizer()
    text = (TEXT + "<|endoftext|>") * 9000  # some jobs
    ids = ours.encode_array(text, allowed_special="all", threads=threads)
    once = ours.encode(TEXT) + [406]
    assert ids.tolist() == once * 9000
