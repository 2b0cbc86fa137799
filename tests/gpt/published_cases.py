"""Small tokenizers of every kind, each the JSON of a tokenizer.json, and texts for them."""
import base64
import random

from bpe.spelling import CHARACTERS
from gpt.data.tokens.parts import step
from gpt.data.tokens.vocabularies import FALLBACK

SIGN = "▁"


def facts_of(model, **parts):
    empty = dict(version="1.0", truncation=None, padding=None, added_tokens=[], normalizer=None,
                 pre_tokenizer=None, post_processor=None, decoder=None)
    return empty | dict(model=model) | parts


def added(content, i, **options):
    """An added token, special unless told."""
    return dict(id=i, content=content, single_word=False, lstrip=False, rstrip=False,
                normalized=False, special=True) | options


def numbered(texts):
    return {text: i for i, text in enumerate(texts)}


def sequence(key, *steps):
    return step("Sequence", **{key: [*steps]})


def template(before=(), after=(), **ids):
    special = {name: dict(id=name, ids=[i], tokens=[name]) for name, i in ids.items()}
    piece = lambda name: {"SpecialToken": dict(id=name, type_id=0)}
    single = [*map(piece, before), {"Sequence": dict(id="A", type_id=0)}, *map(piece, after)]
    return step("TemplateProcessing", single=single, pair=[], special_tokens=special)


# ---- BERT's ----

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##want", "##ed", "##e", "hello", ",",
         "wanted", "the", ".", "中", "a", "##b", "##c", "'", "s"]
BERT_NORMALIZER = step("BertNormalizer", clean_text=True, handle_chinese_chars=True,
                       strip_accents=None, lowercase=True)
BERT = facts_of(
    step("WordPiece", unk_token="[UNK]", continuing_subword_prefix="##",
         max_input_chars_per_word=10, vocab=numbered(WORDS)),
    added_tokens=[added(text, i) for i, text in enumerate(WORDS[:5])],
    normalizer=BERT_NORMALIZER, pre_tokenizer=step("BertPreTokenizer"),
    post_processor=template(["[CLS]"], ["[SEP]"], **{"[CLS]": 2, "[SEP]": 3}),
    decoder=step("WordPiece", prefix="##", cleanup=True))

# ---- T5's and XLM's ----

PIECES = [["<unk>", 0.0], ["</s>", 0.0], [SIGN, -2.0], [SIGN + "a", -3.0], ["a", -3.5], ["b", -3.0],
          ["ab", -4.0], [SIGN + "ab", -5.5], ["bc", -5.0], ["c", -2.5], ["aa", -6.875], ["é", -7.0]]
METASPACE = step("Metaspace", replacement=SIGN, prepend_scheme="always", split=True)
UNIGRAM = facts_of(
    step("Unigram", unk_id=0, vocab=PIECES, byte_fallback=False),
    added_tokens=[added("<unk>", 0), added("</s>", 1), added("<extra>", 12, lstrip=True)],
    normalizer=sequence("normalizers", step("NFKC"), step("Strip", strip_left=False,
                                                          strip_right=True),
                        step("Replace", pattern={"Regex": " {2,}"}, content=SIGN)),
    pre_tokenizer=METASPACE, decoder=METASPACE,
    post_processor=template((), ["</s>"], **{"</s>": 1}))
UNIGRAM_BYTES = facts_of(
    step("Unigram", unk_id=0, byte_fallback=True,
         vocab=PIECES[:10] + [[name, -9.0] for name in FALLBACK]),
    pre_tokenizer=sequence("pretokenizers", step("WhitespaceSplit"), METASPACE))

# ---- Llama's and Gemma's ----

MERGED = ["<unk>", "<s>", "</s>", *FALLBACK, SIGN, "a", "b", "c", "é", "ab", "bc", "abc",
          SIGN + "a", SIGN + "ab", SIGN * 2]
LLAMA = facts_of(
    step("BPE", dropout=None, unk_token="<unk>", continuing_subword_prefix=None,
         end_of_word_suffix=None, fuse_unk=True, byte_fallback=True, vocab=numbered(MERGED),
         merges=[f"{SIGN} {SIGN}", f"{SIGN} a", "b c", "a b", f"{SIGN}a b", "ab c", "a bc"]),
    added_tokens=[added(text, i) for i, text in enumerate(MERGED[:3])],
    normalizer=sequence("normalizers", step("Prepend", prepend=SIGN),
                        step("Replace", pattern={"String": " "}, content=SIGN)),
    post_processor=template(["<s>"], **{"<s>": 1}),
    decoder=sequence("decoders", step("Replace", pattern={"String": SIGN}, content=" "),
                     step("ByteFallback"), step("Fuse"),
                     step("Strip", content=" ", start=1, stop=0)))
NO_BYTES = LLAMA | dict(
    model=LLAMA["model"] | dict(byte_fallback=False, fuse_unk=False, vocab=numbered(MERGED)),
    pre_tokenizer=step("Split", pattern={"String": SIGN}, behavior="MergedWithNext", invert=False))
SUFFIXES = facts_of(
    step("BPE", dropout=None, unk_token="?", continuing_subword_prefix="", fuse_unk=True,
         end_of_word_suffix="</w>", byte_fallback=False,
         vocab=numbered(["?", "a", "b", "c", "a</w>", "b</w>", "c</w>", "ab", "abc</w>"]),
         merges=[["a", "b"], ["ab", "c</w>"]]),
    normalizer=step("Lowercase"), pre_tokenizer=step("Whitespace"))

# ---- GPT-2's, Qwen's and others of bytes ----

