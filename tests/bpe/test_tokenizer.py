"""What a user holds: special tokens, offsets, counting, streams, decoding, and mistakes."""
import pickle
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vocabularies import END, FIM, TEXT, raw_bytes, texts, tokenizer

import bpe
from bpe import Tokenizer, reference, stream
from bpe.pretokenize import is_cuttable, split_offsets
from gpt.data.tokens.characters import CharTokenizer

OURS = tokenizer()
marked = st.lists(st.one_of(texts, st.sampled_from([END, FIM, "<|end", "|>", "<|end|>of"])),
                  max_size=8).map("".join)
special = dict(allowed_special="all")


# ---- round trips ----

@given(st.text(max_size=60))
def test_decode_undoes_encode_for_any_string(text):
    assert OURS.decode(OURS.encode(text, disallowed_special=())) == text.encode(
        "utf-16", "surrogatepass").decode("utf-16", "replace")


@given(raw_bytes)
def test_decode_undoes_encode_for_any_bytes(data):
    assert OURS.decode_bytes(OURS.encode(data)) == data
    text = OURS.decode(OURS.encode(data), "surrogateescape")
    assert text.encode("utf-8", "surrogateescape") == data


def test_lone_surrogates_count_as_replacement_characters():
    assert OURS.encode("a\ud800b") == OURS.encode("a\ufffdb")
    assert OURS.encode("\ud83d\ude00") == OURS.encode("😀")


def test_byte_order_mark_and_crlf_are_text():
    assert OURS.decode(OURS.encode("\ufeffa\r\nb")) == "\ufeffa\r\nb"


@given(texts)
def test_lists_arrays_batches_and_counts_agree(text):
    ids = OURS.encode(text)
    assert OURS.encode_array(text).tolist() == ids and len(ids) == OURS.count(text)
    assert [batch.tolist() for batch in OURS.encode_batch([text, "", text])] == [ids, [], ids]
    assert OURS.count(text, limit=3) == min(len(ids), 4)


def test_empty_text_has_no_tokens():
    assert OURS.encode("") == [] == OURS.encode(b"") and OURS.decode([]) == ""
    assert OURS.encode_batch([]) == [] and list(OURS.encode_iterator([])) == []


# ---- special tokens ----

@given(marked)
def test_special_tokens_are_found_longest_first_and_cut_the_text(text):
    longest_first = sorted(OURS.special_tokens, key=len, reverse=True)
    expected, rest = [], ""
    at = 0
    while at < len(text):
        found = next((name for name in longest_first if text.startswith(name, at)), None)
        if found is None:
            rest, at = rest + text[at], at + 1
        else:
            expected += [*OURS.encode(rest), OURS.special_tokens[found]]
            rest, at = "", at + len(found)
    assert OURS.encode(text, **special) == expected + OURS.encode(rest)


def test_special_text_is_refused_unless_it_is_allowed():
    with pytest.raises(ValueError, match=r"'<\|endoftext\|>'.*allowed_special"):
        OURS.encode("a<|endoftext|>b")
    with pytest.raises(ValueError, match="of text"):
        OURS.encode("<|end|>of text", allowed_special={END})
    assert OURS.encode(END, allowed_special={END}) == [406]
    assert OURS.encode(FIM, allowed_special={END}, disallowed_special=()) == OURS.encode(
        FIM, disallowed_special=())
    assert 406 not in OURS.encode(END, disallowed_special=())
    with pytest.raises(ValueError, match=r"disallowed.*'<pad>'"):
        OURS.encode("a", disallowed_special=["<pad>"])
    with pytest.raises(ValueError, match="'<pad>'.*none of the special tokens"):
        OURS.encode("a", allowed_special={"<pad>"})


# ---- streams ----

@given(marked, st.lists(st.integers(0, 400), max_size=12),
       st.sampled_from(["gpt2", r"\s+|\S+", "added"]))
