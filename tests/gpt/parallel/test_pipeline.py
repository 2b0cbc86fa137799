"""Stages of a net: what they compute together is what one process does, to the bit."""
from functools import cache, partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs_of_tasks import Made
from threads_as_ranks import on_ranks

from gpt.settings import ConfigError
from gpt.training.config import Config
from gpt.training.divergence import Diverged
from gpt.training.parallel.later import leaves
from gpt.training.parallel.pipeline import Pipeline, place_of, put_at
from gpt.training.parallel.stages import balanced, check_cut
from gpt.training.step import train_steps
from minigrad import Tensor, add_rms_norm, linear

GPT2 = dict(tie_weights=True, position="learned", norm="layer", bias=True, mlp="gelu_tanh",
            optimizer="adamw")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make what makes equal runs of a task, of nets of four blocks."""
    def make(task="causal", **changes):
        return Made(task, tmp_path_factory.mktemp("data"), **{"n_layer": 4, **changes})
    return cache(make)


def trained(run, steps=5):
    """Take steps; return what they told, and the bytes that they left, by name."""
    records = [record._replace(elapsed_s=0) for _, record in zip(range(steps), train_steps(run))]
    with run.way.whole():
        tensors = run.tensors().items()
        return records, {name: (x.shape, x.dtype, x.tobytes()) for name, x in tensors}


def piped(make, ranks, stages, schedule, steps=5):
    """Train on ranks, and return what the first has."""
    def of_rank(world):
        run = make()
        run.way = Pipeline(run, world, stages, schedule)
        return trained(run, steps)
    return on_ranks(ranks, of_rank)[0]


more_of_the_same = pytest.mark.thorough


@pytest.mark.parametrize("ranks, stages, schedule, more", [
    (2, 2, "gpipe", {}),                                      # Muon, and clipped in each step
    (3, 3, "zero_bubble", {"dropout": 0.1, **GPT2}),          # whose head is tied
    (4, 2, "1f1b", {"micro_batch": 2, **GPT2}),               # two copies, a micro-batch each
    (2, 2, "zero_bubble", {"freeze": "*embedding*,blocks.0.*,blocks.1.*"}),
    *[pytest.param(*case, marks=more_of_the_same) for case in [
        (4, 4, "1f1b", {"dropout": 0.2}),
        (2, 2, "zero_bubble", {"micro_batch": 2, "optimizer": "adamw", "batch_tokens": 80}),
        (2, 2, "zero_bubble", {"unfreeze": 0.8}),
        (2, 2, "1f1b", {"norm_position": "post", "recompute": True}),
        (2, 2, "zero_bubble", {"look_back": 2, "ngram_rows": 50, "divide_rates": 2.0}),
        (2, 2, "zero_bubble", {"lora_rank": 2, "lora_dropout": 0.4})]]], ids=str)
def test_stages_compute_what_one_process_does(made, ranks, stages, schedule, more):
    settings = {"micro_batch": 1, "clip_norm": 0.1, **more}
    make = lambda: made().run(**settings)
    assert piped(make, ranks, stages, schedule) == trained(make())


@pytest.mark.parametrize("ranks, more", [(2, GPT2), (4, {})], ids=str)
def test_what_a_rank_sends_is_what_the_formula_says(made, ranks, more):
    def sent(world):
        run = made().run(micro_batch=2, **more)
        run.way = Pipeline(run, world, 2)
        steps = train_steps(run)
        next(steps)
        before = world.sent_bytes
        next(steps)
        return (world.sent_bytes - before) / run.way.traffic(run.way.stage)
    for ratio in on_ranks(ranks, sent):
        assert abs(ratio - 1) < 0.05


@pytest.mark.parametrize("task", ["classify", *[
    pytest.param(task, marks=more_of_the_same) for task in (
        "masked", "instruct", "prefer", "distil")]])
def test_every_task_of_a_transformer(made, task):
    make = lambda: made(task).run(micro_batch=2)
    assert piped(make, 2, 2, "zero_bubble", 4) == trained(make(), 4)


@pytest.mark.parametrize("dtype, most, optimizer", [
    (np.float64, 1e-12, "muon"),
    pytest.param(np.float32, 1e-6, "muon", marks=more_of_the_same),
    pytest.param(np.float32, 1e-6, "adamw", marks=more_of_the_same)])
def test_micro_batches_add_up_to_the_batch(made, dtype, most, optimizer):
    """Two copies of two stages, four rows each, one at a time.

    Muon brings the smallest of what is in a gradient to the size of the rest, float32's rounding
    included: what is the same to 1e-6 is then the loss, and not each weight.
    """
    make = lambda: made(n_layer=2).run(dtype, batch_tokens=128, optimizer=optimizer)
    records, tensors = trained(make(), 10)
    found = piped(make, 4, 2, "1f1b", 10)
    losses = [record.loss for record in records]
    np.testing.assert_allclose([record.loss for record in found[0]], losses, rtol=most)
    for name, (_, kind, data) in found[1].items():
        if name.startswith("model.") and (dtype, optimizer) != (np.float32, "muon"):
            a, b = (np.frombuffer(x, kind) for x in (data, tensors[name][2]))
            np.testing.assert_allclose(a, b, atol=most, err_msg=name)


def test_a_run_goes_on_with_another_number_of_stages(made):
    make = lambda: made().run(micro_batch=1)
    expected = trained(make(), 6)[1]
    known = {}

    def go_on(step, stages, world):
        run = make()
        if known:
            run.way.load({name: np.frombuffer(data, dtype).reshape(shape)
                          for name, (shape, dtype, data) in known.items()})
        run.step, run.way = step, Pipeline(run, world, stages)
        return trained(run, 2)[1]
    for step, stages in (0, 2), (2, 4), (4, 1):
        known = on_ranks(stages, partial(go_on, step, stages))[0]
    assert known == expected


def test_a_stage_has_the_memory_of_its_blocks_alone(made):
    def of_rank(world):
        run = made().run()
        run.way = Pipeline(run, world, 2)
        arrays = [x.data for x in run.model.parameters()]
        for optimizer in run.optimizers:
            arrays += [x for memory in optimizer.memories for x in memory.values()]
        held = sum(x.nbytes for x in arrays if x.flags.writeable)
        return held, sum(x.nbytes for x in arrays), run.way.n_bytes()
    (first, whole, saved), (second, _, _) = on_ranks(2, of_rank)
    assert whole == first + second == saved and min(first, second) > 0.4 * whole


def test_rank_0_has_the_whole_to_evaluate_and_all_have_it_to_explain(made):
    expected = made().run().evaluate()

    def of_rank(world):
        run = made().run()
        run.way = Pipeline(run, world, 2)
        with run.way.whole():
            found = world.rank or run.evaluate()
        if world.rank == 1:
            run.model.unembedding.weight.data[...] = np.nan
        with pytest.raises(Diverged) as error:
            next(train_steps(run))
        return found, str(error.value)
    (found, words), (_, others) = on_ranks(2, of_rank)
    assert found == expected
    assert words == others == "at step 1 the parameter unembedding.weight is not finite"


# ---- gradients of weights, put off ----

def test_weights_put_off_have_the_same_gradients_and_free_the_graph_before():
    rng = np.random.default_rng(0)
    make = lambda *shape: Tensor(rng.standard_normal(shape), requires_grad=True)
    x, first, bias, second, frozen = make(3, 4), make(5, 4), make(5), make(4, 5), make(5, 4)
    frozen.requires_grad = False

    def net():
        total, y = add_rms_norm(linear(linear(x, first, bias), second), x)
        return (linear(linear(y, frozen), second[:]) * total).sum()
    expected = dict(leaves(net()))
    later = []
    found = dict(leaves(net(), None, later, now={bias}))
    assert first not in found and second in found and x in found      # by the way over second[:]
    for layer, g in later:
        for leaf, dx in layer.leaves(g):
            found[leaf] = found[leaf] + dx if leaf in found else dx
    assert len(later) == 2 and found.keys() == expected.keys()
    for leaf, g in expected.items():
        np.testing.assert_allclose(found[leaf], g, rtol=1e-13)


# ---- cutting ----

@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 4))
def test_parts_are_none_empty_and_the_dearest_is_as_cheap_as_can_be(costs, n):
    n = min(n, len(costs))
    cuts = balanced(costs, n)
    assert cuts[0] == 0 and cuts[-1] == len(costs) and np.all(np.diff(cuts) > 0)
    dearest = max(sum(costs[a:b]) for a, b in zip(cuts, cuts[1:]))
    assert len(cuts) == n + 1 and dearest == cheapest(tuple(costs), n)


def cheapest(costs, n):
    """Try every cut."""
    if n == 1:
        return sum(costs)
    return min(max(sum(costs[:i]), cheapest(costs[i:], n - 1))
               for i in range(1, len(costs) - n + 2))


@pytest.mark.parametrize("settings, stages, ranks, words", [
    ({"net": "lstm"}, 2, 2, "the net is lstm"), ({"net": "encoder_decoder"}, 2, 2, "is encoder_de"),
    ({"position": "relative"}, 2, 2, "share one table"), ({"task": "reward"}, 2, 2, "reward asks"),
    ({"n_layer": 3}, 4, 4, "has 3 blocks: use at most 3"), ({}, 2, 5, "start 4 or 6")], ids=str)
def test_what_cannot_be_cut_is_refused(settings, stages, ranks, words):
    with pytest.raises(ConfigError, match=words):
        check_cut(Config.make(**settings), stages, ranks)


def test_a_generator_goes_on_where_another_stood():
    one, other = np.random.default_rng(3), np.random.default_rng(3)
    one.integers(2 ** 63, size=5)
    put_at(other, place_of(one))
    assert one.integers(2 ** 63, size=9).tolist() == other.integers(2 ** 63, size=9).tolist()


@pytest.mark.extra("mpi4py")
@pytest.mark.parametrize("n, n_cases", [(2, 3), (4, 2)])
def test_on_ranks_of_mpi(ranks, n, n_cases):
    done = ranks(n, "tests/gpt/parallel/pipeline_on_ranks.py")
    assert done.status == 0, done.said + done.wrong
    assert done.said.count("equal:") == n_cases
