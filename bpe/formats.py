"""Read and write tokenizers. Nothing is ever downloaded.

`bpe`: one JSON file of this package, which holds everything:

    format, version    "bpe tokenizer", 1
    unicode            the version of the pinned classes of code points
    pattern            "gpt2", "cl100k", "o200k" or a regular expression
    special_tokens     text -> id
    whole_words        see `Tokenizer`
    byte_ids           the id of each byte, or null for the byte itself
    merge_ids          the id of what each merge makes, or null for 256, 257, ...
    more_tokens        id -> base64 of a token that no merge makes
    merges             pairs of ids, in the order of ranks

`tiktoken`: lines of `base64 rank`. It has neither pattern nor special tokens: those follow from the
name of a published file, or are given. `gpt2`: `vocab.json` and `merges.txt`. `hf`: Hugging Face's
`tokenizer.json`. The last two write a byte as a printable character, as GPT-2 does (`CHARACTERS`).
"""

import base64
import binascii
import json
import os
import re
from pathlib import Path

from bpe.pretokenize import PATTERNS, pattern_name
from bpe.unicode_ranges import UNICODE_VERSION

_END = "<|endoftext|>"
_FILL = {f"<|fim_{name}|>": 100258 + k for k, name in enumerate(["prefix", "middle", "suffix"])}
PUBLISHED = {  # name of a .tiktoken file -> pattern, special tokens
    "gpt2": ("gpt2", {_END: 50256}),
    "r50k_base": ("gpt2", {_END: 50256}),
    "p50k_base": ("gpt2", {_END: 50256}),
    "cl100k_base": ("cl100k", {_END: 100257, **_FILL, "<|endofprompt|>": 100276}),
    "o200k_base": ("o200k", {_END: 199999, "<|endofprompt|>": 200018}),
}
_RANK_LINE = re.compile(r"([A-Za-z0-9+/]+={0,2})\s+([0-9]{1,9})\s*", re.ASCII)
FORMATS = ("bpe", "tiktoken", "gpt2", "hf")


def _characters():
    """GPT-2's character for each byte: itself if it is printable, else the next from U+0100."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


CHARACTERS = _characters()
_BYTES = {character: byte for byte, character in enumerate(CHARACTERS)}


def spell(token):
    """Write bytes as GPT-2's characters."""
    return "".join(CHARACTERS[byte] for byte in token)


def unspell(text):
    """Read bytes written as GPT-2's characters."""
    return bytes(_BYTES[character] for character in text)


# ---- reading ----


def read(path, pattern=None, special_tokens=None):
    """Read the arguments of `Tokenizer` from a file or folder of any of the formats.

    Raises
    ------
    ValueError
        In one sentence: which file, where in it, and what is wrong.
    """
    path = Path(path)
    given = {name: value for name, value in
             (("pattern", pattern), ("special_tokens", special_tokens)) if value is not None}
    if path.is_dir() and not (path / "vocab.json").exists():
        path = path / "tokenizer.json"
    if path.is_dir() or path.name in ("vocab.json", "merges.txt"):
        folder = path if path.is_dir() else path.parent
        return _read_gpt2(folder / "vocab.json", folder / "merges.txt") | given
    if path.suffix == ".tiktoken":
        return _read_tiktoken(path, given)
    facts = _read_json(path)
    if isinstance(facts, dict) and facts.get("format") == "bpe tokenizer":
        return _from_json(path, facts) | given
    if isinstance(facts, dict) and "model" in facts:
        return _read_hf(path, facts) | given
    raise ValueError(f"{path} is no tokenizer: neither this package's JSON nor Hugging Face's")


def _read_text(path):
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: byte {error.start} is not UTF-8") from None


def _read_json(path):
    try:
        return json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from None
    except RecursionError:
        raise ValueError(f"{path}: the JSON is nested too deeply") from None


