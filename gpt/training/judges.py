"""Who judges an answer: a function of the user, or one of these; each gives a number."""
import functools
import importlib.util
import math
from pathlib import Path

from bpe.files import file_sha256
from gpt.settings import ConfigError


def right(record, text, rng):
    """Give 1 to the answer that stands in the record as its output, 0 to all others."""
    return float(text.strip() == record["output"].strip())


def at_random(record, text, rng):
    """Give 0 or 1 whatever is said: the control, from which nothing can be learnt."""
    return float(rng.integers(2))


JUDGES = {"right": right, "random": at_random}


@functools.lru_cache
def judge_named(name):
    """Return the judge (record, text, rng) -> float of a name, or of FILE.py:function.

    A function of the user is called with the record of the prompt, a dict, and the answer.

    Raises
    ------
    ConfigError
        If there is none.
    """
    if name in JUDGES:
        return JUDGES[name]
    function = function_in(*name.rpartition(":")[::2])

    def judge(record, text, rng):
        try:
            found = function(record, text)
        except Exception as error:
            raise ConfigError(f"{name} failed at the answer {text!r:.40} to {record!r:.60}: "
                              f"{type(error).__name__}: {error}; mend it") from error
        if not isinstance(found, bool | int | float) or not math.isfinite(found):
            raise ConfigError(f"{name} returned {found!r:.40} for the answer {text!r:.40}, but "
                              "must return a number")
        return float(found)
    return judge


def judge_sha256(name):
    """Return the SHA256 of the file of a judge; None for one of ours."""
    if name in JUDGES:
        return None
    judge_named(name)                                  # or say that there is none
    return file_sha256(name.rpartition(":")[0])


def function_in(path, name):
    """Return a function of a file of Python, which is run for that."""
    if not path or not Path(path).is_file():
        raise ConfigError(f"there is no judge {path + ':' + name if path else name!r}: name "
                          f"{', '.join(JUDGES)}, or FILE.py:function")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(f"{path} cannot be run: {type(error).__name__}: {error}; mend it"
                          ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise ConfigError(f"{path} has no function {name}: define it")
    return function
