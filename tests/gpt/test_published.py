"""Tokenizers of published models, by hand: what each step does, and what is refused."""
import json
import os
import random

import numpy as np
import pytest
from mutations import changed
from published_cases import (
    BERT, CASES, CHARACTERS_BECOME, LLAMA, MISSING, OPTIONS, QWEN, ROBERTA, SIGN, UNIGRAM,
    UNIGRAM_BYTES, added, byte_level, charsmap_of, facts_of, fuzz, sequence, template)

from bpe import Tokenizer
from gpt.data.tokens.characters import CharTokenizer
from gpt.data.tokens.frames import frame_of
from gpt.data.tokens.kinds import framed, load_tokenizer, tokenizer_of, train_tokenizer
from gpt.data.tokens.normalizers import normalizer_of
from gpt.data.tokens.parts import step
from gpt.data.tokens.published import PublishedTokenizer
from gpt.data.tokens.splitters import splitter_of

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"


def pieces(facts, text):
    """The texts of the tokens, with marks between them."""
    ours = tokenizer_of(facts)
    ids = ours.encode(text, allowed_special="all")
    return "|".join(ours.decode_bytes([i]).decode("utf-8", "replace") for i in ids)


# ---- models ----

@pytest.mark.parametrize("text, expected", [
    ("Hello, UNWANTED", " hello|,| un|want|ed"),
    ("héllo\tthe中", " hello| the| 中"),           # accents go, a Chinese character is a word
    ("wanted unwant unhello", " wanted| un|want| [UNK]"),
    ("abcbcbcbcbc", " [UNK]"),                      # longer than 10 characters
    ("the [MASK].", " the| [MASK]|."),
    ("a\u200d's", " a| '| s"),                      # a control character goes
])
def test_word_piece_takes_the_longest_token_first(text, expected):
    assert pieces(BERT, text) == expected


def test_unigram_takes_the_likeliest_way_and_not_the_longest_tokens():
    # " ab" + "c" is -8.0, " a" + "bc" -8.0, " " + "ab" + "c" -8.5: of equals the first to be found
    assert pieces(UNIGRAM, "abc") == " a|bc"
    assert pieces(UNIGRAM, "aa") == " a|a"          # -6.5; " " + "aa" is -8.875
    assert pieces(UNIGRAM, "c☃☃a") == " |c|<unk>|a"  # what is unknown side by side is one
    assert tokenizer_of(UNIGRAM).encode("b  b ") == [2, 5, 2, 5]


def test_what_is_unknown_becomes_its_bytes_where_the_model_has_them():
    ours = tokenizer_of(UNIGRAM_BYTES)
    assert ours.encode("aé") == [3, 10 + 0xC3, 10 + 0xA9]
    assert pieces(LLAMA, "aé☃") == " a|é|�|�|�"
    ids = tokenizer_of(LLAMA).encode("☃")
    assert [tokenizer_of(LLAMA).decode_bytes([i]) for i in ids] == [b" ", b"\xe2", b"\x98", b"\x83"]


def test_merges_go_by_rank_and_then_from_the_left():
    assert pieces(LLAMA, "ab abc") == " ab| a|bc"   # "b c" ranks before "▁a b"
    assert pieces(LLAMA, "cabcbab") == " |c|abc|b|ab"
    assert pieces(LLAMA, "   a") == "  |  |a"


def test_a_word_is_cut_before_the_sign_only_where_no_token_has_it_inside():
    ours = tokenizer_of(LLAMA)
    assert ours._borders.split("▁ab▁▁c▁a") == ["▁ab", "▁▁c", "▁a"]
    model = LLAMA["model"]
    vocab = model["vocab"] | {"b" + SIGN: 300}
    inside = LLAMA | dict(model=model | dict(vocab=vocab, merges=["a b", f"b {SIGN}"]))
    assert tokenizer_of(inside)._borders.split("▁ab▁c▁a") == ["▁ab▁c", "▁a"]
    assert pieces(inside, "b b") == " |b |b"


# ---- added tokens ----

@pytest.mark.parametrize("text, expected", [
    ("a <l> b", "a|<l>| |b"), ("a <r> b", "a| |<r>|b"),           # white space belongs to the token
    ("yes,yesyes yes1 yes", "yes|,|y|e|s|y|e|s| |y|e|s|1| |yes"),  # alone, or text
    ("a no NO", "a| |NO| |NO"),                                   # found in the lower-case text
    ("a <b> b", "a|<b>|b"), ("a <B> b", "a|<b>|b"),
    ("a <l> <r> b", "a|<l>| |<r>|b"),
])
def test_added_tokens_are_found_by_their_options(text, expected):
    assert pieces(OPTIONS, text) == expected


