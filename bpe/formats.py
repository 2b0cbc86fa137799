"""Read and write tokenizers. Nothing is ever downloaded.

`bpe`: one JSON file of this package, which holds everything:

    format, version    "bpe tokenizer", 1 (2 where there are added tokens)
    unicode            the version of the pinned classes of code points
    pattern            a key of `bpe.PATTERNS` or a regular expression, or a list of these
    special_tokens     text -> id
    added_tokens       text -> id, if there are any
    whole_words        see `Tokenizer`
    byte_ids           the id of each byte, or null for the byte itself
    merge_ids          the id of what each merge makes, or null for 256, 257, ...
    more_tokens        id -> base64 of a token that no merge makes
    merges             pairs of ids, in the order of ranks

`tiktoken`: lines of `base64 rank`. It has neither pattern nor special tokens: those follow from the
name of a published file, or are given. `gpt2`: `vocab.json` and `merges.txt`, and beside them
`added_tokens.json` (text -> id) and `special_tokens_map.json`, which names those of them that are
special. `hf`: Hugging Face's `tokenizer.json` (`bpe.huggingface`). The last two write a byte as a
printable character, as GPT-2 does (`CHARACTERS`).

Whatever a file asks for is done, or refused in a sentence: what is written is read as the same
tokenizer.
"""
import base64
import binascii
import json
import re
from pathlib import Path

from bpe import huggingface
from bpe.files import check, list_in, read_json, read_text, write_text
from bpe.pretokenize import PATTERNS
from bpe.spelling import spelled, spelled_arguments, unspell, vocab_and_merges
from bpe.unicode_ranges import UNICODE_VERSION

_END = "<|endoftext|>"
_FILL = {f"<|fim_{name}|>": 100258 + k for k, name in enumerate(["prefix", "middle", "suffix"])}
_FIRST = ["begin_of_text", "end_of_text", *(f"reserved_special_token_{k}" for k in range(4)),
          "start_header_id", "end_header_id", "reserved_special_token_4", "eot_id"]
_LLAMA3 = [*_FIRST, *(f"reserved_special_token_{k}" for k in range(5, 251))]  # 256 of them
PUBLISHED = {  # name of a .tiktoken file -> pattern, special tokens
    "gpt2": ("gpt2", {_END: 50256}),
    "r50k_base": ("gpt2", {_END: 50256}),
    "p50k_base": ("gpt2", {_END: 50256}),
    "cl100k_base": ("cl100k", {_END: 100257, **_FILL, "<|endofprompt|>": 100276}),
    "o200k_base": ("o200k", {_END: 199999, "<|endofprompt|>": 200018}),
    "llama3": ("llama3", {f"<|{name}|>": 128000 + k for k, name in enumerate(_LLAMA3)}),
}
_RANK_LINE = re.compile(r"([A-Za-z0-9+/]+={0,2})\s+([0-9]{1,9})\s*", re.ASCII)
_MARK = re.compile(r"<.+>|\[\w+\]", re.DOTALL)  # what looks like a special token
FORMATS = ("bpe", "tiktoken", "gpt2", "hf")


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
    if path.is_dir() and ((path / "tokenizer.json").exists() or not (path / "vocab.json").exists()):
        path = path / "tokenizer.json"  # it says the pattern, too
    if path.is_dir() or path.name in ("vocab.json", "merges.txt"):
        folder = path if path.is_dir() else path.parent
        return _read_gpt2(folder) | given
    if path.suffix == ".tiktoken":
        return _read_tiktoken(path, given)
    facts = read_json(path)
    if isinstance(facts, dict) and facts.get("format") == "bpe tokenizer":
        return _from_json(path, facts) | given
    if isinstance(facts, dict) and "model" in facts:
        return huggingface.arguments_of(path, facts) | given
    raise ValueError(f"{path} is no tokenizer: neither this package's JSON nor Hugging Face's")


