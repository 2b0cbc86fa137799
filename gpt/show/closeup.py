"""Single steps of a run from close by: one for the stepper's page, and where the time of some goes.

Both work beside the run, whose weights come out the same to the last bit.
"""
from itertools import islice

from bpe.files import write_text, write_whole
from gpt.settings import ConfigError
from gpt.show.noted_step import write_timeline
from gpt.training.parallel.timeline import steps_noted
from gpt.training.step import OneProcess, next_batch, train_steps
from gpt.training.tasks.causal import has_no_end
from minigrad.mode import LEVELS
from minigrad.stepper import trace
from minigrad.stepper.profile import profile

PAGE_TOKENS = 128                  # of the batch, on the stepper's page
UNROLLED_TOKENS = 16               # of it, where each token is a step of its own
ALL_LEVELS = 4                     # a model of so many layers is shown at each level
WARM_STEPS, PROFILED_STEPS = 3, 10


def looked_at(run, folder, say, profiled, traced, noted=None):
    """Return the steps of a run: profiled before the first, one recorded, if that is asked.

    `traced` and `noted` are numbers of steps: the former is recorded gradient by gradient, of the
    latter what every rank does in it.
    """
    if profiled:
        say(profile_steps(run, folder))
    if noted is not None:
        return steps_noted(run, noted, lambda ranks: say(write_timeline(run, folder, ranks)))
    return train_steps(run) if traced is None else steps_with_trace(run, traced, folder, say)


# ---- one step, gradient by gradient ----

def steps_with_trace(run, number, folder, say):
    """Take the steps of a run, and before that of the given number record it.

    Parameters
    ----------
    run : Run
    number : int
        As the records count: the first step is 1.
    folder : Path
        Gets the page, `step_N.html`.
    say : callable
        Is told where the page is, and what is on it.

    Yields
    ------
    StepRecord

    Raises
    ------
    ConfigError
        At once, if the step is over, or the plan of the run ends before it.
    """
    if not run.step < number <= run.plan.steps:
        raise ConfigError(f"trace_step is {number}, but this run takes the steps "
                          f"{run.step + 1} to {run.plan.steps}: choose one of them")
    return _steps_with_trace(run, number, folder / f"step_{number}.html", say)


def _steps_with_trace(run, number, path, say):
    steps = train_steps(run)
    while run.step < run.plan.steps:
        if run.step + 1 == number:
            say(trace_step(run, path))
        yield from islice(steps, 1)
    yield from steps                                  # none more, on which all ranks agree
    if run.step < number:
        say(f"step {number} was not recorded: there was time for {run.step} steps")


def trace_step(run, path):
    """Record loss and gradient of the step to come, write the page, and say what is on it.

    Of a large batch the first sequences count, up to `PAGE_TOKENS` (`UNROLLED_TOKENS` of a net that
    goes on from token to token); of a long one its beginning.
    Nothing is dropped out.
    """
    batch = next_batch(run)
    B, T = batch.ids.shape
    most = UNROLLED_TOKENS if has_no_end(run.model) else PAGE_TOKENS
    few, short = max(1, most // T), min(T, most)
    batch = next(batch.parts(few))
    batch = batch._replace(ids=batch.ids[:, :short], targets=batch.targets[:, :short])
    with trace() as t:
        loss = run.loss(batch, batch.n_targets)
        loss.backward()
    for optimizer in run.optimizers:
        optimizer.zero_grad()
    levels = LEVELS if run.config.model.n_layer <= ALL_LEVELS else ()
    write_whole(path, lambda temporary: t.html(temporary, levels))
    part = "" if batch.ids.size == B * T else (
        f", with {len(batch.ids)} of its {B} sequences"
        + (f" and {short} of their {T} tokens" if short < T else ""))
    return f"step {run.step + 1}{part}, gradient by gradient: {path}"


# ---- some steps, op by op ----

class Timed:
    """An optimizer whose step has a line of its own in a profile."""

    def __init__(self, optimizer, p):
        self.optimizer, self.p, self.zero_grad = optimizer, p, optimizer.zero_grad

    def step(self, rate):
        with self.p.part(type(self.optimizer).__name__):
            self.optimizer.step(rate)


def profile_steps(run, folder):
    """Measure some steps after the warm-up; write `roofline.svg` and `profile.txt`.

    Returns
    -------
    table : str
        The time of each operation and of nobody, in `profile.txt`, too.
    """
    copy = run.copy()
    copy.way = OneProcess(copy)
    steps = train_steps(copy)
    list(islice(steps, WARM_STEPS))
    with profile() as p:
        copy.optimizers = [Timed(optimizer, p) for optimizer in copy.optimizers]
        n_tokens = sum(record.n_tokens for record in islice(steps, PROFILED_STEPS))
    table = f"{PROFILED_STEPS} steps, {n_tokens:,} tokens\n{p}"
    write_text(folder / "profile.txt", table + "\n")
    write_whole(folder / "roofline.svg", p.roofline)
    return table
