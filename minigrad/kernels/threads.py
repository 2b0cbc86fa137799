"""How many threads kernels use, and the pool that they are from."""
import os
import threading
from pathlib import Path

import numba
from numba import config

# omp starts a region in 2 us, workqueue in 23; the first that can be loaded is used.
LAYERS = ["omp", "tbb", "workqueue"]
if "NUMBA_THREADING_LAYER_PRIORITY" not in os.environ:
    config.THREADING_LAYER_PRIORITY = LAYERS
# Between two kernels a thread of GNU OpenMP looks for work this often, some 2 ms, before it
# sleeps: waking it for each of a step's 100 kernels took 15 % of the step, and to wait no longer
# than 0.4 ms still 4 to 10 %. Waiting longer would take the core from other programs.
os.environ.setdefault("GOMP_SPINCOUNT", "100000")

_threads = None             # until somebody asks
_local = threading.local()  # Numba's thread count belongs to the calling thread
_forked = False             # whether this process is a fork of one that had started the pool


def available_cores(root="/", cpus=None):
    """Count the physical cores that affinity and cgroups leave to this process.

    Hyperthreads of one core count once on Linux; elsewhere the system's own count is taken.
    """
    if cpus is None and not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    cpus = os.sched_getaffinity(0) if cpus is None else cpus
    topology = Path(root, "sys/devices/system/cpu")
    cores = {_read(topology / f"cpu{cpu}/topology/thread_siblings_list") or cpu for cpu in cpus}
    return int(min(len(cores), _cgroup_limit(Path(root))))


def _cgroup_limit(root):
    """Read the CPU quota of this process's control group, in cores (at least 1)."""
    limit = float("inf")
    for line in _read(root / "proc/self/cgroup").splitlines() or ["0::/"]:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        group = mount / path.lstrip("/")
        for folder in [group, *group.parents]:
            if mount in (folder, *folder.parents):
                limit = min(limit, _quota(folder))
    return max(limit, 1)


def _quota(folder):
    """Read one control group's quota, in cores, version 2 or 1."""
    text = _read(folder / "cpu.max") or (_read(folder / "cpu.cfs_quota_us") + " "
                                         + _read(folder / "cpu.cfs_period_us"))
    quota, _, period = text.strip().partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period else float("inf")


def _read(path):
    try:
        return path.read_text().strip()
    except OSError:
        return ""


class ThreadsError(ValueError):
    """A number of threads that cannot be had; the message says why, and what to do."""


def most_threads():
    """Return MINIGRAD_THREADS, else the physical cores, within Numba's own limit.

    Raises
    ------
    ThreadsError
        If MINIGRAD_THREADS is no number, or more than Numba's pool has.
    """
    text = os.environ.get("MINIGRAD_THREADS")
    if not text:
        return min(available_cores(), config.NUMBA_NUM_THREADS)
    if not text.isdigit():
        raise ThreadsError(f"MINIGRAD_THREADS is {text!r}, but must be a number of threads, like 2")
    return _checked(int(text))


def _checked(n):
    if not 1 <= n <= config.NUMBA_NUM_THREADS:
        raise ThreadsError(f"{n} threads asked for, but Numba's pool has 1 to "
                           f"{config.NUMBA_NUM_THREADS}: set NUMBA_NUM_THREADS before the start")
    return n


def n_threads():
    """Return the number of threads that kernels use: at first `most_threads()`."""
    global _threads
    if _threads is None:
        _threads = most_threads()
    return _threads


def set_threads(n):
    """Set the number of threads that kernels use; results do not depend on it."""
    global _threads
    _threads = _checked(n)


def enter_pool():
    """Bring the calling thread's count up to date, starting the pool if need be.

    Called before every parallel kernel.
    """
    if getattr(_local, "threads", 0) == _threads:
        return
    if _forked and threading_layer() == "omp":
        raise RuntimeError("this process was forked after kernels had run, and OpenMP threads do "
                           "not survive a fork: start processes with the 'spawn' method, or set "
                           "NUMBA_THREADING_LAYER=workqueue")
    numba.set_num_threads(n_threads())
    _local.threads = n_threads()


def _after_fork():
    global _forked
    _forked = _forked or _pool_started()
    _local.__dict__.clear()


def _pool_started():
    try:
        return bool(numba.threading_layer())
    except ValueError:  # Numba's way of saying: not yet
        return False


def threading_layer():
    """Return which of omp, tbb and workqueue carries the threads (starts the pool)."""
    if not _pool_started():
        numba.set_num_threads(n_threads())
    return numba.threading_layer()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