def _from_json(path, facts):
    """Read this package's own format."""
    if facts.get("version") != 1:
        raise ValueError(f"{path} has version {facts.get('version')!r}, but only 1 is known here")
    if facts.get("unicode") != UNICODE_VERSION:
        raise ValueError(f"{path} was made for Unicode {facts.get('unicode')}, but text is split "
                         f"by Unicode {UNICODE_VERSION} here")
    names = ("merges", "pattern", "special_tokens", "byte_ids", "merge_ids", "whole_words")
    missing = [name for name in (*names, "more_tokens") if name not in facts]
    if missing:
        raise ValueError(f"{path} has no {missing[0]!r}")
    try:
        more = {int(i): base64.b64decode(token, validate=True)
                for i, token in facts["more_tokens"].items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{path}: more_tokens: {error}") from None
    for k, pair in enumerate(_list(path, facts, "merges")):
        if not (type(pair) is list and len(pair) == 2 and type(pair[0]) is type(pair[1]) is int):
            _check(path, f"merges[{k}]", pair, False, "a pair of ids")
    for name in ("byte_ids", "merge_ids"):
        for k, i in enumerate([] if facts[name] is None else _list(path, facts, name)):
            if type(i) is not int:
                _check(path, f"{name}[{k}]", i, False, "an id")
    for name, kind in (("pattern", str), ("special_tokens", dict), ("whole_words", bool)):
        _check(path, name, facts[name], type(facts[name]) is kind, f"a {kind.__name__}")
    return {name: facts[name] for name in names} | {"more_tokens": more}


def _list(path, facts, name):
    _check(path, name, facts.get(name), isinstance(facts.get(name), list), "a list")
    return facts[name]


def _check(path, where, value, right, wanted):
    if not right:
        raise ValueError(f"{path}: {where} is {value!r:.60}, but must be {wanted}")


def _read_tiktoken(path, given):
    """Read lines of `base64 rank`."""
    ranks = {}  # bytes -> int
    for number, line in enumerate(_read_text(path).splitlines(), 1):
        match = _RANK_LINE.fullmatch(line)
        try:
            token = binascii.a2b_base64(match[1]) if match else None
        except ValueError:
            token = None  # the padding is wrong
        if token is None and line.strip():
            raise ValueError(f"{path}:{number}: {line!r:.60} is not `base64 rank`")
        if token in ranks:
            raise ValueError(f"{path}:{number}: the token {token!r} comes a second time")
        if token is not None:
            ranks[token] = int(match[2])
    pattern, special_tokens = PUBLISHED.get(path.stem, (None, None))
    if "pattern" not in given and pattern is None:
        raise ValueError(f"{path} does not say how its tokenizer splits text, and its name is none "
                         f"of {', '.join(PUBLISHED)}: give the pattern, one of "
                         f"{', '.join(PATTERNS)} or a regular expression")
    known = {} if "pattern" in given else {"special_tokens": special_tokens}
    return dict(merges=None, ranks=ranks, pattern=pattern) | known | given


def _read_gpt2(vocab_path, merges_path):
    """Read `vocab.json` and `merges.txt`."""
    vocab = _read_json(vocab_path)
    lines = _read_text(merges_path).splitlines()
    start = 1 if lines and lines[0].startswith("#version") else 0
    merges = [tuple(line.split(" ")) for line in lines[start:] if line]
    where = lambda k: f"{merges_path}: merge {k + 1}"
    return _from_spelled(vocab_path, vocab, merges, where, {}) | {"pattern": "gpt2"}


def _from_spelled(path, vocab, merges, where, special_tokens):
    """Turn tokens written in GPT-2's characters into ids and bytes; `where(k)` is merge k's place.

    Of what no merge makes, that in angle brackets is taken for a special token.
    """
    if not isinstance(vocab, dict) or not all(type(i) is int for i in vocab.values()):
        raise ValueError(f"{path}: the vocabulary must map tokens to ids")
    byte_ids = []
    for character in CHARACTERS:
        if character not in vocab:
            raise ValueError(f"{path}: there is no token {character!r} for the byte "
                             f"{_BYTES[character]}; only byte-level vocabularies can be read")
        byte_ids.append(vocab[character])
    pairs, merge_ids = [], []
    for k, pair in enumerate(merges):
        try:
            left, right = pair
            pairs.append((vocab[left], vocab[right]))
            merge_ids.append(vocab[left + right])
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{where(k)}: {' '.join(map(str, pair))!r:.60} is not two tokens that "
                             f"make a third of the vocabulary") from None
    made = {*byte_ids, *merge_ids, *special_tokens.values()}
    more_tokens = {}
    special_tokens = dict(special_tokens)
    for text, i in vocab.items():
        if i in made:
            continue
        if text.startswith("<") and text.endswith(">") or not set(text) <= _BYTES.keys():
            special_tokens[text] = i
        else:
            more_tokens[i] = unspell(text)
    return dict(merges=pairs, merge_ids=merge_ids, byte_ids=byte_ids, more_tokens=more_tokens,
                special_tokens=special_tokens)


