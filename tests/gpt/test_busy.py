"""The number of threads is that of the fastest steps, whatever else the machine does."""
import numpy as np
import pytest

from gpt.training import checkpoint
from gpt.training.plan import Plan
from gpt.training.run import Run
from gpt.training.step import StepRecord, train_steps
from gpt.training.threads import choose_threads, compare, numbers_to_try, on_best_threads
from minigrad.kernels import jit, threads
from minigrad.kernels.recording import Recording

ALONE, BUSY = {1: 0.017, 2: 0.010}, {1: 0.018, 2: 0.470}
LARGE, LARGE_BUSY = {1: 1.3, 2: 0.7}, {1: 1.4, 2: 3.0}


def spent(phases, numbers=(1, 2), noise=lambda: 1.0):
    """Take steps through phases of (seconds, what a step takes with each number of threads).

    Return for each phase how many times as long it took as with the better number all the time,
    and when which number was the best so far.
    """
    choices = choose_threads(max(numbers), numbers)
    choice, found = next(choices), []
    for seconds, step_s in phases:
        now = ideal = 0.0
        chosen = []
        while now < seconds:
            elapsed = step_s[choice.n_threads] * noise()
            now += elapsed
            ideal += min(step_s.values())
            choice = choices.send(elapsed)
            chosen.append((now, choice.best))
        found.append((now / ideal, chosen))
    return found


def settled(chosen):
    """Return the last choice, and since when it is that."""
    last = chosen[-1][1]
    since = max((now for now, best in chosen if best != last), default=0.0)
    return last, since


@pytest.mark.parametrize("free, busy, within_s", [(ALONE, BUSY, 12), (LARGE, LARGE_BUSY, 40)])
def test_they_follow_a_machine_that_gets_busy_and_is_free_again(free, busy, within_s):
    found = spent([(200, free), (200, busy), (200, free)])
    for (lost, chosen), step_s in zip(found, (free, busy, free)):
        best, since = settled(chosen)
        assert best == min(step_s, key=step_s.get) and since < within_s
        assert lost < 1.15


def test_steps_that_vary_threefold_lose_little():
    rng = np.random.default_rng(0)
    noise = lambda: 1 / 3 if rng.random() < 0.5 else 5 / 3
    for step_s in (ALONE, BUSY, LARGE):
        (lost, _), = spent([(600, step_s)], noise=noise)
        assert lost < 1.2


def test_with_many_cores_one_is_left_to_another_program():
    step_s = {1: 0.160, 4: 0.045, 7: 0.027, 8: 0.050}
    (lost, chosen), = spent([(200, step_s)], numbers_to_try(8))
    assert settled(chosen)[0] == 7 and lost < 1.2


def test_one_number_is_never_changed():
    (lost, chosen), = spent([(10, {1: 0.02})], [1])
    assert lost == 1 and {best for _, best in chosen} == {1}


class Machine:
    """Steps whose records say how long they took with the threads that were set."""

    def __init__(self, step_s):
        self.step_s, self.used = step_s, []

    def steps(self, n):
        for step in range(n):
            self.used.append(threads.n_threads())
            yield StepRecord(step, 0, 0, 0, 0, 0, self.step_s[self.used[-1]], self.used[-1])


@pytest.fixture
def two_threads(monkeypatch):
    monkeypatch.setattr(threads, "most_threads", lambda: 2)
    before = threads.n_threads()
    yield threads.set_threads(2)
    threads.set_threads(before)


def test_a_change_is_told_with_its_reason_and_holds_between_steps(two_threads):
    said, machine = [], Machine(BUSY)
    between = [threads.n_threads() for _ in on_best_threads(machine.steps(100), said.append)]
    assert said == ["threads: 1; a step takes 18 ms with 1, 470 ms with 2"]
    assert set(between) == {1, 2} and between == sorted(between, reverse=True)
    assert machine.used.count(2) < 30 and len(between) == 100


def test_numbers_are_compared_by_the_time_of_a_step(two_threads):
    assert compare(Machine(BUSY).steps(100), [1, 2]) == pytest.approx(BUSY)


@pytest.mark.skipif(not jit.COMPILED or jit.config.NUMBA_NUM_THREADS < 2, reason="one thread")
def test_a_run_that_changes_its_threads_gives_the_same_bytes(data, tiny, tmp_path, two_threads,
                                                             monkeypatch):
    config, replay, replayed = tiny(d_model=64, batch_tokens=512), Recording.run, []

    def noted(self, *args):
        replayed.append(threads.n_threads())
        replay(self, *args)
    monkeypatch.setattr(Recording, "run", noted)

    def bytes_of(name, numbers):
        run = Run.start(config, data, Plan.fixed(8))
        steps = train_steps(run)
        for n in numbers:
            threads.set_threads(n)
            next(steps)
        checkpoint.save(tmp_path / name, run.step, run.tensors(), run.facts())
        return [path.read_bytes() for path in sorted((tmp_path / name).iterdir())]
    one = bytes_of("one", [1] * 8)
    replayed.clear()
    assert bytes_of("changing", [1, 2] * 4) == one
    assert replayed.count(1) == replayed.count(2) == 3        # one of them to confirm
