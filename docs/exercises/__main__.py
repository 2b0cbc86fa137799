"""Repair broken backward passes, training loops and a tokenizer; write others from nothing.

    python docs/exercises                          list the exercises and what is solved
    python docs/exercises check softmax            check one, with hints
    python docs/exercises check                    check all
    python docs/exercises check softmax --debug    without a time limit: breakpoint() works

Each exercise is a short file beside this one, with one mistake in it or with lines left to write.
Edit the file, check, repeat.
"""
import argparse
import difflib
import json
import sys
from pathlib import Path

import checks
import running

HERE = Path(__file__).parent
PROGRESS = HERE / ".progress.json"          # name -> True; not under version control


def judge(name):
    """Run an exercise's file and hold it to its check."""
    path = HERE / f"{name}.py"
    names = {"__name__": name, "__file__": str(path)}
    exec(compile(path.read_text(encoding="utf-8"), path, "exec"), names)
    checks.CHECKS[name](names)


def read_progress():
    try:
        progress = json.loads(PROGRESS.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return progress if isinstance(progress, dict) else {}


def check(name, debug=False):
    """Check one exercise, print what is wrong and return whether it is solved."""
    path, printed = HERE / f"{name}.py", ""
    if debug:
        problem = running.problem_of(lambda: judge(name), path)
    else:
        with running.watched():
            problem, printed = running.attempt(lambda: judge(name), path)
    print(f"{name}: {'solved' if problem is None else 'not yet'}", flush=True)
    if problem:
        print("  " + problem.replace("\n", "\n  "))
    for line in running.first_lines(printed):
        print(f"  it printed: {line}")
    progress = {**read_progress(), name: problem is None}
    try:
        PROGRESS.write_text(json.dumps(progress, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        print(f"(progress is not kept: {error})")
    return problem is None


def title_of(name):
    try:
        text = (HERE / f"{name}.py").read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        return f"(cannot be read: {error})"
    return text.partition('"""')[2].partition("\n")[0]


def show_list():
    progress = read_progress()
    for name in checks.CHECKS:
        print(f"[{'x' if progress.get(name) else ' '}] {name:18} {title_of(name)}")
    solved = sum(bool(progress.get(name)) for name in checks.CHECKS)
    print(f"{solved} of {len(checks.CHECKS)} solved; to check one: "
          "python docs/exercises check NAME")


def main():
    parser = argparse.ArgumentParser(prog="python docs/exercises", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", choices=["list", "check"], default="list")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--debug", action="store_true",
                        help="no time limit, and what is printed comes at once")
    arguments = parser.parse_args()
    if arguments.command == "list":
        return show_list()
    for name in arguments.names:
        if name not in checks.CHECKS:
            near = difflib.get_close_matches(name, checks.CHECKS, 1) or list(checks.CHECKS)
            parser.error(f"there is no exercise {name!r}; did you mean {', '.join(near)}?")
    solved = [check(name, arguments.debug) for name in arguments.names or checks.CHECKS]
    return 0 if all(solved) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
