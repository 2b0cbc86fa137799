"""Training: the index gives the book's merges, and those of Hugging Face, rustbpe and CS336."""
import itertools
import json
import sys

import numpy as np
import peers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vocabularies import data_folder

import bpe
from bpe import counting, merges, reference, sources
from bpe.counting import WordCounter, count
from bpe.merges import ORDERS, show_progress, train_steps

texts = st.lists(st.sampled_from(["a", "b", "c", "aa", "ab", " ", "\n", "é", "中"]), max_size=120)
texts = texts.map("".join)
documents = st.lists(texts, max_size=4)
orders = st.sampled_from(sorted(ORDERS))


def pairs(steps):
    return [(step.left, step.right) for step in steps]


def book(documents, n, pattern="gpt2", ties="smallest", order="bytes", min_count=1):
    return reference.train(documents, n, pattern, ties, ORDERS[order], min_count)


# ---- equal to the book ----

@given(documents, st.integers(0, 40), st.sampled_from(merges.TIES), orders, st.integers(1, 3),
       st.integers(1, 3))
def test_merges_equal_the_book(documents, n, ties, order, min_count, threads):
    steps = train_steps(documents, n, pattern="gpt2", ties=ties, order=order, min_count=min_count,
                        threads=threads)
    assert pairs(steps) == book(documents, n, "gpt2", ties, order, min_count)


@given(st.text("ab", max_size=300), st.sampled_from(merges.TIES))
def test_long_words_and_runs_equal_the_book(text, ties):
    assert pairs(train_steps(text, 30, pattern="gpt2", ties=ties)) == book([text], 30, ties=ties)


def test_many_merges_with_every_growth_equal_the_book():
    text = peers.mixed_text(500)
    for ties in ("smallest", "greatest"):
        steps = train_steps(text, 250, pattern="gpt2", ties=ties)
        assert pairs(steps) == book([text], 250, ties=ties)


@pytest.mark.parametrize("ties", merges.TIES)
def test_merges_are_the_same_where_nothing_is_compiled(monkeypatch, ties):
    text, options = peers.mixed_text(100), dict(pattern="gpt2", ties=ties)
    usual = pairs(train_steps(text, 60, **options))
    monkeypatch.setattr(merges, "COMPILED", False)
    assert pairs(train_steps(text, 60, **options)) == usual


def test_a_huge_vocabulary_takes_the_memory_of_the_text():
    few, many = (pairs(train_steps("low lower lowest", n)) for n in (20, 2**31))
    assert few == many and len(few) < 20


@given(documents, st.integers(1, 30))
def test_a_count_is_how_often_the_pair_stood_there(documents, n):
    words = reference.count_words(documents, "gpt2")
    for step in train_steps(documents, n, pattern="gpt2"):
        assert step.count == reference.count_pairs(words)[step.left, step.right]
        words = {reference.merge(word, (step.left, step.right), step.id): k
                 for word, k in words.items()}


@given(documents, st.integers(0, 30), st.sampled_from(merges.TIES))
def test_training_goes_on_where_it_stopped(documents, n, ties):
    whole = list(train_steps(documents, 2 * n, pattern="gpt2", ties=ties))
    seed = pairs(whole[:n])
    again = train_steps(documents, 2 * n, pattern="gpt2", ties=ties, initial_merges=seed)
    assert list(again) == whole


@given(documents, st.sampled_from(["smallest", "greatest", "first"]))
def test_initial_merges_need_not_be_in_the_text(documents, ties):
    seed = [(120, 121), (97, 97), (256, 122), (97, 97)]
    steps = list(train_steps(documents, 8, pattern="gpt2", ties=ties, initial_merges=seed))
    assert pairs(steps[:4]) == seed
    assert [steps[0].count, steps[2].count, steps[3].count] == [0, 0, 0]


@given(texts, st.integers(2, 5), st.sampled_from(merges.TIES))
def test_no_token_is_longer_than_max_token_bytes(text, longest, ties):
    steps = train_steps(text, 40, pattern="gpt2", ties=ties, max_token_bytes=longest)
    assert max((len(step.token) for step in steps), default=0) <= longest


@given(texts, st.sampled_from(merges.TIES))
def test_forbidden_tokens_are_not_made_and_the_others_are(text, ties):
    steps = list(train_steps(text, 40, pattern="gpt2", ties=ties, forbid=lambda t: b"ab" in t))
    assert not any(b"ab" in step.token for step in steps)
    free = list(train_steps(text, 40, pattern="gpt2", ties=ties, forbid=lambda t: False))
    assert pairs(free) == book([text], 40, ties=ties)


