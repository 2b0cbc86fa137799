"""The model: every variant is causal, differentiable, and the same with a cache."""
import math
import mmap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nets import make

from gpt.models.caches import KVCache
from gpt.models.config import ModelConfig
from gpt.models.decoder import GPT, flops_per_token
from gpt.training.config import PRESETS, Config
from minigrad import no_grad, use
from minigrad.kernels.memory import zeros_by_page

CHOICES = {name: st.sampled_from(f.metadata["choices"]) if f.metadata["choices"] else st.booleans()
           for name, f in ModelConfig.__dataclass_fields__.items()
           if f.metadata["choices"] or f.type is bool}
CHOICES.update(causal=st.just(True), n_kv_head=st.sampled_from([0, 1, 2]),
               ngram_rows=st.sampled_from([0, 50]), look_back=st.sampled_from([0, 1, 3]))
SIZE = dict(vocab_size=st.just(11), context_length=st.just(8), n_layer=st.just(2),
            n_head=st.just(2), d_model=st.just(8))
# What begins by looking back takes some of the others.
LOOKING = dict(init=st.just("looking"), qkv_bias=st.just(True), qk_norm=st.just(False),
               position=st.just("rotary"))
BEGINNINGS = dict(init=st.sampled_from(["zero", "scaled"])), LOOKING
VARIANTS = st.one_of([st.builds(ModelConfig, **SIZE | CHOICES | begins) for begins in BEGINNINGS])


@given(VARIANTS, st.integers(0, 7), st.integers(1, 10))
def test_a_changed_token_changes_no_earlier_score(config, place, shift):
    ids = np.random.default_rng(1).integers(0, 11, (2, 8))
    other = ids.copy()
    other[:, place] = (other[:, place] + shift) % 11
    with use("reference"), no_grad():
        model = make(config)
        change = np.abs(model(ids).data - model(other).data).max(axis=(0, 2))
    assert (change[:place] == 0).all() and change[place] > 0


@given(VARIANTS, st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_scores_with_a_cache_are_those_of_the_whole(config, pieces):
    ids = np.random.default_rng(1).integers(0, 11, (2, min(8, sum(pieces))))
    with use("reference"), no_grad():
        model, cache = make(config), KVCache(config, 2, np.float64)
        cuts = np.minimum(np.cumsum(pieces), ids.shape[1])[:-1]
        parts = [model(part, cache).data for part in np.split(ids, cuts, axis=1) if part.size]
        np.testing.assert_allclose(np.concatenate(parts, axis=1), model(ids).data, atol=1e-10)


@given(VARIANTS, st.integers(0, 1000))
def test_the_gradient_is_the_slope_along_a_random_direction(config, seed):
    rng = np.random.default_rng(seed)
    ids, targets = rng.integers(0, 11, (2, 2, 8))
    with use("reference"):
        model = make(config, seed)
        model.loss(ids, targets).backward()
        parameters = [x for x in model.parameters() if x.grad is not None]
        assert len(parameters) == len(model.parameters())
        direction = [rng.standard_normal(x.shape) for x in parameters]
        expected = sum((x.grad * d).sum() for x, d in zip(parameters, direction))

        def loss_at(t):
            for x, d in zip(parameters, direction):
                x.data += t * d
            value = model.loss(ids, targets).item()
            for x, d in zip(parameters, direction):
                x.data -= t * d
            return value
        slope = lambda h: (8 * (loss_at(h) - loss_at(-h))
                           - (loss_at(2 * h) - loss_at(-2 * h))) / (12 * h)
        rough, fine = slope(2e-5), slope(1e-5)
    scale = sum(np.abs(x.grad * d).sum() for x, d in zip(parameters, direction))
    assert abs(fine - expected) <= 1e-7 * scale + 2 * abs(rough - fine)


def test_one_model_at_level_fast_agrees_with_the_reference():
    config = ModelConfig(vocab_size=50, context_length=16, n_layer=2, n_head=2, d_model=32)
    model = make(config, dtype=np.float32)
    ids, targets = np.random.default_rng(0).integers(0, 50, (2, 3, 16))
    gradients = []
    for level in ("fast", "reference", "parts"):
        with use(level):
            model.loss(ids, targets).backward()
        gradients.append([x.grad for x in model.parameters()])
        for x in model.parameters():
            x.grad = None
    for other in gradients[:2]:
        for a, b in zip(other, gradients[2]):
            np.testing.assert_allclose(a, b, atol=2e-5 * np.abs(b).max() + 1e-7)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_new_model_finds_every_token_equally_likely(preset):
    config = Config.make(preset, vocab_size=97, n_layer=3, n_head=2, d_model=64,
                         context_length=32).model
    ids, targets = np.random.default_rng(1).integers(0, 97, (2, 8, 32))
    loss = GPT(config, np.random.default_rng(0)).loss(ids, targets).item()
    assert abs(loss - math.log(97)) < (1e-5 if config.init == "zero" else 0.1)


def test_weights_that_are_tied_are_one_parameter():
    config = ModelConfig(vocab_size=30, tie_weights=True, d_model=16, n_head=2)
    names = [name for name, _ in GPT(config, np.random.default_rng(0)).named_parameters()]
    assert "token_embedding.weight" in names and "unembedding.weight" not in names


def test_without_causality_the_first_score_sees_the_last_token():
    config = ModelConfig(vocab_size=30, d_model=16, n_head=2, context_length=8, causal=False)
    model, ids = make(config), np.arange(8)[None]
    with no_grad(), use("reference"):
        changed = model(np.where(ids == 7, 9, ids)).data - model(ids).data
    assert np.abs(changed[0, 0]).max() > 0


def test_a_text_longer_than_the_context_is_refused():
    config = ModelConfig(vocab_size=30, d_model=16, n_head=2, context_length=8)
    with pytest.raises(ValueError, match="context_length is 8, but there are 9 tokens"):
        make(config)(np.zeros((1, 9), np.int64))


def test_flops_are_six_per_weight_and_the_attention():
    config = ModelConfig(vocab_size=50, d_model=32, n_head=2, n_layer=3, context_length=10)
    model = GPT(config, np.random.default_rng(0))
    weights = sum(x.size for x in model.parameters()) - 50 * 32          # but the embedding
    assert flops_per_token(config) == 6 * weights + 6 * 3 * 32 * 10
    assert flops_per_token(replace(config, n_kv_head=1)) < flops_per_token(config)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux alone says its memory")
def test_a_cache_takes_memory_only_where_something_is_stored():
    resident = lambda: int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE
    before = resident()
    x = zeros_by_page((16, 1 << 22), np.float32)           # 256 MB
    x[:, :8] = 1
    assert resident() - before < 1 << 23
    assert x[:, :8].all() and not x[0, 8:].any() and x.flags.c_contiguous
