"""How many threads take a step: as many as make it fastest, which is tried now and then.

Threads wait for the last of them at the end of every kernel. On an idle machine two are almost
twice as fast as one; where another program computes they can take thirty times as long, as one
of them does not get its core. No result depends on their number.
"""
from typing import NamedTuple

from minigrad.kernels import threads

FIRST_S = 10           # how long the choice of the start holds at least
LOOK_S = 0.1           # how long a number of threads is tried, but for a step at least
LONG_LOOK_S = 0.4      # and before it is taken
BETTER = 0.9           # times the time of a step so far: what is worth a change
LOST = 0.05            # the share of the time that may be lost by trying what is slower


class Choice(NamedTuple):
    """With how many threads to take the next step, and which number is the best so far."""

    n_threads: int
    best: int
    step_s: dict = {}              # the time of a step, by the numbers that were compared last


def numbers_to_try(most):
    """Return one, all, and what leaves others a core or half of them.

    >>> numbers_to_try(2), numbers_to_try(8)
    ([1, 2], [1, 4, 7, 8])
    """
    return sorted({1, max(1, most // 2), max(1, most - 1), most})


def choose_threads(best, numbers):
    """Yield a `Choice` for every step; it is to be sent the seconds that the step took.

    The others are tried in turn. How soon the next one is, follows from what the last one cost: a
    number that makes steps thirty times as long is tried seldom, one that is as good often.
    """
    others, step_s, pause_s = [n for n in numbers if n != best], {}, FIRST_S
    while True:
        usual = yield from taken(Choice(best, best, step_s), pause_s)
        if not others:
            continue
        other = others.pop(0)
        trial = Choice(other, best, step_s)
        tried = yield from taken(trial, LOOK_S)
        if tried.mean < BETTER * usual.mean:              # it may have been luck
            tried = yield from taken(trial, LONG_LOOK_S)
        step_s = {best: usual.mean, other: tried.mean}
        pause_s = max(LOOK_S, tried.n * (tried.mean - usual.mean) / LOST)
        if tried.mean < BETTER * usual.mean:
            best, other = other, best
        others.append(other)


class Taken(NamedTuple):
    """Some steps."""

    n: int
    mean: float                    # seconds of one


def taken(choice, seconds):
    """Let a choice hold for some time, for a step at least; return what steps it `Taken`."""
    n, total = 0, 0.0
    while not n or total < seconds:
        total += yield choice
        n += 1
    return Taken(n, total / n)


def on_best_threads(steps, say):
    """Yield the steps of a run, each taken with as many threads as seems best at the time.

    Between two steps it is the best number so far, for whoever evaluates or saves.

    Parameters
    ----------
    steps : iterator of StepRecord
    say : callable
        Is told of a change.
    """
    choices = choose_threads(threads.n_threads(), numbers_to_try(threads.most_threads()))
    choice = next(choices)
    while True:
        threads.set_threads(choice.n_threads)
        record = next(steps, None)
        threads.set_threads(choice.best)
        if record is None:
            return
        yield record
        before, choice = choice, choices.send(record.elapsed_s)
        if choice.best != before.best:
            say(described(choice.step_s, choice.best))


def compare(steps, numbers):
    """Take steps with each number of threads; return the mean seconds of one, by the number."""
    step_s = {}
    for n in numbers:
        threads.set_threads(n)
        times = [next(steps).elapsed_s]
        while sum(times) < LOOK_S:
            times.append(next(steps).elapsed_s)
        step_s[n] = sum(times) / len(times)
    return step_s


def described(step_s, best):
    """Say which number of threads was taken, and why.

    >>> described({2: 0.47, 1: 0.009}, 1)
    'threads: 1; a step takes 9 ms with 1, 470 ms with 2'
    """
    times = [f"{1000 * step_s[n]:,.0f} ms with {n}" for n in sorted(step_s)]
    why = f"; a step takes {', '.join(times)}" if times[1:] else ""
    return f"threads: {best}{why}"
