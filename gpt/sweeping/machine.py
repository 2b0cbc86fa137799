"""What one machine does in a sweep: repair the table, take jobs, keep its workers at them.

The workers are its children: one that dies is noticed at once, and its job goes on in a new one.
What happens to other machines is seen in the table alone.
"""
import multiprocessing
import os
import socket
import time
import uuid
from contextlib import contextmanager
from multiprocessing.connection import wait

from gpt.sweeping.desk import Ledger, Watch
from gpt.sweeping.draws import Draws
from gpt.sweeping.halving import Halving
from gpt.sweeping.table import RUNNING, Lost
from gpt.sweeping.worker import Work, earlier_folder, folder_of, remove_earlier, worker
from gpt.training.folder import is_locked

THREADS = "MINIGRAD_THREADS"
LOOK_S = 1                         # between two looks at the table
DEATHS = 3                         # of the process of one job, before it is given up
STARTING_S = 120                   # that a new process may take to be heard for the first time
PAUSE_S = 30                       # before a machine whose disk is full tries again


class Worker:
    """A process, and the job that it is at."""

    def __init__(self, n_threads, number):
        self.n_threads, self.number = n_threads, number
        self.start()

    def start(self):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=worker, args=(theirs,), daemon=True)
        with threads_at_most(self.n_threads):
            self.process.start()
        theirs.close()
        self.job, self.work, self.silent_s, self.heard = None, None, 0.0, False

    def give(self, job, work):
        self.job, self.work, self.silent_s = job, work, 0.0
        self.send(work)

    def send(self, message):
        try:
            self.pipe.send(message)
        except OSError:
            pass                                      # it has died: its sentinel tells

    def end(self):
        self.process.kill()                           # a stopped one, too
        self.process.join()
        self.pipe.close()


@contextmanager
def threads_at_most(n):
    """Let processes that are started use so many threads, by the variable that they inherit."""
    before = os.environ.get(THREADS)
    os.environ[THREADS] = str(n)
    try:
        yield
    finally:
        os.environ.pop(THREADS)
        if before is not None:
            os.environ[THREADS] = before


