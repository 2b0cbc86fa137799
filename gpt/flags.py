"""The command line of `train.py`: a flag for each setting, and what is no setting."""
import argparse
import math
from dataclasses import MISSING
from pathlib import Path
from gpt.show.loggers import LOGGERS
from gpt.training.config import PRESETS, groups

from gpt import called
from gpt.command import Parser

PROGRAM = called("train").removeprefix("python ")


def parse(args):
    """Read the command line.

    Returns
    -------
    parsed : argparse.Namespace
        With the settings that were given in `given`, by name.
    """
    parser = Parser(prog=PROGRAM, description="Train a GPT on a text.")
    parser.add_argument("corpus", nargs="*", help="files, folders, globs, or shakespeare, stdlib, "
                        "stories [shakespeare]")
    parser.add_argument("--preset", choices=PRESETS, default="fast",
                        help="settings to begin with [fast]")
    parser.add_argument("--resume", metavar="RUN", help="the folder of a run to go on with")
    parser.add_argument("--from_step", type=int, help="go on from an earlier checkpoint")
    parser.add_argument("--name", help="of the run [that of the text]")
    parser.add_argument("--runs", default="runs", help="where runs are kept [runs]")
    parser.add_argument("--log", choices=LOGGERS, help="log there, too, if it is installed")
    parser.add_argument("--plain", action="store_true", help="plain lines, no live display")
    parser.add_argument("--check", action="store_true",
                        help="test the model of these settings for a minute, and do not train")
    parser.add_argument("--trace_step", type=int, metavar="N",
                        help="record step N gradient by gradient: a page to step through")
    parser.add_argument("--profile", action="store_true",
                        help="say where the time of a step goes, op by op, before training")
    parser.add_argument("--yes", action="store_true", help="agree to a run of days")
    add_settings(parser)
    args = parser.parse_args(args)
    args.given = given_settings(args)
    if args.resume and args.corpus:
        parser.error(f"a resumed run has its text in its folder: leave out {args.corpus[0]}")
    if args.from_step is not None and not args.resume:
        parser.error("--from_step needs the run whose checkpoint it is: add --resume RUN")
    if {"steps", "minutes"} <= args.given.keys():
        parser.error("--steps and --minutes both say when to end: leave one of them out")
    if args.name is not None and (args.name != Path(args.name).name or args.name in ("", "..")):
        parser.error(f"name is {args.name!r}, but must name a folder: say where with --runs")
    return args


# ---- a flag for each setting ----

def add_settings(parser):
    """Add a flag for every field of every part of the config."""
    for title, found in groups():
        group = parser.add_argument_group(title)
        for f in found:
            text = f"{f.metadata['help']} [{f.default}]".replace("%", "%%")
            if f.type is bool:
                group.add_argument(f"--{f.name}", help=text, default=MISSING, action="store_true")
                group.add_argument(f"--no_{f.name}", help=argparse.SUPPRESS, dest=f.name,
                                   default=MISSING, action="store_false")
            else:
                group.add_argument(f"--{f.name}", help=text, default=MISSING,
                                   type=finite if f.type is float else f.type,
                                   choices=f.metadata["choices"], metavar=None
                                   if f.metadata["choices"] else f.type.__name__)


def finite(text):
    """Read a float from the command line."""
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is no finite number")
    return value


def given_settings(parsed):
    """Collect the settings that were said on the command line."""
    names = [f.name for _, found in groups() for f in found]
    return {name: getattr(parsed, name) for name in names
            if getattr(parsed, name, MISSING) is not MISSING}
