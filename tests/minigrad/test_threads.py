"""Properties of the pool: as many threads as the machine gives, the same for every caller."""
import os
import subprocess
import sys
import threading
from pathlib import Path

import numba
import numpy as np
import pytest

from minigrad.kernels import threads
from minigrad.kernels.jit import kernel, prange

ROOT = Path(__file__).parent.parent.parent


@kernel(parallel=True)
def _double(x, out):
    for i in prange(x.size):
        out[i] = 2 * x[i]


def make_machine(root, siblings, quota=None, group="/"):
    for cpu, cores in enumerate(siblings):
        folder = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(cores + "\n")
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(f"0::{group}\n")
    if quota:
        folder = root / "sys/fs/cgroup" / group.lstrip("/")
        folder.mkdir(parents=True)
        (folder / "cpu.max").write_text(quota + "\n")
    return root


@pytest.mark.parametrize("siblings, cpus, quota, cores", [
    (["0", "1", "2", "3"], {0, 1, 2, 3}, None, 4),
    (["0-1", "0-1", "2-3", "2-3"], {0, 1, 2, 3}, None, 2),         # hyperthreads count once
    (["0-1", "0-1", "2-3", "2-3"], {0, 1}, None, 1),               # affinity
    (["0", "1", "2", "3"], {0, 1, 2, 3}, "250000 100000", 2),      # a quota of 2.5 cores
    (["0", "1", "2", "3"], {0, 1, 2, 3}, "50000 100000", 1),
    (["0", "1", "2", "3"], {0, 1, 2, 3}, "max 100000", 4),
])
def test_cores_are_physical_within_affinity_and_quota(tmp_path, siblings, cpus, quota, cores):
    root = make_machine(tmp_path, siblings, quota, "/job/step")
    assert threads.available_cores(root, cpus) == cores


def test_a_quota_of_a_group_above_counts_too(tmp_path):
    root = make_machine(tmp_path, ["0", "1", "2", "3"], "max 100000", "/job/step")
    (root / "sys/fs/cgroup/job/cpu.max").write_text("100000 100000\n")
    assert threads.available_cores(root, {0, 1, 2, 3}) == 1


def test_quotas_of_the_first_version_of_control_groups_count(tmp_path):
    root = make_machine(tmp_path, ["0", "1", "2", "3"])
    (root / "proc/self/cgroup").write_text("4:cpu,cpuacct:/job\n1:memory:/job\n")
    folder = root / "sys/fs/cgroup/cpu/job"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text("200000\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    assert threads.available_cores(root, {0, 1, 2, 3}) == 2


def test_threads_are_set_for_every_calling_thread():
    before = threads.n_threads()
    x, out, seen = np.ones(1000), np.empty(1000), []
    def work():
        _double(x, out)
        seen.append(numba.get_num_threads())
    try:
        threads.set_threads(1)
        work()
        other = threading.Thread(target=work)
        other.start()
        other.join()
    finally:
        threads.set_threads(before)
    assert seen == [1, 1] and (out == 2).all()


def test_too_many_threads_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match="set NUMBA_NUM_THREADS before the start"):
        threads.set_threads(10_000)


def test_an_empty_number_of_threads_in_the_environment_is_none(monkeypatch):
    monkeypatch.setenv("MINIGRAD_THREADS", "")
    assert threads.most_threads() >= 1


@pytest.mark.parametrize("text", ["many", "0", "-1"])
def test_a_wrong_number_of_threads_in_the_environment_is_named(text):
    code = "from minigrad.kernels import threads; threads.n_threads()"
    done = subprocess.run([sys.executable, "-c", code],
                          cwd=ROOT, env=os.environ | {"MINIGRAD_THREADS": text}, text=True,
                          capture_output=True)
    assert done.stderr.splitlines()[-1].startswith("minigrad.kernels.threads.ThreadsError: ")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_fork_after_kernels_have_run_gets_a_sentence_and_not_a_dead_process(tmp_path):
    code = """
import os, numpy as np
from minigrad.kernels import jit, threads
@jit.kernel(parallel=True)
def double(x, out):
    for i in jit.prange(x.size):
        out[i] = 2 * x[i]
x, out = np.ones(100), np.empty(100)
double(x, out)
pid = os.fork()
if not pid:
    try:
        double(x, out)
        os._exit(0 if threads.threading_layer() != "omp" else 1)
    except RuntimeError as error:
        os._exit(0 if "spawn" in str(error) else 2)
assert os.waitpid(pid, 0)[1] == 0
"""
    (tmp_path / "forks.py").write_text(code)
    done = subprocess.run([sys.executable, "-c", "import forks"], cwd=tmp_path, text=True,
                          env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
                          capture_output=True)
    assert done.returncode == 0, done.stderr