LETTERS = numbered(CHARACTERS) | {"ab": 256, "abc": 257, "Ġa": 258, "Ġab": 259, "11": 260}
ISOLATED = dict(behavior="Isolated", invert=False)


def byte_level(prefix=False, use_regex=True):
    return step("ByteLevel", add_prefix_space=prefix, trim_offsets=True, use_regex=use_regex)


def bytes_model(vocab=LETTERS, **options):
    usual = dict(dropout=None, unk_token=None, continuing_subword_prefix=None, fuse_unk=False,
                 end_of_word_suffix=None, byte_fallback=False, ignore_merges=False)
    merges = ["a b", "Ġ a", "ab c", "Ġa b", "1 1"]
    return step("BPE", **usual | options, vocab=vocab, merges=merges)


QWEN = facts_of(
    bytes_model(), normalizer=step("NFC"), decoder=byte_level(),
    added_tokens=[added("<|end|>", 261), added("  ", 262, special=False)],
    pre_tokenizer=sequence(
        "pretokenizers", step("Split", pattern={"Regex": r"\p{N}| ?\p{L}+|\s+|[^\s\p{L}\p{N}]+"},
                              **ISOLATED), byte_level(use_regex=False)))
ROBERTA = facts_of(
    bytes_model(), decoder=byte_level(), pre_tokenizer=byte_level(prefix=True),
    added_tokens=[added("<s>", 261), added("</s>", 262), added("<mask>", 263, lstrip=True)],
    post_processor=step("RobertaProcessing", cls=["<s>", 261], sep=["</s>", 262],
                        add_prefix_space=True, trim_offsets=True))
MISSING = facts_of(
    bytes_model({text: i for text, i in LETTERS.items() if text not in (CHARACTERS[4], "é")}),
    decoder=byte_level(), normalizer=step("Strip", strip_left=True, strip_right=False),
    pre_tokenizer=sequence("pretokenizers", step("Digits", individual_digits=True), byte_level()))
OPTIONS = facts_of(
    bytes_model(), decoder=byte_level(), normalizer=step("Lowercase"), pre_tokenizer=byte_level(),
    added_tokens=[added("<l>", 261, lstrip=True), added("<r>", 262, rstrip=True, special=False),
                  added("yes", 263, single_word=True, special=False),
                  added("NO", 264, normalized=True, special=False),
                  added("<b>", 265, lstrip=True, rstrip=True, normalized=True)])

BEHAVIOURS = ("Isolated", "Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext")


def split_case(behaviour, invert):
    """Cut at runs of a by one behaviour, then at single digits, then at punctuation."""
    return facts_of(bytes_model(), decoder=byte_level(), pre_tokenizer=sequence(
        "pretokenizers", step("Split", pattern={"Regex": "aa?"}, behavior=behaviour, invert=invert),
        step("Digits", individual_digits=False), step("Punctuation", behavior=behaviour),
        step("CharDelimiterSplit", delimiter="b"), step("FixedLength", length=3),
        byte_level(use_regex=False)))


CASES = {"BERT": BERT, "Unigram": UNIGRAM, "Unigram with bytes": UNIGRAM_BYTES, "Llama": LLAMA,
         "no bytes": NO_BYTES, "suffixes": SUFFIXES, "Qwen": QWEN, "RoBERTa": ROBERTA,
         "missing bytes": MISSING, "options": OPTIONS}
CASES |= {f"{behaviour} {invert}": split_case(behaviour, invert)
          for behaviour in BEHAVIOURS for invert in (True, False)}

ALPHABET = [*"aaabbbccc   ", *"éÉ中,.'1Σİ\n\t", "e\u0301", "ﬁ", "Ａ", SIGN, "\u3000", "\x04",
            "\u200d", "<0x0A>", "hello", "unwanted", "aaa", "aab", "yes", "no", "No", "11", "  "]


def fuzz(facts, n, seed=0):
    """Random texts that hold the added tokens."""
    pick = random.Random(seed)
    names = [token["content"] for token in facts["added_tokens"]]
    for _ in range(n):
        yield "".join(pick.choices(ALPHABET + 3 * names, k=pick.randint(0, 14)))


# ---- SentencePiece's table of characters ----

def charsmap_of(texts):
    """Write a table, str -> str, as the double array that `charsmap` reads; simple and loose.

    Each node's children get a block of 256 units of their own.
    """
    names, blob = {}, b"\0"
    for key, text in texts.items():
        names[key.encode()] = len(blob)
        blob += text.encode() + b"\0"
    begun = sorted({key[:n] for key in names for n in range(len(key) + 1)})
    block = {key: 256 * (k + 1) for k, key in enumerate(begun)}
    units = [0] * (256 * (len(begun) + 1))
    where = {b"": 0}
    for key in begun:
        at = where.setdefault(key, block.get(key[:-1], 0) ^ key[-1] if key else 0)
        units[at] = (at ^ block[key]) << 10 | (key[-1] if key else 0)
        if key in names:
            units[at] |= 1 << 8
            units[block[key]] = 1 << 31 | names[key]
    trie = b"".join(unit.to_bytes(4, "little") for unit in units)
    return base64.b64encode(len(trie).to_bytes(4, "little") + trie + blob).decode()


CHARACTERS_BECOME = {"ﬁ": "fi", "\t": " ", "\r": " ", "e\u0301": "é", "\x04": "", "Ａ": "A"}
CASES["charsmap"] = UNIGRAM | dict(normalizer=step(
    "Precompiled", precompiled_charsmap=charsmap_of(CHARACTERS_BECOME)))
