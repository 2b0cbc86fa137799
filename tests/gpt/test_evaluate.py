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
    TRIAL, affordable, baselines, longest_copied_span, ngram_bits, runs)
from gpt.training.measures import token_surprise
from gpt.training.tasks import causal_measure, read

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


@given(st.binary(min_size=3, max_size=40), st.binary(min_size=1, max_size=40), st.integers(1, 2))
def test_counting_models_are_distributions(train, val, n):
    """Summed over every possible last byte, the probabilities make 1."""
    history, total = val[:n - 1].ljust(n - 1, b"a"), 0.0
    symbols = np.frombuffer(train + history + bytes(range(256)), np.uint8)
    train_ids = symbols[:len(train)].astype(np.int64)
    for c in range(256):
        val_ids = np.array([*history, c])
        bits = ngram_bits(train_ids, val_ids, n, 256) * len(val_ids)
        before = ngram_bits(train_ids, val_ids[:-1], n, 256) * (len(val_ids) - 1) if n > 1 else 0
        total += 2 ** -(bits - before)
    assert total == pytest.approx(1, rel=1e-6)


def test_a_longer_memory_predicts_structured_text_better():
    text = b"the cat sat on the mat and the dog sat on the log. " * 40
    found = baselines(lambda n: text[:1500][:n], lambda n: text[1500:][:n])
    order = [found[name] for name in ("uniform", "unigram", "bigram", "trigram")]
    assert order == sorted(order, reverse=True) and order[0] == 8
    assert found["xz -9"] == 8 * len(lzma.compress(text, preset=9)) / len(text)


def test_of_a_long_text_they_read_what_there_is_time_for():
    text, asked = b"the cat sat on the mat. " * 40_000, []

    def read(n):
        asked.append(n)
        return text[:n]
    found = baselines(read, read, seconds=0)
    assert max(asked) == TRIAL and f"xz -9 of {TRIAL / 1e6:.1f} MB" in found
    assert affordable(read, 0, len) == (text[:TRIAL], False)
    assert affordable(read, 1e9, len) == (text, True)
    assert affordable(lambda n: text[:9][:n], 0, len) == (text[:9], True)


@given(st.lists(st.integers(0, 3), max_size=30), st.integers(1, 3), st.integers(1, 9))
def test_runs_are_the_same_however_many_are_counted_at_a_time(ids, n, part):
    ids = np.array(ids, np.uint8)
    whole = [4 ** np.arange(n)[::-1] @ ids[i:i + n] for i in range(len(ids) - n + 1)]
    parts = list(runs(ids, n, 4, part))
    assert [first for first, _ in parts] == list(range(0, len(whole), part))
    assert [x for _, found in parts for x in found] == whole


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
