"""Files: what is written is read again as the same tokenizer, here and by others."""
import base64
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vocabularies import END, TEXT, data_folder, texts_for, tokenizer, tokenizers

import bpe
from bpe import Tokenizer, formats
from bpe.files import write_whole
from bpe.formats import FORMATS
from bpe.spelling import spell, spelled


def same(a, b):
    return (a.fingerprint() == b.fingerprint() and a.tokens == b.tokens
            and a.special_tokens == b.special_tokens and a.pattern == b.pattern)


# ---- round trips ----

@given(st.sampled_from(FORMATS), tokenizers(("gpt2", "gpt2", "cl100k", r"[^ ]+| \"é",
                                                ("digits", "gpt2"))), st.data())
def test_what_is_written_is_read_again_or_refused(tmp_path_factory, format, ours, data):
    name = "mine.tiktoken" if format == "tiktoken" else "tokenizer.json"
    path = tmp_path_factory.mktemp("saved") / name
    try:
        ours.save(path, format)
    except ValueError as error:
        assert "\n" not in str(error) and not can_be_said(format, ours)
        return
    given = (ours.pattern, ours.special_tokens) if format == "tiktoken" else ()
    again = Tokenizer.load(path, *given)
    assert (again.special_tokens, again.added_tokens) == (ours.special_tokens, ours.added_tokens)
    assert again.tokens == ours.tokens and again.pattern == ours.pattern
    text = data.draw(texts_for(ours))
    for allowed in ("all", ()):
        chosen = dict(allowed_special=allowed, disallowed_special=())
        assert again.encode(text, **chosen) == ours.encode(text, **chosen)
    again.save(path.with_name("again"), format)
    assert contents(path.with_name("again")) == contents(path)
    if format == "bpe":
        assert same(ours, again)


def can_be_said(format, ours):
    """Whether a format has a place for all of a tokenizer; with names that spell others, none."""
    tokens = list(ours.vocabulary.tokens.values())
    names = {*ours.special_tokens, *ours.added_tokens}
    if format == "bpe":
        return True
    if len({*tokens}) < len(tokens):
        return False
    if format == "tiktoken":
        return not ours.added_tokens and ours.vocabulary.is_ranks
    if format == "gpt2":
        return ours.pattern == "gpt2" and not ours.vocabulary.words_count
    odd = {name for name in names if spelled(name) and not name.isascii()}
    return not odd and not names & {*map(spell, tokens)}


def contents(path):
    """The bytes of a file, or of each file of a folder."""
    if path.is_file():
        return path.read_bytes()
    return {part.name: part.read_bytes() for part in path.iterdir()}


@pytest.mark.parametrize("format, name", [("bpe", "x.json"), ("tiktoken", "x.tiktoken"),
                                          ("gpt2", "folder"), ("hf", "tokenizer.json")])
def test_every_format_gives_the_same_ids(tmp_path, format, name):
    ours = tokenizer("gpt2")
    ours.save(tmp_path / name, format)
    if format == "tiktoken":
        again = Tokenizer.load(tmp_path / name, "gpt2", ours.special_tokens)
    else:
        again = Tokenizer.load(tmp_path / name)
    assert again.tokens == ours.tokens and again.merges.tolist() == ours.merges.tolist()
    text = TEXT + "<|endoftext|>" + TEXT
    assert again.encode(text, allowed_special="all") == ours.encode(text, allowed_special="all")
    assert again.pattern == "gpt2" and again.special_tokens == ours.special_tokens


def test_gpt2_is_the_same_from_ranks_and_from_merges():
    folder = data_folder()
    by_merges = Tokenizer.load(folder / "gpt2")
    by_ranks = Tokenizer.load(folder / "tiktoken" / "r50k_base.tiktoken")
    assert by_merges.tokens == by_ranks.tokens
    assert by_merges.special_tokens == by_ranks.special_tokens
    assert np.array_equal(by_merges.merges, by_ranks.merges), "the merges are recovered, in order"
    assert by_merges.encode(TEXT * 50) == by_ranks.encode(TEXT * 50)


def test_gpt2_files_are_written_as_they_were_published(tmp_path):
    folder = data_folder() / "gpt2"
    Tokenizer.load(folder).save(tmp_path / "gpt2", "gpt2")
    assert (tmp_path / "gpt2/merges.txt").read_bytes() == (folder / "merges.txt").read_bytes()
    assert (json.loads((tmp_path / "gpt2/vocab.json").read_text("utf-8"))
            == json.loads((folder / "vocab.json").read_text("utf-8")))


