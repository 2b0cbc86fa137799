"""How many steps fit into the minutes there are, and how a run keeps to them."""
import math
import statistics
import time
from itertools import pairwise
from typing import NamedTuple

from gpt import called
from gpt.settings import ConfigError
from minigrad.kernels import threads


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
    by_time = over and given.get("minutes")
    steps = given.get("steps", 2 * run.step if by_time else 0)
    if steps and steps <= run.step:
        raise ConfigError(f"--steps is {steps}, but {run.step} are done: name the number of all "
                          "steps together")
    if over and not steps and run.step == reported_step:
        raise ConfigError(f"this run is at its end, step {run.step}: train longer with --steps or "
                          f"--minutes, or let it write with {called('generate')}")
    if steps and over:
        run.plan = run.plan.extended(steps)
    elif steps:
        run.plan = run.plan.replanned(run.step, steps)
    if "minutes" in given:
        run.config = run.config.changed(minutes=given["minutes"])


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
    units = ("days", 86400), ("h", 3600), ("min", 60), ("s", 1)
    for (unit, size), (part, smaller) in pairwise(units):
        if seconds >= size:
            rest = seconds % size // smaller
            return f"{seconds // size} {unit}" + (f" {rest} {part}" if rest else "")
    return f"{seconds} s"


# ---- what comes behind the last step is read until its share of the minutes is over ----

CLOSING = 0.05                         # share of a run's time that comes behind its last step
REPORT_S, REPORT = 3, 0.4              # of that the report: seconds, but at most this share
EVALUATION, SAMPLES, BASELINES, COPIED = 0.6, 0.2, 0.15, 0.05      # shares of the rest
SLOWEST = 4                            # times as long as planned the report may take, on a busy one
SHORT_S = 20                           # what a run without minutes is taken to last at least
FEWEST_STEPS = 50                      # from which on anything is learnt


class Rates(NamedTuple):
    """What was measured before the start."""

    step_s: float                      # of a step
    target_s: float                    # of a target that is evaluated
    slow: tuple = ()                   # what is slower than it could be, in words
    threads: str = ""                  # how many take a step, and why


def slowness(began):
    """How often the time that this process had on a processor went by: on a busy machine 2 to 4."""
    return min(SLOWEST, max(1, (time.monotonic() - began) / time.process_time()))


def closing_s(run, spent_s=0.0):
    """Return the seconds for all behind the last step; without minutes, `spent_s` were before."""
    return CLOSING * (60 * run.config.train.minutes or max(SHORT_S, spent_s))


def report_s(run, spent_s=0.0):
    """Return how many of them are for the report."""
    return min(REPORT_S, REPORT * closing_s(run, spent_s))


def reading_s(run, spent_s=0.0):
    """Return how many are for what can stop at any time: `EVALUATION` and so on share them.

    If the last step was late, they are fewer.
    """
    all_s = closing_s(run, spent_s)
    if run.config.train.minutes:
        all_s = min(all_s, 60 * run.config.train.minutes - spent_s)
    return max(all_s, closing_s(run) / 2) - report_s(run, spent_s)


def plan_by_time(run, began, rates):
    """Plan the steps of a run that has minutes.

    Parameters
    ----------
    run : Run
        Gets the plan.
    began : float
        When the time began, by `time.monotonic`.
    rates : Rates

    Returns
    -------
    pacer : Pacer

    Raises
    ------
    ConfigError
        If a new run would have too few steps to learn anything.
    """
    settings = run.config.train
    last_s = closing_s(run) + report_s(run) * (slowness(began) - 1)
    n_targets = min(settings.eval_tokens, len(run.data.val))
    pause_s = n_targets * rates.target_s
    pacer = Pacer(began + 60 * settings.minutes - last_s, rates.step_s, pause_s,
                  settings.evaluations)
    run.plan = pacer.first_plan(run.plan, run.step)
    if run.plan.steps < FEWEST_STEPS:
        before_s = time.monotonic() - began
        remedies = what_helps(run, rates.step_s, before_s + settings.evaluations * pause_s)
        raise ConfigError(
            f"minutes is {settings.minutes:g}, which leaves time for {run.plan.steps} steps of "
            f"{rates.step_s:.2g} s, too few to learn from, between {duration(before_s)} for the "
            f"start and {duration(last_s)} for the final evaluation: use {', '.join(remedies)}")
    return pacer


def what_helps(run, step_s, other_s):
    """Name all that would leave a run more steps; `other_s` are the seconds for all else."""
    settings, T = run.config.train, run.config.model.context_length
    wanted = 1.5 * FEWEST_STEPS                       # with room for a machine that gets slower
    share = 1 - CLOSING * (1 + REPORT * (SLOWEST - 1))
    minutes = (other_s + wanted * step_s) / share / 60
    found = [f"--minutes {math.ceil(10 * minutes + 1) / 10:g} or more"]
    B = int(settings.batch_tokens / T * run.plan.steps / wanted)
    if B:
        found.append(f"--batch_tokens {B * T}")
    found.append("a smaller --d_model or --n_layer")
    most, cores = threads.most_threads(), threads.available_cores()
    if most < cores:
        found.append(f"MINIGRAD_THREADS={cores}, which is {most}")
    if other_s > 20 * settings.minutes:               # a third
        found.append("or the same again, if kernels had to be compiled: they are kept")
    return found


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
        self.end, self.step_s = end, step_s
        self.budget_s = end - time.monotonic()
        self.pauses_s, self.evaluations = [pause_s], evaluations

    def first_plan(self, plan, step):
        """Plan with what was measured."""
        pauses_s = self.evaluations * self.pauses_s[0]
        free_s = self.end - time.monotonic() - pauses_s
        return plan.replanned(step, step + max(1, int(0.97 * free_s / self.step_s)))

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
        left = max(1, int(free_s / self.step_s))
        return plan.replanned(step, step + left)