def _read_hf(path, facts):
    """Read Hugging Face's `tokenizer.json`, if it is byte-level BPE."""
    model = facts["model"]
    _check(path, "model", model, isinstance(model, dict), "an object")
    _check(path, "model.type", model.get("type", "BPE"), model.get("type", "BPE") == "BPE", "'BPE'")
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        _check(path, f"model.{name}", model.get(name), not model.get(name), "absent")
    _check(path, "normalizer", facts.get("normalizer"), facts.get("normalizer") is None, "null")
    merges = _list(path, model, "merges")
    for k, pair in enumerate(merges):
        if not isinstance(pair, (str, list)):
            _check(path, f"model.merges[{k}]", pair, False, "a str or a list of two")
    merges = [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in merges]
    special_tokens = {}
    for k, token in enumerate(facts.get("added_tokens") or []):
        right = isinstance(token, dict) and isinstance(token.get("content"), str)
        _check(path, f"added_tokens[{k}]", token, right and type(token.get("id")) is int,
               "an object with content and id")
        special_tokens[token["content"]] = token["id"]
    where = lambda k: f"{path}: model.merges[{k}]"
    arguments = _from_spelled(path, model.get("vocab"), merges, where, special_tokens)
    return arguments | {"pattern": _hf_pattern(path, facts.get("pre_tokenizer")),
                        "whole_words": bool(model.get("ignore_merges"))}


def _hf_pattern(path, pre_tokenizer):
    """Find the pattern: of ByteLevel, or of a Split by regular expression before it."""
    steps = [pre_tokenizer or {}]
    if steps[0].get("type") == "Sequence":
        steps = steps[0].get("pretokenizers") or [{}]
    patterns = []
    for step in steps:
        if step.get("type") == "ByteLevel" and not step.get("add_prefix_space"):
            patterns += [PATTERNS["gpt2"]] if step.get("use_regex", True) else []
        elif step.get("type") == "Split" and step.get("behavior") == "Isolated":
            patterns.append((step.get("pattern") or {}).get("Regex"))
        else:
            patterns.append(None)
    if len(patterns) != 1 or not isinstance(patterns[0], str) or steps[-1]["type"] != "ByteLevel":
        raise ValueError(f"{path}: pre_tokenizer must be ByteLevel without a prefix space, or one "
                         f"isolating Split by a regular expression and then ByteLevel")
    return pattern_name(patterns[0]) or patterns[0]


# ---- writing ----


def write(tokenizer, path, format=None):
    """Write a tokenizer to a file, or for "gpt2" to a folder."""
    path = Path(path)
    format = format or ("tiktoken" if path.suffix == ".tiktoken" else "bpe")
    if format not in FORMATS:
        raise ValueError(f"format is {format!r}, but must be one of {', '.join(FORMATS)}")
    if format == "bpe":
        _write_text(path, _dumps(as_json(tokenizer)))
    elif format == "tiktoken":
        _write_text(path, _tiktoken_lines(tokenizer))
    elif format == "hf":
        _write_text(path, json.dumps(_as_hf(tokenizer), ensure_ascii=False, indent=1) + "\n")
    else:
        vocab, merges = _spelled(tokenizer)
        if tokenizer.pattern != "gpt2":
            raise ValueError(f"vocab.json and merges.txt imply the pattern gpt2, but this one has "
                             f"{tokenizer.pattern!r}: use the format bpe or hf")
        path.mkdir(parents=True, exist_ok=True)
        _write_text(path / "vocab.json", json.dumps(vocab | tokenizer.special_tokens,
                                                    ensure_ascii=False) + "\n")
        _write_text(path / "merges.txt", "\n".join(["#version: 0.2", *merges]) + "\n")


