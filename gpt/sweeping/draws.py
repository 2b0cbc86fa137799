"""Which settings the trials of a sweep have, one after the other."""
import math
from itertools import islice

from gpt.settings import ConfigError
from gpt.sweeping.space import grid, random, read_setting, run_name
from gpt.sweeping.table import distribution, import_optuna

METHODS = "grid", "random", "tpe"
FIRST_RANDOM = 10                  # trials before TPE has anything to go by


class Draws:
    """The settings of each trial, the same on every machine.

    Parameters
    ----------
    spec : dict
        What the sweep is.
    """

    def __init__(self, spec):
        self.axes = axes_of(spec)
        self.spec = spec
        self.rows = rows_of(spec, self.axes.values())
        self.found = []                               # of these, so far

    def total(self, ledger):
        """Return how many trials there will be; None where that is open."""
        if self.spec["total_flops"] and ledger.flops() >= self.spec["total_flops"]:
            return ledger.n_trials
        return self.spec["trials"] or None

    def settings(self, trial, ledger):
        """Return the settings of a trial; None behind the last one."""
        total = self.total(ledger)
        if total is not None and trial >= total:
            return None
        if self.spec["method"] != "tpe" or trial < FIRST_RANDOM:
            return self.row(trial)
        settings = suggested(self.axes, ledger, (self.spec["draw_seed"], trial))
        known = {run_name(job.settings) for job in ledger.current.values()}
        return self.row(trial) if run_name(settings) in known else settings

    def row(self, i):
        """Return a row of those that follow from no result; None behind the last one."""
        missing = i + 1 - len(self.found)
        self.found += islice(self.rows, max(0, missing))
        return self.found[i] if i < len(self.found) else None


def axes_of(spec):
    """Return the axes of a sweep by name."""
    texts = spec["axes"]
    return {name: read_setting(name, texts[name]) for name in texts}


def rows_of(spec, axes):
    """Return an iterator over the settings that follow from no result."""
    if spec["method"] == "points":
        return iter(spec["points"])
    if spec["method"] == "grid":
        return grid(axes)
    return random(axes, spec["draw_seed"])


def suggested(axes, ledger, seed):
    """Return what a tree-structured Parzen estimator tries next (Bergstra et al. 2011).

    It is asked of a study in memory, so what it says follows from the table and the seed alone.
    """
    optuna = import_optuna()
    kinds = {name: distribution(optuna, axes[name]) for name in axes}
    sampler = optuna.samplers.TPESampler(seed=hash(seed) % 2 ** 32,
                                         n_startup_trials=FIRST_RANDOM)
    study = optuna.create_study(sampler=sampler)
    for value, settings in highest_results(ledger):
        params = {name: settings[name] for name in axes}
        trial = optuna.trial.create_trial(params=params, distributions=kinds, value=value)
        study.add_trial(trial)
    params = study.ask(kinds).params
    return {name: to_digits(params[name]) for name in axes}


def to_digits(x):
    """Cut a number to the digits that its folder is named by."""
    return float(f"{x:.4g}") if isinstance(x, float) else x


def highest_results(ledger):
    """Yield the value of each trial at the highest rung that it has reached, and its settings.

    What did not reach the last rung is worse than what did, by the rungs that it lacks.
    """
    reached = ledger.reached()
    rungs = [job.rung for job in reached]
    finite = [job.value for job in reached if math.isfinite(job.value)]
    last, worst = max(rungs, default=0), max(finite, default=0.0)
    for job in reached:
        value = min(job.value, 10 * worst)            # what diverged is bad, but a number
        yield value + worst * (last - job.rung), job.settings


def check_method(method, axes, trials, ends):
    """Refuse a way of drawing that has no end, or nothing to draw.

    Parameters
    ----------
    method : str
    axes : collection of Axis
    trials : int
        How many; 0 for as many as there are.
    ends : bool
        Whether time or FLOPs end it.
    """
    if not axes:
        raise ConfigError("no setting differs between the trials: say one as a list, --n_layer "
                          "2,4,6, or as a range, --learning_rate 0.001..0.1:log")
    if method == "grid":
        next(grid(axes))
    elif not trials and not ends:
        raise ConfigError(f"a {method} sweep has no end: say --trials, --total_minutes or "
                          "--total_flops")
