"""Evaluation and baselines: numbers that can be computed in another way."""
import lzma
import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.evaluate import main
from gpt.models.config import ModelConfig
from gpt.models.decoder import GPT
from gpt.training.baselines import (
    TRIAL, affordable, baselines, counted_bits, longest_copied_span)
from gpt.training.measures import token_surprise
from gpt.training.task import read
from gpt.training.tasks.causal import causal_measure

CONFIG = ModelConfig(vocab_size=16, context_length=8, n_layer=1, n_head=1, d_model=16)


def test_a_model_that_knows_nothing_needs_the_bits_of_equal_chances():
    model, ids = GPT(CONFIG, np.random.default_rng(0)), np.arange(100) % 16
    data = SimpleNamespace(tokenizer=SimpleNamespace(token_bytes=np.full(16, 2)))
    found = read(causal_measure(model, data, ids))
    assert found.n_targets == 99 and found.n_bytes == 198
    assert found.nats_per_token == pytest.approx(math.log(16), rel=1e-6)
    assert found.bits_per_byte == pytest.approx(2, rel=1e-6)
    assert found.perplexity == pytest.approx(16, rel=1e-5)


def test_the_surprise_of_a_passage_is_the_loss_of_the_model():
    model, ids = GPT(CONFIG, np.random.default_rng(0)), np.random.default_rng(1).integers(0, 16, 9)
    model.unembedding.weight.data[:] = np.random.default_rng(2).standard_normal((16, 16))
    loss = model.loss(ids[None, :-1], ids[None, 1:]).item()
    assert token_surprise(model, ids).mean() == pytest.approx(loss, rel=1e-5)


def test_a_longer_memory_predicts_structured_text_better():
    text = b"the cat sat on the mat and the dog sat on the log. " * 40
    order = [counted_bits(text[:1500], text[1500:], n) for n in (1, 2, 3, 7)]
    assert order == sorted(order, reverse=True)
    found = baselines(lambda n: text[:1500][:n], lambda n: text[1500:][:n])
    assert found["uniform"] == 8 and found["Kneser-Ney 7"] == order[-1]
    assert found["xz -9"] == 8 * len(lzma.compress(text, preset=9)) / len(text)


def test_of_a_long_text_they_read_what_there_is_time_for():
    text, asked = b"the cat sat on the mat. " * 40_000, []

    def read(n):
        asked.append(n)
        return text[:n]
    found = baselines(read, read, seconds=0)
    assert max(asked) == TRIAL and f"Kneser-Ney 7 of {TRIAL / 1e6:.1f} MB" in found
    assert f"xz -9 of {TRIAL / 1e6:.1f} MB" in found
    assert affordable(read, 0, len) == (text[:TRIAL], False)
    assert affordable(read, 1e9, len) == (text, True)
    assert affordable(lambda n: text[:9][:n], 0, len) == (text[:9], True)


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_the_copied_span_is_the_longest_common_piece(sample, text):
    longest = max((sample[i:j] for i in range(len(sample) + 1) for j in range(i, len(sample) + 1)
                   if sample[i:j] in text), key=len, default=b"")
    found = longest_copied_span(sample, text, at_least=1)
    assert len(found) == len(longest) and found in text and found in sample


@pytest.mark.parametrize("args, words", [
    ([], "required"), (["nowhere"], "there is no run"), (["x", "--tokens", "0"], "tokens is 0")])
def test_a_wrong_command_is_one_sentence_and_status_2(capsys, args, words):
    with pytest.raises(SystemExit) as left:
        main(args)
    said = capsys.readouterr().err
    assert left.value.code == 2 and words in said and said.count("\n") == 1
