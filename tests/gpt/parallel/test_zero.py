"""ZeRO: what N ranks compute is what one process does that takes their rows in turn, to the bit."""
from functools import cache
from itertools import islice, product
from pathlib import Path

import numpy as np
import pytest
from runs_of_tasks import Made
from threads_as_ranks import on_ranks
from world_on_ranks import InTurn

from gpt.settings import ConfigError
from gpt.training.checkpoint import below
from gpt.training.divergence import Diverged
from gpt.training.parallel.costs import reduce_scatter, state_bytes, step_traffic
from gpt.training.parallel.world import Alone
from gpt.training.parallel.zero import ZERO as STAGES
from gpt.training.parallel.zero import Zero2, Zero3, dearly
from gpt.training.step import train_steps
from minigrad.stepper.recording import memories


HERE = Path(__file__).parent
ROOT = HERE.parent.parent.parent


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make what makes equal runs of a task."""
    return cache(lambda task="causal": Made(task, tmp_path_factory.mktemp("data")))


def trained(run, steps=10):
    """Take steps; return what they told and left: losses, norms, tensors by name, of rank 0 all.
    """
    records = [*islice(train_steps(run), steps)]
    with run.way.whole():
        tensors = written(run) if run.way.world.rank == 0 else {}
    return [x.loss for x in records], [x.grad_norm for x in records], tensors


def written(run):
    """Return what a checkpoint says of each tensor."""
    return {name: (x.shape, x.dtype, x.tobytes()) for name, x in run.tensors().items()}


def on_shares(stage, ranks, make, steps=10, shards=None):
    """Train equal runs on ranks; return what each of them has then."""
    def of_rank(world):
        run = make()
        run.way = STAGES[stage](run, world, shards)
        found = trained(run, steps)
        if stage < 3 and world.rank:
            mine = {f"model.{name}": x for name, x in run.kept.named_parameters()}
            found[2].update({name: (x.shape, x.dtype, x.data.tobytes())
                             for name, x in mine.items()})
        return found
    return on_ranks(ranks, of_rank)


def check_equal(found, expected):
    """Ranks have the losses and the bytes, and the norm but for the order of its sum."""
    assert found[0][2].keys() == expected[2].keys()
    for losses, norms, tensors in found:
        assert losses == expected[0]
        assert all(expected[2][name] == x for name, x in tensors.items())
        np.testing.assert_allclose(norms, expected[1], rtol=1e-15)


def more_of_the_same(*case):
    return pytest.param(*case, marks=pytest.mark.thorough)


@pytest.mark.parametrize("stage, ranks, more", [
    (1, 3, {}), (3, 4, {}),                                   # Muon, and clipped in each step
    (2, 3, {"optimizer": "adamw", "dropout": 0.2}),
    (3, 2, {"preset": "gpt2", "dropout": 0.2, "clip_norm": 0.1}),         # whose head is tied
    (2, 4, {"batch_tokens": 32}),                             # two ranks have nothing to do
    (3, 2, {"lora_rank": 2, "lora_dropout": 0.4}),
    more_of_the_same(2, 4, {}), more_of_the_same(1, 3, {"optimizer": "adamw"}),
    more_of_the_same(3, 3, {"batch_tokens": 80, "divide_rates": 2.0, "weight_decay": 0.1}),
    more_of_the_same(2, 2, {"freeze": "*embedding*,blocks.0.*"}),
    more_of_the_same(3, 2, {"unfreeze": 0.4})], ids=str)
def test_ranks_compute_what_one_process_does_in_turn(made, stage, ranks, more):
    make = made().run
    if "preset" in more:
        more = more | {"tie_weights": True, "position": "learned", "norm": "layer", "bias": True,
                       "optimizer": "adamw"}
        del more["preset"]
    run = make(**more)
    run.way = InTurn(run, ranks)
    check_equal(on_shares(stage, ranks, lambda: make(**more)), trained(run))


@pytest.mark.parametrize("stage, ranks, shards, more", [
    (3, 4, 2, {}),
    (1, 6, 2, {"optimizer": "adamw", "dropout": 0.2, "batch_tokens": 96}),
    more_of_the_same(2, 6, 3, {"optimizer": "adamw"}),        # two ranks have nothing to do
    more_of_the_same(3, 6, 2, {"batch_tokens": 80, "divide_rates": 2.0}),
    more_of_the_same(3, 4, 2, {"unfreeze": 0.4})], ids=str)
def test_groups_that_have_a_copy_each_compute_the_same(made, stage, ranks, shards, more):
    run = made().run(**more)
    run.way = InTurn(run, ranks)
    found = on_shares(stage, ranks, lambda: made().run(**more), 6, shards)
    check_equal(found, trained(run, 6))


@pytest.mark.parametrize("task", ["prefer", "seq2seq", *map(more_of_the_same, (
    "masked", "classify", "instruct", "distil", "reward"))])
def test_every_task(made, task):
    """Stage 3 runs blocks twice; answers that are rewarded are recorded, which one thread does."""
    stage = 2 if task in ("instruct", "reward") else 3
    run = made(task).run(recompute=stage == 3)
    run.way = InTurn(run, 2)
    check_equal(on_shares(stage, 2, made(task).run, 4), trained(run, 4))


@pytest.mark.parametrize("stage, dtype, optimizer, most", [
    (2, np.float64, "muon", 1e-12), (3, np.float32, "adamw", 1e-6),
    more_of_the_same(1, np.float32, "adamw", 1e-6),
    more_of_the_same(3, np.float64, "adamw", 1e-12)])
def test_micro_batches_of_ranks_add_up_to_the_batch(made, stage, dtype, optimizer, most):
    """Three and two of them on two ranks, whose sums are made in another order.

    In float32 Muon's iteration carries what differs in the last bit to 4e-5, in one process, too.
    """
    make = lambda **more: made().run(dtype, batch_tokens=80, optimizer=optimizer, **more)
    losses, _, tensors = trained(make())
    found = on_shares(stage, 2, lambda: make(micro_batch=1))
    for mine in found:
        np.testing.assert_allclose(mine[0], losses, rtol=most)
    for name, (_, kind, data) in found[0][2].items():
        if name.startswith("model."):
            a, b = (np.frombuffer(x, kind) for x in (data, tensors[name][2]))
            assert np.linalg.norm(a - b) <= most * np.linalg.norm(b), name


def test_checkpoints_are_the_same_and_go_on_with_any_number_of_ranks(made):
    """Six steps in one process, or four on other ranks between the first and the last."""
    make = made().run

    def going_on(run, arrays, step):
        run.way.load(arrays)
        run.step = step
        return run

    def arrays(tensors):
        return {name: np.frombuffer(data, dtype).reshape(shape)
                for name, (shape, dtype, data) in tensors.items()}
    run = make(micro_batch=2)
    expected = trained(run, 6)[2]
    run = make(micro_batch=2)
    held = arrays(trained(run, 2)[2])

    def of_rank(world):
        run = going_on(make(), held, 2)
        run.way = Zero3(run, world)
        return trained(run, 2)[2]
    first, second = on_ranks(2, of_rank)
    assert not second
    run = going_on(make(micro_batch=2), arrays(first), 4)
    assert trained(run, 2)[2] == expected


def test_a_rank_without_moments_gets_its_share_of_those_of_rank_0(made):
    expected = trained(made().run(micro_batch=2), 4)[2]
    other = made().run(micro_batch=2)
    trained(other, 2)

    def of_rank(world):
        run = made().run()
        known = other.way.tensors()
        run.model.load_state_dict(below(known, "model"))
        if world.rank == 0:
            run.way.load(known)
        run.step = 2
        run.way = Zero2(run, world)
        return trained(run, 2)[2]
    assert on_ranks(2, of_rank)[0] == expected


def test_where_numbers_ended_is_told_as_in_one_process(made):
    def spoilt(run):
        run.model.blocks[1].mlp.expand.weight.data[0, 0] = np.inf
        return run

    def raised(run):
        with pytest.raises(Diverged) as error:
            next(train_steps(run))
        return str(error.value)

    def of_rank(world):
        run = spoilt(made().run())
        run.way = Zero3(run, world)
        return raised(run)
    expected = raised(spoilt(made().run()))
    assert "blocks.1.mlp.expand.weight" in expected
    assert on_ranks(2, of_rank) == [expected, expected]


def test_a_net_without_blocks_of_a_transformer_refuses_stage_3(made):
    run = made().run()
    run.config = run.config.changed(net="lstm")
    with pytest.raises(ConfigError, match="the net lstm has none: use --zero 2"):
        Zero3(run, Alone())


def test_the_net_can_be_run_where_its_weights_are_at_hand(made):
    run = made().run()
    expected = run.evaluate()
    run.way = Zero3(run, Alone())
    assert np.isnan(run.evaluate().nats)                      # not silently wrong
    for whole in False, True:
        with run.way.at_hand(whole):
            assert run.evaluate() == expected


@pytest.mark.parametrize("ranks, shards, stage", [*product((2, 4), [None], STAGES), (4, 2, 3)])
def test_what_a_rank_keeps_is_what_the_formula_says(made, ranks, shards, stage):
    """Counted from the arrays that there are between two steps."""
    def kept(world):
        run = made().run(d_model=32, optimizer="adamw", look_back=0, ngram_rows=0)
        psi = sum(x.size for x in run.trained)
        run.way = STAGES[stage](run, world, shards)
        list(islice(train_steps(run), 1))
        arrays = [x.data for x in run.trained if not np.isnan(x.data.flat[0])]
        arrays += [x for unit in run.way.units for x in (unit.share, unit.slopes, unit.sums)]
        arrays += [x for each in run.optimizers for some in each.memories for x in some.values()]
        return sum(memories(arrays).values()) / state_bytes(psi, shards or ranks, stage)
    for ratio in on_ranks(ranks, kept):
        assert abs(ratio - 1) < 0.05


@pytest.mark.parametrize("stage, shards", [*product(STAGES, [4]), (2, 2)])
def test_what_a_rank_sends_is_what_the_formula_says(made, stage, shards):
    """What is outside of the blocks is gathered once a step in stage 3, not twice."""
    def sent(world):
        run = made().run(optimizer="adamw")
        run.way = STAGES[stage](run, world, shards)
        steps = train_steps(run)
        next(steps)
        before = world.sent_bytes
        next(steps)
        psi = sum(x.size for x in run.trained)
        outside = sum(unit.size for unit in run.way.units if not unit.block)
        less = reduce_scatter(4 * outside, world.size) if stage == 3 else 0
        said = step_traffic(psi, world.size, stage, shards=shards)
        return (world.sent_bytes - before) / (said - less)
    for ratio in on_ranks(4, sent):
        assert abs(ratio - 1) < 0.05


def test_that_weights_come_slowly_is_told():
    assert "weights twice a step, each time in 25% of the time" in dearly(0.5, 2.0)
    assert not dearly(0.1, 2.0)


@pytest.mark.extra("mpi4py")
@pytest.mark.parametrize("n, cases", [(2, 5), (4, 3)])
def test_on_ranks(ranks, n, cases):
    done = ranks(n, HERE / "zero_on_ranks.py")
    assert done.said.count("equal:") == cases, done.wrong


@pytest.mark.extra("mpi4py")
def test_a_run_goes_on_with_shares_or_without(ranks, tmp_path):
    """Two ranks write the file that one process does which takes two micro-batches."""
    def train(n, *words):
        done = ranks(n, ROOT / "train.py", *words, "--plain")
        assert done.status == 0, done.wrong
        return done.said
    words = ["stories", "--steps", 4, "--eval_every", 2, "--n_layer", 1, "--d_model", 16,
             "--n_head", 2, "--context_length", 16, "--batch_tokens", 64, "--tokenizer", "char",
             "--micro_batch", 2, "--runs", tmp_path]
    assert "each keeps 1/2 of moments" in train(2, *words, "--name", "two", "--zero", 3)
    train(1, *words, "--name", "one")
    files = [tmp_path / name / "checkpoints/step-00000004.safetensors" for name in ("one", "two")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert "step 6/6" in train(1, "--resume", tmp_path / "two", "--steps", 6)
    assert "step 6/6" in train(2, "--resume", tmp_path / "one", "--steps", 6, "--zero", 3)
    files = [path.with_name("step-00000006.safetensors") for path in files]
    assert files[0].read_bytes() == files[1].read_bytes()
