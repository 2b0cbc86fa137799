"""Tokenizers, strategies and peers that several tests share."""
import os
import random
from pathlib import Path

import pytest
from hypothesis import strategies as st

from bpe import PATTERNS, Tokenizer, reference

TEXT = """It's the first day's work: she'll say they've all seen "low", lower and the lowest 12345
of 2024's prices -- don't you? Über naïve cafés; 世界世界 の の 😀😀 aaaaaaaaaaaaaaaa bbbbabababab
\r\n\r\n
    def f(x):\n\t\treturn x  # the the the\n\n\n   end """
END, FIM = "<|endoftext|>", "<|end|>of text"
MORE = "a few more words that make merges: tokenizer, vocabulary, encoding"
MERGES = reference.train([TEXT, MORE], 150, "cl100k")


def tokenizer(pattern="gpt2"):
    """A small trained tokenizer with two special tokens, one of which begins like the other."""
    return Tokenizer(MERGES, pattern, {END: 406, FIM: 407})


def by_kernels(tokenizer, text):
    """Encode ordinary text without the plain path."""
    data = text.encode() if isinstance(text, str) else text
    return tokenizer._encoder.encode([(data, None)]).tolist()


def data_folder():
    """The folder of real data, or skip."""
    if "MINIGRAD_DATA" not in os.environ:
        pytest.skip("MINIGRAD_DATA, the folder of real data, is not set")
    return Path(os.environ["MINIGRAD_DATA"])


def published(name):
    """A published tokenizer and tiktoken's (an extra) of the same ranks, or skip."""
    import tiktoken
    ours = Tokenizer.load(data_folder() / "tiktoken" / f"{name}.tiktoken")
    ranks = {token: i for i, token in enumerate(ours.tokens)
             if token is not None and token.decode("utf-8", "replace") not in ours.special_tokens}
    return ours, tiktoken.Encoding(name, pat_str=PATTERNS[ours.pattern], mergeable_ranks=ranks,
                                   special_tokens=ours.special_tokens)


ALPHABET = [*map(chr, range(0x250)), *"\u2028\u0085\u00a0\u1680\u180e\u3000\u200b\u017f\ufeff"
            "中世界のéßжλ😀🇪🇸\u0301\u0663\u2160\U0001d7d8\u01c5\ud7a3"]
COMMON = [*" " * 60, *"'" * 25, *"sdmtlverLVES" * 3, *"\n\r\t" * 8, *"019" * 4, *"ab" * 8,
          *".,!/-" * 4]


def fuzz_strings(n, seed=0):
    """Random strings that like what patterns treat specially."""
    pick = random.Random(seed)
    for _ in range(n):
        yield "".join(pick.choices(ALPHABET + COMMON * 2, k=pick.randint(1, 30)))


SCRIPTS = [range(*ends) for ends in (
    (0x20, 0x7F), (0x61, 0x7B), (0x41, 0x5B), (0x30, 0x3A), (0xC0, 0x180), (0x370, 0x400),
    (0x400, 0x460), (0x5D0, 0x5F0), (0x620, 0x660), (0x900, 0x970), (0x980, 0x9E0), (0xB80, 0xC00),
    (0xE00, 0xE5C), (0x10D0, 0x1100), (0x1200, 0x1380), (0x1780, 0x17E0), (0x2000, 0x2070),
    (0x3000, 0x3020), (0x3040, 0x30A0), (0x30A0, 0x3100), (0x4E00, 0x5200), (0x4E00, 0xA000),
    (0xAC00, 0xD7A4), (0xFF01, 0xFF5F), (0x1D400, 0x1D800), (0x1F300, 0x1F650), (0x20000, 0x2A6E0))]


def script_strings(n, tokens, seed=0):
    """Random strings of rows of few characters of a script, of tokens, and of both in turn."""
    pick = random.Random(seed)
    known = [token.decode("utf-8", "ignore") for token in tokens if token is not None]
    for _ in range(n):
        parts = []
        for _ in range(pick.randint(1, 6)):
            some = pick.choices(pick.choice(SCRIPTS), k=pick.randint(1, 5))
            row = "".join(map(chr, pick.choices(some, k=pick.randint(1, 20))))
            parts += pick.choice([[row], pick.choices(known, k=3), [row, pick.choice(COMMON)]])
        yield "".join(parts)


letters = st.sampled_from([*sorted(set(TEXT)), "\u00a0", "\u3000", "\u017f", "İ"])
texts = st.text(letters, max_size=80)
raw_bytes = st.lists(texts.map(str.encode) | st.binary(max_size=6), max_size=5).map(b"".join)


@st.composite
def merge_lists(draw):
    """Merges that need not come from training: in any order, several of one token."""
    tokens, merges, ids = {i: bytes([i]) for i in range(256)}, [], {}
    letters = list(b"abc ")
    pool = list(letters)
    for _ in range(draw(st.integers(0, 12))):
        left, right = draw(st.sampled_from(pool)), draw(st.sampled_from(pool))
        token = tokens[left] + tokens[right]
        if (left, right) in merges or len(token) > 12:
            continue
        i = ids.setdefault(token, 256 + len(ids))
        merges.append((left, right))
        tokens[i] = token
        pool.append(i)
    order = draw(st.permutations(range(len(merges))))
    made = [ids[tokens[left] + tokens[right]] for left, right in merges]
    return [merges[k] for k in order], [made[k] for k in order]


TEXTS = ["[PAD]", "<x>", "<|a b|>", "  ", "   ", " c", "é", "ab", "abc", "Ġa", "世", "[a]", "bc a",
         "c<", "<pad >"]


@st.composite
def tokenizers(draw, patterns=("gpt2", "cl100k")):
    """Any tokenizers: ids in any order, special and added tokens that look like others."""
    merges, made = draw(merge_lists())
    byte_ids = draw(st.sampled_from([list(range(256)), list(range(255, -1, -1))]))
    merges = [tuple(byte_ids[i] if i < 256 else i for i in pair) for pair in merges]
    more = draw(st.sampled_from([{}, {}, {400: b"caab"}, {400: b"\xff", 401: b"a a"}]))
    free = max([255, *made, *more]) + 1 + draw(st.sampled_from([0, 0, 3]))
    names = draw(st.lists(st.sampled_from(TEXTS) | st.text(min_size=1, max_size=4), max_size=4,
                          unique=True))
    names = [name for name in names if name == name.encode("utf-8", "replace").decode()]
    ids = dict(zip(names, draw(st.permutations(range(free, free + len(names))))))
    kinds = draw(st.lists(st.booleans(), min_size=4, max_size=4))
    special = {name: i for (name, i), kind in zip(ids.items(), kinds) if kind}
    added = {name: i for name, i in ids.items() if name not in special}
    return Tokenizer(merges, draw(st.sampled_from(patterns)), special, added_tokens=added,
                     merge_ids=made, byte_ids=byte_ids, more_tokens=more,
                     whole_words=draw(st.booleans()))


def texts_for(tokenizer):
    """Texts in which its tokens stand, and parts of them."""
    names = [*tokenizer.special_tokens, *tokenizer.added_tokens]
    parts = st.sampled_from([*"abc  ", "ab", "caab", "a a", "é", "\n", *TEXTS, *names])
    return st.lists(parts, max_size=10).map("".join)
