"""Hugging Face's tokenizer.json: their ids or one sentence, and our files read by them."""
import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from peers import GOLDEN, HF_CASES, hf_case
from vocabularies import TEXT, TEXTS, fuzz_strings, texts_for, tokenizer, tokenizers

from bpe import PATTERNS, Tokenizer, reference


def load(facts, folder):
    (folder / "tokenizer.json").write_text(json.dumps(facts), "utf-8")
    return Tokenizer.load(folder)


def token(content, i, **options):
    return dict(id=i, content=content, single_word=False, lstrip=False, rstrip=False,
                normalized=False, special=True) | options


# ---- their ids ----

@pytest.mark.parametrize("name", HF_CASES)
def test_ids_are_those_of_hugging_face(tmp_path, name):
    facts, text = HF_CASES[name]
    expected = json.loads(GOLDEN.read_text("utf-8"))["hf ids"][name]
    assert load(facts, tmp_path).encode(text, allowed_special="all") == expected


def test_tokens_that_are_not_special_are_plain_text_and_taken_wherever_they_stand(tmp_path):
    ours = load(hf_case([token("  ", 258, special=False), token("<s>", 259)]), tmp_path)
    assert ours.special_tokens == {"<s>": 259} and ours.added_tokens == {"  ": 258}
    assert ours.encode("a  b") == [97, 258, 98] == ours.encode("a  b", allowed_special="all")
    assert ours.encode("a  <s>", disallowed_special=())[:2] == [97, 258]
    assert ours.decode([97, 258, 98]) == "a  b" and ours.token_bytes[[258, 259]].tolist() == [2, 0]
    assert ours.encode_with_offsets("a  b")[1].tolist() == [[0, 1], [1, 3], [3, 4]]
    with pytest.raises(ValueError, match="special token '<s>'"):
        ours.encode("a  <s>")


@pytest.mark.parametrize("option", ["lstrip", "rstrip", "single_word"])
def test_an_option_that_is_not_done_here_is_refused_with_its_token(tmp_path, option):
    facts = hf_case([token("<pad>", 258), token("<mask>", 259, **{option: True})])
    with pytest.raises(ValueError, match=f"'<mask>': {option} is True, but must be false"):
        load(facts, tmp_path)


def step(kind, **options):
    return dict(type=kind, **options)


BYTE_LEVEL = step("ByteLevel", add_prefix_space=False, trim_offsets=False, use_regex=False)
SPLIT = step("Split", pattern={"Regex": "a+"}, behavior="Isolated", invert=False)
TEMPLATE = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]


@pytest.mark.parametrize("change, words", [
    (dict(normalizer=step("NFC")), "normalizer is"),
    (dict(truncation=dict(max_length=2)), "truncation is"),
    (dict(padding=dict(pad_id=0)), "padding is"),
    (dict(post_processor=step("TemplateProcessing", single=TEMPLATE)), "no tokens are put around"),
    (dict(post_processor=step("RobertaProcessing", cls=["<s>", 1])), "no tokens are put around"),
    (dict(post_processor=step("Sequence", processors=[step("TemplateProcessing",
                                                           single=TEMPLATE)])), "around a text"),
    (dict(decoder=step("Metaspace")), "decoder is"),
    (dict(pre_tokenizer=None), "pre_tokenizer must"),
    (dict(pre_tokenizer=5), "pre_tokenizer must"),
    (dict(pre_tokenizer=step("Sequence", pretokenizers=5)), "pre_tokenizer must"),
    (dict(pre_tokenizer=BYTE_LEVEL | dict(use_regex=True, add_prefix_space=True)), "prefix space"),
    (dict(pre_tokenizer=step("Sequence", pretokenizers=[BYTE_LEVEL, SPLIT])), "isolating"),
    (dict(pre_tokenizer=step("Sequence", pretokenizers=[step("Metaspace"), BYTE_LEVEL])),
     "isolating"),
    (dict(pre_tokenizer=step("Sequence", pretokenizers=[SPLIT | dict(behavior="Removed"),
                                                        BYTE_LEVEL])), "isolating"),
    (dict(pre_tokenizer=step("Sequence", pretokenizers=[SPLIT | dict(pattern={"String": ""}),
                                                        BYTE_LEVEL])), "isolating"),
    (dict(more=1), "more is not known here"),
    (dict(added_tokens=5), "added_tokens is 5"),
    (dict(added_tokens=[dict(id=258, content="<s>")]), "'<s>': single_word is None"),
    (dict(added_tokens=[token("<s>", 300)]), "'<s>' has the id 300, but.*number it 258"),
    (dict(added_tokens=[token("abc", 300)]), "'abc' has the id 300, but.*number it 257"),
    (dict(added_tokens=[token("<s>", 258), token("<s>", 259)]), "'<s>' has the id 259"),
    (dict(added_tokens=[token("é", 233, special=False)]), r"'é' has the id 233.*also b'\\xe9'"),
    (dict(added_tokens=[token("xab", 258, normalized=True), token("bc", 259)]), "may overlap"),
    (dict(added_tokens=[token("<s>", 258, more=1)]), "more is not known here"),
])
def test_what_would_change_the_ids_is_refused_in_a_sentence(tmp_path, change, words):
    with pytest.raises(ValueError, match=words) as error:
        load(hf_case() | change, tmp_path)
    assert "\n" not in str(error.value)