def _from_json(path, facts):
    """Read this package's own format."""
    if facts.get("version") not in (1, 2):
        raise ValueError(f"{path} has version {facts.get('version')!r}, but only 1 and 2 are known "
                         f"here")
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
    for k, pair in enumerate(list_in(path, facts, "merges")):
        if not (type(pair) is list and len(pair) == 2 and type(pair[0]) is type(pair[1]) is int):
            check(path, f"merges[{k}]", pair, False, "a pair of ids")
    for name in ("byte_ids", "merge_ids"):
        for k, i in enumerate([] if facts[name] is None else list_in(path, facts, name)):
            if type(i) is not int:
                check(path, f"{name}[{k}]", i, False, "an id")
    facts = {"added_tokens": {}} | facts
    steps = facts["pattern"] if type(facts["pattern"]) is list else [facts["pattern"]]
    right = steps and {str}.issuperset(map(type, steps))
    check(path, "pattern", facts["pattern"], right, "a str or a list of them")
    kinds = dict(special_tokens=dict, added_tokens=dict, whole_words=bool)
    for name, kind in kinds.items():
        check(path, name, facts[name], type(facts[name]) is kind, f"a {kind.__name__}")
    return {name: facts[name] for name in (*names, "added_tokens")} | {"more_tokens": more}


def _read_tiktoken(path, given):
    """Read lines of `base64 rank`."""
    ranks = {}  # bytes -> int
    for number, line in enumerate(read_text(path).splitlines(), 1):
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


def _read_gpt2(folder):
    """Read `vocab.json` and `merges.txt`, and what stands beside them.

    Without `special_tokens_map.json`, what looks like a special token is one.
    """
    vocab = read_json(folder / "vocab.json")
    lines = read_text(folder / "merges.txt").splitlines()
    start = 1 if lines and lines[0].startswith("#version") else 0
    merges = [tuple(line.split(" ")) for line in lines[start:] if line]
    where = lambda k: f"{folder / 'merges.txt'}: merge {k + 1}"
    texts = _added_texts(folder / "added_tokens.json")
    arguments, others = spelled_arguments(folder / "vocab.json", vocab, merges, where, texts)
    names = _special_names(folder / "special_tokens_map.json", others | texts)
    special = {text: i for text, i in (others | texts).items()
               if (_MARK.fullmatch(text) if names is None else text in names)
               or text not in texts and not spelled(text)}
    added = {text: i for text, i in texts.items() if text not in special}
    for text, i in others.items():
        if special.get(text) != i:
            check(folder / "vocab.json", text, i, spelled(text), "as in added_tokens.json")
            arguments["more_tokens"][i] = unspell(text)
    return arguments | dict(pattern="gpt2", special_tokens=special, added_tokens=added)


def _added_texts(path):
    """Read `added_tokens.json`, if it is there: text -> id."""
    texts = read_json(path) if path.exists() else {}
    right = isinstance(texts, dict) and all(type(i) is int for i in texts.values())
    check(path, "the JSON", texts, right, "an object of texts and ids")
    return texts


def _special_names(path, texts):
    """Read `special_tokens_map.json`: the set of special tokens, or None without the file."""
    if not path.exists():
        return None
    roles, names = read_json(path), set()
    check(path, "the JSON", roles, isinstance(roles, dict), "an object")
    for role, tokens in roles.items():  # a token, an object with its content, or a list of these
        for token in tokens if isinstance(tokens, list) else [tokens]:
            name = token.get("content") if isinstance(token, dict) else token
            check(path, role, token, isinstance(name, str), "a str or an object with content")
            check(path, role, name, name in texts, "in vocab.json, and not made by a merge, or in "
                                                   "added_tokens.json")
            if isinstance(token, dict):
                for option in ("single_word", "lstrip", "rstrip"):
                    check(path, f"{role} {name!r}: {option}", token.get(option),
                          not token.get(option), "false: a token is its text here")
            names.add(name)
    return names


# ---- writing ----

