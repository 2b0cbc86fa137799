"""Write the tables of docs/benchmarks.md from results.jsonl.

    python benchmarks/table.py

Of each name the latest date on each machine counts, with all its runs.
"""
import ast
import json

from results import FILE, meets, show

PAGE = FILE.parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- tables: begin (benchmarks/table.py) -->", "<!-- tables: end -->"
HEAD = ["| name | measured | wanted | | runs | date | |", "|---|---|---|---|---|---|---|"]
OK, SHORT, AT_TIMES = "ok", "**short**", "**short at times**"


def read(path=FILE):
    """Return the runs that count, {machine: {script: {name: [run, ...]}}}, in the file's order."""
    kept = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        run = json.loads(line)
        names = kept.setdefault(run["machine"], {}).setdefault(run["script"], {})
        runs = names.setdefault(run["name"], [])
        latest = max((r["date"] for r in runs), default="")
        if run["date"] > latest:
            runs.clear()
        if run["date"] >= latest:
            runs.append(run)
    return kept


def row(name, runs):
    """Return one line of a table, and its word."""
    ratios = [number for run in runs for number in numbers(run["ratio"])]
    low, high = min(ratios), max(ratios)
    target, at_most = runs[-1]["target"], runs[-1]["at_most"]
    met = [meets(ratio, target, at_most) for ratio in (low, high)]
    word = OK if all(met) else AT_TIMES if any(met) else SHORT
    measured = show(low) if low == high else f"{show(low)} to {show(high)}"
    ranges = any(isinstance(run["ratio"], list) for run in runs)
    count = "several" if ranges else len(runs)
    notes = "; ".join(dict.fromkeys(run["note"] for run in runs if run.get("note")))
    bound = "at most" if at_most else "at least"
    cells = [f"`{name}`", measured, f"{bound} {show(target)}", word, count, runs[-1]["date"], notes]
    return "| " + " | ".join(map(str, cells)) + " |", word


def numbers(ratio):
    """Return a single ratio, or the ends of a range, as a list."""
    return ratio if isinstance(ratio, list) else [ratio]


def about(script):
    """Return the first line of a script's docstring."""
    source = (FILE.parent / f"{script}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(source)).split("\n")[0]


def tables(results):
    """Return the Markdown of all tables, a part for each machine."""
    lines, words = [], []
    for machine, scripts in results.items():
        lines += [f"## {machine}", ""]
        for script, names in scripts.items():
            rows, found = zip(*(row(name, runs) for name, runs in names.items()))
            command = f"`python benchmarks/{script}.py`"
            lines += [f"### {script}", "", command, "", about(script), "", *HEAD, *rows, ""]
            words += found
    total = (f"Of {len(words)} targets, {words.count(OK)} are met in every run, "
             f"{words.count(AT_TIMES)} in some and {words.count(SHORT)} in none.")
    return "\n".join([total, "", *lines])


def page(text):
    """Return the page with the tables between the two marks."""
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{tables(read())}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