def test_cl100k_ranks_are_written_as_they_were_published(tmp_path):
    path = data_folder() / "tiktoken" / "cl100k_base.tiktoken"
    Tokenizer.load(path).save(tmp_path / "x.tiktoken")
    assert (tmp_path / "x.tiktoken").read_bytes() == path.read_bytes()


def test_ranks_of_llama3_have_its_256_special_tokens(tmp_path):
    lines = [f"{base64.b64encode(bytes([i])).decode()} {i}" for i in range(256)]
    (tmp_path / "llama3.tiktoken").write_text("\n".join(lines))
    ours = Tokenizer.load(tmp_path / "llama3.tiktoken")
    assert ours.pattern == "llama3" and ours.vocab_size == 128_256
    assert len(ours.special_tokens) == 256
    for name, i in (("begin_of_text", 128_000), ("eot_id", 128_009),
                    ("reserved_special_token_250", 128_255)):
        assert ours.special_tokens[f"<|{name}|>"] == i


def test_special_tokens_and_patterns_can_be_given(tmp_path):
    tokenizer().save(tmp_path / "mine.tiktoken")
    with pytest.raises(ValueError, match="mine.tiktoken.*give the pattern"):
        Tokenizer.load(tmp_path / "mine.tiktoken")
    ours = Tokenizer.load(tmp_path / "mine.tiktoken", "o200k", {"<x>": 900})
    assert ours.special_tokens == {"<x>": 900} and ours.pattern == "o200k"
    assert ours.vocab_size == 901 and ours.tokens[899] is None


def test_what_a_format_cannot_say_is_refused(tmp_path):
    with pytest.raises(ValueError, match="imply the pattern gpt2"):
        tokenizer("cl100k").save(tmp_path / "folder", "gpt2")
    twice = Tokenizer([(97, 98), (98, 99), (256, 99), (97, 257)])  # abc by two ways, as two ids
    for format in ("tiktoken", "gpt2", "hf"):
        with pytest.raises(ValueError, match="two ids for one token"):
            twice.save(tmp_path / "twice", format)
    with pytest.raises(ValueError, match="format is 'xml'"):
        twice.save(tmp_path / "twice", "xml")


def test_merges_that_tokens_do_not_imply_are_no_ranks(tmp_path):
    by_merges = Tokenizer([(98, 99), (97, 98), (257, 99)])  # a + bc is no merge, but abc is a token
    assert by_merges.encode("abc") == [97, 256]
    with pytest.raises(ValueError, match="do not imply"):
        by_merges.save(tmp_path / "x.tiktoken")
    with pytest.raises(ValueError, match="name of a published file"):
        tokenizer("gpt2").save(tmp_path / "cl100k_base.tiktoken")


@pytest.mark.parametrize("name", ["[PAD]", "<pad>", "<a b>", "a b", "\u4e16"])
def test_a_folder_of_others_keeps_its_special_tokens(tmp_path, name):
    ours = Tokenizer([(97, 98)], special_tokens={name: 257})
    ours.save(tmp_path, "gpt2")
    assert Tokenizer.load(tmp_path).special_tokens == {name: 257}
    (tmp_path / "added_tokens.json").unlink()
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"pad_token": {"content": name}}))
    assert Tokenizer.load(tmp_path).special_tokens == {name: 257}
    (tmp_path / "special_tokens_map.json").unlink()
    assert Tokenizer.load(tmp_path).special_tokens == {name: 257}


@pytest.mark.parametrize("name, content, words", [
    ("added_tokens.json", [1], "must be an object of texts and ids"),
    ("added_tokens.json", {"<x>": "1"}, "must be an object of texts and ids"),
    ("special_tokens_map.json", [1], "must be an object"),
    ("special_tokens_map.json", {"pad_token": 5}, "pad_token is 5"),
    ("special_tokens_map.json", {"pad_token": "<x>"}, "pad_token is '<x>', but must be in vocab"),
    ("special_tokens_map.json", {"mask_token": {"content": END, "lstrip": True}},
     "'<|endoftext|>': lstrip is True"),
])
def test_what_stands_beside_a_vocabulary_is_done_or_refused(tmp_path, name, content, words):
    tokenizer().save(tmp_path, "gpt2")
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"{name}: .*{re.escape(words)}"):
        Tokenizer.load(tmp_path)


def test_a_tokenizer_json_says_more_than_the_vocabulary_beside_it(tmp_path):
    tokenizer("gpt2").save(tmp_path, "gpt2")
    tokenizer("cl100k").save(tmp_path / "tokenizer.json", "hf")
    assert Tokenizer.load(tmp_path).pattern == "cl100k"
    assert Tokenizer.load(tmp_path / "vocab.json").pattern == "gpt2"


# ---- malformed files ----