def write(tokenizer, path, format=None):
    """Write a tokenizer to a file, or for "gpt2" to a folder."""
    path = Path(path)
    format = format or ("tiktoken" if path.suffix == ".tiktoken" else "bpe")
    if format not in FORMATS:
        raise ValueError(f"format is {format!r}, but must be one of {', '.join(FORMATS)}")
    if format == "bpe":
        write_text(path, _dumps(as_json(tokenizer)))
    elif format == "tiktoken":
        write_text(path, _tiktoken_lines(tokenizer, path))
    elif format == "hf":
        facts = huggingface.facts_of(tokenizer)
        write_text(path, json.dumps(facts, ensure_ascii=False, indent=1) + "\n")
    else:
        texts = _gpt2_texts(tokenizer)
        path.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_text(path / name, text + "\n")


def as_json(tokenizer):
    """Say everything about a tokenizer in JSON's types."""
    vocabulary = tokenizer.vocabulary
    n = len(vocabulary.merges)
    plain_bytes = vocabulary.byte_ids == list(range(256))
    plain_merges = vocabulary.merge_ids == list(range(256, 256 + n))
    more = {str(i): base64.b64encode(token).decode() for i, token in vocabulary.more_tokens.items()}
    facts = dict(format="bpe tokenizer", version=1, unicode=UNICODE_VERSION,
                 pattern=tokenizer.pattern, special_tokens=of_python(tokenizer.special_tokens))
    if tokenizer.added_tokens:  # which programs of version 1 would not look for
        facts |= dict(version=2, added_tokens=of_python(tokenizer.added_tokens))
    return facts | dict(whole_words=vocabulary.whole_words,
                        byte_ids=None if plain_bytes else vocabulary.byte_ids,
                        merge_ids=None if plain_merges else vocabulary.merge_ids, more_tokens=more,
                        merges=vocabulary.merges.tolist())


def of_python(texts):
    """Make NumPy's ids Python's: text -> int."""
    return {text: int(i) for text, i in texts.items()}


def _dumps(facts):
    """Write JSON with one line for each key and each merge."""
    merges = ",\n".join(f"  {json.dumps(pair)}" for pair in facts["merges"])
    lines = [f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}"
             for key, value in facts.items() if key != "merges"]
    return "{\n" + ",\n".join(lines) + ',\n  "merges": [\n' + merges + "\n  ]\n}\n"


def _tiktoken_lines(tokenizer, path):
    """Write ranks, if they say all."""
    tokens = tokenizer.vocabulary.tokens
    if tokenizer.added_tokens:
        raise ValueError("a .tiktoken file has no added tokens, and this tokenizer has "
                         f"{next(iter(tokenizer.added_tokens))!r}: use the format bpe or hf")
    implied = PUBLISHED.get(path.stem)
    if implied not in (None, (tokenizer.pattern, tokenizer.special_tokens)):
        raise ValueError(f"{path} has the name of a published file, which stands for another "
                         f"pattern or other special tokens: use another name")
    if not tokenizer.vocabulary.is_ranks:
        raise ValueError("this tokenizer has two ids for one token, or ids in another order than "
                         "its merges, or merges that its tokens do not imply, which .tiktoken "
                         "files cannot say: use the format bpe")
    lines = [f"{base64.b64encode(token).decode()} {i}" for i, token in sorted(tokens.items())]
    return "\n".join(lines) + "\n"


def _gpt2_texts(tokenizer):
    """Write each file of the folder: name -> text."""
    vocab, merges = vocab_and_merges(tokenizer)
    if tokenizer.pattern != "gpt2":
        raise ValueError(f"vocab.json and merges.txt imply the pattern gpt2, but this one has "
                         f"{tokenizer.pattern!r}: use the format bpe or hf")
    if tokenizer.vocabulary.words_count:
        raise ValueError("vocab.json and merges.txt cannot say that a word which is a token is "
                         "that token (whole_words): use the format bpe or hf")
    special, added = of_python(tokenizer.special_tokens), of_python(tokenizer.added_tokens)
    texts = special | added
    beside = {"added_tokens.json": texts,
              "special_tokens_map.json": {"additional_special_tokens": list(special)}}
    behind = {text: i for text, i in texts.items() if text not in vocab}  # else it spells a token
    files = {"vocab.json": vocab | behind} | beside
    dumped = {name: json.dumps(facts, ensure_ascii=False) for name, facts in files.items()}
    return dumped | {"merges.txt": "\n".join(["#version: 0.2", *merges])}
