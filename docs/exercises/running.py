"""Run what may not end, may exit and may print, and come back with what is wrong with it."""
import ctypes
import faulthandler
import io
import sys
import threading
import traceback
import warnings
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import numpy as np
from judge import TimeUp, Wrong, describe

from minigrad import use

LIMIT_S = 10.0                              # a check takes a tenth of a second
LAST_S = 60.0                               # then the program itself ends: Python never came back
PRINTED = 10                                # lines of an answer's own that are shown


def attempt(task, path, limit_s=None):
    """Run a task in a thread of its own.

    Parameters
    ----------
    task : function without arguments
    path : Path
        The file of the exercise, in which lines are named.
    limit_s : float, optional
        After which it is stopped; LIMIT_S unless told.

    Returns
    -------
    problem : str or None
    printed : str
    """
    problems, printed, limit_s = [], io.StringIO(), limit_s or LIMIT_S

    def work():
        problems.append(problem_of(task, path))
    worker = threading.Thread(target=work, daemon=True)     # ends with the program, if it must
    with apart(printed):
        worker.start()
        worker.join(limit_s)
        if not problems:
            function, line = place_of(worker, path)
            problems.insert(0, f"{function}: it did not end within {limit_s:g} s{line}: does the "
                               "loop, or the recursion, come to its end?")
            stop(worker)
            worker.join(1)
    return problems[0], printed.getvalue()


def problem_of(task, path):
    """Run a task and say what is wrong, None for nothing."""
    try:
        with use("reference"), np.errstate(all="ignore"):   # no kernel is compiled
            task()
    except Wrong as error:
        return str(error)
    except BaseException as error:
        return describe(error, path)
    return None


@contextmanager
def watched():
    """End the program, naming the line, if an answer holds up all threads, as 10**10**10 does."""
    faulthandler.dump_traceback_later(LAST_S, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


@contextmanager
def apart(printed):
    """Catch what is printed; whoever asks for input finds none."""
    stdin, sys.stdin = sys.stdin, io.StringIO()
    try:
        with warnings.catch_warnings(), redirect_stdout(printed), redirect_stderr(printed):
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.stdin = stdin


def place_of(worker, path):
    """Name the function of the exercise, and the line, at which a thread is."""
    frame = sys._current_frames().get(worker.ident)
    places = [(f.f_code.co_name, line) for f, line in traceback.walk_stack(frame)
              if f.f_code.co_filename == str(path)] if frame else []
    if not places:
        return path.stem, ""
    function = places[-1][0]                                # that which was called
    return path.name if function == "<module>" else function, f" (it was in line {places[0][1]})"


def stop(worker):
    """Raise TimeUp in a thread; it arrives as soon as Python code runs there."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(worker.ident),
                                               ctypes.py_object(TimeUp))


def first_lines(text, most=PRINTED):
    lines = text.splitlines()
    more = [f"... and {len(lines) - most} more lines"] * (len(lines) > most)
    return [*lines[:most], *more]
