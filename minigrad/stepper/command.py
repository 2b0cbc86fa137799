"""The command line: options, the function it names, and the values of its parameters."""
import argparse
import importlib.util
import inspect
import sys
from pathlib import Path

import numpy as np

from minigrad.mode import LEVELS, mode, use
from minigrad.stepper import example
from minigrad.stepper.record import record
from minigrad.tensor import Tensor


def parse(argv):
    parser = argparse.ArgumentParser(
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
    module_spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    module = importlib.util.module_from_spec(module_spec)
    sys.path.insert(0, str(Path(path).resolve().parent))
    module_spec.loader.exec_module(module)
    if not callable(getattr(module, name, None)):
        raise ValueError(f"{path} has no function {name!r}: say one of its functions, "
                         "as in expr.py:f")
    return getattr(module, name)


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
    try:
        f = load(args.function) if args.function else example.doubled
        with use(args.level or mode.level):
            t = record(f, **arguments(f, args.given))
    except (ValueError, TypeError, RuntimeError) as error:
        parser.error(str(error))
    if args.html:
        t.html(args.html)
    if args.text:
        print(t.text(), end="")
    if not (args.html or args.text):
        t.terminal()