def test_a_stream_has_the_ids_of_the_whole_wherever_it_is_cut(text, cuts, name):
    ours = STREAMED[name]
    text = "  ".join([text] * 4) if name == "added" else text * 4
    cuts = sorted({0, *cuts, len(text)})
    parts = [text[i:j] for i, j in zip(cuts, cuts[1:])]
    ids = [i for array in ours.encode_iterator(parts, **special) for i in array.tolist()]
    assert ids == ours.encode(text, **special)
    data = text.encode()
    parts = [data[i:j] for i, j in zip(cuts, [*cuts[1:], len(data)])]
    assert [i for a in ours.encode_iterator(parts, **special) for i in a.tolist()] == ids


STREAMED = {pattern: tokenizer(pattern) for pattern in ("gpt2", r"\s+|\S+")}
STREAMED["added"] = Tokenizer(OURS.merges, "gpt2", OURS.special_tokens,
                              added_tokens={"  ": 408, "\n   ": 409, "e t": 410})


@pytest.fixture
def small_steps(monkeypatch):
    """Streams and jobs in steps of a few bytes, so that borders are everywhere."""
    monkeypatch.setattr("bpe.stream.BUFFER_BYTES", 7)
    monkeypatch.setattr("bpe.stream.JOB_BYTES", 40)
    monkeypatch.setattr("bpe.stream.BLOCK_BYTES", 11)


@pytest.mark.parametrize("seed", range(20))
def test_borders_of_blocks_and_jobs_do_not_show(small_steps, tmp_path, seed):
    pick = np.random.default_rng(seed)
    words = ["the", " ", "  ", "\n ", "\u3000 ", " \u00a0", "x" * 30, END, FIM, "<|end", "世界 ",
             "😀", "'s"]
    text = "".join(pick.choice(words, 150))
    ids = Tokenizer(OURS.merges, "cl100k", OURS.special_tokens)
    whole = [i for data, mark in _pieces(ids, text) for i in [*ids.encode(data), *mark]]
    assert ids.encode(text, **special) == whole
    parts = [text[i:i + 9] for i in range(0, len(text), 9)]
    assert np.concatenate(list(ids.encode_iterator(parts, **special, threads=2))).tolist() == whole
    (tmp_path / "text").write_bytes(text.encode())
    n = ids.encode_file(tmp_path / "text", tmp_path / "tokens", **special, threads=2)
    assert bpe.load_tokens(tmp_path / "tokens", ids).tolist() == whole and n == len(whole)


def _pieces(ours, text):
    longest_first = sorted(ours.special_tokens, key=len, reverse=True)
    parts = re.split("(" + "|".join(map(re.escape, longest_first)) + ")", text)
    for k in range(0, len(parts), 2):
        yield parts[k], [ours.special_tokens[name] for name in parts[k + 1:k + 2]]


CUTTABLE = ["gpt2", "cl100k", "o200k", ("digits", "gpt2")]


MARKED = "，。、！\n,\"+'/ 中国在のんゝ゛カー、aAs19sdmtre\u0301\r\t-éß한٣\u4dc0\ua000"


@given(st.text(MARKED, max_size=24), st.sampled_from(CUTTABLE))
def test_no_pre_token_crosses_a_place_where_text_is_cut(text, pattern):
    data = text.encode()
    whole = split_offsets(data, pattern).tolist()
    for cut in {stream._last_cut(data, 0, stop) for stop in range(1, len(data))} - {0}:
        parts = [split_offsets(part, pattern) for part in (data[:cut], data[cut:])]
        assert [*parts[0], *(parts[1] + cut)] == whole, data[:cut]


def test_text_without_spaces_is_cut_too():
    for text in ("一二三，" * 9, "ひらがな。" * 9, "QUJD+" * 9, '{"a":1,"b":"c"},' * 9):
        assert stream._last_cut(text.encode(), 0, 40)


def test_patterns_that_leave_spaces_inside_a_pre_token_are_not_cut():
    assert all(map(is_cuttable, CUTTABLE))
    assert not any(map(is_cuttable, ["digits", r"\s+|\S+", ("gpt2", r"\w+")]))


def test_a_torn_surrogate_pair_is_one_character():
    ids = [a.tolist() for a in OURS.encode_iterator(["a \ud83d", "\ude00 b", "\ud83d"])]
    assert sum(ids, []) == OURS.encode("a 😀 b\ufffd")


def test_a_special_token_in_a_stream_is_refused_before_its_text_is_encoded():
    blocks = ["word " * 20000, "word <|endof", "text|> word"]
    with pytest.raises(ValueError, match="endoftext"):
        list(OURS.encode_iterator(blocks))


