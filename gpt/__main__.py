"""The front door: `minigrad NAME ...`, each command a file of this folder."""
import difflib
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
            "fill": ("gpt.fill", "fill in what is masked in a text"),
            "chat": ("gpt.chat", "talk to a model"),
            "serve": ("gpt.serve", "serve a model to programs and to a browser"),
            "evaluate": ("gpt.evaluate", "measure how well it predicts a text"),
            "report": ("gpt.report", "ask whether it works: verdicts, and a page"),
            "compare": ("gpt.compare", "hold runs side by side"),
            "sweep": ("gpt.sweep", "train with many settings, on one machine or many"),
            "scaling": ("gpt.scaling", "find how big a model is best for a budget"),
            "launch": ("gpt.launch", "train on several machines"),
            "simulate": ("gpt.simulate", "say what training on many ranks would cost"),
            "export": ("gpt.export", "write a model that can be shared, without its text"),
            "embed": ("gpt.embed", "turn lines into vectors of their meaning"),
            "corpus": ("gpt.corpus", "make a clean corpus of dumps, crawls and files"),
            "classify": ("gpt.classify", "tell which label a text has"),
            "picture": ("gpt.picture", "draw a net and what each part costs"),
            "step": ("minigrad.stepper.command", "step through a backward pass")}

# Their products by the plain formulas are small: where other programs run, two threads that wait
# for each other take 50 times as long (measured).
ALONE = "report", "compare"


def main(args=None):
    """Run the command that the first argument names, with the others."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)      # while nothing can be lost, Ctrl-C just ends
    name, *rest = (sys.argv[1:] if args is None else args) or ["--help"]
    if name in ALONE:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if name in COMMANDS:
        module, _ = COMMANDS[name]
        command = importlib.import_module(module)
        return command.main(rest, **({"began": BEGAN} if name == "train" else {}))
    if name in ("-h", "--help"):
        for known, (_, what) in COMMANDS.items():
            print(f"    minigrad {known:9} {what}")
        return print("Each says with --help what it takes.")
    close = difflib.get_close_matches(name, COMMANDS, n=1)
    known = ", ".join(COMMANDS)
    remedy = f"did you mean {close[0]}?" if close and name[0] != "-" else f"choose {known}"
    print(f"minigrad: there is no command {name!r}: {remedy}", file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    main()