def as_json(tokenizer):
    """Say everything about a tokenizer in JSON's types."""
    vocabulary = tokenizer.vocabulary
    n = len(vocabulary.merges)
    plain_bytes = vocabulary.byte_ids == list(range(256))
    plain_merges = vocabulary.merge_ids == list(range(256, 256 + n))
    more = {str(i): base64.b64encode(token).decode() for i, token in vocabulary.more_tokens.items()}
    return dict(format="bpe tokenizer", version=1, unicode=UNICODE_VERSION,
                pattern=tokenizer.pattern, special_tokens=tokenizer.special_tokens,
                whole_words=vocabulary.whole_words,
                byte_ids=None if plain_bytes else vocabulary.byte_ids,
                merge_ids=None if plain_merges else vocabulary.merge_ids, more_tokens=more,
                merges=vocabulary.merges.tolist())


def _dumps(facts):
    """Write JSON with one line for each key and each merge."""
    merges = ",\n".join(f"  {json.dumps(pair)}" for pair in facts["merges"])
    lines = [f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}"
             for key, value in facts.items() if key != "merges"]
    return "{\n" + ",\n".join(lines) + ',\n  "merges": [\n' + merges + "\n  ]\n}\n"


def _tiktoken_lines(tokenizer):
    """Write ranks, if they say all: each merge makes a token of a higher id than those before."""
    vocabulary = tokenizer.vocabulary
    made = vocabulary.merge_ids
    if len(set(vocabulary.tokens.values())) < len(vocabulary.tokens) or made != sorted(set(made)):
        raise ValueError("this tokenizer has two ids for one token, or ids in another order than "
                         "its merges, which .tiktoken files cannot say: use the format bpe")
    lines = [f"{base64.b64encode(token).decode()} {i}" for i, token in sorted(
        vocabulary.tokens.items())]
    return "\n".join(lines) + "\n"


def _spelled(tokenizer):
    """Write the tokens and merges in GPT-2's characters: text -> id; lines."""
    vocabulary = tokenizer.vocabulary
    vocab = {spell(token): i for i, token in sorted(vocabulary.tokens.items())}
    if len(vocab) < len(vocabulary.tokens):
        raise ValueError("this tokenizer has two ids for one token, which only the format bpe "
                         "can say")
    tokens = vocabulary.tokens
    return vocab, [f"{spell(tokens[left])} {spell(tokens[right])}"
                   for left, right in vocabulary.merges.tolist()]


def _as_hf(tokenizer):
    vocab, merges = _spelled(tokenizer)
    byte_level = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=False)
    pattern = PATTERNS.get(tokenizer.pattern, tokenizer.pattern)
    split = dict(type="Split", pattern={"Regex": pattern}, behavior="Isolated", invert=False)
    steps = [split, byte_level | {"use_regex": False}]
    added = [dict(id=i, content=text, single_word=False, lstrip=False, rstrip=False,
                  normalized=False, special=True) for text, i in tokenizer.special_tokens.items()]
    model = dict(type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None,
                 end_of_word_suffix=None, fuse_unk=False, byte_fallback=False,
                 ignore_merges=tokenizer.vocabulary.whole_words, vocab=vocab, merges=merges)
    return dict(version="1.0", truncation=None, padding=None, added_tokens=added, normalizer=None,
                pre_tokenizer=dict(type="Sequence", pretokenizers=steps), post_processor=None,
                decoder=byte_level | {"use_regex": False}, model=model)


def _write_text(path, text):
    """Write a file under a temporary name, then rename it."""
    temporary = path.with_name(path.name + ".partial")
    temporary.write_bytes(text.encode("utf-8", "surrogatepass"))
    os.replace(temporary, path)
