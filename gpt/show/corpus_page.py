"""The report of a corpus: what came in, what each stage dropped with examples, what is left."""
from html import escape
from operator import itemgetter

FILE = "file", "bytes", "SHA256"
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       overflow-wrap: anywhere }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto;
        overflow-wrap: normal }
td, th { border-bottom: 1px solid #8884; padding: .2rem .8rem; text-align: left }
td.n { text-align: right; font-variant-numeric: tabular-nums }
pre { white-space: pre-wrap; background: #8881; padding: .5rem; overflow-wrap: anywhere }
@media (prefers-color-scheme: dark) { body { background: #111; color: #ddd } }
"""


def corpus_page(facts):
    """Return the page, from what `corpus.json` holds."""
    shards, counts, duplicates = facts["shards"], facts["counts"], facts["duplicates"]
    kept = {}
    for kind in "documents", "bytes":
        kept[f"{kind} kept"] = sum(each[kind] for each in shards)
    parts = ["<!doctype html><meta charset='utf-8'><title>corpus</title>",
             f"<style>{STYLE}</style><h1>What became of the text</h1>",
             table(["", ""], [*counts.items(), *kept.items()]),
             "<h2>What each stage dropped</h2>", *stages(facts),
             "<h2>Duplicates</h2>", table(["", ""], duplicates.items()),
             by_rows("source", facts), by_rows("length", facts),
             "<h2>What could not be read</h2>", table(["file", "place", "why"], facts["losses"]),
             "<h2>Files read</h2>", table(FILE, rows_of(facts["read"])),
             "<h2>Shards</h2>", table(FILE, rows_of(shards))]
    return "\n".join(parts) + "\n"


def rows_of(facts):
    return [[each["name"], each["bytes"], each["sha256"]] for each in facts]


COLUMNS = "documents read", "documents kept", "characters read", "characters kept"


def by_rows(name, facts):
    """Return a heading, and a table of what was read and kept of each kind."""
    rows = facts["tables"].get(name, {})
    found = []
    for row in sorted(rows):
        counts = [rows[row].get(column, 0) for column in COLUMNS]
        found.append([row, *counts])
    return f"<h2>By {name}</h2>" + table([name, *COLUMNS], found)


def stages(facts):
    """Yield a table of reasons for each stage, and the first examples of each."""
    for stage, reasons in facts["stages"].items():
        yield f"<h3>{escape(stage)}: {sum(reasons.values()):,}</h3>"
        rows = sorted(reasons.items(), key=itemgetter(1), reverse=True)
        yield table(["why", "documents"], rows)
        examples = facts["examples"].get(stage, {})
        for reason, found in examples.items():
            yield f"<details><summary>{escape(reason)}</summary>"
            for source, place, text in found:
                yield f"<p>{escape(source)}, {escape(place)}</p><pre>{escape(text)}</pre>"
            yield "</details>"


def table(heads, rows):
    first = [f"<th>{escape(head)}</th>" for head in heads]
    lines = [first, *(map(cell, row) for row in rows)]
    body = "\n".join(f"<tr>{''.join(line)}</tr>" for line in lines)
    return f"<table>\n{body}\n</table>"


def cell(x):
    if isinstance(x, int):
        return f"<td class='n'>{x:,}</td>"
    x = ", ".join(map(str, x)) or "none" if isinstance(x, list) else x
    return f"<td>{escape(str(x))}</td>"