# ---- equal to other trainers ----

def test_merges_equal_those_of_hugging_face_and_rustbpe():
    golden = json.loads(peers.GOLDEN.read_text())
    text = peers.mixed_text(20_000)
    for order, name in (("hf", "hf"), ("bytes", "rustbpe")):
        steps = list(train_steps(text, 744, pattern="gpt2", order=order))
        tokens = reference.vocabulary(pairs(steps), ORDERS[order])
        found = [(tokens[step.left], tokens[step.right]) for step in steps]
        if name == "rustbpe":
            found = tokens[256:]
        assert peers.digest(found) == golden[f"{name} gpt2 1000"]


def test_merges_equal_the_reference_of_cs336():
    folder = data_folder() / "cs336"
    tokenizer = bpe.train((folder / "corpus.en").read_text(), 500, pattern="gpt2", ties="greatest",
                          special_tokens=["<|endoftext|>"])
    lines = (folder / "train-bpe-reference-merges.txt").read_text(encoding="utf-8").splitlines()
    expected = [tuple(map(peers.from_hf, line.split(" "))) for line in lines]
    assert [(tokenizer.tokens[a], tokenizer.tokens[b]) for a, b in tokenizer.merges] == expected
    vocabulary = json.loads((folder / "train-bpe-reference-vocab.json").read_text(encoding="utf-8"))
    special = "<|endoftext|>"
    theirs = {special.encode() if t == special else peers.from_hf(t) for t in vocabulary}
    assert set(tokenizer.tokens) == theirs


@pytest.mark.thorough
@pytest.mark.extra("tokenizers", "rustbpe")
@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k"])
def test_merges_of_real_text_equal_those_of_the_installed_trainers(pattern):
    text = (data_folder() / "tinystories_2MB.txt").read_text(encoding="utf-8")
    documents = text.split("\n\n")
    for order, peer in (("hf", peers.hf_merges), ("bytes", peers.rustbpe_tokens)):
        steps = list(train_steps(documents, 4000, pattern=pattern, order=order))
        tokens = reference.vocabulary(pairs(steps), ORDERS[order])
        found = [(tokens[step.left], tokens[step.right]) for step in steps]
        assert peer(documents, 4256, pattern) == (found if order == "hf" else tokens[256:])


# ---- text from anywhere, cut anywhere ----

@given(st.lists(st.sampled_from("a b| |\n|<!x!>|<!x|<!x!>y|!>|é|  a| <".split("|")), max_size=60)
       .map("".join), st.data())
def test_any_cut_of_a_stream_gives_the_words_of_the_whole(text, data):
    special = ["<!x!>", "<!x!>y", " <"]
    expected = {}
    for part in split_at(text, sorted(special, key=len, reverse=True)):
        for piece in reference.split(part, "gpt2"):
            expected[piece] = expected.get(piece, 0) + 1
    raw = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    blocks = [raw[i:j] for i, j in itertools.pairwise([0, *cuts, len(raw)])]
    specials = sources.Specials(dict.fromkeys(special, 0), allowed="all")
    pieces = [[piece for piece, _ in specials.stream_pieces(blocks, True) if piece]]
    assert as_dict(count(filter(None, pieces), "gpt2", 1)) == expected


def split_at(text, special):
    """Cut a text at the first special token that fits, from left to right."""
    parts, i = [""], 0
    while i < len(text):
        name = next((name for name in special if text.startswith(name, i)), None)
        if name:
            parts.append("")
        else:
            parts[-1] += text[i]
        i += len(name) if name else 1
    return parts


def as_dict(words):
    starts = np.append(0, words.ends[:-1])
    return {words.data[i:j].tobytes(): n
            for i, j, n in zip(starts, words.ends, words.counts.tolist())}


def test_files_folders_iterators_and_text_are_the_same_source(tmp_path):
    parts = [peers.mixed_text(50), "ab ab\r\n", peers.mixed_text(90) + " "]
    for k, part in enumerate(parts):
        (tmp_path / f"{k}.txt").write_bytes(part.encode())
    expected = book(parts, 60)
    files = sorted(tmp_path.iterdir())
    for source in (tmp_path, files, iter(files), parts, (p.encode() for p in parts),
                   [files[0], parts[1], bytearray(parts[2].encode())], [parts[:2], parts[2]]):
        assert pairs(train_steps(source, 60, pattern="gpt2")) == expected
    assert pairs(train_steps(files[0], 9, pattern="gpt2")) == book(parts[:1], 9)


