"""The command line of `train.py`: a flag for each setting, and what is no setting."""
from pathlib import Path

from gpt.config import PRESETS, Parser, add_settings, given_settings
from gpt.loggers import LOGGERS


def parse(args, description):
    """Read the command line.

    Returns
    -------
    parsed : argparse.Namespace
        With the settings that were given in `given`, by name.
    """
    parser = Parser(prog="train.py", description=description)
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
