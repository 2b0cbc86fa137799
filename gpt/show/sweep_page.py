"""A sweep in the terminal and in one HTML file: table, rungs, what matters, curves."""
from html import escape
from itertools import zip_longest

from gpt import called
from gpt.show.corpus_page import STYLE
from gpt.show.plots import Curve, chart, color_of
from gpt.sweeping.halving import Halving, cost
from gpt.sweeping.desk import Ledger
from gpt.sweeping.ranking import importance, ranking, rungs
from gpt.sweeping.space import run_name
from gpt.training.folder import read_metrics

SHOWN = 10                         # trials in the terminal
CURVES = 30                        # on the page
CURSE = ("The best of many is partly the luckiest: trained anew with other seeds it will be a "
         "little worse. Compare the first few with several seeds each.")


def sweep_lines(spec, jobs, runs):
    """Yield what is said of a sweep."""
    rows = ranking(jobs)
    for rung, counts in rungs(jobs).items():
        told = ", ".join(f"{n} {name.lower()}" for name, n in counts.items() if n)
        yield f"rung {rung + 1}: {told}"
    for row in rows[:SHOWN]:
        yield f"  {row.value:8.4f}  step {row.step:>6,}  {run_name(row.settings)}"
    if len(rows) > SHOWN:
        yield f"  and {len(rows) - SHOWN} more, on the page"
    for name, share in importance(jobs).items():
        yield f"{name} explains {share:.0%} of the variance"
    if not rows:
        return
    halving = Halving(*spec["halving"])
    if halving.n_rungs > 1:
        share = cost(Ledger.of(jobs).results(), halving)
        yield f"halving: {share:.0%} of the steps that all trials to their end would take"
    best = rows[0]
    yield (f"best: {run_name(best.settings)}, {best.value:.4f}; go on with: "
           f"{called('train', '--resume', runs / best.folder, '--steps', 2 * best.step)}")
    if len(rows) > 1:
        yield CURSE


def sweep_page(name, spec, jobs, runs):
    """Return the page of a sweep."""
    rows = ranking(jobs)
    names = [*rows[0].settings] if rows else []
    lines = [cells(row, names) for row in rows]
    explained, counted = importance(jobs), rungs(jobs)
    shares = [[key, f"{explained[key]:.0%}"] for key in explained]
    counts = [[rung + 1, *counted[rung].values()] for rung in counted]
    said = [f"<p>{escape(line)}</p>" for line in sweep_lines(spec, jobs, runs)
            if line.startswith(("best", "halving", "The best"))]
    curves = [curve_of(runs, row) for row in rows[:CURVES]]
    picture = chart(curves, "step", "loss", log=True)
    colors = [color_of(i, len(curves)) for i in range(len(curves))]
    parts = [f"<!doctype html><meta charset='utf-8'><title>{escape(name)}</title>",
             f"<style>{STYLE}</style><h1>Sweep {escape(name)}</h1>", *said,
             "<h2>Loss on what was held out, by step</h2>", picture,
             "<h2>Trials</h2>", table(["trial", "loss", "step", "rung", *names], lines, colors),
             "<h2>Rungs</h2>", table(["rung", "done", "at work", "waiting", "given up"], counts),
             "<h2>What explains the variance of the first rung</h2>",
             table(["setting", "share"], shares)]
    return "\n".join(parts) + "\n"


def cells(row, names):
    own = [row.settings.get(name, "") for name in names]
    return [row.trial, f"{row.value:.4f}", row.step, row.rung + 1, *own]


def curve_of(runs, row):
    measured = [each for each in read_metrics(runs / row.folder) if "val_bits" in each]
    points = [(each["step"], each["val_bits"]) for each in measured]
    points.append((row.step, row.value))
    return Curve(run_name(row.settings), points)


def table(heads, rows, colors=()):
    """Return a table; the first rows are marked by the colors of their curves."""
    lines = [[f"<th>{escape(str(head))}</th>" for head in heads]]
    lines += [[f"<td>{escape(str(x))}</td>" for x in row] for row in rows]
    marks = ["", *[f" style='border-left:.5em solid {color}'" for color in colors]]
    marked = zip_longest(marks, lines, fillvalue="")
    body = "\n".join(f"<tr{mark}>{''.join(line)}</tr>" for mark, line in marked)
    return f"<table>\n{body}\n</table>"
