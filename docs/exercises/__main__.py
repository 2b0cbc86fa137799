"""Repair broken backward passes, training loops and a tokenizer.

    python docs/exercises                  list the exercises and what is solved
    python docs/exercises check softmax    check one, with hints
    python docs/exercises check            check all

Each exercise is a short file beside this one with one mistake in it. Edit the file, check, repeat.
"""
import argparse
import difflib
import json
import sys
from pathlib import Path

import checks

HERE = Path(__file__).parent
PROGRESS = HERE / ".progress.json"          # name -> True; not under version control


def load(name):
    """Run an exercise's file and return its names."""
    path = HERE / f"{name}.py"
    names = {"__name__": name, "__file__": str(path)}
    exec(compile(path.read_text(encoding="utf-8"), path, "exec"), names)
    return names


def read_progress():
    try:
        return json.loads(PROGRESS.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def check(name):
    """Check one exercise, print what is wrong and return whether it is solved."""
    try:
        checks.CHECKS[name](load(name))
        problem = None
    except Exception as error:              # a mistake may raise anything: it is the hint
        problem = f"{type(error).__name__}: {error}"
    print(f"{name}: {'solved' if problem is None else 'not yet'}")
    if problem:
        print("  " + problem.replace("\n", "\n  "))
    progress = {**read_progress(), name: problem is None}
    try:
        PROGRESS.write_text(json.dumps(progress, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        print(f"(progress is not kept: {error})")
    return problem is None


def show_list():
    progress = read_progress()
    for name in checks.CHECKS:
        text = (HERE / f"{name}.py").read_text(encoding="utf-8")
        title = text.partition('"""')[2].partition("\n")[0]
        print(f"[{'x' if progress.get(name) else ' '}] {name:16} {title}")
    solved = sum(bool(progress.get(name)) for name in checks.CHECKS)
    print(f"{solved} of {len(checks.CHECKS)} solved; to check one: "
          "python docs/exercises check NAME")


def main():
    parser = argparse.ArgumentParser(prog="python docs/exercises", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", choices=["list", "check"], default="list")
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    if arguments.command == "list":
        return show_list()
    for name in arguments.names:
        if name not in checks.CHECKS:
            near = difflib.get_close_matches(name, checks.CHECKS, 1) or list(checks.CHECKS)
            parser.error(f"there is no exercise {name!r}; did you mean {', '.join(near)}?")
    solved = [check(name) for name in arguments.names or checks.CHECKS]
    return 0 if all(solved) else 1


if __name__ == "__main__":
    sys.exit(main())
