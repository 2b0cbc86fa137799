"""Start ranks: `ranks(n, script, *words)`, for tests marked `extra("mpi4py")`."""
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent.parent


def mpiexec():
    """Return the launcher beside this Python, which is that of the `mpich` wheel."""
    beside = Path(sys.executable).parent
    return shutil.which("mpiexec", path=str(beside)) or shutil.which("mpiexec")


@pytest.fixture(scope="session")
def ranks():
    """Return a function that runs a Python file on n ranks: its status and what it said."""
    if mpiexec() is None:
        pytest.skip("there is no mpiexec beside this Python: pip install mpich")

    def run(n, *words, mpi4py=True, timeout_s=100, cwd=ROOT, **more):
        runner = ["-m", "mpi4py"] * mpi4py
        command = [mpiexec(), "-n", str(n), sys.executable, *runner, *map(str, words)]
        path = os.pathsep.join(map(str, (ROOT, HERE, HERE.parent)))
        env = os.environ | {"PYTHONPATH": path, "MINIGRAD_THREADS": "1"} | more
        done = subprocess.run(command, cwd=cwd, env=env, timeout=timeout_s,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        return SimpleNamespace(status=done.returncode, said=done.stdout, wrong=done.stderr)
    return run