class Machine:
    """This machine's part of a sweep.

    Parameters
    ----------
    table : Table
    spec : dict
        What the sweep is.
    folder : Path
        Of the sweep: its runs, and the locks of its machines.
    n_workers, n_threads : int
        Processes, and threads of each.
    grace_s : float
        After so long a silence somebody is taken for dead.
    stop_s : float
        When to stop, by `time.monotonic`.
    say : callable
    """

    def __init__(self, table, spec, folder, n_workers, n_threads, grace_s, stop_s, say):
        self.table, self.spec = table, spec
        self.draws, self.halving = Draws(spec), Halving(*spec["halving"])
        self.runs = folder / "runs"
        self.grace_s, self.stop_s, self.say = grace_s, stop_s, say
        self.watch, self.deaths, self.told = Watch(grace_s), {}, ""
        self.paused_s = self.looked_s = self.beaten_s = 0.0
        self.name = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
        self.locks = folder / "machines"
        self.locks.mkdir(parents=True, exist_ok=True)
        self.lock = open(self.locks / self.name, "w")
        is_locked(self.lock)                          # ours until this process ends
        self.workers = [Worker(n_threads, i + 1) for i in range(n_workers)]

    def close(self):
        for each in self.workers:
            each.end()
        self.lock.close()
        if not self.busy():                           # else it tells others that we are dead
            (self.locks / self.name).unlink(missing_ok=True)

    # ---- the loop ----

    def work(self, stopping=()):
        """Work until the sweep is over, the time is, or `stopping` holds something.

        Returns
        -------
        bool
            Whether the sweep is over.
        """
        while not stopping and time.monotonic() < self.stop_s:
            if time.monotonic() - self.looked_s > LOOK_S and self.look():
                return True
            self.listen(LOOK_S / 4)
        self.stop()
        return False

    def busy(self):
        return [each for each in self.workers if each.job]

    def look(self):
        """Look at the table, mend it, take what is to be done; tell whether all is done."""
        self.looked_s = time.monotonic()
        self.beat()
        jobs = self.table.jobs()
        self.repair(jobs)
        if self.make(Ledger.of(jobs)):
            jobs = self.table.jobs()
        ledger = Ledger.of(jobs)
        self.hand_out(ledger)
        for job in ledger.reached():
            if job.generation:
                remove_earlier(self.runs, job.settings, job.generation)
        return self.is_over(ledger)

    def is_over(self, ledger):
        """Whether nothing is left to do; if others are at it, say whom this waits for."""
        waiting = ledger.in_order(bool)
        running = ledger.in_state(RUNNING)
        left = [*ledger.lost(), *self.missing(ledger)]
        if self.busy() or waiting or left:
            return False
        if running:
            names = sorted({str(job.facts.get("machine", "one that has just begun"))
                            for job in running})
            self.say_once(f"waiting for {len(running)} runs of {', '.join(names)}")
        return not running

    def say_once(self, line):
        if line != self.told:
            self.say(line)
        self.told = line

    # ---- the table ----

    def beat(self):
        """Show that this machine is alive; drop what was taken from it."""
        now = time.monotonic()
        if now - self.beaten_s < self.grace_s / 4:
            return
        self.beaten_s = now
        for each in self.busy():
            try:
                self.table.tell(each.job, beat=now)
            except Lost:
                self.drop(each)

    def drop(self, each):
        self.say(f"trial {each.job.trial} was taken by another machine while this one was silent")
        each.end()
        each.start()

    def repair(self, jobs):
        """End the jobs of the dead, and those that were made twice."""
        own = {each.job.id for each in self.busy()}
        late = {job.id for job in self.watch.silent(jobs, own)}
        for job in jobs:
            if job.state != RUNNING or job.id in own:
                continue
            if job.id in late or self.is_dead(job):
                whose = job.facts.get("machine", "a machine that died as it took it")
                if self.table.fail(job):              # which another may have done before
                    self.say(f"trial {job.trial} of {whose} is given to another: nobody is at it")
        for job in Ledger.of(jobs).twice:
            self.table.fail(job)

    def is_dead(self, job):
        """Whether the owner of a job is a process of this computer that has ended."""
        owner = job.facts.get("machine", "")
        path = self.locks / owner
        if owner.rpartition("-")[0] != socket.gethostname() or not path.exists():
            return False
        with open(path, "r+") as file:
            return not is_locked(file)

    def make(self, ledger):
        """Put into the queue what is due; tell whether there was any."""
        made = 0
        for job in ledger.lost():
            self.add(job, job.rung, job.generation + 1)
            made += 1
        for trial, rung in self.missing(ledger):
            below = ledger.current[trial, rung - 1]
            self.add(below, rung, below.generation)
            made += 1
        n_free = len(self.workers) - len(self.busy())
        queue = len(ledger.in_order(bool)) + made
        for trial in range(ledger.n_trials, ledger.n_trials + n_free - queue):
            settings = self.draws.settings(trial, ledger)
            if settings is None:
                break
            self.table.add(trial, 0, 0, settings, self.draws.axes)
            made += 1
        return made

    def missing(self, ledger):
        return ledger.missing(self.halving, self.draws.total(ledger))

    def add(self, job, rung, generation):
        self.table.add(job.trial, rung, generation, job.settings, self.draws.axes)

    def hand_out(self, ledger):
        """Take jobs for the workers that have none."""
        if time.monotonic() < self.paused_s:
            return
        here = lambda job: earlier_folder(self.runs, job.settings, job.generation) is not None
        queue = ledger.in_order(here)
        for each in self.workers:
            while queue and each.job is None:
                job = queue.pop(0)
                if self.table.take(job):
                    self.give(each, job)

    def give(self, each, job):
        try:
            self.table.tell(job, machine=self.name, beat=time.monotonic())
        except Lost:
            return
        self.told = ""
        each.give(job, Work(self.spec, job.settings, job.rung, job.generation, str(self.runs),
                            each.n_threads))

    # ---- the workers ----

    def listen(self, seconds):
        """Hear the workers for a while, and notice those that died or fell silent."""
        began = time.monotonic()
        by_end = {each.pipe: each for each in self.workers}
        by_end |= {each.process.sentinel: each for each in self.workers}
        for end in wait([*by_end], seconds):
            self.hear(by_end[end])
        passed_s = min(time.monotonic() - began, 2 * seconds)
        for each in self.workers:
            each.silent_s += passed_s
            if each.silent_s > self.grace_s + STARTING_S * (not each.heard):
                self.say_once(f"worker {each.number} is silent for {each.silent_s:.0f} s: ended")
                each.process.kill()                   # its sentinel tells the rest

    def hear(self, each):
        try:
            while each.pipe.poll():
                self.answer(each, *each.pipe.recv())
        except (EOFError, OSError):
            pass
        if not each.process.is_alive():
            self.replace(each)

    def answer(self, each, what, *more):
        each.silent_s, each.heard = 0.0, True
        if what != "beat" and each.job:
            try:
                getattr(self, f"on_{what.replace(' ', '_')}")(each, *more)
            except Lost:
                self.drop(each)

    def on_begun(self, each, folder, step, end, flops):
        self.say(f"{folder}: step {step} to {end}")
        self.table.tell(each.job, flops=flops, folder=folder)

    def on_done(self, each, value, step, facts):
        job, each.job = each.job, None
        self.looked_s = 0.0                           # for the next one
        try:
            self.table.tell(job, **facts)
            last = job.rung == self.halving.n_rungs - 1
            self.table.done(job, value, step, last)
        except Lost:
            self.say(f"trial {job.trial} was done by another machine meanwhile: this result is "
                     "not counted")
            return
        self.say(f"{folder_of('', job.settings, 0)}: {value:.4f} after step {step}")

    def on_stopped(self, each):
        job, each.job = each.job, None
        self.table.fail(job)

    def on_impossible(self, each, why):
        self.say(f"{folder_of('', each.job.settings, 0)} cannot be trained: {why}")
        self.table.tell(each.job, impossible=True)
        self.failed(each, why)

    def on_failed(self, each, why):
        self.say(f"{folder_of('', each.job.settings, 0)} failed: {why}")
        self.failed(each, why)

    def on_no_place(self, each, why):
        """Give a job back that failed for a reason of this machine, and wait a little."""
        self.say(f"{why}; this machine tries again in {PAUSE_S} s, others go on")
        self.paused_s = time.monotonic() + PAUSE_S
        self.failed(each)

    def failed(self, each, why=""):
        job, each.job = each.job, None
        self.table.fail(job, why)

    def replace(self, each):
        """Let a new process go on with the job of one that died."""
        job, work, code = each.job, each.work, each.process.exitcode
        each.end()
        each.start()
        if not job:
            return
        deaths = self.deaths[job.id] = self.deaths.get(job.id, 0) + 1
        if deaths == DEATHS:
            why = f"its process was killed {deaths} times: is the memory full? try --workers 1"
            each.job = job
            return self.on_failed(each, why)
        self.say(f"worker {each.number} has died ({code}): trial {job.trial} goes on in a new one")
        each.give(job, work)

    def stop(self):
        """Let the workers save, and give back what they were at."""
        for each in self.busy():
            each.send("stop")
        stop_s = time.monotonic() + self.grace_s
        while self.busy() and time.monotonic() < stop_s:
            self.listen(LOOK_S / 4)
        for each in self.busy():
            self.on_stopped(each)
