"""How the ranks of a run come together: found, compared, given their cores, and watched."""
import hashlib
import os
import platform
import signal
import sys
import time
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from bpe.console import on_one_line
from gpt import ranks_told
from gpt.settings import ConfigError
from gpt.training.divergence import Diverged
from gpt.training.parallel import world as worlds
from gpt.training.parallel.watch import Watch
from gpt.training.parallel.watcher import LOST
from minigrad.kernels import jit, threads
from minigrad.kernels.cache import cpu_features

RANKS = "PMI_RANK", "OMPI_COMM_WORLD_RANK"       # where a launcher tells a process which it is
COMMAND = "mpiexec -n 4 python -m mpi4py train.py ..."
OURS = "gpt", "minigrad", "bpe"
WAIT_S = 10                # for rank 0 to say what all have found, and to end them
ROOT = Path(__file__).parent.parent.parent.parent


@contextmanager
def joined(prog):
    """Inside the block this process is a rank of the world that it was started in.

    Without a launcher that is a world of one, for which nothing is imported. On ranks whatever
    ends the block early ends the others, too.

    Parameters
    ----------
    prog : str
        What the program is called in its messages.

    Yields
    ------
    Alone or World
        The latter with its `watch`.
    """
    said = ranks_told()
    if said < 2 and "mpi4py.run" not in sys.modules:
        yield worlds.Alone()
        return
    check_launch(said, prog)
    world = worlds.joined()
    if world.size == 1:
        if said > 1:
            refuse(prog, f"{said} processes were started, but each is alone: the mpiexec is of "
                   f"another MPI than mpi4py, {worlds.library()}: use the mpiexec that stands "
                   f"beside {sys.executable}")
        yield worlds.Alone()
        return
    if world.rank:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # rank 0 says when all stop
    with together(world, prog):
        compare(world)
        share_cores(world)
        yield world


def check_launch(said, prog):
    """Refuse ranks that would wait for ever for one that failed."""
    if find_spec("mpi4py") is None:
        refuse(prog, f"{said} processes were started, which need the packages mpi4py and mpich to "
               "train together: pip install 'minigrad[mpi]'")
    if "mpi4py.run" not in sys.modules:
        refuse(prog, f"{said} processes were started without -m mpi4py, and if one fails the "
               f"others wait for ever: {COMMAND}")


def refuse(prog, sentence):
    """End all processes that were started, of which the first one says why."""
    if any(os.environ.get(name, "0") != "0" for name in RANKS):
        time.sleep(3)                                 # or its sentence might be lost
    else:
        print(f"{prog}: {sentence}", file=sys.stderr, flush=True)
    os._exit(2)


# ---- the end ----

@contextmanager
def together(world, prog):
    """Watch the ranks inside the block, and end all of them if one leaves it by an error."""
    world.watch = watch = Watch(world, prog)
    try:
        yield
    except SystemExit as error:
        left(world, error.code or 0)
    except Diverged as error:                         # which all ranks find in the same step, and
        time.sleep(WAIT_S)                            # rank 0 says
        watch.fail(on_one_line(error), 3)
    except (ConfigError, MemoryError) as error:
        watch.fail(f"cannot go on: {on_one_line(error) or 'the memory is full'}", 2)
    except KeyboardInterrupt:
        watch.quit(130)
    except BaseException as error:
        watch.fail(f"failed: {described(error)}", LOST)
    watch.leave()


def left(world, code):
    """End as a command of one process does, of which rank 0 has said why."""
    if world.rank == 0 and (code or world.watch.folder is None):
        world.watch.quit(code if isinstance(code, int) else 1)
    world.watch.fail(f"left early, with status {code}", LOST)


def described(error):
    """Describe an error that nobody expected, and where it was raised, in one line."""
    place = error.__traceback__
    while place.tb_next:
        place = place.tb_next
    where = f"{Path(place.tb_frame.f_code.co_filename).name}, line {place.tb_lineno}"
    return f"{type(error).__name__}: {on_one_line(error)} ({where})"


# ---- what must be alike ----

def facts():
    """Return what must be alike on all ranks, or they would drift apart: {what: value}."""
    named = {name: value for name, value in os.environ.items() if name in ALIKE}
    return {"Python": platform.python_version(),
            "NumPy": version("numpy"), "Numba": version("numba"), "llvmlite": version("llvmlite"),
            "files of minigrad, by their hash": fingerprint(),
            "compiled kernels": "yes" if jit.COMPILED else "none",
            "processor": platform.machine(),
            "instruction sets": frozenset(cpu_features()),
            "settings in the environment": named}

ALIKE = "MINIGRAD_LEVEL", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_OPT"


def fingerprint(root=ROOT):
    """Hash the files of the packages: a few characters."""
    digest = hashlib.sha256()
    for path in sorted(path for name in OURS for path in (root / name).rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def compare(world):
    """Refuse ranks on which something differs that must not."""
    difference = first_difference(world.collect(facts()), world.hosts)
    if difference and world.rank == 0:
        print(f"{world.watch.prog}: {difference}", file=sys.stderr)
        world.watch.quit(2)
    if difference:
        time.sleep(WAIT_S)


def first_difference(found, hosts):
    """Name the first thing in which a rank differs from rank 0, and how; None if there is none."""
    for rank, theirs in enumerate(found):
        for what, ours in found[0].items():
            if theirs[what] != ours:
                ours, other = apart(ours, theirs[what])
                return (f"rank {rank} on {hosts[rank]} has {what} {other}, rank 0 on {hosts[0]} "
                        f"has {ours}, and their weights would drift apart: make them alike")


def apart(ours, theirs):
    """Write two values, of sets what only one of them has."""
    if isinstance(ours, frozenset):
        ours, theirs = ours - theirs, theirs - ours
        return [" ".join(sorted(x)) or "nothing more" for x in (ours, theirs)]
    return ours or "none", theirs or "none"


# ---- cores ----

def share_cores(world):
    """Give every rank as many threads: as there are cores for it, unless the user says it."""
    places = world.collect((world.hosts[world.rank], processors()))
    said, cores = "MINIGRAD_THREADS" in os.environ, threads.available_cores()
    mine = threads.most_threads() if said else my_share(places, world.rank, cores)
    n = min(world.collect(mine))
    os.environ["MINIGRAD_THREADS"] = str(n)
    threads.set_threads(n)
    n_beside = places.count(places[world.rank])
    share = min(1, cores / (n * n_beside))            # of its time that it has its cores
    world.abreast = max(1, round(sum(world.collect(share))))


def processors():
    """Return which processors this process may use; None where the system does not tell."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def my_share(places, rank, cores):
    """Return how many cores a rank has, of those that it shares with others.

    Parameters
    ----------
    places : list of (host, processors)
        Of each rank.
    rank : int
    cores : int
        That it may use, with others.

    >>> my_share([("a", [0, 1]), ("a", [0, 1]), ("b", [0, 1])], 1, cores=2)
    1
    """
    return max(1, cores // places.count(places[rank]))