GOOD = formats.as_json(tokenizer())
EMPTY = {"merges": [], "vocab": {}}


@pytest.mark.parametrize("name, content, match", [
    ("x.json", b"", r"x.json:1:1: not JSON"),
    ("x.json", b'{"a": 1,\n "b" 2}', r"x.json:2:6: not JSON"),
    ("x.json", b"\xff\xfe{}", "x.json: byte 0 is not UTF-8"),
    ("x.json", b"[1]", "x.json is no tokenizer"),
    ("x.json", b"[" * 100_000, "nested too deeply|not JSON"),
    ("x.json", json.dumps(GOOD | {"version": 9}).encode(), "version 9"),
    ("x.json", json.dumps(GOOD | {"unicode": "1.0"}).encode(), "Unicode 1.0"),
    ("x.json", json.dumps(GOOD | {"merges": [[1]]}).encode(), r"merges\[0\] is \[1\].*pair of ids"),
    ("x.json", json.dumps(GOOD | {"merges": 5}).encode(), "merges is 5"),
    ("x.json", json.dumps(GOOD | {"merges": [[1, 9999]]}).encode(), "id 9999"),
    ("x.json", json.dumps(GOOD | {"byte_ids": [0.5]}).encode(), r"byte_ids\[0\] is 0.5"),
    ("x.json", json.dumps(GOOD | {"pattern": 3}).encode(), "pattern is 3"),
    ("x.json", json.dumps(GOOD | {"pattern": "("}).encode(), "no regular expression"),
    ("x.json", json.dumps(GOOD | {"more_tokens": {"900": "?"}}).encode(), "more_tokens"),
    ("x.json", json.dumps({k: GOOD[k] for k in GOOD if k != "merges"}).encode(), "no 'merges'"),
    ("x.json", json.dumps({"model": {"type": "WordPiece"}}).encode(), "model.type is 'WordPiece'"),
    ("x.json", json.dumps({"model": EMPTY}).encode(), "no token '.*byte-level"),
    ("x.json", json.dumps({"model": EMPTY, "normalizer": {"type": "NFC"}}).encode(), "normalizer"),
    ("gpt2.tiktoken", b"YQ== 0\nYg== x\n", "gpt2.tiktoken:2: 'Yg== x'"),
    ("gpt2.tiktoken", b"YQ== 0\n\nYQ= 1\n", "gpt2.tiktoken:3"),
    ("gpt2.tiktoken", b"YQ== 0\nYQ== 1\n", "gpt2.tiktoken:2: the token b'a' comes a second time"),
    ("gpt2.tiktoken", b"YQ== 0\n", "no token for the byte 0"),
    ("gpt2.tiktoken", b"", "no token for the byte 0"),
])
def test_a_malformed_file_is_named_and_the_place_in_it(tmp_path, name, content, match):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=match) as error:
        Tokenizer.load(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_malformed_merge_is_named(tmp_path):
    tokenizer().save(tmp_path, "gpt2")
    path = tmp_path / "merges.txt"
    path.write_text(path.read_text("utf-8") + "x zzz\n", "utf-8")
    with pytest.raises(ValueError, match="merges.txt: merge 151: 'x zzz'"):
        Tokenizer.load(tmp_path)


@given(st.data())
def test_any_change_of_a_file_gives_a_tokenizer_or_one_sentence(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("changed")
    text = (json.dumps(GOOD)[:400] + "..." + json.dumps(GOOD)[-100:]).replace("...", "")
    value = data.draw(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                                   lambda inner: st.lists(inner, max_size=3)
                                   | st.dictionaries(st.text(max_size=3), inner, max_size=3)))
    key = data.draw(st.sampled_from(sorted(GOOD)))
    (folder / "x.json").write_text(json.dumps(GOOD | {key: value}) if data.draw(st.booleans())
                                   else text[:data.draw(st.integers(0, len(text)))])
    try:
        Tokenizer.load(folder / "x.json")
    except ValueError as error:
        assert "\n" not in str(error)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.json"):
        Tokenizer.load(tmp_path / "nowhere.json")


# ---- token files ----

def test_a_token_file_is_an_array_for_numpy_and_knows_its_tokenizer(tmp_path):
    ours = tokenizer()
    (tmp_path / "text.txt").write_bytes(TEXT.encode() * 3)
    n = ours.encode_file(tmp_path / "text.txt", tmp_path / "text.npy")
    ids = np.load(tmp_path / "text.npy", mmap_mode="r")
    assert ids.dtype == np.uint16 and ids.tolist() == ours.encode(TEXT * 3) and len(ids) == n
    assert isinstance(bpe.load_tokens(tmp_path / "text.npy", ours), np.memmap)
    assert bpe.token_file_facts(tmp_path / "text.npy") == dict(
        fingerprint=ours.fingerprint(), vocab_size=408, n_tokens=n)
    with pytest.raises(ValueError, match="encode the text again"):
        bpe.load_tokens(tmp_path / "text.npy", tokenizer("cl100k"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["text.npy", "text.txt"]


def test_ids_above_65535_take_four_bytes(tmp_path):
    ours = Tokenizer([], "gpt2", {"<far>": 70_000})
    (tmp_path / "text").write_text("a<far>b")
    ours.encode_file(tmp_path / "text", tmp_path / "ids", allowed_special="all")
    ids = bpe.load_tokens(tmp_path / "ids", ours)
    assert ids.dtype == np.uint32 and ids.tolist() == [97, 70_000, 98]


def test_several_files_are_joined_with_an_end_token_and_empty_ones_are_fine(tmp_path):
    ours = tokenizer()
    for name, text in (("a", "low"), ("b", ""), ("c", "lower")):
        (tmp_path / name).write_text(text)
    ours.encode_file([tmp_path / name for name in "abc"], tmp_path / "ids", end_token=END)
    expected = [*ours.encode("low"), 406, 406, *ours.encode("lower"), 406]
    assert bpe.load_tokens(tmp_path / "ids").tolist() == expected
    assert ours.encode_file(tmp_path / "b", tmp_path / "none") == 0
    assert len(bpe.load_tokens(tmp_path / "none", ours)) == 0


def test_a_failed_run_leaves_the_old_file_and_nothing_else(tmp_path):
    ours = tokenizer()
    (tmp_path / "good").write_text("low")
    (tmp_path / "bad").write_text("low " * 10**5 + "<|endoftext|>")
    ours.encode_file(tmp_path / "good", tmp_path / "ids")
    with pytest.raises(ValueError, match="special token"):
        ours.encode_file(tmp_path / "bad", tmp_path / "ids")
    with pytest.raises(FileNotFoundError):
        ours.encode_file([tmp_path / "good", tmp_path / "missing"], tmp_path / "ids")
    with pytest.raises(ValueError, match="both source and target"):
        ours.encode_file(tmp_path / "good", tmp_path / "good")
    with pytest.raises(ValueError, match="end_token is '<x>'"):
        ours.encode_file(tmp_path / "good", tmp_path / "ids", end_token="<x>")
    assert bpe.load_tokens(tmp_path / "ids").tolist() == ours.encode("low")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad", "good", "ids"]


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    assert write_whole(path, lambda temporary: temporary.write_bytes(b"first")) == 5

    def half(temporary):
        temporary.write_bytes(b"sec")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        write_whole(path, half)
    assert path.read_bytes() == b"first" and [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("damage", [lambda b: b[:-20], lambda b: b[:100], lambda b: b"",
                                    lambda b: b"text " + b, lambda b: b[:-3] + b"x}\n"])
def test_a_damaged_token_file_is_refused(tmp_path, damage):
    ours = tokenizer()
    (tmp_path / "text").write_text(TEXT, "utf-8")
    ours.encode_file(tmp_path / "text", tmp_path / "ids")
    (tmp_path / "ids").write_bytes(damage((tmp_path / "ids").read_bytes()))
    with pytest.raises(ValueError, match="ids is not a complete token file"):
        bpe.load_tokens(tmp_path / "ids", ours)


def test_ranks_that_were_spelled_as_merges_in_every_way_are_ranks_again(tmp_path):
    longer = [b"ab", b"bc", b" a", b"abc", b" ab", b" abc"]
    ranks = {token: i for i, token in enumerate([bytes([byte]) for byte in range(256)] + longer)}
    cuts = [(i, ranks[token[:n]], ranks[token[n:]]) for token, i in ranks.items()
            for n in range(1, len(token)) if token[:n] in ranks and token[n:] in ranks]
    made, *pairs = zip(*sorted(cuts))
    assert made == (256, 257, 258, 259, 259, 260, 260, 261, 261, 261)      # as in that of Llama 3
    spelled = Tokenizer([*zip(*pairs)], merge_ids=made, whole_words=True)
    spelled.save(tmp_path / "x.tiktoken")
    again = Tokenizer.load(tmp_path / "x.tiktoken", pattern="gpt2")
    assert again.encode("abcab abc bc") == spelled.encode("abcab abc bc")
    with pytest.raises(ValueError, match="merges that its tokens do not imply"):
        fewer = [*zip(*pairs)][:-1]
        Tokenizer(fewer, merge_ids=made[:-1], whole_words=True).save(tmp_path / "y.tiktoken")
