"""Documents that do not see each other, and windows of attention: which keys each query sees first.
"""
import numpy as np
import pytest
from made_up_texts import prose

from gpt import train as program
from gpt.batch import Batch
from gpt.models.config import ModelConfig
from gpt.models.decoder import GPT
from gpt.opening import open_model
from gpt.settings import ConfigError
from minigrad import no_grad
from minigrad.kernels import jit

END, T = 3, 24


def net(dtype=np.float64, **settings):
    config = ModelConfig(vocab_size=12, context_length=T, n_layer=2, n_head=2, d_model=32,
                         init="scaled", document_end=END, **settings)
    return GPT(config, np.random.default_rng(0), dtype)


def made(model, ids, state=None):
    with no_grad():
        return model.stream(Batch(ids), state).data


@pytest.fixture
def ids():
    return np.random.default_rng(1).integers(0, 12, (3, T))


@pytest.mark.parametrize("settings", [{}, {"position": "none"}, {"window": 5},
                                      {"position": "relative", "qk_norm": False}])
def test_a_document_is_read_as_if_it_were_alone(ids, settings):
    model = net(**settings)
    whole = made(model, ids)
    for row, found in zip(ids, whole):
        ends = [0, *np.flatnonzero(row == END) + 1, T]
        for first, stop in zip(ends, ends[1:]):
            if first < stop:
                alone = made(model, row[None, first:stop])[0]
                np.testing.assert_allclose(found[first:stop], alone, atol=1e-10)


@pytest.mark.parametrize("settings", [{}, {"window": 5}])
def test_token_by_token_it_says_the_same(ids, settings):
    model = net(**settings)
    state, parts = model.start(Batch(ids)), []
    for column in ids.T:
        parts.append(made(model, column[:, None], state))
        state.advance(column[:, None])
    np.testing.assert_allclose(np.concatenate(parts, axis=1), made(model, ids), atol=1e-10)


def test_positions_that_count_from_the_start_are_refused():
    with pytest.raises(ConfigError, match="positions that are learned"):
        net(position="learned")


def test_a_run_keeps_documents_apart(tmp_path, capsys, monkeypatch):
    """From the command on, in replayed steps as in others."""
    text = tmp_path / "a.txt"
    text.write_text("<|endoftext|>".join(prose(60, i) for i in range(60)))
    flags = ["--steps", "4", "--n_layer", "1", "--n_head", "2", "--d_model", "16", "--tokenizer",
             "byte", "--context_length", "64", "--batch_tokens", "512", "--runs", str(tmp_path)]
    program.main([str(text), *flags, "--document_mask", "--name", "a"])
    monkeypatch.setattr(jit, "COMPILED", False)       # nothing is replayed
    program.main([str(text), *flags, "--document_mask", "--name", "b"])
    one, other = (open_model(tmp_path / name) for name in "ab")
    end = one.tokenizer.special_tokens["<|endoftext|>"]
    assert one.model.config.document_end == other.model.config.document_end == end
    for x, y in zip(one.model.parameters(), other.model.parameters()):
        np.testing.assert_allclose(x.data, y.data, atol=1e-4)


@pytest.mark.parametrize("flags, said", [([], "there is none in this text"),
                                         (["--net", "lstm"], "the net lstm has none")])
def test_where_nothing_can_be_hidden_it_is_said(tmp_path, capsys, flags, said):
    text = tmp_path / "a.txt"
    text.write_text(prose(900))
    with pytest.raises(SystemExit) as stopped:
        program.main([str(text), "--steps", "1", "--tokenizer", "byte", "--document_mask",
                      "--context_length", "16", "--runs", str(tmp_path), *flags])
    assert stopped.value.code == 2 and said in capsys.readouterr().err
