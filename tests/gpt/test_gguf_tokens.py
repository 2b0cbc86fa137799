"""The tokenizer inside a GGUF: metadata of each kind, by hand, and what is refused."""
import base64
import copy
import os
import random

import numpy as np
import pytest
from published_cases import LETTERS, LLAMA, MERGED, PIECES, UNIGRAM, WORDS, charsmap_of, fuzz

import bpe
from gpt.data.tokens.gguf import facts_of_gguf, merges_of_scores
from gpt.data.tokens.gguf_splits import SPLITS
from gpt.data.tokens.kinds import load_tokenizer, tokenizer_of, tokenizer_of_gguf
from gpt.data.tokens.splitters import splitter_of
from gpt.data.tokens.to_gguf import gguf_metadata
from gpt.files.gguf import write_gguf

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
SIGN = "▁"


def metadata(**keys):
    return {f"tokenizer.ggml.{name}": value for name, value in keys.items()}


def kinds(texts, **odd):
    """1 for each token, but the number given for some."""
    return [odd.get(text, 1) for text in texts]


GPT2 = metadata(model="gpt2", pre="smollm", tokens=[*LETTERS, "<|end|>", "  "],
                merges=["a b", "Ġ a", "ab c", "Ġa b", "1 1"], bos_token_id=261,
                token_type=kinds([*LETTERS, "<|end|>", "  "], **{"<|end|>": 3, "  ": 4}))
# The scores of the file's merges: the first one made has the highest.
MADE = [SIGN * 2, SIGN + "a", "bc", "ab", SIGN + "ab", "abc"]
SPM = metadata(model="llama", tokens=MERGED, bos_token_id=1, eos_token_id=2, unknown_token_id=0,
               scores=[-float(MADE.index(text)) if text in MADE else -99.0 for text in MERGED],
               token_type=np.array(kinds(MERGED, **{"<unk>": 2, "<s>": 3, "</s>": 3})))
SPELLED = [text.removeprefix("##") if text.startswith("##") or text.startswith("[") else SIGN + text
           for text in WORDS]
BERT = metadata(model="bert", tokens=SPELLED, unknown_token_id=1, cls_token_id=2,
                seperator_token_id=3, mask_token_id=4, token_type=[3] * 5 + [1] * (len(WORDS) - 5))
T5 = metadata(model="t5", tokens=[text for text, _ in PIECES], eos_token_id=1, unknown_token_id=0,
              scores=[score for _, score in PIECES], remove_extra_whitespaces=True,
              token_type=[2, 3] + [1] * (len(PIECES) - 2))
ALL = {"gpt2": GPT2, "llama": SPM, "bert": BERT, "t5": T5}


def test_bytes_are_cut_as_the_name_says():
    ours = tokenizer_of_gguf(GPT2)
    assert ours.encode("abc ab 11") == [257, 32, 256, 32, 49, 49]
    assert ours.special_tokens == {"<|end|>": 261} and ours.added_tokens == {"  ": 262}
    assert ours.frame == ((), ())
    told = GPT2 | metadata(add_bos_token=True, pre="gpt-2")
    assert tokenizer_of_gguf(told).frame == ((261,), ())
    assert tokenizer_of_gguf(told).encode("ab 11") == [256, 32, 260]


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "t5"])
def test_a_file_gives_what_its_metadata_gives(tmp_path, name):
    write_gguf(tmp_path / "model.gguf", {}, ALL[name])
    again = load_tokenizer(tmp_path / "model.gguf")
    assert again.fingerprint() == tokenizer_of_gguf(ALL[name]).fingerprint()


def test_merges_follow_from_scores():
    assert merges_of_scores({"a": 0, "b": 1, "ab": 2, "c": 3, "bc": 4, "abc": 5},
                            [-9.0, -9.0, -2.0, -9.0, -1.0, -3.0]) == [
        ["b", "c"], ["a", "b"], ["a", "bc"], ["ab", "c"]]
    ours, theirs = tokenizer_of_gguf(SPM), tokenizer_of(LLAMA)
    assert ours.frame == theirs.frame == ((1,), ()) and ours.tokens == theirs.tokens
    for text in fuzz(LLAMA, 100):
        ids = ours.encode(text, allowed_special="all")
        assert ids == theirs.encode(text, allowed_special="all"), repr(text)
        assert ours.decode(ids) == theirs.decode(ids)
    bare = tokenizer_of_gguf(SPM | metadata(add_space_prefix=False, add_bos_token=False))
    assert bare.frame == ((), ()) and bare.decode(bare.encode(" ab")) == " ab"


