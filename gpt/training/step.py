"""Training as a generator of records, one for each optimizer step.

Nothing random outlives a step: the batch of step 7 follows from the seed and the number 7 alone.
So a run can stop anywhere, and goes on as if it had not.
"""
import math
import time
from typing import NamedTuple

import numpy as np

from gpt.data.batch import random_batch
from gpt.training.divergence import Diverged, where_it_began
from gpt.training.plan import batch_shape, rate_at
from minigrad.kernels.replay import Replay
from minigrad.optim import clip_grad_norm


class StepRecord(NamedTuple):
    """What there is to know about a step."""

    step: int                      # how many are done, with this one
    progress: float
    loss: float                    # nats per token, on the batch, before the step
    grad_norm: float
    rate: float                    # the learning rate, as a share of the highest
    n_tokens: int
    elapsed_s: float               # for this step


def train_steps(run):
    """Take optimizer steps to the end of the plan, yielding a StepRecord for each.

    Whoever reads the records may save the run between two of them, or change `run.plan`.

    Raises
    ------
    Diverged
        Before a step that would spoil the weights.
    """
    settings, parameters = run.config.train, run.model.parameters()
    replay = Replay(run.model.loss, parameters)
    while run.step < run.plan.steps:
        began, progress = time.perf_counter(), run.plan.progress(run.step)
        inputs, targets, rng = next_batch(run)
        loss = accumulate(run, inputs, targets, rng, replay)
        try:
            grad_norm = clip_grad_norm(parameters, settings.clip_norm or math.inf)
        except FloatingPointError:
            raise Diverged(where_it_began(run, inputs, targets)) from None
        rate = rate_at(settings, run.plan, run.step)
        for optimizer in run.optimizers:
            optimizer.step(rate)
            optimizer.zero_grad()
        run.step += 1
        yield StepRecord(run.step, progress, loss, grad_norm, rate, inputs.size,
                         time.perf_counter() - began)


def next_batch(run):
    """Draw the batch of the step to come.

    Returns
    -------
    inputs, targets : (B, T) int64
    rng : numpy.random.Generator
        Of the step's dropout.
    """
    rng = np.random.default_rng((run.config.train.seed, run.step))
    B, T = batch_shape(run.config, run.plan.progress(run.step))
    return *random_batch(run.data.train, B, T, rng), rng


def accumulate(run, inputs, targets, rng, replay):
    """Add up the gradients of a batch in micro-batches, and return its loss."""
    longest = run.config.model.context_length // inputs.shape[1]       # of growing contexts
    size, total = run.config.train.micro_batch * longest or len(inputs), 0.0
    if size >= len(inputs) and not run.config.model.dropout:
        total = replay(inputs, targets)
        if not math.isfinite(total):
            raise Diverged(where_it_began(run, inputs, targets))
        return total
    for i in range(0, len(inputs), size):
        share = len(inputs[i:i + size]) / len(inputs)
        loss = run.model.loss(inputs[i:i + size], targets[i:i + size], rng)
        if not math.isfinite(loss.item()):
            raise Diverged(where_it_began(run, inputs[i:i + size], targets[i:i + size]))
        loss.backward(share)
        total += loss.item() * share
    return total