def test_special_tokens_are_recognised_where_allowed_and_refused_elsewhere():
    ours = tokenizer_of(QWEN)
    assert ours.special_tokens == {"<|end|>": 261} and ours.added_tokens == {"  ": 262}
    with pytest.raises(ValueError, match="special token '<|end|>'"):
        ours.encode("a<|end|>")
    assert ours.encode("a<|end|>", allowed_special={"<|end|>"}) == [97, 261]
    assert len(ours.encode("a<|end|>", disallowed_special=())) == 8
    assert ours.encode("a  b", disallowed_special=()) == [97, 262, 98]
    with pytest.raises(ValueError, match="allowed_special names '<x>'"):
        ours.encode("a", allowed_special={"<x>"})


# ---- normalizers ----

@pytest.mark.parametrize("steps, text, expected", [
    ([step("NFC")], "e\u0301ﬁ", "éﬁ"), ([step("NFKD")], "éﬁ", "e\u0301fi"),
    ([step("Lowercase")], "ΑΣ İ", "ας i\u0307".replace("ς", "σ")),
    ([step("NFD"), step("StripAccents")], "Ünï", "Uni"),
    ([step("Strip", strip_left=True, strip_right=False)], " \u3000a ", "a "),
    ([step("Replace", pattern={"Regex": "a+"}, content=r"\1")], "baab", r"b\1b"),
    ([step("Prepend", prepend="x")], "", ""), ([step("Nmt")], "a\u200bb\x01\tc", "a b c"),
    ([step("ByteLevel")], "é ", "Ã©Ġ"),
    ([step("Precompiled", precompiled_charsmap=charsmap_of(CHARACTERS_BECOME))],
     "ﬁe\u0301\r\nx\x04ﬁ\u0301", "fié xfi"),      # "\r\n" is one character to the table
    ([step("NFC")], "ᷳ\u1df7", "ᷳ\u1df7"),       # later than Unicode 9: not reordered
])
def test_text_is_normalized_step_by_step(steps, text, expected):
    facts = dict(normalizer=sequence("normalizers", *steps))
    assert normalizer_of("x", facts)(text) == expected
    assert normalizer_of("x", dict(normalizer=sequence("normalizers")))(text) == text


# ---- splitters ----

@pytest.mark.parametrize("behaviour, expected, inverted", [
    ("Isolated", "x|-|-|y|-", "x|-|-|y|-"), ("Removed", "x|y", "-|-|-"),
    ("Contiguous", "x|--|y|-", "x|--|y|-"), ("MergedWithPrevious", "x-|-|y-", "x|-|-y|-"),
    ("MergedWithNext", "x|-|-y|-", "x-|-|y-"),
])
def test_a_split_keeps_joins_or_removes_what_it_finds(behaviour, expected, inverted):
    for invert, wanted in ((False, expected), (True, inverted)):
        part = step("Split", pattern={"String": "-"}, behavior=behaviour, invert=invert)
        found = splitter_of("x", dict(pre_tokenizer=part))("x--y-", True)
        assert "|".join(found) == wanted, invert


@pytest.mark.parametrize("part, text, expected", [
    (step("Digits", individual_digits=True), "a12½b", "a|1|2|½|b"),
    (step("Digits", individual_digits=False), "a12½b", "a|12½|b"),
    (step("Whitespace"), "don't, x_1", "don|'|t|,|x_1"),
    (step("BertPreTokenizer"), "don't, ¿x$", "don|'|t|,|¿|x|$"),
    (step("Punctuation", behavior="Contiguous"), "a,.b", "a|,.|b"),
    (step("Metaspace", replacement=SIGN, prepend_scheme="first", split=True), "a  b", "▁a|▁|▁b"),
    (step("Metaspace", replacement=SIGN, add_prefix_space=False, split=False), "a b", "a▁b"),
    (byte_level(prefix=True), "don't é", "Ġdon|'t|ĠÃ©"),
    (step("FixedLength", length=2), "abcde", "ab|cd|e"),
])
def test_text_is_cut_into_words(part, text, expected):
    assert "|".join(splitter_of("x", dict(pre_tokenizer=part))(text, True)) == expected


