"""The tokenizer inside a GGUF, said as a `tokenizer.json`: from a dict of its metadata.

Keys begin with `tokenizer.ggml.`: `model` (gpt2, llama, bert, t5), `tokens`, `token_type`, `scores`
or `merges`, `pre` (how text is cut: `gguf_splits`), `bos_token_id` and others.
"""
import base64
from math import isfinite

from bpe.files import check
from gpt.data.tokens.gguf_splits import BEGIN, COMPOSED, SPLITS, WHOLE_WORDS, byte_level
from gpt.data.tokens.merges import SIGN
from gpt.data.tokens.parts import step
from gpt.data.tokens.vocabularies import FALLBACK, LONGEST_PIECE

KEY = "tokenizer.ggml."
USUAL, UNKNOWN, SPECIAL, ADDED = 1, 2, 3, 4    # of token_type; 5 is unused, 6 a byte
SPACE, SPACES = {"String": " "}, {"Regex": " {2,}"}


def facts_of_gguf(metadata, path="the GGUF"):
    """Say the tokenizer of a GGUF as the JSON of a `tokenizer.json`.

    Parameters
    ----------
    metadata : dict of str -> value
        The keys and values of the file; lists may be arrays.
    path : path
        What errors call it.

    Returns
    -------
    facts : dict

    Raises
    ------
    ValueError
        In one sentence: which key, what is wrong or not known here.
    """
    data = _Metadata(metadata, path)
    facts = {"version": "1.0", "truncation": None, "padding": None}
    facts |= data.entry("model", KINDS)(data)
    facts["added_tokens"] = [_added(i, text, kind) for i, text, kind in data.rows()
                             if kind in (UNKNOWN, SPECIAL, ADDED)]
    return facts


def _added(i, text, kind):
    return {
        "id": i,
        "content": text,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": kind != ADDED,
    }


class _Metadata:
    """The metadata, asked for by the ends of its keys."""

    def __init__(self, metadata, path):
        self.metadata, self.path = metadata, path
        self.tokens = self.values("tokens", str)
        n = len(self.tokens)
        n_twice = n - len(set(self.tokens))
        self.check("tokens", f"a list with {n_twice} texts twice", not n_twice, "all different")
        self.types = self.numbers("token_type", int, [USUAL] * n)

    def __call__(self, name, kind, *default):
        """Return an option of a type; without a default it must be there."""
        value = self.metadata.get(KEY + name, *default)
        right = default and value is default[0] or type(value) is kind
        self.check(name, value, right, f"a {kind.__name__}")
        return value

    def check(self, name, value, right, wanted):
        check(self.path, KEY + name, value, right, wanted)

    def entry(self, name, table, *default):
        """Return the entry of a table that an option names."""
        key = self(name, str, *default)
        self.check(name, key, key in table, f"one of {', '.join(table)}")
        return table[key]

    def values(self, name, kind, *default):
        """Return a list of one type, of an array or a list."""
        values = _listed(self.metadata.get(KEY + name, *default))
        right = isinstance(values, list) and {kind} >= set(map(type, values))
        self.check(name, values, right, f"a list of {kind.__name__}")
        return values

    def rows(self):
        """Return (id, text, type) of every token."""
        return zip(range(len(self.tokens)), self.tokens, self.types)

    def numbers(self, name, kind, *default):
        """Return one number for each token."""
        values = self.values(name, kind, *default)
        found, wanted = len(values), len(self.tokens)
        self.check(name, f"{found} numbers", found == wanted, f"one for each of {wanted} tokens")
        return values

    def token(self, name, *default):
        """Return the text of the token whose id is an option such as `bos_token_id`, or None."""
        i, n = self(name, int, *default), len(self.tokens)
        self.check(name, i, i is None or 0 <= i < n, f"below {n}")
        return None if i is None else self.tokens[i]

    def frame(self, bos, eos, names=("bos_token_id", "eos_token_id")):
        """Say the post-processor; `bos` and `eos` are what is put around a text unless told."""
        single, special = [{"Sequence": {"id": "A", "type_id": 0}}], {}
        wanted = self("add_bos_token", bool, bos), self("add_eos_token", bool, eos)
        for name, is_wanted, place in zip(names, wanted, (0, 2)):
            text = self.token(name, None) if is_wanted else None
            if text is not None:
                single.insert(place, {"SpecialToken": {"id": text, "type_id": 0}})
                ids = [self.tokens.index(text)]
                special[text] = {"id": text, "ids": ids, "tokens": [text]}
        return step("TemplateProcessing", single=single, pair=[], special_tokens=special)

    @property
    def vocab(self):
        return {text: i for i, text in enumerate(self.tokens)}


def _listed(values):
    return values.tolist() if hasattr(values, "tolist") else values


# ---- the kinds ----

