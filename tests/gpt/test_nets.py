"""Every net of the table is trained, measured, saved, resumed and lets write by what serves all."""
from dataclasses import dataclass

import numpy as np
import pytest

from gpt.data.windows import following_windows, stream_windows
from gpt.models.heads import mean_loss, scores
from gpt.models.nets import NETS, Net
from gpt.models.sampling import NextScores, Sampling, generate
from gpt.models.states import States
from gpt.settings import ConfigError, check_limits, setting
from gpt.training import compile_ahead
from gpt.training.config import Config, groups, setting_names
from gpt.training.plan import Plan
from gpt.training.run import Run
from gpt.training.step import train_steps
from gpt.training.task import read
from gpt.training.tasks.causal import causal_measure
from gpt.verdicts.case import OK
from gpt.verdicts.code import cache_is_inert, is_causal
from gpt.verdicts.learning import gradient_is_the_slope
from gpt.verdicts.untrained import small
from minigrad import no_grad
from minigrad.kernels import jit
from minigrad.nn import Module, normal

BEFORE = [name for name, net in NETS.items() if net.sees == "before"]
OTHERS = [name for name in BEFORE if name != "decoder"]
SMALL = dict(n_layer=2, n_head=1, d_model=16, context_length=16, batch_tokens=64, steps=20,
             warmup_steps=3)


@pytest.fixture
def of(data):
    """Make settings of a small net."""
    def make(net, **changes):
        known = setting_names(net)
        small = {name: x for name, x in SMALL.items() if name in known}
        return Config.make(net=net, **{"vocab_size": data.tokenizer.vocab_size, **small,
                                       **changes})
    return make


def start(config, data, steps=20):
    return Run.start(config, data, Plan.fixed(steps))


@pytest.mark.parametrize("net", OTHERS)
def test_the_loss_falls_in_20_steps_from_that_of_knowing_nothing(net, data, of):
    run = start(of(net, batch_tokens=256, learning_rate=0.01), data)
    losses = [record.loss for record in train_steps(run)]
    assert losses[0] == pytest.approx(np.log(data.tokenizer.vocab_size), abs=0.1)
    assert losses[-1] < losses[0] - 0.3


SEEN = is_causal, cache_is_inert
SLOPES = pytest.param(gradient_is_the_slope, marks=pytest.mark.thorough)


@pytest.mark.parametrize("check", [*SEEN, SLOPES])
@pytest.mark.parametrize("net", OTHERS)
def test_a_net_keeps_what_is_checked_of_a_run(net, check, data, of):
    line = check(small(start(of(net), data)), 20)
    assert line.verdict == OK, line.said


@pytest.mark.parametrize("net", OTHERS)
def test_a_stopped_run_equals_one_that_was_not_and_carries_its_state(net, data, of):
    config = of(net, carry_state=True)
    whole = start(config, data, 9)
    list(train_steps(whole))
    run = start(config, data, 9)
    for _ in train_steps(run):
        if run.step == 4:
            break
    tensors = {name: x.copy() for name, x in run.tensors().items()}
    assert sum(name.startswith("carried.") and x.any() for name, x in tensors.items()) >= 1
    run = Run.resume(tensors, run.facts() | {"step": 4}, data)
    list(train_steps(run))
    for name, x in whole.tensors().items():
        np.testing.assert_array_equal(run.tensors()[name], x, err_msg=name)


@pytest.mark.skipif(not jit.COMPILED, reason="there are no kernels to replay")
@pytest.mark.parametrize("net", OTHERS)
def test_steps_are_replayed_to_the_same_bytes(net, data, of, monkeypatch):
    found = []
    for replayed in (True, False):
        if not replayed:
            monkeypatch.setattr("minigrad.kernels.replay.Replay.possible", lambda self: False)
        run = start(of(net, d_model=64, batch_tokens=512, carry_state=True), data, 7)
        list(train_steps(run))
        assert run.obstacle is None
        found.append(run.tensors())
    for name, x in found[0].items():
        np.testing.assert_array_equal(found[1][name], x, err_msg=name)


@pytest.mark.parametrize("net", OTHERS)
def test_writing_is_replayed_and_equals_scores_of_the_whole(net, data, of):
    model = of(net).new_net(np.random.default_rng(0))
    model.head.data[...] = np.random.default_rng(1).standard_normal(model.head.shape)
    ids = np.random.default_rng(2).integers(0, len(model.head), (2, 9))
    next_scores = NextScores(model, 2)
    found = [next_scores(ids[:, :3]), *(next_scores(ids[:, [t]]) for t in range(3, 9))]
    with no_grad():
        whole = model(ids).data[:, 2:]                        # (B, 7, V)
    np.testing.assert_allclose(np.stack(found, axis=1), whole, atol=2e-4)
    if jit.COMPILED:
        assert next_scores.one_more.obstacle is None
    written = generate(model, ids, Sampling(temperature=0), max_tokens=40)
    assert np.array([*written]).shape == (40, 2)              # beyond the length of a window