def test_metaspace_puts_its_sign_first_at_the_start_of_the_text_alone():
    first = step("Metaspace", replacement=SIGN, prepend_scheme="first", split=True)
    facts = UNIGRAM | dict(pre_tokenizer=first)
    assert pieces(facts, "a</s>a") == " a|</s>|a" and pieces(UNIGRAM, "a</s>a") == " a|</s>| a"


# ---- frames ----

@pytest.mark.parametrize("part, frame", [
    (None, ((), ())), (byte_level(), ((), ())),
    (template(["<s>"], ["</s>", "</s>"], **{"<s>": 7, "</s>": 8}), ((7,), (8, 8))),
    (sequence("processors", byte_level(), template(["<s>"], **{"<s>": 7})), ((7,), ())),
    (step("BertProcessing", cls=["[CLS]", 2], sep=["[SEP]", 3]), ((2,), (3,))),
])
def test_what_stands_around_a_text_is_a_property_of_the_tokenizer(part, frame):
    assert frame_of("x", dict(post_processor=part)) == frame


def test_every_tokenizer_has_a_frame():
    assert framed(tokenizer_of(BERT), [9]) == [2, 9, 3] and framed(tokenizer_of(ROBERTA), [5]) == [
        261, 5, 262]
    assert framed(Tokenizer([]), [9]) == [9] == framed(CharTokenizer("a"), np.array([9]))


# ---- the interface ----

@pytest.mark.parametrize("name", CASES)
def test_what_is_saved_is_read_as_the_same_tokenizer(name, tmp_path):
    ours = tokenizer_of(CASES[name])
    ours.save(tmp_path / "tokenizer.json")
    again = load_tokenizer(tmp_path)
    assert train_tokenizer(str(tmp_path / "tokenizer.json"), 0, [], []).tokens == ours.tokens
    assert again.fingerprint() == ours.fingerprint() and again.frame == ours.frame
    for text in fuzz(CASES[name], 20):
        ids = ours.encode(text, allowed_special="all")
        assert again.encode_array(text, allowed_special="all").tolist() == ids
        decoder = ours.decoder()
        streamed = "".join([decoder.feed(i) for i in ids] + [decoder.close()])
        assert streamed == ours.decode_bytes(ids).decode("utf-8", "replace")
        assert ours.decode(ids) in (streamed, streamed[1:])
        special = set(ours.special_tokens.values())
        n_bytes = sum(len(ours.tokens[i]) for i in ids if i not in special)
        assert ours.token_bytes[ids].sum() == n_bytes


def test_a_text_comes_back_without_the_space_that_encoding_put_first():
    ours = tokenizer_of(LLAMA)
    ids = ours.encode("abc é☃ ")
    assert ours.decode(ids) == "abc é☃ " and ours.decode_bytes(ids) == " abc é☃ ".encode()
    decoder = ours.decoder()
    assert [decoder.feed(i) for i in ids[-5:]] == ["é", "", "", "☃", " "]


def test_bytes_are_utf8_text_and_lone_surrogates_replacement_characters():
    ours = tokenizer_of(LLAMA)
    assert ours.encode("é".encode()) == ours.encode("é")
    assert ours.encode("\ud800") == ours.encode("\ufffd")
    assert ours.encode("") == [] and ours.encode_array("").dtype == np.int32
    with pytest.raises(ValueError, match="not UTF-8"):
        ours.encode(b"\xff")
    with pytest.raises(ValueError, match="id 999 at position 0"):
        ours.decode([999])


@pytest.mark.parametrize("facts", [QWEN, ROBERTA, MISSING, OPTIONS])
def test_kernels_and_steps_give_the_same_ids(facts):
    fast, slow = PublishedTokenizer(facts), PublishedTokenizer(facts)
    assert fast._fast
    slow._fast = None
    for text in fuzz(facts, 200, seed=2):
        ids = slow.encode(text, allowed_special="all")
        assert fast.encode(text, allowed_special="all") == ids, repr(text)


def test_bytes_without_a_token_are_dropped():
    assert pieces(MISSING, "a\x04b12") == "a|b|1|2" and pieces(MISSING, "a\x04\x04") == "a"


def test_bytes_alone_go_to_the_fast_tokenizer():
    plain = QWEN | dict(normalizer=sequence("normalizers"))
    assert type(tokenizer_of(plain)) is Tokenizer
    assert tokenizer_of(plain).encode("ab1  1") == tokenizer_of(QWEN).encode("ab1  1")


