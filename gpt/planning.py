"""What a run will cost, before it starts; and how many steps fit into the minutes there are."""
import functools
import itertools
import statistics
import time
from dataclasses import dataclass, replace

import numpy as np

from gpt.baselines import PART, XZ_BYTES
from gpt.config import ConfigError
from gpt.memory import available_bytes, peak_bytes, used_bytes
from gpt.model import flops_per_token
from gpt.recipes import fewer_evaluations
from gpt.training import Plan, batch_shape, train_steps
from minigrad import matmul, watch


def continue_plan(run, given, reported_step=None):
    """Set a new end to a run that is resumed; what else is given would make it another run.

    Parameters
    ----------
    run : Run
    given : dict
        Settings by name.
    reported_step : int, optional
        At which the report was written, if it was: a run that was lost at its end has none yet.

    Raises
    ------
    ConfigError
        For other settings, for steps that are past, or at the end of a run without a new one.
    """
    other = [name for name in given if name not in ("steps", "minutes")]
    if other:
        raise ConfigError(f"--{other[0]} belongs to the run from its start: begin a new run, or "
                          "leave it out; --steps and --minutes can change")
    over = run.step >= run.plan.steps
    steps = given.get("steps", 2 * run.step if over and given.get("minutes") else 0)
    if steps and steps <= run.step:
        raise ConfigError(f"--steps is {steps}, but {run.step} are done: name the number of all "
                          "steps together")
    if over and not steps and run.step == reported_step:
        raise ConfigError(f"this run is at its end, step {run.step}: train longer with --steps or "
                          "--minutes, or let it write with python -m gpt.generate")
    if steps:
        run.plan = run.plan.extended(steps) if over else run.plan.replanned(run.step, steps)
    run.config = run.config.changed(minutes=given.get("minutes", run.config.train.minutes))


# ---- what this machine can do ----

@functools.cache
def matmul_gflops(n=768, seconds=0.05, fewest=8):
    """Measure the best rate of a float32 matrix product, in 10**9 operations a second.

    Timed are as many products as fit into the seconds, but at least the fewest: on a busy machine
    (at the first start a second process compiles) one can take ten times as long as the next.
    """
    a = np.random.default_rng(0).standard_normal((n, n), np.float32)
    matmul(a, a)                                      # loads or compiles the kernel
    times, stop = [], time.perf_counter() + seconds
    while len(times) < fewest or time.perf_counter() < stop:
        began = time.perf_counter()
        matmul(a, a)
        times.append(time.perf_counter() - began)
    return 2 * n ** 3 / min(times) / 1e9


def measure_step(run, seconds=0.25):
    """Take a few steps with a copy of a run, and return the seconds of one.

    The first step, which loads or compiles the kernels, does not count, nor does one that is taken
    several times, to be replayed later.
    """
    steps = train_steps(run.copy())
    next(steps)
    times, stop = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < stop:
        times.append(next(steps).elapsed_s)
    return statistics.median_low(times)


# ---- memory ----

def check_size(config):
    """Refuse a model whose weights alone, with gradients and moments, do not fit into memory."""
    free, weights = available_bytes(), n_weights(config.model)
    if free is not None and run_bytes(config, weights, 0, 0) > free:
        raise ConfigError(f"a model of {weights / 1e9:.1f} billion weights needs "
                          f"{run_bytes(config, weights, 0, 0) / 1e9:.0f} GB to train, but "
                          f"{free / 1e9:.1f} GB are free: use a smaller --d_model or --n_layer")


def n_weights(config):
    """Count the weights of the matrices, as `flops_per_token` does."""
    without_context = replace(config, context_length=1)
    return flops_per_token(without_context) // 6


def sequence_bytes(model):
    """Measure what the forward pass of one sequence keeps for the backward pass, in bytes.

    Gradients that the model may have are dropped.
    """
    ids = np.zeros((1, model.config.context_length), np.int64)
    known = {id(x.data) for x in model.parameters()}
    blocks = {}                                       # id of memory -> (array, bytes)

    def count(node):
        outputs = node.data if isinstance(node.data, tuple) else (node.data,)
        for x in (*outputs, *node.saved):
            if isinstance(x, np.ndarray):
                base = x
                while isinstance(base.base, np.ndarray):
                    base = base.base
                if id(base) not in known:
                    blocks[id(base)] = base, base.nbytes
    with watch(count):
        loss = model.loss(ids, ids, np.random.default_rng(0))
    kept = sum(size for _, size in blocks.values())
    loss.backward()                                   # loads the kernels of the way back
    for x in model.parameters():
        x.grad = None
    return kept


