"""Generation is the net itself, token by token: every setting is heard, and steps are replayed."""
import gc
import weakref
from dataclasses import fields
from itertools import combinations

import numpy as np
import pytest
from nets import make

from gpt.models import sampling, trunk
from gpt.models.config import ModelConfig
from gpt.models.sampling import NextScores, Sampling, generate
from minigrad import add_rms_norm, no_grad, rms_norm, tanh, use
from minigrad.kernels import jit, threads

SMALL = dict(vocab_size=40, context_length=24, n_layer=2, n_head=4, d_model=32)
# Every field of the config, with values away from its default.
OTHERS = {"vocab_size": [7], "context_length": [16], "n_layer": [1], "n_head": [2],
          "n_kv_head": [2], "d_model": [24], "d_head": [12], "d_mlp": [40],
          "position": ["learned", "sinusoidal", "relative", "none"], "position_offset": [2],
          "relative_buckets": [6], "relative_distance": [40], "norm": ["layer", "rms"],
          "norm_eps": [0.1], "norm_position": ["post"], "qk_norm": [False], "qk_gain": [True],
          "mlp": ["gelu", "gelu_tanh", "relu", "silu", "geglu", "swiglu"], "bias": [True],
          "qkv_bias": [True], "rope_theta": [100.0],
          "score_scale": [False], "logit_scale": [True], "embedding_gain": [True],
          "n_segment": [2], "transform": [True], "n_encoder_layer": [1],
          "rope_scaling": ["llama3:8:1:4:16", "linear:3"], "window": [5],
          "tie_weights": [True], "init": ["scaled"], "ngram_rows": [50], "look_back": [3],
          "embedding_norm": [False], "embedding_scale": [True], "dropout": [0.3]}
# What published models are set to, and what no kernel or recording knows yet.
NOT_REPLAYED = ({"qk_gain": True}, {"mlp": "relu"}, {"mlp": "geglu"}, {"window": 5},
                {"embedding_scale": True}, {"logit_scale": True},
                {"position": "relative"})
ONE_BY_ONE = [{name: value} for name, values in OTHERS.items() for value in values]
IN_PAIRS = [{a: OTHERS[a][-1], b: OTHERS[b][0]} for a, b in combinations(OTHERS, 2)]


def small(seed=0, **changes):
    return make(ModelConfig(**SMALL | changes), seed, np.float32)


def scores_one_by_one(model, ids, prompt=3):
    """Return the scores behind each position from the prompt's last on, (B, T - prompt + 1, V)."""
    next_scores = NextScores(model, len(ids))
    found = [next_scores(ids[:, :prompt])]
    found += [next_scores(ids[:, i:i + 1]) for i in range(prompt, ids.shape[1])]
    return np.stack(found, axis=1), next_scores.one_more


def assert_heard(model, B=1, n=14):
    ids = np.random.default_rng(2).integers(0, model.config.vocab_size, (B, n))
    found, one_more = scores_one_by_one(model, ids)
    with no_grad():
        whole = model(ids).data[:, 2:]
    np.testing.assert_allclose(found, whole, atol=2e-5 * abs(whole).max())
    return one_more


def test_the_table_has_every_setting_of_a_net():
    apart = {"causal", "document_end"}         # no text is written without; tests of its own
    assert {*OTHERS, *apart} == {f.name for f in fields(ModelConfig)}
    defaults = ModelConfig(**SMALL)
    assert all(value != getattr(defaults, name) for each in ONE_BY_ONE
               for name, value in each.items())


@pytest.mark.parametrize("change", ONE_BY_ONE, ids=str)
def test_every_setting_is_heard_by_generation_and_replayed(change):
    one_more = assert_heard(small(**change))
    if change in NOT_REPLAYED:
        assert one_more.obstacle
    elif jit.COMPILED:
        assert one_more.obstacle is None
        assert [each.next for each in one_more.attempts.values()] == ["replay"]


@pytest.mark.thorough
@pytest.mark.parametrize("change", IN_PAIRS, ids=str)
def test_so_is_every_pair_of_settings(change):
    assert_heard(small(**change), B=2)


@pytest.mark.parametrize("seed", range(12))
def test_so_are_many_settings_together(seed):
    rng = np.random.default_rng(seed)
    chosen = {name: values[rng.integers(len(values))] for name, values in OTHERS.items()
              if rng.random() < 0.4}
    assert_heard(small(seed, **chosen), B=1 + seed % 3)


def with_eps(self, x):
    return x.normalised(lambda branch, x: add_rms_norm(branch, x, self.gain, 0.3),
                        lambda x: rms_norm(x, self.gain, 0.3))


def half_as_much(self, x, mlp=trunk.MLP.__call__):
    return mlp(self, x) * 0.5


def other_activation(self, x):
    return self.projection(tanh(self.expand(x)))


@pytest.mark.parametrize("part, body", [(trunk.Norm, with_eps), (trunk.MLP, half_as_much),
                                        (trunk.MLP, other_activation)])
def test_what_is_changed_in_the_net_alone_is_heard_by_generation(monkeypatch, part, body):
    model = small()
    with no_grad():
        before = model(np.array([[1, 2, 3]])).data
        monkeypatch.setattr(part, "__call__", body)
        assert abs(model(np.array([[1, 2, 3]])).data - before).max() > 0.01 * abs(before).max()
    assert_heard(model)


def test_a_long_prompt_is_read_in_parts(monkeypatch):
    monkeypatch.setattr(sampling, "AT_ONCE", 5)           # the last part is one token
    found, _ = scores_one_by_one(small(), np.arange(16)[None], prompt=16)
    with no_grad():
        whole = small()(np.arange(16)[None]).data[:, -1:]
    np.testing.assert_allclose(found, whole, atol=2e-5 * abs(whole).max())


def test_any_number_of_threads_gives_the_same_scores():
    model, n, found = small(context_length=400), threads.n_threads(), []
    ids = np.random.default_rng(0).integers(0, 40, (2, 60))
    try:
        for n_threads in {1, jit.config.NUMBA_NUM_THREADS}:
            threads.set_threads(n_threads)
            found.append(scores_one_by_one(model, ids)[0])
    finally:
        threads.set_threads(n)
    np.testing.assert_array_equal(found[0], found[-1])


@pytest.mark.parametrize("level", ["fast", "reference"])
def test_greedy_text_is_that_of_the_whole_model(level):
    model, ids = small(3), [1, 2, 3]
    with use(level):
        made = [int(i[0]) for i in generate(model, [ids], Sampling(temperature=0), max_tokens=20)]
        with no_grad():
            for _ in made:
                ids = [*ids, int(model(np.array([ids])).data[0, -1].argmax())]
    assert made == ids[3:]


def test_a_token_that_does_not_exist_and_one_too_many_are_refused():
    next_scores = NextScores(small(), 1)
    for _ in range(5):
        next_scores(np.array([[1 + _]]))
    for token in (-1, 40):
        with pytest.raises(IndexError, match=f"ids holds {token}, but there are 40"):
            next_scores(np.array([[token]]))
    next_scores(np.ones((1, 19), np.int64))
    with pytest.raises(ValueError, match="context_length is 24, but this is position 25"):
        next_scores(np.array([[1]]))


def test_what_has_been_read_is_forgotten_with_its_last_user():
    scores = NextScores(small(), 1)
    scores(np.array([[1, 2]]))
    read = weakref.ref(scores.state)
    gc.disable()
    try:
        del scores
        assert read() is None
    finally:
        gc.enable()