def test_what_is_left_out_is_said():
    facts = BERT | dict(truncation=dict(max_length=2), padding=dict(pad_id=0))
    assert [note.split()[0] for note in tokenizer_of(facts).notes] == ["truncation", "padding"]
    assert tokenizer_of(facts).encode("the the the the") == [12] * 4


# ---- refused ----

def model(facts=BERT, **changes):
    return facts | dict(model=facts["model"] | changes)


@pytest.mark.parametrize("facts, words", [
    (model(type="Neural"), "model Neural is 'Neural', but must be one of BPE"),
    (model(vocab={"a": 1 << 40}), "vocab is 1099511627776, but must be an id from 0 to"),
    (model(vocab={"a": -1}), "vocab is -1"), (model(vocab={"a": "1"}), "an object of texts"),
    (model(unk_token="?"), r"unk_token is '\?', but must be in the vocab"),
    (model(more=1), "'more' is not known here"),
    (model(LLAMA, dropout=0.1), "dropout is 0.1"), (model(LLAMA, merges=["a q"]), r"merges\[0\]"),
    (model(LLAMA, merges=[5]), r"merges\[0\] is 5, but must be two tokens that make a third"),
    (model(UNIGRAM, vocab=[["a", float("nan")]]), r"vocab\[0\]"),
    (model(UNIGRAM, unk_id=99), "unk_id is 99"),
    (BERT | dict(normalizer=step("Unheard\nof")), r"'Unheard\\nof', but must be one of NFC"),
    (BERT | dict(normalizer=step("Prepend")), "prepend is None, but must be a str"),
    (BERT | dict(normalizer=step("NFC", more=1)), "'more' is not known here"),
    (BERT | dict(normalizer=[1]), r"normalizer is \[1\]"),
    (BERT | dict(normalizer=step("Replace", pattern={"Regex": "("}, content="")), "regular"),
    (BERT | dict(normalizer=step("Precompiled", precompiled_charsmap="AAAA")), "no table of"),
    (BERT | dict(pre_tokenizer=step("UnicodeScripts")), "'UnicodeScripts', but must be one of"),
    (BERT | dict(decoder=step("CTC")), "decoder CTC is 'CTC'"),
    (BERT | dict(decoder=step("Strip", content="a", start=1, stop=0)), "content, start, stop"),
    (BERT | dict(post_processor=template(["<s>"])), "special token '<s>' is None"),
    (BERT | dict(post_processor=template(["<s>"], **{"<s>": 99})), "post_processor is 99"),
    (BERT | dict(added_tokens=[added("new\nline", 7)]), r"'new\\nline' is 7, but must be 20"),
    (BERT | dict(added_tokens=[added("x", 20, single_word=1)]), "single_word is 1"),
    (BERT | dict(added_tokens=[added("x", 20, more=1)]), "more is 1, but must be left out"),
    (BERT | dict(stages=1), "'stages' is not known"),
])
def test_what_is_not_done_here_is_refused_by_name(facts, words):
    with pytest.raises(ValueError, match=words) as error:
        tokenizer_of(facts)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", CASES)
def test_a_changed_file_gives_a_tokenizer_or_one_sentence(name):
    pick = random.Random(name)
    for _ in range(200 if THOROUGH else 15):
        facts = changed(CASES[name], pick)
        try:
            ours = tokenizer_of(facts)
            ours.decode(ours.encode("ab é 12☃", disallowed_special=()))
        except ValueError as error:
            assert "\n" not in str(error) and len(str(error)) < 500


def test_nested_sequences_of_any_depth_are_read():
    part = step("NFC")
    for _ in range(5_000):
        part = sequence("normalizers", part)
    assert normalizer_of("x", dict(normalizer=part))("e\u0301") == "é"


def test_a_file_that_is_cut_is_refused(tmp_path):
    text = json.dumps(BERT)
    for n in (0, 10, len(text) // 2, len(text) - 1):
        (tmp_path / "tokenizer.json").write_text(text[:n])
        with pytest.raises(ValueError, match="not JSON"):
            load_tokenizer(tmp_path)


def test_a_model_without_parts_is_a_tokenizer():
    model = step("WordLevel", vocab={"a b": 0, "?": 1}, unk_token="?")
    ours = tokenizer_of(facts_of(model))
    assert ours.encode("a b") == [0] and ours.encode("a") == [1]
