"""Language models, their data and their training; the commands are `python -m gpt NAME`."""
import importlib.util
import os
import shlex
import subprocess
import sys
from pathlib import Path

# The first words of the packages that this one is made with.
NEIGHBOURS = {"minigrad": b'"""A tiny reverse-mode autograd engine in NumPy',
              "bpe": b'"""A byte-level BPE trainer and tokenizer'}


def check_neighbours(neighbours=NEIGHBOURS):
    """Refuse to begin where another distribution has put its own package of a name of ours.

    Raises
    ------
    ImportError
        That names the distribution and where its package lies.
    """
    for name, words in neighbours.items():
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ImportError(f"the package {name} is missing: install minigrad again")
        with open(spec.origin, "rb") as file:
            ours = file.read(len(words)) == words
        if not ours:
            from importlib import metadata
            owners = metadata.packages_distributions().get(name, ["a distribution without a name"])
            raise ImportError(f"{name} at {spec.origin} is not ours but of "
                              f"{' or '.join(sorted({*owners}))}: uninstall that, or make an "
                              "environment for each")


def called(name, *words):
    """Return the line that calls a command here, with the interpreter that runs, for a shell."""
    script, python = Path(sys.argv[0]), [sys.executable]
    ranks = ranks_told() if name == "train" else 1
    if ranks > 1:
        python = ["mpiexec", "-n", ranks, *python, "-m", "mpi4py"]
    if script.stem == "minigrad":
        return quoted(*python * (ranks > 1), script, name, *words)
    if name == script.stem == "train":
        return quoted(*python, script, *words)
    line = quoted(*python, "-m", "gpt", name, *words)
    root = Path(__file__).resolve().parent.parent
    found = root in (Path.cwd(), *map(Path, sys.path[1:])) or os.name == "nt"
    return line if found else f"PYTHONPATH={quoted(root)} {line}"


# What launchers tell each process of how many there are: MPICH, Intel and Microsoft; Open MPI.
SIZES = "PMI_SIZE", "OMPI_COMM_WORLD_SIZE"


def ranks_told(environ=os.environ):
    """Return how many processes were started together with this one, as the launcher says."""
    return max([int(environ[name]) for name in SIZES if environ.get(name, "").isdigit()], default=1)


def quoted(*words):
    """Join the words of a command line for this system's shell."""
    join = subprocess.list2cmdline if os.name == "nt" else shlex.join
    return join(map(str, words))


def command_name(name):
    """Return what a command is called in its messages."""
    if Path(sys.argv[0]).stem == "minigrad":
        return f"minigrad {name}"
    return "train.py" if name == "train" else f"python -m gpt {name}"


check_neighbours()