def run_bytes(config, n_parameters, per_sequence, sequences):
    """Predict what a run adds to the process: parameters, gradients, moments, one micro-batch.

    On the way back the gradients of a block take the memory that the blocks behind it gave free.
    """
    moments = 2 if config.train.optimizer == "adamw" else 1.5
    return int(4 * n_parameters * (2 + moments) + per_sequence * sequences)


@dataclass(frozen=True)
class Forecast:
    """What is said before the start."""

    n_parameters: int
    flops_per_token: int
    peak_gflops: float
    memory_bytes: int              # of the whole process, at its highest
    free_bytes: int                # None if unknown
    micro_batch: int


def forecast(run, peak_gflops):
    """Predict the memory, and choose the micro-batch where none is given.

    Raises
    ------
    ConfigError
        If not even one sequence fits into the memory there is.
    """
    config, n_parameters = run.config, sum(x.size for x in run.model.parameters())
    B, _ = batch_shape(config, 1.0)
    per_sequence = sequence_bytes(run.model)
    free, before = available_bytes(), used_bytes()    # now that the kernels are in memory
    need = lambda n: run_bytes(config, n_parameters, per_sequence, n)
    n = config.train.micro_batch or B
    room = None if free is None else 0.9 * free
    if room is not None and not config.train.micro_batch:
        while n > 1 and need(n) > room:
            n = -(-n // 2)
    if room is not None and need(n) > room:
        smaller = f"--micro_batch {max(1, n // 2)}" if n > 1 else (
            f"--d_model {config.model.n_head * max(8, config.model.d_head // 2)} or "
            f"--context_length {max(8, config.model.context_length // 2)}")
        raise ConfigError(f"this run needs {need(n) / 1e9:.1f} GB for {n} sequences at a time, but "
                          f"{free / 1e9:.1f} GB are free: use {smaller}")
    at_the_end = run_bytes(config, n_parameters, 0, 0) + baseline_bytes(run)
    if room is not None and at_the_end > room:
        raise ConfigError(f"a text of {run.data.n_bytes / 1e6:,.0f} MB needs "
                          f"{at_the_end / 1e9:.1f} GB at the end, to be counted and compressed, "
                          f"but {free / 1e9:.1f} GB are free: use less of it")
    return Forecast(n_parameters, flops_per_token(config.model), peak_gflops,
                    max(peak_bytes(), before + max(need(n), at_the_end) + WRITER_BYTES), free, n)


WRITER_BYTES = 20_000_000          # what is loaded later, for samples and the report (measured)


def baseline_bytes(run):
    """Predict what the baselines take: xz and tables, the text, and the surprise at each byte."""
    n_bytes = run.data.n_bytes
    at_once = min(n_bytes, max(xz_bytes(run.config), PART))
    return int(14 * at_once + (2.2 + 8 * run.config.data.val_fraction) * n_bytes)


# ---- time ----

LONG_S = 2 * 24 * 3600             # a run that needs --yes


def check_duration(seconds, agreed):
    """Refuse a run of days that nobody has agreed to."""
    if seconds > LONG_S and not agreed:
        raise ConfigError(f"this would take {duration(seconds)}: use fewer steps or a smaller "
                          "model, name the time you have with --minutes, or say --yes")


def duration(seconds):
    """Write seconds as people say them.

    >>> duration(75), duration(4000), duration(200000)
    ('1 min 15 s', '1 h 6 min', '2 days 7 h')
    """
    seconds = max(0, int(round(seconds)))
    if seconds < 60:
        return f"{seconds} s"
    for unit, size, below, part in (("min", 60, 3600, "s"), ("h", 3600, 86400, "min"),
                                    ("days", 86400, 1e18, "h")):
        if seconds < below:
            rest = seconds % size // {"s": 1, "min": 60, "h": 3600}[part]
            return f"{seconds // size} {unit}" + (f" {rest} {part}" if rest else "")


FINAL_TOKENS = 500_000             # of the validation part, at the end
FORWARD = 0.4                      # of the time of a step: an evaluation of as many tokens
FINISH_S = 3                       # samples, what is copied in them, the report: at most this,
FINISH_SHARE = 0.1                 # and this share of the time
COUNTS_S, XZ_S = 0.1e-6, 0.8e-6    # for a byte of the text, by the baselines
SAMPLE_S = 0.3                     # at an evaluation, with the checkpoint
FEWEST_STEPS = 50                  # from which on anything is learnt


def final_tokens(run, step_s):
    """Return how many validation tokens can be evaluated in a twentieth of the time."""
    limit_s = 0.05 * 60 * run.config.train.minutes
    tokens = FINAL_TOKENS if not limit_s else int(
        limit_s / (FORWARD * step_s) * run.config.train.batch_tokens)
    return min(tokens, FINAL_TOKENS, len(run.data.val))


def time_to_finish(run, step_s):
    """Predict the seconds from the last step to the end: evaluation, samples, baselines, report."""
    finish_s = min(FINISH_S, FINISH_SHARE * 60 * run.config.train.minutes)
    n_bytes = run.data.n_bytes
    finish_s += COUNTS_S * n_bytes + XZ_S * min(n_bytes, xz_bytes(run.config))
    return finish_s + evaluation_s(run, step_s, final_tokens(run, step_s))


def xz_bytes(config):
    """Return of how much of the text xz is measured: it should not take 4 % of the time."""
    return int(2e6 * config.train.minutes) or XZ_BYTES


def evaluation_s(run, step_s, n_tokens):
    """Predict the seconds of an evaluation on so many tokens."""
    return FORWARD * step_s * min(n_tokens, len(run.data.val)) / run.config.train.batch_tokens


def plan_by_time(run, began, step_s):
    """Plan the steps of a run that has minutes.

    Parameters
    ----------
    run : Run
        Gets the plan.
    began : float
        When the time began, by `time.monotonic`.
    step_s : float
        The time of a step, as measured.

    Returns
    -------
    pacer : Pacer

    Raises
    ------
    ConfigError
        If a new run would have too few steps to learn anything.
    """
    settings, finish_s = run.config.train, time_to_finish(run, step_s)
    pause_s = SAMPLE_S + evaluation_s(run, step_s, settings.eval_tokens)
    pacer = Pacer(began + 60 * settings.minutes - finish_s, step_s, pause_s, settings.evaluations)
    run.plan = pacer.first_plan(run.plan, run.step)
    if run.plan.steps < FEWEST_STEPS:
        before_s = time.monotonic() - began
        raise ConfigError(
            f"minutes is {settings.minutes:g}, which leaves time for {run.plan.steps} steps, too "
            f"few to learn from, between {duration(before_s)} for the start and "
            f"{duration(finish_s)} for the final evaluation: use --minutes "
            f"{enough_minutes(run, before_s, step_s):g} or more")
    return pacer


def enough_minutes(run, before_s, step_s):
    """Return the least minutes, in tenths, that leave time for `FEWEST_STEPS` steps and a few."""
    for tenths in itertools.count(1):
        needed = {name: max(n, getattr(run.config.train, name))
                  for name, n in fewer_evaluations(tenths / 10).items()}
        longer = replace(run, config=run.config.changed(minutes=tenths / 10, **needed))
        settings = longer.config.train
        pause_s = SAMPLE_S + evaluation_s(longer, step_s, settings.eval_tokens)
        free_s = (6 * tenths - before_s - time_to_finish(longer, step_s)
                  - settings.evaluations * pause_s)
        if free_s > 1.1 * FEWEST_STEPS * step_s:
            return tenths / 10


class Pacer:
    """Plan the steps so that a run ends when its time is over.

    Parameters
    ----------
    end : float
        When the last step should be done, by `time.monotonic`.
    step_s : float
        The time of a step as measured before the start.
    pause_s : float
        What an evaluation with a sample and a checkpoint is expected to take.
    evaluations : int
        How many there will be.
    """

    MEMORY_S = 10                  # what the mean time of a step looks back on

    def __init__(self, end, step_s, pause_s=0.0, evaluations=20):
        self.end, self.step_s, self.budget_s = end, step_s, end - time.monotonic()
        self.pauses_s, self.evaluations = [pause_s], evaluations

    def first_plan(self, plan, step):
        """Plan with what was measured."""
        free_s = self.end - time.monotonic() - self.evaluations * self.pauses_s[0]
        steps = max(1, int(0.97 * free_s / self.step_s))
        return plan.replanned(step, step + steps) if step else Plan.fixed(steps)

    def step(self, elapsed_s):
        """Take note of a step, up to twice the usual time: one is checked before it is replayed."""
        elapsed_s = min(elapsed_s, 2 * self.step_s)
        weight = min(0.2, elapsed_s / self.MEMORY_S)
        self.step_s += weight * (elapsed_s - self.step_s)

    def pause(self, elapsed_s):
        """Take note of time that went into no step."""
        self.pauses_s.append(elapsed_s)

    def replan(self, plan, step):
        """Return the plan if it still ends in time, to 1 %, and a new one if not."""
        if step >= plan.steps:
            return plan
        now, left = time.monotonic(), 1 - plan.progress(step)
        usual_s = statistics.median_low(self.pauses_s)    # in the first one kernels may compile
        pauses_s = left * self.evaluations * usual_s
        free_s = self.end - now - pauses_s
        late_s = (plan.steps - step) * self.step_s - free_s
        if abs(late_s) <= max(0.01 * self.budget_s, 2 * self.step_s):
            return plan
        return plan.replanned(step, step + max(1, int(free_s / self.step_s)))
