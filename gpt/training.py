"""Training as a generator of records, one for each optimizer step.

Nothing random outlives a step: the batch of step 7 follows from the seed and the number 7 alone.
So a run can stop anywhere, and goes on as if it had not.
"""
import math
import time
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from gpt.config import Config, ConfigError
from gpt.data import Dataset, random_batch
from gpt.model import GPT
from minigrad import Tensor, backprop, watch
from minigrad.kernels.replay import Replay
from minigrad.optim import AdamW, clip_grad_norm, cosine_schedule, trapezoid_schedule, warmup
from minigrad.optim.muon import Muon


class Diverged(ArithmeticError):
    """The loss or a gradient is no number any more; the message says where that began."""


# ---- the plan: how far along each step is ----

@dataclass(frozen=True)
class Plan:
    """Progress, 0 to 1, as a piecewise linear function of the step; all schedules follow it.

    A fixed number of steps is one line. Where steps are planned by time, a new line begins
    whenever the machine turns out to be faster or slower. Earlier lines stay as they are, to the
    last bit, so the plan that was followed repeats the run.
    """

    lines: tuple                   # of (first step, progress there, progress per step)
    steps: int

    @classmethod
    def fixed(cls, steps):
        return cls(((0, 0.0, 1 / steps),), steps)

    def progress(self, step):
        """Return how much of the run is done before `step`.

        >>> Plan.fixed(20).replanned(10, 30).progress(20)
        0.75
        """
        if step >= self.steps:
            return 1.0
        first, done, per_step = self.lines[bisect_right(self.lines, (step, math.inf)) - 1]
        return min(1.0, done + (step - first) * per_step)

    def replanned(self, step, steps):
        """Return a plan that is the same up to `step` and ends at `steps`."""
        steps, done = max(steps, step + 1), self.progress(step)
        past = tuple(line for line in self.lines if line[0] < step)
        return Plan((*past, (step, done, (1 - done) / (steps - step))), steps)

    def extended(self, steps):
        """Return a plan that goes on behind its end, to train a finished run longer."""
        line = self.steps, self.steps / steps, 1 / steps
        return Plan((*self.lines, line), steps)

    def __str__(self):
        return ",".join(f"{step}:{done!r}:{per_step!r}" for step, done, per_step in self.lines
                        ) + f",{self.steps}"

    @classmethod
    def parse(cls, text):
        """Read what str() wrote."""
        try:
            *lines, steps = text.split(",")
            lines = [line.split(":") for line in lines]
            plan = cls(tuple((int(step), float(done), float(per_step))
                             for step, done, per_step in lines), int(steps))
        except ValueError:
            raise ConfigError(f"plan is {text!r:.60}, but must be what a manifest holds, such as "
                              "0:0.0:0.01,100") from None
        first = [step for step, _, _ in plan.lines]
        if not first or first[0] != 0 or sorted({*first, plan.steps}) != [*first, plan.steps]:
            raise ConfigError(f"plan is {text!r:.60}, but its steps must rise from 0")
        return plan


def rate_at(settings, plan, step):
    """Return what the learning rates are multiplied with at a step."""
    done, steps = plan.progress(step) * plan.steps, plan.steps
    if settings.schedule == "cosine":
        falling = cosine_schedule(done, steps, final=settings.final_rate)
    else:
        falling = trapezoid_schedule(done, steps, decay_steps=settings.decay_fraction * steps,
                                     final=settings.final_rate)
    return warmup(step, settings.warmup_steps) * falling


