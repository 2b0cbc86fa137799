"""The front door: `minigrad NAME ...`, each command a file of this folder."""
import importlib
import os
import signal
import sys
import time

BEGAN = time.monotonic()                              # the minutes of a run count from here
os.environ.setdefault("OMP_WAIT_POLICY", "passive")   # or NumPy's threads and Numba's, spinning
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")  # while idle, take each other's cores

# name -> module, what it does
COMMANDS = {"train": ("gpt.train", "train a model on a text"),
            "generate": ("gpt.generate", "let a trained model write"),
            "evaluate": ("gpt.evaluate", "measure how well it predicts a text"),
            "export": ("gpt.export", "write a model that can be shared, without its text"),
            "embed": ("gpt.embed", "turn lines into vectors of their meaning"),
            "step": ("minigrad.stepper.command", "step through a backward pass")}


def main(args=None):
    """Run the command that the first argument names, with the others."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)      # while nothing can be lost, Ctrl-C just ends
    name, *rest = (sys.argv[1:] if args is None else args) or ["--help"]
    if name in COMMANDS:
        command = importlib.import_module(COMMANDS[name][0])
        return command.main(rest, **({"began": BEGAN} if name == "train" else {}))
    lines = [f"    minigrad {known:9} {what}" for known, (_, what) in COMMANDS.items()]
    said = "\n".join([*lines, "Each says with --help what it takes."])
    if name in ("-h", "--help"):
        print(said)
        return
    print(f"minigrad: there is no command {name!r}; there are\n{said}", file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    main()
