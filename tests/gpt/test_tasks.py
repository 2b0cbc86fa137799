"""A task is three functions: its batches follow from the rng, and parts add up to the whole."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.batch import IGNORE, Batch
from gpt.models.decoder import GPT
from gpt.settings import ConfigError
from gpt.training.plan import Plan
from gpt.training.measures import token_loss
from gpt.training.run import Run
from gpt.training.step import train_steps
from gpt.training.task import Task
from gpt.training.tasks import TASKS
from gpt.training.tasks.causal import causal_batch, causal_measure


def some_batch(data, shape, rng, model):
    """A task of a test: only some of the next tokens are asked, as in instructions."""
    batch = causal_batch(data, shape, rng, model)
    hidden = rng.random(batch.targets.shape) < rng.random((shape[0], 1)) ** 0.3
    return batch._replace(targets=np.where(hidden, IGNORE, batch.targets))


SOME = Task(some_batch, token_loss, causal_measure)      # all that a new task is: a row


@pytest.fixture
def with_some(monkeypatch):
    monkeypatch.setitem(TASKS, "some", SOME)


@given(st.integers(0, 10 ** 6))
def test_micro_batches_with_any_targets_masked_add_up_to_the_batch(data, tiny, seed):
    config, rng = tiny(), np.random.default_rng(seed)
    model = GPT(config.model, rng, np.float64)
    for x in model.parameters():
        x.data += 0.1 * rng.standard_normal(x.shape)          # none is zero, nor its gradient
    batch = some_batch(data, (4, 16), rng, model)
    batch.targets[seed % 4] = IGNORE                          # one row asks nothing
    n = batch.n_targets
    if not n:
        batch.targets[0, 0], n = 1, 1
    found = []
    for size in (4, 1, 3):
        loss = 0.0
        for part in batch.parts(size):
            part_loss = token_loss(model, part, np.float64(n))
            part_loss.backward()
            loss += part_loss.item()
        found.append([loss, *(x.grad for x in model.parameters())])
        for x in model.parameters():
            x.grad = None
    for other in found[1:]:
        for a, b in zip(other, found[0]):
            np.testing.assert_allclose(a, b, atol=1e-12)


def test_a_new_task_is_a_row_that_is_trained_measured_saved_and_resumed(data, tiny, with_some):
    config = tiny(task="some", micro_batch=2)
    run = Run.start(config, data, Plan.fixed(6))
    records = list(train_steps(run))
    assert len(records) == 6 and all(np.isfinite(record.loss) for record in records)
    again = Run.resume(run.tensors(), run.facts() | {"step": run.step}, data)
    assert again.task is SOME and again.step == 6
    assert next(run.task.measure(run.model, data, data.val)).n_targets > 0


def test_a_task_that_does_not_exist_is_named(data, tiny):
    with pytest.raises(ConfigError, match="there is no task 'casual': did you mean causal"):
        Run.start(tiny(task="casual"), data, Plan.fixed(1))


def test_rows_that_belong_together_are_never_cut_apart():
    ids = np.arange(12).reshape(6, 2)
    batch = Batch(ids, ids, together=np.array(2))
    assert [part.ids[:, 0].tolist() for part in batch.parts(3)] == [[0, 2], [4, 6], [8, 10]]
    assert [len(part.ids) for part in Batch(ids, ids).parts(4)] == [4, 2]