def test_a_stream_is_read_as_it_is_needed():
    read = []

    def lines():
        for k in range(10**9):
            read.append(k)
            yield "some words of a line\n" * 100

    stream = OURS.encode_iterator(lines())
    next(stream)
    assert len(read) < 2000


@given(st.lists(st.integers(0, 405), max_size=40), st.sampled_from(["replace", "ignore"]))
def test_a_stream_decoder_says_the_same_as_decode_and_never_half_a_character(ids, errors):
    decoder = OURS.decoder(errors)
    parts = [decoder.feed(i) for i in ids]
    assert "".join(parts) + decoder.close() == OURS.decode(ids, errors)


def test_a_stream_decoder_holds_back_only_an_unfinished_character():
    decoder = OURS.decoder()
    assert [decoder.feed(i) for i in "é!".encode()] == ["", "é", "!"]
    assert decoder.feed(list("世".encode()[:2])) == "" and decoder.close() == "\ufffd"


# ---- offsets, lengths, steps ----

@given(marked)
def test_offsets_point_at_the_bytes_and_characters_of_each_token(text):
    data = text.encode()
    ids, spans = OURS.encode_with_offsets(data, **special)
    assert [data[i:j] for i, j in spans.tolist()] == [OURS.tokens[i] for i in ids.tolist()]
    ids, spans = OURS.encode_with_offsets(text, **special)
    for i, (start, stop) in zip(ids.tolist(), spans.tolist()):
        assert 0 <= start < stop <= len(text)
        assert OURS.tokens[i] in text[start:stop].encode()
        assert len(OURS.tokens[i]) > len(text[start:stop].encode()) - 6


@given(texts)
def test_token_bytes_sum_to_the_bytes_of_the_text(text):
    assert OURS.token_bytes[OURS.encode(text)].sum() == len(text.encode())
    assert OURS.token_bytes[[406, 407]].tolist() == [0, 0] and len(OURS.token_bytes) == 408


@given(texts.filter(bool))
def test_each_merge_step_joins_two_neighbours(text):
    steps = list(OURS.merge_steps(text.encode()))
    assert all(len(a) == len(b) + 1 for a, b in zip(steps, steps[1:]))
    assert {OURS.decode(step) for step in steps} == {text}
    assert steps[-1] == OURS.vocabulary.encode_word(text.encode())


# ---- decoding and mistakes ----

WRONG = [-1, 408, 10**30, 97.0, 1.5, np.nan, True, None, "a", b"a", [1], np.float32(3), np.True_]
DECODERS = {"decode": OURS.decode, "bytes": OURS.decode_bytes,
            "stream": lambda ids: OURS.decoder().feed(ids),
            "characters": CharTokenizer(map(chr, range(408))).decode,
            "reference": lambda ids: reference.decode(ids, OURS.merges.tolist() + [(97, 257)] * 2)}


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("wrong", WRONG, ids=repr)
@pytest.mark.parametrize("n_before", [0, 2])
def test_a_wrong_id_is_named(name, wrong, n_before):
    with pytest.raises(ValueError, match=re.escape(f"id {wrong!r:.50} ") + ".*0 to 407"):
        DECODERS[name]([97] * n_before + [wrong])


@pytest.mark.parametrize("name", ["decode", "bytes", "stream", "characters"])
@pytest.mark.parametrize("ids, named", [
    (np.array([97.0]), "id 97.0 at position 0"), (np.array([True]), "id True at position 0"),
    (np.array([[1, 2]]), r"id \[1, 2\] at position 0"), (np.array([3, 500]), "id 500 at pos"),
    (np.array([-2], np.int8), "id -2"), (np.array(["a"]), "id 'a'")])
def test_a_wrong_array_is_named(name, ids, named):
    with pytest.raises(ValueError, match=f"{named}.*0 to 407"):
        DECODERS[name](ids)


SEQUENCES = [list, tuple, iter, np.int64, np.uint16, lambda ids: map(np.uint8, ids)]


