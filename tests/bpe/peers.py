"""What tiktoken, tokenizers and rustbpe say: asked where they are installed, else golden.json.

`python tests/bpe/peers.py` (with the repository on PYTHONPATH) writes golden.json anew, after it
has compared every split with tiktoken's.
"""
import hashlib
import json
from importlib import metadata
from pathlib import Path

import numpy as np

from bpe.spelling import CHARACTERS
from bpe.pretokenize import PATTERNS, Splitter, side_by_side

GOLDEN = Path(__file__).parent / "golden.json"
BYTE_RANKS = {bytes([i]): i for i in range(256)}
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def tiktoken_members(pattern):
    """The code points that a pattern of one character matches: an encoding drops all other text."""
    import tiktoken
    only = tiktoken.Encoding("x", pat_str=pattern, mergeable_ranks=BYTE_RANKS, special_tokens={})
    every = "".join(map(chr, CODE_POINTS))
    return list(map(ord, only.decode(only.encode_ordinary(every))))


def tiktoken_splits(texts, pattern):
    """List the byte lengths of each text's pre-tokens, one list a text, as tiktoken cuts them.

    A pre-token that is in the vocabulary is one token, so all parts of all texts are put there.
    """
    import tiktoken
    ranks = dict(BYTE_RANKS)
    for text in texts:
        for i in range(len(text)):
            for j in range(i + 1, len(text) + 1):
                ranks.setdefault(text[i:j].encode(), len(ranks))
    encoding = tiktoken.Encoding("x", pat_str=PATTERNS[pattern], mergeable_ranks=ranks,
                                 special_tokens={})
    lengths = {rank: len(token) for token, rank in ranks.items()}
    return [[lengths[i] for i in encoding.encode_ordinary(text)] for text in texts]


def our_splits(texts, pattern):
    """Do the same with the scanners."""
    data, limits = side_by_side([text.encode() for text in texts])
    ends = Splitter(pattern).split(data, limits)
    lengths = np.diff(ends, prepend=0)
    stops = np.searchsorted(ends, limits) + 1
    return [part.tolist() for part in np.split(lengths, stops[:-1])]


def around(c):
    """A text that shows how a code point splits from what stands beside it."""
    return f"a{c}A{c} {c}1{c}"


def digest_of_every_code_point(pattern):
    """Hash where the scanner cuts `around` each code point."""
    data, limits = side_by_side([around(chr(c)).encode() for c in CODE_POINTS])
    ends = Splitter(pattern).split(data, limits)
    return hashlib.sha256(ends.astype("<i8").tobytes()).hexdigest()


def mixed_text(n_words):
    """Make pseudo-random text, the same everywhere: syllables, numbers, scripts, white space."""
    syllables = ("ka to mi ra shu le don ber ing tion é ß на род 中 文 한 글 123 7 ' 's 'll -- "
                 "( ) . , aa aaa zz THE Th \n \n\n \t 🙂 \u00a0 \u3000 __ == x").split(" ")
    state, words = 1, []
    for _ in range(n_words):
        word = []
        for _ in range(1 + state % 4):
            state = (1103515245 * state + 12345) % 2**31
            word.append(syllables[(state >> 8) % 1009 * (state >> 18) % 97 % len(syllables)])
        words.append("".join(word))
    return " ".join(words)


def hf_merges(texts, vocab_size, pattern):
    """Merges as pairs of bytes, by Hugging Face's trainer on byte-level text."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERNS[pattern]), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts, trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [tuple(map(from_hf, pair)) for pair in merges]


def from_hf(token):
    """Undo GPT-2's table of bytes as characters."""
    return bytes(map(CHARACTERS.index, token))


def rustbpe_tokens(texts, vocab_size, pattern):
    """The tokens that rustbpe makes, in order."""
    import rustbpe
    tokenizer = rustbpe.Tokenizer()
    tokenizer.train_from_iterator(iter(texts), vocab_size, pattern=PATTERNS[pattern])
    ranks = sorted(tokenizer.get_mergeable_ranks(), key=lambda item: item[1])
    return [bytes(token) for token, _ in ranks][256:]


def hf_case(added_tokens=(), **changes):
    """The facts of a tokenizer.json of the 256 bytes, ab and abc."""
    vocab = {character: i for i, character in enumerate(CHARACTERS)} | {"ab": 256, "abc": 257}
    byte_level = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=False, use_regex=True)
    model = dict(type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None,
                 end_of_word_suffix=None, fuse_unk=False, byte_fallback=False, ignore_merges=False,
                 vocab=vocab, merges=["a b", "ab c"])
    return dict(version="1.0", truncation=None, padding=None, added_tokens=list(added_tokens),
                normalizer=None, pre_tokenizer=byte_level, post_processor=None, decoder=byte_level,
                model=model) | changes


def _added(**options):
    """A token behind the vocabulary for each name: its options, of those that are not false."""
    return [dict(id=258 + k, content=content, **dict.fromkeys(
        ("single_word", "lstrip", "rstrip", "normalized", "special"), False) | given)
        for k, (content, given) in enumerate(options.items())]


def _more(**tokens):
    """A model that has more tokens in its vocabulary."""
    model = hf_case()["model"]
    return model | dict(vocab=model["vocab"] | tokens)


_SPACES = {" " * n: dict(normalized=True) for n in range(2, 6)}
_CODE = "def f(x):\n    if x:\n         return  x<end>   "
HF_CASES = {  # name -> facts of a tokenizer.json, a text
    "spaces": (hf_case(_added(**_SPACES, **{"<end>": dict(special=True)})), _CODE),
    "longest first": (hf_case(_added(**{"<a": {}, "<a>": {}, "<a><": dict(special=True)})),
                      "<a<a><a>ab<a"),
    "a token of the vocabulary": (hf_case([_added(abc={})[0] | dict(id=257)]), "xabcx abcabc"),
    "an id far away": (hf_case([_added(**{"<x>": {}})[0] | dict(id=900)],
                               model=_more(**{"<x>": 900})), "ab<x>c"),
    "in the vocabulary alone": (hf_case(model=_more(**{"<x>": 258, "<y z>": 259})),
                                "ab<x>c<y z>"),
}


def hf_ids(facts, text):
    """The ids that Hugging Face gives."""
    from tokenizers import Tokenizer
    return Tokenizer.from_str(json.dumps(facts)).encode(text).ids


def digest(items):
    """Hash a list of bytes or of tuples of bytes."""
    return hashlib.sha256(repr(items).encode()).hexdigest()


def compare_every_code_point(pattern):
    """Raise AssertionError at the first code point that tiktoken splits otherwise."""
    for start in range(0, len(CODE_POINTS), 20_000):
        texts = [around(chr(c)) for c in CODE_POINTS[start:start + 20_000]]
        for text, ours, theirs in zip(texts, our_splits(texts, pattern),
                                      tiktoken_splits(texts, pattern)):
            assert ours == theirs, (pattern, text, ours, theirs)


def main():
    golden = {"made with": {name: metadata.version(name)
                            for name in ("tiktoken", "tokenizers", "rustbpe")}}
    texts = [mixed_text(20_000)]
    for pattern in PATTERNS:
        compare_every_code_point(pattern)
        golden[f"every code point, {pattern}"] = digest_of_every_code_point(pattern)
    golden["hf gpt2 1000"] = digest(hf_merges(texts, 1000, "gpt2"))
    golden["rustbpe gpt2 1000"] = digest(rustbpe_tokens(texts, 1000, "gpt2"))
    golden["hf ids"] = {name: hf_ids(*case) for name, case in HF_CASES.items()}
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
