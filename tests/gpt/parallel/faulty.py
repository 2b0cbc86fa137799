"""train.py on ranks, one of which fails: faulty.py KIND RANK STEP, and the words of train.py."""
import os
import signal
import sys
import time

from gpt.__main__ import main
from gpt.training.parallel import watch
from gpt.training.parallel.data_parallel import DataParallel

kind, rank, step, *words = sys.argv[1:]
watch.SILENT_BEATS, watch.LONGEST_S, watch.STEPS = 3, 3, 3
goes_on = DataParallel.goes_on
KINDS = {"kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
         "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
         "exit": lambda: sys.exit(0), "vanish": lambda: os._exit(0),
         "raise": lambda: {}["nothing"], "hang": lambda: time.sleep(1000)}


def fails(way):
    begins = goes_on(way)
    if way.run.step == int(step) and way.run.plan.steps < 10 ** 6 and way.world.rank == int(rank):
        print(f"{time.time():.3f} fault", file=sys.stderr, flush=True)
        KINDS[kind]()
    return begins


DataParallel.goes_on = fails
main(["train", *words])
