"""What a sweep goes through: settings by list or by range, and the trials drawn from them."""
import hashlib
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
LONGEST = 150                      # name of a folder
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
    parts = map(str.strip, text.split(","))
    values = tuple(value_of(f, part) for part in parts)
    if len({*values}) < len(values):
        raise ConfigError(f"{name} is {text!r}, which names a value twice: name each once")
    return values[0] if len(values) == 1 else Axis(name, values)


def finite(text):
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def true_or_false(text):
    return ("false", "true").index(text) == 1


KINDS = {bool: (true_or_false, "true or false"), int: (int, "a whole number"),
         float: (finite, "a number"), str: (str, "")}


def value_of(f, text):
    """Read one value of a setting, within its limits where it has choices."""
    read, kind = KINDS[f.type]
    try:
        value = read(text)
    except ValueError:
        raise ConfigError(f"{f.name} is {text!r}, but must be {kind}, several with commas "
                          "between, or a range as 1..9") from None
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
    low, high = value_of(f, found[1]), value_of(f, found[2])
    log = bool(found[3])
    if low >= high or (log and low <= 0):
        above = " above 0" if log else ""
        raise ConfigError(f"{f.name} is {text!r}, but a range rises from its first number{above}")
    axis = Axis(f.name, (), low, high, log, f.type is int)
    if not found[4]:
        return axis
    return listed(axis, int(found[4].strip(":")))


def listed(axis, n):
    """Return a range as a list of n values, at equal distances or ratios."""
    if n < 2:
        raise ConfigError(f"{axis.name} is to have {n} values, but a range has 2 at least")
    at = [value_at(axis, x) for x in np.linspace(0, 1, n)]
    return Axis(axis.name, tuple(dict.fromkeys(at)))


def value_at(axis, x):
    """Return the value that lies at a share x of an axis, to 4 digits, as its folder is named."""
    if axis.values:
        i = int(x * len(axis.values))
        return axis.values[min(i, len(axis.values) - 1)]
    if axis.log:
        value = axis.low * (axis.high / axis.low) ** x
    else:
        value = axis.low + x * (axis.high - axis.low)
    value = min(max(float(f"{value:.4g}"), axis.low), axis.high)
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


def drawn(axes, rng):
    return {axis.name: value_at(axis, rng.random()) for axis in axes}


def random(axes, seed):
    """Yield settings drawn at random, none of them twice; they end where no more are found."""
    seen = set()
    for k in itertools.count():
        for attempt in range(100):
            rng = np.random.default_rng((seed, k, attempt))
            settings = drawn(axes, rng)
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
    name = re.sub(r"[^\w.=,+-]", "_", ",".join(parts))
    if len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()
    return f"{name[:LONGEST]}-{digest[:8]}"
