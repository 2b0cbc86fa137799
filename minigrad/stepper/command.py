"""The command line: options, the function it names, and the values of its parameters."""
import argparse
import importlib.util
import inspect
import sys
import traceback
from importlib.machinery import SourceFileLoader
from pathlib import Path

import numpy as np

from minigrad.mode import LEVELS, mode, use
from minigrad.stepper import example
from minigrad.stepper.record import record
from minigrad.tensor import Tensor


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence on standard error and status 2."""

    def error(self, message):
        line = " ".join(message.split())
        print(f"{self.prog}: {line}", file=sys.stderr)
        raise SystemExit(2)


def parse(argv):
    parser = Parser(
        prog="python -m minigrad.stepper", description="Step through a backward pass.")
    parser.add_argument("function", nargs="?", metavar="FILE.py:FUNCTION", help="what to run; its "
                        "parameters become tensors; without it, a = 1; b = a + a; c = b + b")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="given",
                        help="the value of a parameter")
    parser.add_argument("--level", choices=LEVELS, help="which body the ops run")
    parser.add_argument("--html", metavar="PAGE.html", help="write a page, to open in a browser")
    parser.add_argument("--text", action="store_true", help="print the steps in words and stop")
    return parser, parser.parse_args(argv)


def load(spec):
    """Import `f` from "expr.py:f"."""
    path, _, name = spec.rpartition(":")
    if Path(spec).is_file():
        raise ValueError(f"{spec} is a file: name a function of it too, as in {spec}:f")
    if not path or not Path(path).is_file():
        raise ValueError(f"there is no file {path or spec!r}: say which function of which file, "
                         "as in expr.py:f")
    module = imported(path)
    if not callable(getattr(module, name, None)):
        raise ValueError(f"{path} has no function {name!r}: say one of its functions, "
                         "as in expr.py:f")
    return getattr(module, name)


def imported(path):
    """Run a file as a module; what it raises is told with its line, for it is the user's own."""
    loader = SourceFileLoader(Path(path).stem, path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    sys.path.insert(0, str(Path(path).resolve().parent))
    try:
        loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{path} cannot be run: {told(error, path)}") from error
    return module


def told(error, path):
    """Say what was raised, and in which line of a file, if it was there."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
             if Path(frame.filename) == Path(path)]
    where = f"line {lines[-1]}: " if lines else ""
    return f"{where}{type(error).__name__}: {error}"


def arguments(f, given):
    """Make a tensor of every parameter of f, from its default or from NAME=VALUE."""
    values = dict(text.partition("=")[::2] for text in given)
    made = {}
    for name, parameter in inspect.signature(f).parameters.items():
        value = values.pop(name, parameter.default)
        if value is parameter.empty:
            raise ValueError(f"{f.__name__} needs {name}: give it a default, or say "
                             f"--set {name}=2.0")
        if isinstance(value, str):
            value = number(name, value)
        x = value if isinstance(value, Tensor) else np.asarray(value)
        floats = isinstance(x, np.ndarray) and x.dtype.kind == "f"
        made[name] = Tensor(x, requires_grad=True) if floats else value
    if values:
        raise ValueError(f"{f.__name__} has no parameter {next(iter(values))!r}: it has "
                         f"{', '.join(made) or 'none'}")
    return made


def number(name, text):
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name} is {text!r}, which is no number: say --set {name}=2.0") from None


def main(argv=None):
    """Run the command line; wrong input ends with one sentence and exit status 2."""
    parser, args = parse(argv)
    if hasattr(sys.stdout, "reconfigure"):             # a terminal may not have every character
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        check_page(args.html)
        f = example.doubled if args.function is None else load(args.function)
        with use(args.level or mode.level):
            t = record(f, **arguments(f, args.given))
        if args.html:
            t.html(args.html)
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        parser.error(str(error))
    except Exception as error:
        parser.error(f"{args.function} cannot be run: "
                     f"{told(error, args.function.rpartition(':')[0])}")
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    if args.text:
        print(t.text(), end="")
    if not (args.html or args.text):
        step_through(t)


def step_through(t):
    """Step in the terminal; Ctrl-C in the midst of a command ends it as quietly as elsewhere."""
    try:
        t.terminal()
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def check_page(path):
    """Refuse a page that cannot be written, before anything is recorded."""
    if path is None:
        return
    folder = Path(path).parent
    if not path or Path(path).is_dir() or not folder.is_dir():
        raise ValueError(f"--html is {path!r}, but must be a file to write in a folder that exists")
