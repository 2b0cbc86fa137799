"""Lines become vectors of length 1, each by itself."""
import io
from types import SimpleNamespace

import numpy as np
import pytest

import bpe
from gpt import embed
from gpt.models.config import ModelConfig
from gpt.models.decoder import GPT
from gpt.models.encoder import Encoder, sentence_vectors
from gpt.opening import Opened
from gpt.settings import ConfigError
from minigrad import use

ENCODER = ModelConfig(vocab_size=300, context_length=16, n_layer=2, n_head=2, d_model=16,
                      norm="layer", norm_position="post", position="learned", bias=True,
                      qk_norm=False, init="scaled", embedding_norm=False, embedding_gain=True,
                      causal=False)


@pytest.fixture(scope="module")
def opened():
    words = bpe.Tokenizer([])
    tokenizer = SimpleNamespace(encode_array=words.encode_array, frame=((256,), (257,)))
    return Opened(Encoder(ENCODER, np.random.default_rng(0)), tokenizer)


def test_a_line_has_its_vector_whatever_stands_beside_it(opened):
    lines = ["a", "a longer one", "", "é", "a"] * 8
    vectors = np.array([*embed.embed(opened, lines)])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    for line, vector in zip(lines[:5], vectors):
        alone, = embed.embed(opened, [line])
        np.testing.assert_allclose(vector, alone, atol=1e-6)
    np.testing.assert_allclose(vectors[0], vectors[4], atol=1e-6)
    assert abs(vectors[0] - vectors[1]).max() > 0.01


def test_of_a_line_that_is_too_long_the_first_tokens_count_and_it_is_said(opened, capsys):
    long = "abcdefghijklmnopqrst"
    whole, = embed.embed(opened, [long])
    assert "has 20 tokens, of which the first 14 count" in capsys.readouterr().err
    first, = embed.embed(opened, [long[:14]])
    np.testing.assert_array_equal(whole, first)


def test_the_command_writes_a_line_of_numbers_for_each(opened, capsys, monkeypatch):
    monkeypatch.setattr(embed, "open_model", lambda place, base=None: opened)
    monkeypatch.setattr("sys.stdin", io.StringIO("one\r\ntwo\n"))
    embed.main(["a_folder"])
    rows = [np.array(line.split(), float) for line in capsys.readouterr().out.splitlines()]
    assert [row.shape for row in rows] == [(16,), (16,)]
    expected = [*embed.embed(opened, ["one", "two"])]
    np.testing.assert_allclose(rows, expected, rtol=1e-6)


def test_decoders_and_other_poolings_are_refused(opened, tmp_path):
    decoder = GPT(ModelConfig(vocab_size=8, n_layer=1, n_head=1, d_model=8),
                  np.random.default_rng(0))
    with pytest.raises(ConfigError, match="holds no encoder"):
        embed.check_pooling(tmp_path, decoder)
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / embed.POOLING).write_text('{"pooling_mode_mean_tokens": false}')
    with pytest.raises(ConfigError, match="another vector than the mean over tokens"):
        embed.check_pooling(tmp_path, opened.model)
    with pytest.raises(ConfigError, match="an encoder reads whole texts and continues none"):
        opened.model.start(None)


def test_a_vector_has_gradients(opened):
    batch = embed.padded(opened, ["one", "two and more"])
    with use("reference"):
        vectors = sentence_vectors(opened.model, batch)
        (vectors * np.float32(0.3)).sum().backward()
    assert all(np.isfinite(x.grad).all() for x in opened.model.trunk.blocks[0].parameters())
