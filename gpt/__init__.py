"""Language models, their data and their training; the commands are `python -m gpt NAME`."""
import importlib.util
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


def called(name):
    """Return how a command is called here: by the installed script, or from a checkout."""
    if Path(sys.argv[0]).stem == "minigrad":
        return f"minigrad {name}"
    return "python train.py" if name == "train" else f"python -m gpt.{name}"


check_neighbours()