def _gpt2(data):
    """Byte-level BPE."""
    pre = data("pre", str, "default")
    splits = data.entry("pre", SPLITS, "default")
    model = _bpe(data.vocab, data.values("merges", str))
    model["ignore_merges"] = pre in WHOLE_WORDS
    return {
        "normalizer": step("NFC") if pre in COMPOSED else None,
        "pre_tokenizer": step("Sequence", pretokenizers=splits),
        "post_processor": data.frame(bos=pre in BEGIN, eos=False),
        "decoder": byte_level(False),
        "model": model,
    }


def _bpe(vocab, merges):
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": vocab,
        "merges": merges,
    }


def _llama(data):
    """SentencePiece's BPE: the merges follow from the scores, spaces are written as a sign."""
    vocab = data.vocab
    model = _bpe(vocab, merges_of_scores(vocab, _scores(data)))
    model["unk_token"] = data.token("unknown_token_id", 0)
    model["fuse_unk"] = True
    model["byte_fallback"] = FALLBACK[0] in vocab
    steps = [step("Replace", pattern=SPACE, content=SIGN)]
    undone = [step("Replace", pattern={"String": SIGN}, content=" ")]
    undone += [step("ByteFallback"), step("Fuse")]
    if data("add_space_prefix", bool, True):    # one stands before each text
        steps.insert(0, step("Prepend", prepend=SIGN))
        first_space = step("Strip", content=" ", start=1, stop=0)
        undone.append(first_space)
    return {
        "normalizer": step("Sequence", normalizers=steps),
        "pre_tokenizer": None,
        "post_processor": data.frame(bos=True, eos=False),
        "decoder": step("Sequence", decoders=undone),
        "model": model,
    }


def merges_of_scores(vocab, scores):
    """List the pairs of tokens that make a token, those of the highest score first.

    Parameters
    ----------
    vocab : dict of str -> int
    scores : list of float
        By id.

    Returns
    -------
    merges : list of [str, str]
    """
    found = []
    for text, i in vocab.items():
        for n in range(1, len(text)):
            parts = [text[:n], text[n:]]
            ids = [vocab.get(part) for part in parts]
            if None not in ids:
                found.append((-scores[i], *ids, parts))
    return [parts for *_, parts in sorted(found)]


def _scores(data):
    longest = max(data.tokens, key=len, default="")
    short = len(longest) <= LONGEST_PIECE
    data.check("tokens", longest, short, f"of at most {LONGEST_PIECE} characters each")
    scores = data.numbers("scores", float)
    data.check("scores", scores, all(map(isfinite, scores)), "finite numbers")
    return scores


def _bert(data):
    """WordPiece: what begins a word has the sign here, and what goes on has ## there."""
    data.tokens = [_word_piece(text, kind) for _, text, kind in data.rows()]
    is_old = KEY + "cls_token_id" not in data.metadata
    around = ("bos_token_id" if is_old else "cls_token_id", "seperator_token_id")  # spelled so
    model = {
        "type": "WordPiece",
        "unk_token": data.token("unknown_token_id", 100),
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": data.vocab,
    }
    normalizer = {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": None,
        "lowercase": True,
    }
    return {
        "normalizer": normalizer,
        "pre_tokenizer": step("BertPreTokenizer"),
        "post_processor": data.frame(True, True, around),
        "decoder": step("WordPiece", prefix="##", cleanup=True),
        "model": model,
    }


def _word_piece(text, kind):
    is_name = text.startswith("[") and text.endswith("]")
    if is_name or kind in (UNKNOWN, SPECIAL, ADDED):
        return text
    return text.removeprefix(SIGN) if text.startswith(SIGN) else "##" + text


def _t5(data):
    """Unigram."""
    steps = []
    table = data.metadata.get(KEY + "precompiled_charsmap")
    if table is not None:
        steps.append(step("Precompiled", precompiled_charsmap=_base64(data, table)))
    if data("remove_extra_whitespaces", bool, False):
        steps.append(step("Strip", strip_left=True, strip_right=True))
        steps.append(step("Replace", pattern=SPACES, content=SIGN))
    scheme = "always" if data("add_space_prefix", bool, True) else "never"
    spaces = step("Metaspace", replacement=SIGN, prepend_scheme=scheme, split=True)
    pieces = zip(data.tokens, _scores(data))
    model = {
        "type": "Unigram",
        "unk_id": data("unknown_token_id", int, 2),
        "vocab": list(map(list, pieces)),
        "byte_fallback": FALLBACK[0] in data.tokens,
    }
    return {
        "normalizer": step("Sequence", normalizers=steps),
        "pre_tokenizer": spaces,
        "post_processor": data.frame(bos=False, eos=True),
        "decoder": spaces,
        "model": model,
    }


def _base64(data, table):
    values = _listed(table)
    try:
        return base64.b64encode(bytes(byte & 255 for byte in values)).decode()
    except TypeError:
        data.check("precompiled_charsmap", values, False, "a list of bytes")


KINDS = {"gpt2": _gpt2, "llama": _llama, "bert": _bert, "t5": _t5}
