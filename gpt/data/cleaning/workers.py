"""Do the same with many things on several processes, which end with the one that began them."""
import multiprocessing
import os
import threading
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait

from gpt.data.reading import CorpusError

SAY_S = 10                         # between two words on how far it is


def in_order(work, numbered, workers, made, say, what):
    """Call work on each (i, item) that is not done yet.

    Parameters
    ----------
    work : callable
        Whose result is on disk when it returns.
    numbered : list of (int, item)
    workers : int
    made : callable of int -> path
        That is there when the work is done.
    say : callable
    what : str
        Has happened to those that are done.

    Raises
    ------
    CorpusError
        If processes die again and again, none of them having done anything.
    """
    left = [each for each in numbered if not made(each[0]).exists()]
    if len(left) < len(numbered):
        say(f"{len(numbered) - len(left):,} of {len(numbered):,} are {what} already")
    told = telling(len(numbered), len(numbered) - len(left), say, what)
    if workers == 1 or len(left) == 1:
        for each in left:
            work(each)
            told()
        return
    in_vain = 0                                       # times that none had done anything
    while left:
        before = len(left)
        try:
            on_processes(work, left, workers, told)
        except BrokenProcessPool:
            say("a process was killed: its work is done again")
        left = [each for each in left if not made(each[0]).exists()]
        in_vain = in_vain + 1 if len(left) == before else 0
        if in_vain == 3:
            raise CorpusError("processes are killed before any has done its work: is the memory "
                              "full? try --workers 1")


def on_processes(work, items, workers, told):
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(items)), context, end_with_parent) as pool:
        try:
            for future in as_completed([pool.submit(work, item) for item in items]):
                future.result()
                told()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def end_with_parent():
    """Let this process end when the one that began it does, even if that is killed."""
    def watch():
        wait([multiprocessing.parent_process().sentinel])
        os._exit(1)
    threading.Thread(target=watch, daemon=True).start()


def telling(n, done, say, what):
    """Return a function to call whenever one more is done: it says now and then how many are."""
    said_s = time.monotonic()

    def told():
        nonlocal done, said_s
        done += 1
        if time.monotonic() > said_s + SAY_S:
            said_s = time.monotonic()
            say(f"{done:,} of {n:,} {what}")
    return told
