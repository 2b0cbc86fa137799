"""Data parallel: what N ranks compute is what one process does that takes their rows in turn."""
from functools import cache
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs_of_tasks import DATA, Made
from threads_as_ranks import on_ranks
from world_on_ranks import InTurn

from gpt.batch import Batch
from gpt.training.parallel.data_parallel import BUCKET, DataParallel, Overlapping, buckets
from gpt.training.parallel.world import Alone, even_cuts
from gpt.training.run import Run
from gpt.training.step import OneProcess, train_steps
from minigrad import Tensor

WAYS = DataParallel, Overlapping


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make what makes equal runs of a task."""
    return cache(lambda task="causal": Made(task, tmp_path_factory.mktemp("data")))


def trained(run, steps):
    """Take steps; return what was told of them but the time, and the tensors as bytes."""
    records = [record._replace(elapsed_s=0) for record in islice(train_steps(run), steps)]
    with run.way.whole():
        return records, {name: x.tobytes() for name, x in run.tensors().items()}


def check(make, ranks, way, steps):
    """Every rank has the records and the tensors of one process, to the last bit."""
    def of_rank(world):
        run = make()
        run.way = way(run, world)
        return trained(run, steps)
    whole = make()
    whole.way = InTurn(whole, ranks)
    expected = trained(whole, steps)
    for records, tensors in on_ranks(ranks, of_rank):
        assert records == expected[0]
        assert tensors == expected[1]
    return expected[0]


@pytest.mark.parametrize("ranks, more", [
    (2, {}), (4, {}), (3, {"batch_tokens": 80}),              # Muon, clipped; 2, 2 and 1 rows
    (4, {"batch_tokens": 32, "optimizer": "adamw"}),          # two ranks have nothing to do
    (2, {"tie_weights": True, "dropout": 0.2, "optimizer": "adamw", "weight_decay": 0.1}),
    (2, {"freeze": "*embedding*,blocks.0.*"}), (2, {"unfreeze": 0.4}), (2, {"recompute": True}),
    (2, {"lora_rank": 2, "lora_dropout": 0.4}), (2, {"look_back": 4, "ngram_rows": 64})], ids=str)
@pytest.mark.parametrize("way", WAYS)
def test_ranks_compute_what_one_process_does_in_turn(made, way, ranks, more):
    check(lambda: made().run(**more), ranks, way, steps=10)


@pytest.mark.parametrize("task", [task for task in DATA if task != "causal"])
def test_every_task(made, task):
    check(made(task).run, 2, DataParallel, steps=3)


def test_a_state_that_is_carried_is_whole_when_it_is_saved(made):
    known = made()
    config = known.config.changed(net="lstm", carry_state=True)
    check(lambda: Run.start(config, known.data, known.run().plan), 3, DataParallel, steps=3)


@pytest.mark.parametrize("dtype, tolerance, optimizer", [
    (np.float32, 1e-6, "muon"), (np.float32, 1e-6, "adamw"), (np.float64, 1e-12, "adamw"),
    pytest.param(np.float64, 1e-12, "muon", marks=pytest.mark.thorough)])
def test_steps_are_those_of_the_batch_in_one_piece(made, dtype, tolerance, optimizer):
    """The losses and norms; weights only in float64, as steps of Adam go by the sign at first."""
    def steps_of(world):
        run = made().run(dtype, optimizer=optimizer)
        run.way = DataParallel(run, world)
        return numbers(run)

    def numbers(run):
        records = [*islice(train_steps(run), 10)]
        return [(x.loss, x.grad_norm) for x in records], run.tensors()
    plain, tensors = numbers(made().run(dtype, optimizer=optimizer))
    found, others = on_ranks(3, steps_of)[0]
    np.testing.assert_allclose(found, plain, rtol=tolerance)
    for name, x in tensors.items() if dtype == np.float64 else ():
        np.testing.assert_allclose(others[name], x, rtol=0, atol=tolerance, err_msg=name)


class Nudged(OneProcess):
    """One process whose gradients are changed by half a unit in the last place at most."""

    def gradients(self, batch, n, first=0):
        loss, rng = super().gradients(batch, n, first), np.random.default_rng(self.run.step)
        half = np.finfo(np.float32).eps / 2
        for x in self.run.trained:
            x.grad *= 1 + rng.uniform(-half, half, x.shape).astype(x.dtype)
        return loss


def test_muon_in_float32_carries_the_last_bit_as_far_in_one_process(made):
    """So losses are the same to 1e-6 and weights are not; all of Muon in float64 takes twice as
    long."""
    def numbers(way, **more):
        run = made().run(optimizer="muon", **more)
        run.way = way(run)
        losses = [x.loss for x in islice(train_steps(run), 10)]
        return np.array(losses), [x.data for x in run.trained]

    def apart(found):
        np.testing.assert_allclose(found[0], whole[0], rtol=1e-6)
        return max(np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(found[1], whole[1]))
    whole = numbers(OneProcess)
    nudged, cut = apart(numbers(Nudged)), apart(numbers(OneProcess, micro_batch=2))
    assert 1e-6 < cut < 2 * nudged < 4e-4


@pytest.mark.parametrize("task, more", [("distil", {"teacher_beside": True}), ("reward", {})])
def test_of_a_batch_that_nets_are_asked_for_each_rank_asks_its_rows(tmp_path, task, more):
    made = Made(task, tmp_path)

    def of_rank(world):
        run, rows = made.run(**more), []
        run.way = DataParallel(run, world)
        by_rows = run.way.by_rows
        noting = lambda compute: lambda some: rows.append(some) or compute(some)
        run.way.by_rows = lambda n, compute, piece: by_rows(n, noting(compute), n // 4)
        return run.batch(np.random.default_rng(3)), rows
    (whole, all_rows), = on_ranks(1, of_rank)
    found, places = on_ranks(3, of_rank), []
    for batch, rows in found:
        assert len(rows) < len(all_rows)
        for name, x in batch._asdict().items():
            np.testing.assert_array_equal(x, getattr(whole, name), name)
        places += rows
    assert places == all_rows and whole.teacher is not None


@given(st.integers(1, 20), st.integers(1, 6), st.integers(1, 3))
def test_shares_are_the_parts_of_a_batch(groups, n, together):
    rows = groups * together
    ids = np.arange(2 * rows).reshape(rows, 2)
    batch = Batch(ids, ids, together=np.array(together))
    shares = [batch.share(i, n) for i in range(n)]
    size = len(shares[0][0].ids)
    parts = [part.ids.tolist() for part in batch.parts(size)]
    assert [share.ids.tolist() for share, _ in shares if len(share.ids)] == parts
    assert all(first == share.ids[0, 0] // 2 for share, first in shares if len(share.ids))
    assert size == together * -(-groups // n)


def test_buckets_hold_each_parameter_once_in_order():
    parameters = [Tensor(np.zeros(n)) for n in (3, BUCKET, 5, 7, BUCKET - 12, 1)]
    found = [*buckets(parameters)]
    assert [x for some in found for x in some] == parameters
    assert [len(some) for some in found] == [2, 3, 1]


def test_one_process_pays_nothing(made):
    run = made().run()
    assert type(run.way) is OneProcess and type(run.way.world) is Alone
    assert run.way.described() == () and even_cuts(7, 1) == [0, 7]