REMOVED = SPLIT | dict(pattern={"Regex": PATTERNS["llama3"]}, behavior="Removed", invert=True)


@pytest.mark.parametrize("steps, pattern, splits", [
    ([BYTE_LEVEL], "(?s).+", ["ab 12 'a\n"]),
    ([BYTE_LEVEL | dict(use_regex=True)], "gpt2", ["ab", " 12", " '", "a", "\n"]),
    ([step("Digits", individual_digits=True), BYTE_LEVEL | dict(use_regex=True)],
     ("digits", "gpt2"), ["ab", " ", "1", "2", " '", "a", "\n"]),
    ([step("Digits", individual_digits=False), BYTE_LEVEL], "numbers", ["ab ", "12", " 'a\n"]),
    ([SPLIT, SPLIT | dict(pattern={"String": "2 "}), BYTE_LEVEL], ("a+", r"2\ "),
     ["a", "b 1", "2 ", "'", "a", "\n"]),
    ([REMOVED, BYTE_LEVEL], "llama3", ["ab", " ", "12", " '", "a", "\n"]),
])
def test_pre_tokenizers_are_patterns_one_after_the_other(tmp_path, steps, pattern, splits):
    facts = hf_case(pre_tokenizer=step("Sequence", pretokenizers=steps),
                    normalizer=step("Sequence", normalizers=[]))
    ours = load(facts, tmp_path)
    assert ours.pattern == pattern
    assert reference.split("ab 12 'a\n", pattern) == [part.encode() for part in splits]
    ours.save(tmp_path / "tokenizer.json", "hf")
    assert Tokenizer.load(tmp_path).pattern == pattern
    ours.save(tmp_path / "ours.json")
    assert Tokenizer.load(tmp_path / "ours.json").fingerprint() == ours.fingerprint()


@pytest.mark.parametrize("change, words", [
    (dict(dropout=0.1), "dropout is 0.1"), (dict(continuing_subword_prefix="##"), "'##'"),
    (dict(end_of_word_suffix="</w>"), "'</w>'"), (dict(ignore_merges=1), "ignore_merges is 1"),
    (dict(new_option=2), "model.new_option is not known"), (dict(vocab=[]), "model.vocab is"),
    (dict(merges=["a b", "ab c", "a b"]), r"merges\[2\]: a b comes a second time"),
    (dict(ignore_merges=True, vocab=hf_case()["model"]["vocab"] | {"€": 258}), "'€'.*no bytes"),
])
def test_a_model_that_would_give_other_ids_is_refused(tmp_path, change, words):
    facts = hf_case()
    with pytest.raises(ValueError, match=words):
        load(facts | dict(model=facts["model"] | change), tmp_path)