@pytest.mark.parametrize("net", OTHERS)
def test_what_a_step_runs_is_compiled_ahead(net, of):
    compile_ahead.compile_all(of(net, d_model=32))


# ---- carried state ----

def test_windows_follow_each_other_around_the_end_of_the_text():
    ids = np.arange(23)
    windows = [following_windows(ids, 3, 5, step) for step in range(9)]
    for one, after in zip(windows, windows[1:]):
        np.testing.assert_array_equal(one[:, -1], after[:, 0])
    assert {*np.concatenate(windows).ravel().tolist()} == {*range(23)}


@pytest.mark.parametrize("n, T, B", [(2, 4, 3), (23, 5, 3), (64, 8, 4), (65, 8, 4), (7, 9, 2)])
def test_streams_count_every_token_but_the_first_once(n, T, B):
    counted = [windows[:, 1:][counts] for windows, counts in stream_windows(np.arange(n), T, B)]
    assert sorted(np.concatenate(counted).tolist()) == [*range(1, n)]


def test_a_text_read_in_one_stream_is_the_loss_of_it_as_a_whole(data, of):
    model = of("lstm").new_net(np.random.default_rng(0))
    model.head.data[...] = np.random.default_rng(1).standard_normal(model.head.shape)
    ids = data.val[:200].astype(np.int64)
    in_parts = read(causal_measure(model, data, np.concatenate([ids])))
    assert in_parts.n_targets == 199
    whole = model.loss(ids[None, :-1], ids[None, 1:]).item()
    assert abs(in_parts.nats_per_token - whole) < 0.1         # 12 streams begin anew


def test_micro_batches_carry_the_state_of_their_own_rows(data, of):
    found = []
    for micro in (0, 1):
        run = Run.start(of("gru", micro_batch=micro), data, Plan.fixed(4), np.float64)
        list(train_steps(run))
        found.append(run.tensors())
    for name, x in found[0].items():
        np.testing.assert_allclose(found[1][name], x, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("net, more, words", [
    ("decoder", {}, "carry_state needs a net whose state has one size"),
    ("lstm", {"context_growth": True}, "leave one of them out")])
def test_what_cannot_be_carried_is_told(net, more, words, data, of):
    with pytest.raises(ConfigError, match=words):
        start(of(net, carry_state=True, **more), data)


# ---- a net is one file and one row ----

@dataclass(frozen=True)
class BagConfig:
    """The shape of a net of this test."""

    vocab_size: int = setting(256, "number of tokens", at_least=1)
    context_length: int = setting(16, "tokens of a window", at_least=1)
    width_of_bag: int = setting(8, "a setting that no other net has", at_least=1)

    __post_init__ = check_limits


class Bag(Module):
    """It knows the last token."""

    __call__, loss = scores, mean_loss

    def __init__(self, config, rng, dtype=np.float32):
        self.config = config
        shape = config.vocab_size, config.width_of_bag
        self.token_embedding = normal(rng, shape, 0.5, dtype)
        self.head = normal(rng, shape, 0.0, dtype)

    def stream(self, batch, state=None, rng=None):
        return self.token_embedding[batch.ids]

    def start(self, batch):
        return States([], len(batch.ids))


def test_a_new_net_is_one_file_and_one_row(data, of, monkeypatch):
    monkeypatch.setitem(NETS, "bag", Net(BagConfig, Bag))
    flags = [f.name for _, found in groups() for f in found]
    assert "width_of_bag" in flags and len(flags) == len({*flags})
    run = start(of("bag", width_of_bag=5, optimizer="adamw", learning_rate=0.05), data)
    losses = [record.loss for record in train_steps(run)]
    assert losses[-1] < losses[0] - 0.3
    again = Run.resume(run.tensors(), run.facts() | {"step": 20}, data)
    assert isinstance(again.model, Bag) and again.model.head.shape[1] == 5
    assert read(run.measures()).n_targets == len(data.val) - 1
    assert len([*generate(run.model, [[1]], max_tokens=3)]) == 3


@pytest.mark.parametrize("settings, words", [
    ({"net": "lstn"}, "there is no net 'lstn': did you mean lstm"),
    ({"net": "lstm", "n_head": 2}, "the net lstm has no setting 'n_head'"),
    ({"net": "lstm", "preset": "gpt2"}, "the net lstm has no setting"),
    ({"kernel_size": 3}, "there is no setting 'kernel_size'")])
def test_what_a_net_does_not_have_is_told(settings, words):
    with pytest.raises(ConfigError, match=words):
        Config.make(**settings)


def test_runs_of_earlier_versions_are_of_a_decoder():
    stored = Config.make().to_dict()
    del stored["train"]["net"], stored["train"]["carry_state"]
    assert Config.from_dict(stored) == Config.make()
