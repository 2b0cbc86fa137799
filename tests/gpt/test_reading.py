"""Long texts are read in pieces and tokens where they are: to the same as if they were whole."""
import json
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.data import documents, encoding, reading
from gpt.data.corpora import CorpusError, load_corpus, stories
from gpt.data.documents import prepare, sampled
from gpt.data.reading import END_OF_TEXT, Piece, last_cut, pieces_in, whole
from gpt.data.token_files import Tokens
from gpt.data.windows import following_windows, random_windows, rows_from, spread_windows
from gpt.training.config import DataConfig

TEXT = st.text("aé \n\u3000.", max_size=60).map(str.encode)


@given(st.lists(TEXT, max_size=6), st.integers(1, 9), st.integers(4, 30))
def test_pieces_joined_are_the_documents_that_are_not_blank(documents, block, longest):
    data = END_OF_TEXT.encode().join(documents)
    blocks = [data[i:i + block] for i in range(0, len(data), block)]
    found, parts = [], []
    for text, ends in pieces_in(blocks, longest):
        assert len(text) <= longest + len(END_OF_TEXT)
        text.decode("utf-8")
        parts.append(text)
        if ends:
            found.append(b"".join(parts))
            parts = []
    assert found == [d for d in documents if d.strip()] and not parts


def test_a_text_is_cut_before_a_space_that_follows_none():
    text = "one two\u3000 three  four".encode()
    assert [text[:last_cut(text, n)] for n in (5, 12, 30)] == [
        b"one", b"one", "one two\u3000 three".encode()]
    assert last_cut(b"\x80" * 9, 4) == 4              # bytes that are no text


@pytest.fixture
def long_text(tmp_path):
    """Some documents, of which one is much longer than a piece is here."""
    text = stories(40).documents[0].decode()
    path = tmp_path / "long.txt"
    path.write_text(f"A short one.{END_OF_TEXT}{text}{END_OF_TEXT} \n {END_OF_TEXT}The last one. ",
                    newline="")
    return path


@pytest.mark.parametrize("kind, vocabulary", [("char", 0), ("byte", 0), ("bpe", 300)])
def test_a_text_in_pieces_becomes_the_same_files(kind, vocabulary, long_text, tmp_path,
                                                 monkeypatch):
    settings = DataConfig(tokenizer=kind, vocabulary=vocabulary)
    corpus = load_corpus([str(long_text)])
    one = prepare(corpus, settings, tmp_path / "whole")
    monkeypatch.setattr(reading.pieces_in, "__defaults__", (97,))
    monkeypatch.setattr(encoding.batches, "__defaults__", (500,))
    again = load_corpus([str(long_text)])
    cut = prepare(again, settings, tmp_path / "cut")
    assert cut.sha256 == one.sha256 and again.fingerprint() == corpus.fingerprint()
    assert len(again.documents) == 3


def test_a_file_that_changes_while_it_is_read_is_told(long_text, tmp_path):
    corpus = load_corpus([str(long_text)])
    long_text.write_text("shorter")
    with pytest.raises(CorpusError, match="now has 7"):
        prepare(corpus, DataConfig(tokenizer="byte"), tmp_path / "data")


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 200))
def test_a_sample_is_spread_over_the_text(sizes, most):
    pieces = [Piece(bytes([i]) * n, True) for i, n in enumerate(sizes)]
    found = [*sampled(pieces, sum(sizes), most)]
    if sum(sizes) <= most:
        assert found == [piece.text for piece in pieces]
    assert sum(map(len, found)) <= max(most, 0) + max(sizes)
    assert found[0] == pieces[0].text


# ---- tokens on disk ----

def test_tokens_on_disk_are_taken_as_an_array_is(data):
    ids = np.asarray(data.train)
    assert isinstance(data.train, Tokens) and len(ids) == len(data.train)
    for where in slice(3, 9), slice(-5, None), slice(7, 2), slice(len(ids) - 2, len(ids) + 9):
        np.testing.assert_array_equal(data.train[where], ids[where])
    assert data.train[5] == ids[5] and data.size_bytes(data.train) == data.size_bytes(ids)
    for take in (lambda x: random_windows(x, 4, 16, np.random.default_rng(0)),
                 lambda x: following_windows(x, 3, 16, 70),
                 lambda x: [rows for rows, _ in spread_windows(x, 50, 9)][-1]):
        np.testing.assert_array_equal(take(data.train), take(ids))


def test_behind_the_end_stands_the_last_id():
    np.testing.assert_array_equal(rows_from(np.arange(5), [3, 7], 4), [[3, 4, 4, 4], [4, 4, 4, 4]])


# ---- sources with weights ----

@pytest.fixture
def two(tmp_path):
    for name, n in (("wiki", 400), ("books", 100)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(name[0] * n, encoding="utf-8")
    return [f"{tmp_path / 'wiki'}=3", f"{tmp_path / 'books'}=1"]


def test_sources_are_drawn_as_their_weights_say_and_held_out_apart(two, tmp_path):
    data = prepare(load_corpus(two), DataConfig(tokenizer="char"), tmp_path / "data")
    assert [(s.weight, s.first, s.stop) for s in data.sources] == [(0.75, 0, 360), (0.25, 360, 450)]
    assert data.text(data.val) == b"w" * 40 + b"b" * 10
    rows = random_windows(data.train, 4000, 8, np.random.default_rng(0), data.sources)
    w, = data.tokenizer.encode("w")
    assert (rows == rows[:, :1]).all()                        # of one source each
    assert (rows[:, 0] == w).mean() == pytest.approx(0.75, abs=0.03)
    assert "sources.json" in data.sha256
    (tmp_path / "data" / "sources.json").unlink()
    with pytest.raises(CorpusError, match="not as it was written"):
        documents.load_dataset(tmp_path / "data", data.sha256)


@pytest.mark.parametrize("weights, words", [
    (["=0.7", ""], "has no weight"), (["=0", "=1"], "above 0"), (["=nan", "=1"], "above 0")])
def test_weights_that_say_nothing_are_refused(two, weights, words):
    names = [name.rpartition("=")[0] + weight for name, weight in zip(two, weights)]
    with pytest.raises(CorpusError, match=words):
        load_corpus(names)


def test_an_equals_sign_may_stand_in_a_name(tmp_path):
    path = tmp_path / "a=1"
    path.write_text("text")
    assert [*load_corpus([str(path)]).documents] == [b"text"]


def test_a_corpus_is_read_by_its_shards_alone(tmp_path):
    (tmp_path / "00000.txt").write_text("one")
    (tmp_path / "report.html").write_text("no")
    (tmp_path / "corpus.json").write_text(json.dumps({}))
    assert [*load_corpus([str(tmp_path)]).documents] == [b"one"]


@pytest.mark.extra("zstandard")
def test_zstd_is_unpacked(tmp_path):
    import zstandard
    path = tmp_path / "x.txt.zst"
    path.write_bytes(zstandard.compress(b"packed"))
    assert [*load_corpus([str(path)]).documents] == [b"packed"]
    path.write_bytes(os.urandom(99))
    with pytest.raises(CorpusError, match="cannot be read"):
        load_corpus([str(path)])


def test_documents_in_memory_are_one_piece_each():
    assert [*whole([b"a", b"b"])] == [Piece(b"a", True), Piece(b"b", True)]