def test_what_makes_no_difference_where_every_byte_is_a_token_is_read(tmp_path):
    facts = hf_case(post_processor=step("ByteLevel", add_prefix_space=True, trim_offsets=True))
    facts["model"] |= dict(unk_token="<unk>", fuse_unk=True, byte_fallback=True, dropout=0.0)
    assert load(facts, tmp_path).encode("abc é") == [257, 32, 195, 169]


# ---- asked where it is installed ----

@st.composite
def added_tokens(draw):
    names = draw(st.lists(st.sampled_from(TEXTS), max_size=5, unique=True))
    ids = {"ab": 256, "abc": 257, "é": 233}
    free = iter(range(258, 300))
    return [token(name, ids[name] if name in ids else next(free), special=draw(st.booleans()),
                  normalized=draw(st.booleans()), lstrip=draw(st.integers(0, 9)) == 0)
            for name in names]


@pytest.mark.extra("tokenizers")
@given(added_tokens(), st.booleans(), st.data())
def test_any_added_tokens_have_their_ids_or_are_refused(tmp_path_factory, tokens, words, data):
    import tokenizers as peer
    facts = hf_case(tokens)
    facts["model"]["ignore_merges"] = words
    try:
        ours = load(facts, tmp_path_factory.mktemp("hf"))
    except ValueError as error:
        assert "\n" not in str(error)
        mixed = len({token["normalized"] for token in tokens}) == 2
        special = {token["content"] for token in tokens if token["special"]}
        taken = {"ab", "abc"} & special or any(token["content"] == "é" for token in tokens)
        assert mixed or taken or any(token["lstrip"] for token in tokens)
        return
    theirs = peer.Tokenizer.from_str(json.dumps(facts))
    text = data.draw(texts_for(ours))
    assert theirs.encode(text).ids == ours.encode(text, allowed_special="all"), repr(text)


@pytest.mark.extra("tokenizers")
@given(tokenizers(), st.data())
def test_they_read_our_file_as_we_do(tmp_path_factory, ours, data):
    import tokenizers as peer
    path = tmp_path_factory.mktemp("hf") / "tokenizer.json"
    try:
        ours.save(path, "hf")
    except ValueError:
        assume(False)
    text = data.draw(texts_for(ours))
    ids = ours.encode(text, allowed_special="all")
    theirs = peer.Tokenizer.from_file(str(path))
    assert theirs.encode(text).ids == ids
    if all(name.isascii() for name in ours.added_tokens | ours.special_tokens):  # else they unspell
        assert theirs.decode(ids, skip_special_tokens=False) == ours.decode(ids)


@pytest.mark.extra("tokenizers")
@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k"])
def test_hugging_face_reads_our_tokenizer_json(tmp_path, pattern):
    import tokenizers
    ours = tokenizer(pattern)
    ours.save(tmp_path / "tokenizer.json", "hf")
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in [TEXT, "a<|endoftext|>b <|end|>of text", *fuzz_strings(300, seed=3)]:
        assert theirs.encode(text).ids == ours.encode(text, allowed_special="all"), repr(text)
        ids = ours.encode(text, allowed_special="all")
        assert theirs.decode(ids, skip_special_tokens=False) == ours.decode(ids)


@pytest.mark.extra("tokenizers")
def test_we_read_what_hugging_face_trains(tmp_path):
    import tokenizers
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE())
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs.train_from_iterator([TEXT], tokenizers.trainers.BpeTrainer(
        vocab_size=350, special_tokens=["<pad>", "<|endoftext|>"], show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet()))
    theirs.save(str(tmp_path / "tokenizer.json"))
    ours = Tokenizer.load(tmp_path)
    assert ours.special_tokens == {"<pad>": 0, "<|endoftext|>": 1} and ours.vocab_size == 350
    for text in [TEXT, "<pad>a<|endoftext|>", *fuzz_strings(300, seed=4)]:
        assert ours.encode(text, allowed_special="all") == theirs.encode(text).ids, repr(text)
