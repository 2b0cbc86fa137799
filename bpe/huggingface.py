"""Hugging Face's `tokenizer.json`, where it is byte-level BPE: the same ids, or a sentence.

Every part of such a file changes ids or text: what is not done here is refused, by its name. Two
things make no difference where every byte is a token: what to do with unknown ones, and how the
places of tokens are trimmed.
"""
import re

from bpe.files import check, list_in
from bpe.pretokenize import NAMED, PATTERNS, pattern_name, steps_of
from bpe.spelling import spelled, spelled_arguments, unspell, vocab_and_merges

_PARTS = {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
          "post_processor", "decoder", "model"}
_MODEL = {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
          "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"}
_NOTHING = {"type": "Sequence", "normalizers": []}
_TOKEN = {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"}


# ---- reading ----

def arguments_of(path, facts):
    """Read the arguments of `Tokenizer` from the JSON of `path`."""
    model = facts.get("model")
    check(path, "model", model, isinstance(model, dict), "an object")
    kind = model.get("type", "BPE")
    check(path, "model.type", kind, kind == "BPE", "'BPE'")
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        value = model.get(name)
        check(path, f"model.{name}", value, not value, "null")
    words = model.get("ignore_merges", False)
    check(path, "model.ignore_merges", words, type(words) is bool, "true or false")
    for name in ("normalizer", "truncation", "padding"):
        value = facts.get(name)
        check(path, name, value, value in (None, _NOTHING), "null")
    _check_known(path, "", facts, _PARTS)
    _check_known(path, "model.", model, _MODEL)
    _check_post_processor(path, facts.get("post_processor"))
    decoder = facts.get("decoder") or {"type": "ByteLevel"}
    check(path, "decoder", decoder, _type(decoder) == "ByteLevel", "ByteLevel or null")

    vocab = model.get("vocab")
    special, added = _texts(path, facts, vocab)
    texts = special | added
    where = lambda k: f"{path}: model.merges[{k}]"
    arguments, others = spelled_arguments(path, vocab, _merges(path, model), where, texts)
    for text in texts:
        right = not (words and text in vocab and _spells_another(text))
        check(path, "model.ignore_merges", words, right, f"false, since {text!r} is in the vocab")
    for text, i in others.items():
        right = spelled(text) or not words
        check(path, f"model.vocab[{text!r}]", i, right, "left out: it spells no bytes")
        arguments["more_tokens"][i] = unspell(text) if spelled(text) else text.encode()
    return arguments | dict(special_tokens=special, added_tokens=added, whole_words=words,
                            pattern=_pattern(path, facts.get("pre_tokenizer")))


def _type(part):
    return part.get("type") if isinstance(part, dict) else None


def _check_known(path, prefix, facts, names):
    for name in facts.keys() - names:
        raise ValueError(f"{path}: {prefix}{name} is not known here, and may change the ids: leave "
                         f"it out if you can")


def _check_post_processor(path, part):
    """Refuse what puts tokens around a text."""
    steps = [part]
    if _type(part) == "Sequence":
        steps = list_in(path, part, "processors")
    for step in steps:
        right = step is None or _type(step) == "ByteLevel"
        if _type(step) == "TemplateProcessing":
            template = list_in(path, step, "single")
            right = all(isinstance(piece, dict) and "Sequence" in piece for piece in template)
        check(path, "post_processor", step, right, "null: no tokens are put around a text here")


def _merges(path, model):
    """Yield the merges, each a sequence of tokens."""
    for k, pair in enumerate(list_in(path, model, "merges")):
        right = isinstance(pair, (str, list))
        check(path, f"model.merges[{k}]", pair, right, "a str or a list of two")
        yield pair.split(" ") if isinstance(pair, str) else pair


def _texts(path, facts, vocab):
    """Read the added tokens: special ones, others; text -> id."""
    tokens = facts.get("added_tokens") or []
    check(path, "added_tokens", tokens, isinstance(tokens, list), "a list")
    check(path, "model.vocab", vocab, isinstance(vocab, dict), "an object")
    for k, token in enumerate(tokens):
        right = isinstance(token, dict) and isinstance(token.get("content"), str)
        right = right and type(token.get("id")) is int
        check(path, f"added_tokens[{k}]", token, right, "an object with content and id")
        where = f"added_tokens[{k}] {token['content']!r}: "
        for name in ("single_word", "lstrip", "rstrip", "normalized", "special"):
            check(path, where + name, token.get(name), type(token.get(name)) is bool,
                  "true or false")
        for name in ("single_word", "lstrip", "rstrip"):
            check(path, where + name, True, not token[name], "false: a token is its text here")
        _check_known(path, where, token, _TOKEN)
    ids = numbered([token["content"] for token in tokens], vocab)
    for token, i in zip(tokens, ids):
        if token["id"] != i:
            raise ValueError(f"{path}: the added token {token['content']!r} has the id "
                             f"{token['id']}, but Hugging Face would number it {i}")
    _check_normalized(path, tokens)
    special, added = ({token["content"]: token["id"] for token in tokens
                       if token["special"] == kind} for kind in (True, False))
    return special, added


def numbered(texts, vocab):
    """Number added tokens as Hugging Face does: as in the vocabulary, else behind all the others.

    The ids that a file states for them are not asked for there.
    """
    ids, behind = {}, len(vocab)
    for text in texts:
        ids.setdefault(text, vocab.get(text, behind))
        behind = max(behind, 1 + ids[text])
    return [ids[text] for text in texts]


def _check_normalized(path, tokens):
    """Refuse `normalized` where it makes a difference without a normalizer.

    Such tokens are looked for in what the others have left. That is the same as to look for all
    at once, unless one of the others can begin inside of such a token.
    """
    late, early = ([token["content"] for token in tokens if token["normalized"] == late]
                   for late in (True, False))
    for text in late:
        ends = {text[i:] for i in range(1, len(text))}
        for other in early:
            if other in text or any(map(other.startswith, ends)):
                raise ValueError(f"{path}: the added token {text!r} has the option normalized, and "
                                 f"{other!r}, which may overlap it, has not: set it to false if "
                                 f"you can")


def _pattern(path, pre_tokenizer):
    """Find the pattern: the isolating steps, of which the last is ByteLevel."""
    steps = [pre_tokenizer]
    if _type(pre_tokenizer) == "Sequence":
        steps = pre_tokenizer.get("pretokenizers")
    steps = steps if isinstance(steps, list) and steps else [None]
    patterns = [_step(step) for step in steps]
    kinds = [_type(step) for step in steps]
    is_last = kinds.count("ByteLevel") == 1 and kinds[-1] == "ByteLevel"
    if None in patterns or not is_last:
        raise ValueError(f"{path}: pre_tokenizer must be ByteLevel without a prefix space, or "
                         f"isolating Splits or Digits and then ByteLevel")
    found = [pattern_name(pattern) or pattern for pattern in patterns if pattern] or ["(?s).+"]
    return found[0] if len(found) == 1 else tuple(found)


def _step(step):
    """The pattern of one pre-tokenizer: "" if it does not cut, None if it is not done here."""
    kind = _type(step)
    if kind == "ByteLevel" and step.get("add_prefix_space") is False:
        return PATTERNS["gpt2"] if step.get("use_regex", True) else ""
    if kind == "Digits":
        return "digits" if step.get("individual_digits") is True else "numbers"
    given = step.get("pattern") if kind == "Split" else None
    if not isinstance(given, dict):
        return None
    pattern, text = given.get("Regex"), given.get("String")
    if isinstance(text, str) and text:
        pattern = re.escape(text)
    keeps = step.get("behavior") == "Isolated"  # `invert` changes nothing: all parts are kept
    if step.get("behavior") == "Removed" and step.get("invert") is True:
        keeps = pattern_name(pattern) in PATTERNS  # such a pattern leaves nothing that is dropped
    return pattern if keeps and isinstance(pattern, str) and pattern else None


def _spells_another(text):
    """Whether a text, taken for a spelling, is that of other text: "Ġa" is that of " a"."""
    return spelled(text) and unspell(text) != text.encode()


# ---- writing ----

def facts_of(tokenizer):
    """Say everything about a tokenizer as Hugging Face does, in JSON's types."""
    vocab, merges = vocab_and_merges(tokenizer)
    special = tokenizer.special_tokens
    texts = special | tokenizer.added_tokens
    texts = {text: int(texts[text]) for text in sorted(texts, key=texts.get)}
    for text, i in texts.items():
        if vocab.get(text, i) != i:
            raise ValueError(f"{text!r} is both a text of its own and how Hugging Face spells "
                             f"{tokenizer.tokens[vocab[text]]!r}: use the format bpe")
    if numbered(texts, vocab) != [*texts.values()]:
        vocab |= texts  # else others would number them otherwise
        wrong = [text for text in texts if _spells_another(text)]
        if wrong and tokenizer.vocabulary.whole_words:
            raise ValueError(f"{wrong[0]!r} is both a text of its own and how Hugging Face spells "
                             f"{unspell(wrong[0])!r}: use the format bpe")
    plain = dict(single_word=False, lstrip=False, rstrip=False, normalized=False)
    added = [dict(id=i, content=text, **plain, special=text in special)
             for text, i in texts.items()]
    byte_level = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=False, use_regex=False)
    patterns = [NAMED.get(step, step) for step in steps_of(tokenizer.pattern)]
    splits = [dict(type="Split", pattern={"Regex": pattern}, behavior="Isolated", invert=False)
              for pattern in patterns]
    model = dict(type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None,
                 end_of_word_suffix=None, fuse_unk=False, byte_fallback=False,
                 ignore_merges=tokenizer.vocabulary.whole_words, vocab=vocab, merges=merges)
    return dict(version="1.0", truncation=None, padding=None, added_tokens=added, normalizer=None,
                pre_tokenizer=dict(type="Sequence", pretokenizers=[*splits, byte_level]),
                post_processor=None, decoder=byte_level, model=model)