def test_what_begins_a_word_is_told_from_what_goes_on():
    ours = tokenizer_of_gguf(BERT)
    assert ours.frame == ((2,), (3,))
    assert ours.decode(ours.encode("Unwanted, hello.")) == "unwanted, hello."
    assert ours.encode("unwanted") == [5, 6, 7]


def test_pieces_with_log_likelihoods():
    ours = tokenizer_of_gguf(T5)
    assert ours.frame == ((), (1,))
    assert ours.encode("aa  abc ☃☃ ") == tokenizer_of(UNIGRAM).encode("aa abc ☃☃")
    table = np.frombuffer(base64.b64decode(charsmap_of({"ﬁ": "ab"})), np.int8)
    with_table = tokenizer_of_gguf(T5 | metadata(precompiled_charsmap=table))
    assert with_table.encode("ﬁ") == ours.encode("ab")


@pytest.mark.parametrize("pre, words", [
    ("gpt-2", "don|'t|Ġ123|!!|ĊĠĠ|Ġx"), ("smollm", "don|'t|Ġ|1|2|3|!!|ĊĠĠ|Ġx"),
    ("llama-bpe", "don|'t|Ġ|123|!!Ċ|ĠĠ|Ġx"), ("qwen2", "don|'t|Ġ|1|2|3|!!Ċ|ĠĠ|Ġx"),
    ("gpt-4o", "don't|Ġ|123|!!Ċ|ĠĠ|Ġx"), ("tekken", "don|'t|Ġ|1|2|3|!!Ċ|ĠĠ|Ġx"),
    ("deepseek-v3", "don|'t|Ġ|123|!!Ċ|ĠĠ|Ġx"),
])
def test_each_name_cuts_in_its_way(pre, words):
    part = dict(type="Sequence", pretokenizers=SPLITS[pre])
    split = splitter_of("x", dict(pre_tokenizer=part))
    assert "|".join(split("don't 123!!\n   x", True)) == words


@pytest.mark.parametrize("change, words", [
    (dict(model="rwkv"), "model is 'rwkv', but must be one of gpt2, llama, bert, t5"),
    (dict(model=None), "model is None, but must be a str"),
    (dict(pre="new\nkind"), r"pre is 'new\\nkind', but must be one of default"),
    (dict(tokens=["a", "a"]), "1 texts twice"), (dict(tokens="ab"), "tokens is 'ab'"),
    (dict(token_type=[1]), "'1 numbers', but must be one for each of 263"),
    (dict(merges=["a b", 5]), "merges is"), (dict(merges=["a q"]), "two tokens"),
    (dict(add_bos_token=1), "add_bos_token is 1, but must be a bool"),
    (dict(add_bos_token=True, bos_token_id=999), "bos_token_id is 999, but must be below 263"),
])
def test_metadata_that_cannot_be_read_is_named(change, words):
    with pytest.raises(ValueError, match=words) as error:
        tokenizer_of_gguf(GPT2 | metadata(**change))
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"scores is \[nan"):
        facts_of_gguf(SPM | metadata(scores=[float("nan")] * len(MERGED)))


@pytest.mark.parametrize("name", ALL)
def test_changed_metadata_gives_a_tokenizer_or_one_sentence(name):
    pick = random.Random(name)
    values = [None, True, -1, 1 << 40, 0.5, "", "a\nb", [], ["a"], [1], {}, np.zeros(2)]
    for _ in range(1_000 if THOROUGH else 30):
        data = copy.deepcopy(ALL[name])
        key = pick.choice([*data])
        if isinstance(data[key], list) and pick.random() < 0.5:
            data[key][pick.randrange(len(data[key]))] = pick.choice(values)
        else:
            data[key] = pick.choice(values)
        try:
            ours = tokenizer_of_gguf(data)
            ours.decode(ours.encode("ab é 12", disallowed_special=()))
        except ValueError as error:
            assert "\n" not in str(error) and len(str(error)) < 600


def test_kinds_of_tokens_are_signed_numbers_which_llama_cpp_insists_on():
    facts = gguf_metadata(bpe.train([b"to be or not to be"], 260, special_tokens=["<|end|>"]))
    kinds = facts["tokenizer.ggml.token_type"]
    assert kinds.dtype == np.int32 and kinds.tolist() == [1] * (len(kinds) - 1) + [3]
