"""What a sweep goes through: settings by list or by range, and the trials drawn from them."""
import itertools
import math
import re
from typing import NamedTuple

import numpy as np

from gpt.settings import ConfigError, row_named
from gpt.training.config import groups

FIELDS = {f.name: f for _, found in groups() for f in found}
# Whose text may hold commas itself: they have one value.
WHOLE_TEXTS = {"freeze", "labels", "lora_on", "lora_beside", "val", "base"}
RANGE = re.compile(r"(.+?)\.\.([^:]+)(:log)?(:\d+)?$")


class Axis(NamedTuple):
    """A setting that differs between the trials: a list of values, or a range."""

    name: str
    values: tuple = ()             # if it is a list
    low: float = 0.0               # if it is a range
    high: float = 0.0
    log: bool = False
    whole: bool = False            # whole numbers alone


def read_setting(name, text):
    """Read what was said of a setting: an `Axis`, or its one value.

    >>> read_setting("n_layer", "2,4,6").values, read_setting("n_layer", "4")
    ((2, 4, 6), 4)
    >>> read_setting("learning_rate", "0.001..0.1:log:3").values
    (0.001, 0.01, 0.1)

    Raises
    ------
    ConfigError
        That names the setting and what cannot be read.
    """
    f = row_named(name, FIELDS, "setting")
    if name in WHOLE_TEXTS:
        return text
    if f.type in (int, float) and ".." in text:
        return read_range(f, text)
    values = tuple(value_of(f, part.strip()) for part in text.split(","))
    if len({*values}) < len(values):
        raise ConfigError(f"{name} is {text!r}, which names a value twice: name each once")
    return values[0] if len(values) == 1 else Axis(name, values)


def value_of(f, text):
    """Read one value of a setting, within its limits where it has choices."""
    if f.type is bool and text in ("true", "false"):
        return text == "true"
    kinds = {bool: "true or false", int: "a whole number", float: "a number"}
    try:
        value = {int: int, float: float}.get(f.type, str)(text)
        if f.type is bool or (f.type is float and not math.isfinite(value)):
            raise ValueError
    except ValueError:
        raise ConfigError(f"{f.name} is {text!r}, but must be {kinds[f.type]}, several with "
                          "commas between, or a range as 1..9") from None
    choices = f.metadata["choices"]
    if choices and value not in choices:
        raise ConfigError(f"{f.name} is {text!r}: choose {', '.join(choices)}")
    return value


def read_range(f, text):
    """Read LOW..HIGH, LOW..HIGH:log, or either with :N for so many values."""
    found = RANGE.match(text)
    if not found:
        raise ConfigError(f"{f.name} is {text!r}, but a range is LOW..HIGH, LOW..HIGH:log, or with "
                          ":N for so many values")
    low, high = (value_of(f, part) for part in found.groups()[:2])
    log = found[3] is not None
    if low >= high or (log and low <= 0):
        above = " above 0" if log else ""
        raise ConfigError(f"{f.name} is {text!r}, but a range rises from its first number{above}")
    axis = Axis(f.name, (), low, high, log, f.type is int)
    return axis if not found[4] else listed(axis, int(found[4][1:]))


def listed(axis, n):
    """Return a range as a list of n values, at equal distances or ratios."""
    if n < 2:
        raise ConfigError(f"{axis.name} is to have {n} values, but a range has 2 at least")
    at = [value_at(axis, x) for x in np.linspace(0, 1, n)]
    return Axis(axis.name, tuple(dict.fromkeys(at)))


def value_at(axis, x):
    """Return the value that lies at a share x of an axis, to 4 digits, as its folder is named."""
    if axis.values:
        return axis.values[min(int(x * len(axis.values)), len(axis.values) - 1)]
    low, high = (math.log(axis.low), math.log(axis.high)) if axis.log else (axis.low, axis.high)
    value = low + x * (high - low)
    value = float(f"{math.exp(value) if axis.log else value:.4g}")
    value = min(max(value, axis.low), axis.high)
    return round(value) if axis.whole else value


# ---- trials ----

def grid(axes):
    """Yield all combinations.

    Raises
    ------
    ConfigError
        For a range, of which there is no end.
    """
    for axis in axes:
        if not axis.values:
            raise ConfigError(f"{axis.name} is a range, and a grid has lists: add :N to it for N "
                              "values, or take --method random")
    for values in itertools.product(*[axis.values for axis in axes]):
        yield {axis.name: value for axis, value in zip(axes, values)}


def random(axes, seed):
    """Yield settings drawn at random, none of them twice; they end where no more are found."""
    seen = set()
    for k in itertools.count():
        for attempt in range(100):
            rng = np.random.default_rng((seed, k, attempt))
            settings = {axis.name: value_at(axis, rng.random()) for axis in axes}
            if run_name(settings) not in seen:
                break
        else:
            return
        seen.add(run_name(settings))
        yield settings


def run_name(settings):
    """Return the name of the folder of a run with these settings.

    >>> run_name({"learning_rate": 0.01, "n_layer": 4})
    'learning_rate=0.01,n_layer=4'
    """
    parts = [f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
             for name, value in settings.items()]
    return re.sub(r"[^\w.=,+-]", "_", ",".join(parts))
