"""How an answer is called and compared. Nothing here says what is right."""
import copy
import inspect
import traceback

import numpy as np

RTOL = 1e-5                                 # of the largest number: float32 is no mistake

CHANGEABLE = (np.ndarray, list, dict, tuple)


class Wrong(Exception):
    """What is wrong with an answer.

    Parameters
    ----------
    function : str
        The one to blame.
    problem : str
        What was measured.
    guess : str, optional
        What may be the reason.
    """

    def __init__(self, function, problem, guess=None):
        hint = f"\nHint (a guess from the numbers): {guess}" if guess else ""
        super().__init__(f"{function}: {problem}{hint}")


class TimeUp(SystemExit):
    """Raised inside an answer that does not end; threads end silently by it."""


def call(names, function, *arguments, writes=(), **options):
    """Call a function of an answer; it must not write into its arguments, but those in `writes`."""
    run = names.get(function)
    if not callable(run):
        raise Wrong(function, "there is no function of this name in the file")
    before = [copy.deepcopy(x) if isinstance(x, CHANGEABLE) else x for x in arguments]
    try:
        with np.errstate(all="ignore"):
            result = run(*arguments, **options)
    except TimeUp:
        raise
    except BaseException as error:          # exit() too: it must not end the program
        raise Wrong(function, describe(error, names["__file__"])) from error
    for i, (now, then) in enumerate(zip(arguments, before)):
        if i not in writes and not is_as_before(now, then):
            name = ([*inspect.signature(run).parameters] + [f"argument {i}"] * (i + 1))[i]
            raise Wrong(function, f"it wrote into {name}, which others still need: work on a copy")
    return result


def is_as_before(now, then):
    if isinstance(then, np.ndarray):
        return now.shape == then.shape and now.tobytes() == then.tobytes()
    return not isinstance(then, CHANGEABLE) or repr(now) == repr(then)


def describe(error, path):
    """Say what was raised, and in which line of the exercise."""
    if isinstance(error, SystemExit):
        text = "it calls exit(), which would end the whole program: return"
    else:
        text = f"{type(error).__name__}: {error}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
             if frame.filename == str(path)]
    return f"{text} (line {lines[-1]})" if lines else text


# ---- comparing ---------------------------------------------------------------------------------

def numbers(function, result, shape, what="the result"):
    """Take what a function gave as an array of this shape."""
    if result is None:
        raise Wrong(function, f"{what} is None: nothing was returned")
    try:
        x = np.asarray(result, dtype=np.float64)
    except (TypeError, ValueError):
        raise Wrong(function, f"{what} is a {type(result).__name__}, not an array of numbers"
                    ) from None
    if x.shape != tuple(shape):
        raise Wrong(function, f"{what} has shape {x.shape}, not {tuple(shape)}")
    return x


def is_same(x, y, floor=0.0):
    """Say whether two arrays agree but for rounding; nan agrees with nothing."""
    gap = np.abs(np.asarray(x, dtype=np.float64) - y)
    return bool(np.all(gap <= RTOL * np.abs(y).max(initial=0) + floor))


def hold(function, result, expected, given, what="the result", guesses=()):
    """Raise Wrong unless a result is what was expected.

    Parameters
    ----------
    given : dict
        Name -> value of what the function was called with, to be shown.
    guesses : sequence of (str, array)
        What the reason is likely to be if the result equals the array.
    """
    expected = np.asarray(expected)
    x = numbers(function, result, expected.shape, what)
    if is_same(x, expected):
        return
    guess = next((text for text, other in guesses
                  if np.shape(other) == x.shape and is_same(x, other)), None)
    raise Wrong(function, f"{what} is {short(x)},\nbut should be {short(expected)}"
                f"{first_difference(x, expected)}{listed(given)}", guess)


def first_difference(x, expected):
    """Name the first element that differs, where there are many."""
    gap = np.abs(x - expected)
    at = np.argwhere(~(gap <= RTOL * np.abs(expected).max()))
    if x.size < 10 or not len(at):
        return ""
    at = tuple(map(int, at[0]))
    return f"\n(the first that differs: {x[at]:.6g}, not {expected[at]:.6g}, at {list(at)})"


def short(x):
    """Write an array in few digits."""
    text = np.array2string(np.asarray(x), precision=6, threshold=24, edgeitems=3, separator=", ")
    return text.replace("\n", "\n    ")


def listed(given):
    return "".join(f"\n  {name} = {short(x) if isinstance(x, np.ndarray) else x}"
                   for name, x in given.items())
