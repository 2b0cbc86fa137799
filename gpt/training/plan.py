"""How far along a run each step is; the schedules, the size of a batch and the pauses follow."""
import math
from bisect import bisect_right
from dataclasses import dataclass

from gpt.settings import ConfigError
from minigrad.optim import cosine_schedule, slanted_schedule, trapezoid_schedule, warmup


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
        i = bisect_right(self.lines, (step, math.inf)) - 1
        first, done, per_step = self.lines[i]
        return min(1.0, done + (step - first) * per_step)

    def replanned(self, step, steps):
        """Return a plan that is the same up to `step` and ends at `steps`."""
        steps, done = max(steps, step + 1), self.progress(step)
        past = [line for line in self.lines if line[0] < step]
        line = step, done, (1 - done) / (steps - step)
        return Plan((*past, line), steps)

    def extended(self, steps):
        """Return a plan that goes on behind its end, to train a finished run longer."""
        line = self.steps, self.steps / steps, 1 / steps
        return Plan((*self.lines, line), steps)

    def __str__(self):
        lines = [f"{step}:{done!r}:{per_step!r}" for step, done, per_step in self.lines]
        return ",".join([*lines, str(self.steps)])

    @classmethod
    def parse(cls, text):
        """Read what str() wrote.

        Raises
        ------
        ConfigError
            If it did not write that.
        """
        try:
            *texts, steps = text.split(",")
            lines = []
            for line in texts:
                step, done, per_step = line.split(":")
                lines.append((int(step), float(done), float(per_step)))
            plan = cls(tuple(lines), int(steps))
        except ValueError:
            raise ConfigError(f"plan is {text!r:.60}, but must be the plan.json of a run"
                              ) from None
        first = [step for step, _, _ in plan.lines] + [plan.steps]
        if first[0] != 0 or first != sorted(set(first)) or not lines:
            raise ConfigError(f"plan is {text!r:.60}, but its steps must rise from 0")
        return plan


def rate_at(settings, plan, step):
    """Return what the learning rates are multiplied with at a step."""
    done, steps = plan.progress(step) * plan.steps, plan.steps
    if settings.schedule == "slanted":                # which has its own rise
        return slanted_schedule(done, steps)
    if settings.schedule == "cosine":
        falling = cosine_schedule(done, steps, final=settings.final_rate)
    else:
        falling = trapezoid_schedule(done, steps, decay_steps=settings.decay_fraction * steps,
                                     final=settings.final_rate)
    return warmup(step, settings.warmup_steps) * falling


def batch_shape(settings, T, progress):
    """Return how many sequences of how many tokens, T at most, make a batch: (B, T)."""
    if settings.context_growth and progress < 0.5:
        T = max(1, T // (4 if progress < 0.25 else 2))
    return max(1, settings.batch_tokens // T), T


def due(run):
    """Tell whether it is time to evaluate and save, after a step."""
    settings, step, plan = run.config.train, run.step, run.plan
    if step >= plan.steps:
        return True
    if settings.eval_every:
        return step % settings.eval_every == 0
    evaluated = lambda step: math.floor(settings.evaluations * plan.progress(step) + 1e-9)
    return evaluated(step - 1) < evaluated(step)