@given(st.lists(st.integers(0, 127), max_size=9), st.sampled_from(SEQUENCES))
def test_ids_come_in_any_sequence(ids, sequence):
    for name in ("decode", "characters"):
        assert DECODERS[name](sequence(ids)) == "".join(map(chr, ids))


@pytest.mark.parametrize("name", ["decode", "bytes", "characters"])
@pytest.mark.parametrize("ids", [7, "text", b"text", None, 1.5, np.array(5)])
def test_ids_that_are_no_sequence_are_refused(name, ids):
    with pytest.raises(TypeError, match="sequence of ints"):
        DECODERS[name](ids)


@pytest.mark.parametrize("ours", [OURS, CharTokenizer("abc")], ids=["bpe", "characters"])
@pytest.mark.parametrize("wrong", [None, 5, 1.5, True, ["a"], np.zeros(2)], ids=repr)
def test_what_is_no_text_is_refused(ours, wrong):
    for encode in (ours.encode, ours.encode_array):
        with pytest.raises(TypeError, match="text must be str or bytes, not "):
            encode(wrong)


def test_errors_modes_are_those_of_python():
    assert OURS.decode([255, 97]) == "\ufffda" and OURS.decode([255, 97], "ignore") == "a"
    with pytest.raises(UnicodeDecodeError):
        OURS.decode([255], "strict")
    with pytest.raises(ValueError, match="errors is 'never'"):
        OURS.decode([97], "never")


@pytest.mark.parametrize("call, error, match", [
    (lambda: OURS.encode(5), TypeError, "str or bytes, not int"),
    (lambda: OURS.encode(["a"]), TypeError, "not list"),
    (lambda: list(OURS.encode_iterator([1])), TypeError, "int came"),
    (lambda: list(OURS.encode_iterator("abc")), TypeError, "not one str"),
    (lambda: OURS.encode_batch("abc"), TypeError, "not one str"),
    (lambda: OURS.encode("a", threads=0), ValueError, "threads is 0"),
    (lambda: Tokenizer([(0, 999)]), ValueError, "uses the id 999"),
    (lambda: Tokenizer([(97, 98)], "gpt2", {"<x>": 256}), ValueError, "also b'ab'"),
    (lambda: Tokenizer([], "gpt2", {"": 300}), ValueError, "one character or more"),
    (lambda: Tokenizer([], "gpt2", {"a": 300, "b": 300}), ValueError, "300"),
    (lambda: Tokenizer([], "gpt2", {"a": -3}), ValueError, "-3"),
    (lambda: Tokenizer([], "(unclosed"), ValueError, "no regular expression"),
    (lambda: Tokenizer([], byte_ids=[0] * 256), ValueError, "256 different"),
    (lambda: Tokenizer([(97, 98)], merge_ids=[256, 257]), ValueError, "1 merges, but 2"),
    (lambda: Tokenizer([(97, 98), (98, 99)], merge_ids=[256, 256]), ValueError, "256 stands for"),
    (lambda: Tokenizer([1, 2, 3]), ValueError, "pairs of ids"),
    (lambda: Tokenizer(None), ValueError, "either merges or ranks"),
    (lambda: Tokenizer(None, ranks={b"a": 0}), ValueError, "no token for the byte"),
])
def test_mistakes_are_named(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_one_tokenizer_serves_many_threads():
    ours = tokenizer()
    documents = [(TEXT + str(k)) * 40 for k in range(40)]
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(ours.encode, documents))
    assert ids == [array.tolist() for array in OURS.encode_batch(documents, threads=1)]


def test_a_copy_from_a_pickle_gives_the_same_ids():
    for ours in (OURS, Tokenizer(None, "cl100k", {"<x>": 300}, ranks={
            bytes([k]): k for k in range(256)} | {b"lo": 256}), STREAMED["added"]):
        ours.encode(TEXT * 30)  # caches and tables are there, but stay behind
        again = pickle.loads(pickle.dumps(ours))
        assert again.fingerprint() == ours.fingerprint() and again.encode(TEXT) == ours.encode(TEXT)


def test_no_compiler_is_asked_for_a_sentence(monkeypatch):
    monkeypatch.setattr("bpe.tokenizer.Encoder", None)
    ours = tokenizer("cl100k")
    assert ours.decode(ours.encode(TEXT)) == TEXT and ours.count("two words") > 1
