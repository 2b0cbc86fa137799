"""Which settings the trials of a sweep have, one after the other."""
import math
from itertools import islice

from gpt.settings import ConfigError
from gpt.sweeping.space import grid, random, read_setting, run_name
from gpt.sweeping.table import DONE, distribution, import_optuna

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
        drawn = {"grid": lambda: grid(self.axes.values()), "points": lambda: spec["points"]}
        rows = drawn.get(spec["method"], lambda: random(self.axes.values(), spec["draw_seed"]))()
        self.rows, self.found = iter(rows), []

    def settings(self, trial, ledger):
        """Return the settings of a trial; None behind the last one."""
        n = self.spec["trials"]
        flops = self.spec["total_flops"]
        if (n and trial >= n) or (flops and ledger.flops() >= flops):
            return None
        if self.spec["method"] == "tpe" and trial >= FIRST_RANDOM:
            settings = suggested(self.axes, ledger, (self.spec["draw_seed"], trial))
            known = {run_name(job.settings) for job in ledger.current.values()}
            if run_name(settings) not in known:
                return settings
        return self.row(trial)

    def row(self, i):
        """Return a row of those that follow from no result; None behind the last one."""
        missing = i + 1 - len(self.found)
        self.found += islice(self.rows, max(0, missing))
        return self.found[i] if i < len(self.found) else None


def axes_of(spec):
    """Return the axes of a sweep by name."""
    return {name: read_setting(name, text) for name, text in spec["axes"].items()}


def suggested(axes, ledger, seed):
    """Return what a tree-structured Parzen estimator tries next (Bergstra et al. 2011).

    It is asked of a study in memory, so what it says follows from the table and the seed alone.
    """
    optuna = import_optuna()
    kinds = {name: distribution(optuna, axis) for name, axis in axes.items()}
    sampler = optuna.samplers.TPESampler(seed=hash(seed) % 2 ** 32,
                                         n_startup_trials=FIRST_RANDOM)
    study = optuna.create_study(sampler=sampler)
    for value, settings in highest_results(ledger):
        params = {name: settings[name] for name in axes}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=kinds, value=value))
    params = study.ask(kinds).params
    return {name: float(f"{x:.4g}") if isinstance(x, float) else x for name, x in params.items()}


def highest_results(ledger):
    """Yield the value of each trial at the highest rung that it has reached, and its settings.

    What did not reach the last rung is worse than what did, by the rungs that it lacks.
    """
    reached = {}                                      # trial -> its job of the highest rung
    for (trial, _), job in sorted(ledger.current.items()):
        if job.state == DONE and job.value is not None:
            reached[trial] = job
    last = max((job.rung for job in reached.values()), default=0)
    finite = [job.value for job in reached.values() if math.isfinite(job.value)]
    worst = max(finite, default=0.0)
    for job in reached.values():
        value = job.value if math.isfinite(job.value) else 10 * worst
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
