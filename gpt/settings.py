"""What a setting is: a field of a dataclass with its help text and its limits."""
import difflib
import operator
from dataclasses import field, fields


class ConfigError(ValueError):
    """A setting that cannot work; the message says why, and what does."""


def setting(default, help, choices=None, **limits):
    """Declare a field with its help text, and what values it takes (`at_least`, `below`)."""
    metadata = {"help": help, "choices": choices, **limits}
    return field(default=default, metadata=metadata)


COMPARISONS = {"at_least": operator.ge, "at_most": operator.le,
               "above": operator.gt, "below": operator.lt}


def check_limits(config):
    """Refuse a value outside what its field declares."""
    for f in fields(config):
        value, limits = getattr(config, f.name), f.metadata
        if limits["choices"] and value not in limits["choices"]:
            raise ConfigError(f"{f.name} is {value!r}: choose {', '.join(limits['choices'])}")
        for word, holds in COMPARISONS.items():
            if word in limits and not holds(value, limits[word]):
                raise ConfigError(f"{f.name} is {value}, but must be {word.replace('_', ' ')} "
                                  f"{limits[word]}")


def nearest(name, names):
    """Quote a name that does not exist, with the nearest one that does."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"{name!r}" + (f": did you mean {close[0]}?" if close else ": --help lists all")


def row_named(name, table, what):
    """Return the row of a table.

    Raises
    ------
    ConfigError
        If there is none; the nearest name is said.
    """
    if name not in table:
        raise ConfigError(f"there is no {what} {nearest(name, table)}")
    return table[name]
