"""Language models, their data and their training; the commands are `python -m gpt NAME`."""
import sys
from pathlib import Path


def called(name):
    """Return how a command is called here: by the installed script, or from a checkout."""
    if Path(sys.argv[0]).stem == "minigrad":
        return f"minigrad {name}"
    return "python train.py" if name == "train" else f"python -m gpt.{name}"
