"""Hold runs side by side: what differs in their settings, their curves, and on the same text.

    python -m gpt compare runs/a runs/b
"""
from pathlib import Path

from bpe.console import finite
from gpt.command import find_run, make_parser, report_errors
from gpt.opening import open_model
from gpt.show.comparison import collect, write_comparison
from gpt.settings import ConfigError
from gpt.verdicts.case import FAILS, WARNS

SECONDS = 30
PAGE = "compare.html"


def parse(args):
    """Read the command line."""
    parser = make_parser("compare", "Hold runs side by side, on the same text.")
    parser.add_argument("run", nargs="+", help="folders of runs, or last for the newest")
    parser.add_argument("--seconds", type=finite, default=SECONDS, help="for reading the text that "
                        f"they held out [{SECONDS}]")
    parser.add_argument("--page", metavar="FILE", help=f"where the page is written [{PAGE}, beside "
                        "the first run]")
    args = parser.parse_args(args)
    if args.seconds <= 0:
        parser.error(f"seconds is {args.seconds:g}, but must be above 0")
    if len(args.run) < 2:
        parser.error(f"{args.run[0]} alone cannot be compared: name a second run")
    return parser, args


def main(args=None):
    parser, args = parse(args)
    with report_errors(parser.prog):
        folders = [find_run(name) for name in args.run]
        for folder in folders:
            if folders.count(folder) > 1:
                raise ConfigError(f"{folder} is named twice: name another run")
        page = Path(args.page) if args.page else folders[0].parent / PAGE
        if page.is_dir() or not page.parent.is_dir():
            raise ConfigError(f"{page} cannot be written: name a file in a folder that is there")
        opened = [*map(open_run, folders)]
        found = collect(folders, opened, args.seconds)
        for line in told(found):
            print(line)
        write_comparison(page, found)
        print(f"\nlook at: {page}")


def open_run(folder):
    """Open a run; other models have no steps and no settings to compare."""
    opened = open_model(folder)
    if opened.config is None:
        raise ConfigError(f"{folder} is no run, and has no curves to compare: name runs")
    return opened


def told(found):
    """Yield the lines of a comparison."""
    wrong = [row for row in found["verdicts"] if {*row[1:]} & {FAILS, WARNS}]
    for title, rows in (("settings that differ", found["settings"]),
                        ("numbers, and verdicts that do not hold", found["numbers"] + wrong)):
        yield f"{title}:"
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths)]
            yield f"  {'  '.join(cells)}".rstrip()
        yield ""
    yield from found["pairs"]
    yield found["about"]


if __name__ == "__main__":
    main()