def batch_shape(config, progress):
    """Return how many sequences of how many tokens make a batch: (B, T)."""
    T = config.model.context_length
    if config.train.context_growth and progress < 0.5:
        T = max(1, T // (4 if progress < 0.25 else 2))
    return max(1, config.train.batch_tokens // T), T


def due(run):
    """Tell whether it is time to evaluate and save, after a step."""
    settings, step, plan = run.config.train, run.step, run.plan
    if step >= plan.steps:
        return True
    if settings.eval_every:
        return step % settings.eval_every == 0
    done = [math.floor(settings.evaluations * plan.progress(i) + 1e-9) for i in (step - 1, step)]
    return done[0] < done[1]


# ---- the run ----

@dataclass
class Run:
    """What changes while training, and what it is made from."""

    config: Config
    data: Dataset
    model: GPT
    plan: Plan
    step: int = 0
    best_loss: float = math.inf    # on the validation part
    best_step: int = 0
    optimizers: list = field(default_factory=list)

    @classmethod
    def start(cls, config, data, plan, dtype=np.float32):
        """Make a run with new weights."""
        if not config.model.causal:
            raise ConfigError("a model that sees the next token cannot learn to predict it: leave "
                              "out --no_causal")
        model = GPT(config.model, np.random.default_rng(config.train.seed), dtype)
        return cls(config, data, model, plan, optimizers=make_optimizers(model, config.train))

    def copy(self):
        """Make a run of the same settings, to try its steps without end."""
        return self.start(self.config, self.data, Plan.fixed(1_000_000))

    def tensors(self):
        """Return all that a checkpoint holds, by name."""
        found = {f"model.{name}": x for name, x in self.model.state_dict().items()}
        for i, optimizer in enumerate(self.optimizers):
            found.update({f"optimizer{i}.{name}": x
                          for name, x in optimizer.state_dict().items()})
        return found

    def facts(self):
        """Return the rest of it."""
        return {"config": self.config.to_dict(), "plan": str(self.plan),
                "tokenizer": self.data.tokenizer.fingerprint(),
                "best_loss": self.best_loss if self.best_step else None,
                "best_step": self.best_step}

    @classmethod
    def resume(cls, tensors, facts, data):
        """Make the run that a checkpoint was written by."""
        if facts["tokenizer"] != data.tokenizer.fingerprint():
            raise ConfigError("the checkpoint was trained with another tokenizer than the one in "
                              "its folder: put tokenizer.json back")
        run = cls.start(Config.from_dict(facts["config"]), data, Plan.parse(facts["plan"]))
        run.model.load_state_dict(part(tensors, "model."))
        for i, optimizer in enumerate(run.optimizers):
            optimizer.load_state_dict(part(tensors, f"optimizer{i}."))
        run.step, run.best_step = facts["step"], facts["best_step"]
        run.best_loss = math.inf if facts["best_loss"] is None else facts["best_loss"]
        return run


def part(tensors, prefix):
    return {name[len(prefix):]: x for name, x in tensors.items() if name.startswith(prefix)}


def make_optimizers(model, settings):
    """Give the matrices of the blocks to Muon, if it is asked for, and all else to AdamW.

    What AdamW holds decays if it has two axes or more; gains, biases and scalars do not.
    """
    named = list(model.named_parameters())
    matrices = [x for name, x in named if settings.optimizer == "muon"
                and name.startswith("blocks.") and x.ndim == 2]
    taken = set(matrices)
    rest = [x for _, x in named if x not in taken]
    groups = [{"parameters": [x for x in rest if x.ndim >= 2]},
              {"parameters": [x for x in rest if x.ndim < 2], "weight_decay": 0.0}]
    adamw = AdamW([group for group in groups if group["parameters"]], settings.learning_rate,
                  betas=(settings.beta1, settings.beta2), weight_decay=settings.weight_decay)
    if not matrices:
        return [adamw]
    return [adamw, Muon(matrices, settings.muon_learning_rate, weight_decay=settings.weight_decay)]


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


def where_it_began(run, inputs, targets):
    """Say which parameter or operation of a step was the first that was not finite."""
    names = {x: name for name, x in run.model.named_parameters()}
    for x, name in names.items():
        if not np.isfinite(x.data).all():
            return f"at step {run.step + 1} the parameter {name} is not finite"
    bad = []

    def look(node):
        data = node.data if isinstance(node.data, tuple) else (node.data,)
        if not bad and not all(np.isfinite(x).all() for x in data):
            bad.append(node)
    with watch(look):
        loss = run.model.loss(inputs, targets)
    if bad:
        return (f"at step {run.step + 1} the forward pass is not finite from {bad[0].op.name}"
                f"{of_parameters(bad[0], names)} on")
    for node, _, grads in backprop(loss):
        if node.op and not all(np.isfinite(dx).all() for dx in grads
                               if isinstance(dx, np.ndarray)):
            return (f"at step {run.step + 1} the backward pass is not finite from {node.op.name}"
                    f"{of_parameters(node, names)} on")
    return f"at step {run.step + 1} the gradients, added up, are not finite"


def of_parameters(node, names):
    """Name the parameters that a node used, or the nearest above it."""
    waiting, seen = [node], set()
    while waiting:
        node = waiting.pop(0)
        for x in node.inputs:
            if isinstance(x, Tensor) and x in names:
                return f" (nearest parameter: {names[x]})"
            if isinstance(x, Tensor) and x not in seen:
                seen.add(x)
                waiting.append(x)
    return ""
