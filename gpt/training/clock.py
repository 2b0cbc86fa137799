"""How many steps fit into the minutes there are, and how a run keeps to them."""
import itertools
import statistics
import time
from dataclasses import replace

from gpt import called
from gpt.settings import ConfigError
from gpt.training.baselines import XZ_BYTES
from gpt.training.plan import Plan
from gpt.training.recipes import fewer_evaluations

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
                          f"--minutes, or let it write with {called('generate')}")
    if steps:
        run.plan = run.plan.extended(steps) if over else run.plan.replanned(run.step, steps)
    run.config = run.config.changed(minutes=given.get("minutes", run.config.train.minutes))


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