def test_a_long_document_is_cut_into_batches_with_the_same_merges():
    text = " ".join([peers.mixed_text(3000)] * 40)
    assert len(list(sources.batches(text, "gpt2"))) > 1
    words = count(sources.batches(text, "gpt2"), "gpt2", 3)
    once = count(iter([[text.encode()]]), "gpt2", 1)
    assert as_dict(words) == as_dict(once)


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=40), st.integers(1, 2**40)), max_size=300))
def test_words_are_counted_exactly_in_64_bits(pairs):
    counter = WordCounter("gpt2")
    data = np.frombuffer(bytearray(b"".join(word for word, _ in pairs) + bytes(16)), np.uint8)
    ends = np.cumsum([len(word) for word, _ in pairs], dtype=np.int64)
    counter.add_words(data, ends, np.array([n for _, n in pairs] + [1], np.int64))
    expected = {}
    for word, n in pairs:
        expected[word] = expected.get(word, 0) + n
    assert as_dict(counter.words()) == expected


def test_more_distinct_words_than_memory_should_hold_are_refused_in_a_sentence(monkeypatch):
    monkeypatch.setattr(counting, "_MOST_BYTES", 1 << 20)
    for text in (" ".join(map(str, range(100_000))), " ".join("a" * n for n in range(2_000))):
        with pytest.raises(ValueError, match="distinct words so far are too many"):
            bpe.train(text, 300, pattern="gpt2", threads=1)


# ---- degenerate input ----

def test_text_without_pairs_gives_no_merges():
    for source in ("", b"", [], ["", ""], "a", "a\nb\n"):
        assert list(train_steps(source, 5)) == []
    assert bpe.train("", 300, special_tokens=["<|x|>"]).special_tokens == {"<|x|>": 256}


def test_a_million_equal_bytes_halve_with_every_merge():
    steps = list(train_steps(b"a" * 2**20, 30))
    assert [len(step.token) for step in steps] == [2**k for k in range(1, 21)]


def test_one_word_of_megabytes_is_trained_in_near_linear_time():
    word = np.random.default_rng(0).integers(97, 101, 2**21, dtype=np.uint8).tobytes()
    steps = list(train_steps(word, 500))
    assert len(steps) == 500 and steps[0].count > 2**21 // 20


def test_special_tokens_cut_the_text_the_longest_first_and_get_the_last_ids():
    special = ["<|a|>", "<|a|>b", "a.*", " x "]
    tokenizer = bpe.train(["qq<|a|>bqq x qqa.*qq<|a|>qq"] * 3, 300, special_tokens=special)
    n = 256 + len(tokenizer.merges)
    assert tokenizer.special_tokens == {name: n + k for k, name in enumerate(special)}
    assert tokenizer.tokens[256:n] == [b"qq"]


def test_progress_is_shown_and_changes_nothing(capsys):
    quiet = bpe.train("low lower lowest", 260)
    shown = bpe.train("low lower lowest", 260, progress=True)
    assert (shown.merges == quiet.merges).all()
    assert "merge 4 of 4" in capsys.readouterr().err


def test_a_run_can_be_stopped_between_records():
    steps = train_steps(peers.mixed_text(500), 200)
    assert [next(steps).id for _ in range(5)] == [256, 257, 258, 259, 260]
    steps.close()
    assert list(show_progress(iter(()), 0, sys.stderr)) == []


@pytest.mark.parametrize("options, message", [
    ({"vocab_size": 255}, "vocab_size is 255, but 256 bytes and 0 special tokens need 256"),
    ({"ties": "last"}, "ties is 'last'"),
    ({"order": "gpt2"}, "order is 'gpt2'"),
    ({"min_count": 0}, "min_count is 0"),
    ({"threads": 0}, "threads is 0"),
    ({"max_token_bytes": 0}, "max_token_bytes is 0"),
    ({"pattern": "["}, "no regular expression"),
    ({"initial_merges": [(97, 256)]}, "initial merge 0 joins 97 and 256"),
    ({"initial_merges": [(97, 97)] * 50}, "50 initial merges, but room for 44"),
    ({"special_tokens": ["x", "x"]}, "name one token twice"),
    ({"special_tokens": [""]}, "special token '' is not"),
])
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError) as error:
        bpe.train("text", **{"vocab_size": 300, **options})
    assert message in str(error.value)


def test_bad_sources_are_named(tmp_path):
    with pytest.raises(TypeError, match="not int"):
        bpe.train(3, 300)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        bpe.train(tmp_path / "nowhere", 300)
    with pytest.raises(TypeError, match="must be a list of strings"):
        bpe.train("a", 300, special_tokens="<|x|>")
