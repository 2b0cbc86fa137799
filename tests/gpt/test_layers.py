"""Which layers learn, and how fast: freezing, gradual unfreezing, discriminative rates."""
import numpy as np
import pytest

from gpt.settings import ConfigError
from gpt.training.layers import depths, rates
from gpt.training.plan import Plan, rate_at
from gpt.training.run import Run
from gpt.training.step import train_steps
from tests.gpt.test_classify import config_of, labelled                         # noqa: F401


def copies(run):
    return {name: x.data.copy() for name, x in run.model.named_parameters()}


def changed(run, before):
    return {name for name, x in run.model.named_parameters() if (x.data != before[name]).any()}


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_what_is_frozen_stays_and_has_no_memory(data, tiny, optimizer):
    config = tiny(freeze="token_embedding*,blocks.0.*", weight_decay=0.5, optimizer=optimizer)
    run = Run.start(config, data, Plan.fixed(3))
    before = copies(run)
    for _ in train_steps(run):
        pass
    frozen = {name for name in before if name.startswith(("token_embedding", "blocks.0."))}
    assert changed(run, before) == before.keys() - frozen
    remembered = sum(len(optimizer.memories) for optimizer in run.optimizers)
    assert remembered == len(run.trained) < len(before)
    with pytest.raises(ConfigError, match="nothing is left to learn"):
        Run.start(tiny(freeze="*"), data, Plan.fixed(3))


def test_layers_thaw_from_the_top_without_a_step_or_decay_before(labelled):     # noqa: F811
    config = config_of(labelled, unfreeze=0.75, weight_decay=0.5, optimizer="adamw", warmup_steps=0)
    run = Run.start(config, labelled, Plan.fixed(8))
    layer = {name: depths(run.model)[x] for name, x in run.model.named_parameters()}
    before, lowest = copies(run), []
    for _ in train_steps(run):
        lowest.append(min(layer[name] for name in changed(run, before)))
    assert lowest == [3, 3, 2, 2, 1, 1, 0, 0]


def test_rates_are_divided_layer_by_layer_below_a_faster_head(labelled):        # noqa: F811
    config = config_of(labelled, divide_rates=2.6, optimizer="adamw", learning_rate=1.0)
    run = Run.start(config, labelled, Plan.fixed(2))
    share, layer = rates(run.model, config.train), depths(run.model)
    for name, x in run.model.named_parameters():
        expected = 10 if name.startswith("classifier") else 2.6 ** -max(0, 2 - layer[x])
        assert share[x] == pytest.approx(expected)
    for group in run.optimizers[0].groups:
        assert {share[x] for x in group["parameters"]} == {group["learning_rate"]}


def test_a_run_that_thaws_resumes_to_the_same_bytes(labelled):                  # noqa: F811
    config = config_of(labelled, unfreeze=0.75, divide_rates=2.6, schedule="slanted")
    run = Run.start(config, labelled, Plan.fixed(8))
    for record in train_steps(run):
        if record.step == 3:
            middle = {name: x.copy() for name, x in run.tensors().items()}
    again = Run.resume(middle, run.facts() | {"step": 3}, labelled)
    for _ in train_steps(again):
        pass
    for name, x in run.tensors().items():
        np.testing.assert_array_equal(x, again.tensors()[name], err_msg=name)


def test_the_slanted_triangle_is_its_closed_form(tiny):
    """Equation 3 of arXiv:1801.06146, with cut_frac 0.1 and ratio 32."""
    T, plan, settings = 200, Plan.fixed(200), tiny(schedule="slanted").train
    cut = int(T * 0.1)
    for t in range(T):
        p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / 0.1 - 1))
        assert rate_at(settings, plan, t) == pytest.approx((1 + p * 31) / 32, abs=1e-9)
