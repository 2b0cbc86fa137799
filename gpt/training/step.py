"""The step of training: batch, loss, backward, clip, update; a record for each.

Nothing random outlives a step: the batch of step 7 follows from the seed and the number 7 alone.
So a run can stop anywhere, and goes on as if it had not.
"""
import math
import time
from typing import NamedTuple

import numpy as np

from gpt.batch import Batch
from gpt.training.divergence import Diverged, where_it_began
from gpt.training.plan import rate_at
from minigrad.kernels import threads
from minigrad.kernels.replay import Replay
from minigrad.mode import changed
from minigrad.optim import clip_grad_norm


class StepRecord(NamedTuple):
    """What there is to know about a step."""

    step: int                      # how many are done, with this one
    progress: float
    loss: float                    # nats per target, on the batch, before the step
    grad_norm: float
    rate: float                    # the learning rate, as a share of the highest
    n_tokens: int
    elapsed_s: float               # for this step
    n_threads: int                 # that took it
    notes: dict = {}               # what else the task tells of its batch, by name


def train_steps(run):
    """Take optimizer steps to the end of the plan, yielding a StepRecord for each.

    Whoever reads the records may save the run between two of them, or change `run.plan`.

    Raises
    ------
    Diverged
        Before a step that would spoil the weights.
    """
    def loss_of(*arrays, rng):
        *part, n = arrays
        with changed("recomputing", run.config.train.recompute):
            return run.loss(Batch(*part), n, rng)
    loss_and_gradients = None
    while run.step < run.plan.steps:
        if run.thaw() or loss_and_gradients is None:
            loss_and_gradients = Replay(loss_of, run.trained)
        began, progress = time.perf_counter(), run.plan.progress(run.step)
        batch, rng = next_batch(run)
        n = np.float64(max(1, batch.n_targets))
        loss = 0.0
        for part in batch.parts(run.micro_batch(batch)):
            loss += loss_and_gradients(*part, n, rng=rng)
        run.obstacle = loss_and_gradients.obstacle
        grad_norm = checked_norm(run, batch, n, loss)
        rate = rate_at(run.config.train, run.plan, run.step)
        for optimizer in run.optimizers:
            optimizer.step(rate)
            optimizer.zero_grad()
        run.step += 1
        yield StepRecord(run.step, progress, loss, grad_norm, rate, batch.ids.size,
                         time.perf_counter() - began, threads.n_threads(), run.task.notes(batch))


def next_batch(run):
    """Draw the batch of the step to come.

    Returns
    -------
    batch : Batch
    rng : numpy.random.Generator
        Of the step's dropout.
    """
    seed = run.config.train.seed, run.step
    rng = np.random.default_rng(seed)
    return run.batch(rng), rng


def checked_norm(run, batch, n, loss):
    """Clip the gradients and return their norm; a step that is not finite ends the run."""
    try:
        if math.isfinite(loss):
            return clip_grad_norm(run.trained, run.config.train.clip_norm or math.inf)
    except FloatingPointError:
        pass
    raise Diverged(where_it_began(run, batch, n))
