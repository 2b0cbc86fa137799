"""What every rank did in a step, drawn: compute, communicate, wait; one HTML file, no script.

The same picture for ranks that were simulated and for ranks that were there: what a rank did is a
list of (kind, name, began_s, ended_s), as `World.events` has it.
"""
from html import escape
from typing import NamedTuple

from gpt.show.corpus_page import STYLE
from gpt.show.sweep_page import table

MOST_LINES = 32                    # that are drawn
NAMED, NAMED_IF_WIDE = 0.06, 0.02  # shares of the width from which a bar has its name in it
TICKS = 4
STYLE_OF_LINES = """
:root { color-scheme: light dark; --f: #5b95d6; --b: #e08a45; --w: #57a773; --c: #9a6fc0;
  --o: #8a8f98; --idle: #8883 }
@media (prefers-color-scheme: dark) {
  :root { --f: #3f78b8; --b: #b8682a; --w: #3d8658; --c: #8157a6; --o: #6b7077; --idle: #8884 } }
body { max-width: 76rem } h1 { font-size: 1.4rem; line-height: 1.3 }
.line { display: grid; grid-template-columns: 8.5rem 1fr; gap: .2rem .8rem; align-items: center }
.line > div { font-size: .85rem; text-align: right; line-height: 1.2 }
.line > svg { width: 100%; height: 40px; display: block; overflow: visible }
.line .axis { height: 20px }
.line text { font: 11px system-ui, sans-serif; fill: currentColor }
.line svg svg text { fill: #fff; text-anchor: middle }
.forward { fill: var(--f) } .backward, .input { fill: var(--b) } .weight { fill: var(--w) }
.other { fill: var(--o) }
.communicate { fill: var(--c) } .wait { fill: var(--idle) }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; padding: 0; list-style: none;
  font-size: .85rem }
.key svg { width: .9rem; height: .9rem; vertical-align: -.1rem; margin-right: .3rem }
td { font-variant-numeric: tabular-nums } td:first-child, td:nth-child(2) { white-space: nowrap }
@media (max-width: 45rem) {
  .line { grid-template-columns: 1fr } .line > div { text-align: left }
  .line > .empty, .wide { display: none } td, th { padding: .2rem .4rem; font-size: .85rem } }
"""
KEY = {"forward": "forward", "backward": "backward", "input": "gradients of inputs",
       "weight": "gradients of weights", "other": "computing",
       "communicate": "on the network",
       "wait": "waiting for another rank"}


class Line(NamedTuple):
    """What one rank did, and what is told of it."""

    name: str
    events: list                   # of (kind, name, began_s, ended_s)
    sent_bytes: float


class Told(NamedTuple):
    """A number beside the one that a formula gives."""

    name: str
    found: str
    formula: str = ""


def timeline_page(lines, about, told=(), title="What every rank does in a step"):
    """Return the page.

    Parameters
    ----------
    lines : list of Line
    about : iterable of str
        Sentences on top.
    told : iterable of Told
    title : str
    """
    events = [event for line in lines for event in line.events]
    began = min(event[2] for event in events)
    whole_s = max(event[3] for event in events) - began
    shown = lines[:MOST_LINES]
    drawn = [line_of(line, began, whole_s) for line in shown]
    if len(shown) < len(lines):
        drawn.append(f"<p>and {len(lines) - len(shown)} more</p>")
    rows = [shares(line, began, whole_s) for line in shown]
    parts = ["<!doctype html><html lang='en'><meta charset='utf-8'>",
             "<meta name='viewport' content='width=device-width, initial-scale=1'>",
             f"<title>{escape(title)}</title><style>{STYLE}{STYLE_OF_LINES}</style>",
             f"<h1>{escape(title)}</h1>", *(f"<p>{escape(line)}</p>" for line in about),
             key(shown), *drawn, axis(whole_s),
             "<h2>Beside the formulas</h2>", table(["", "found", "by the formula"], told),
             "<h2>What became of the time</h2>",
             table(["", "computes", "network", "neither", "sends"], rows)]
    return "\n".join(parts) + "\n"


# ---- the picture ----

def line_of(line, began, whole_s):
    """Draw what a rank did: above what it computed and when it waited, below what was sent."""
    bars = [bar(event, began, whole_s) for event in line.events]
    return (f"<div class='line'><div>{escape(line.name)}</div><svg role='img' aria-label='"
            f"{escape(line.name, quote=True)}'>{''.join(bars)}</svg></div>")


def bar(event, began, whole_s):
    kind, name, start, end = event
    left = 100 * (start - began) / whole_s
    width = 100 * (end - start) / whole_s
    y, height = (27, 11) if kind == "communicate" else (2, 24)
    style = style_of(kind, name)
    told = f"<title>{escape(f'{name}: {kind}, {duration_of(end - start)}')}</title>"
    box = (f"<rect x='{left:.3f}%' y='{y}' width='{width:.3f}%' height='{height}' rx='2' "
           f"class='{style}'>{told}</rect>")
    if kind != "compute" or style == "other" or width < 100 * NAMED_IF_WIDE:
        return box
    wide = "" if width >= 100 * NAMED else " class='wide'"
    return (f"{box}<svg x='{left:.3f}%' y='{y}' width='{width:.3f}%' height='{height}'>"
            f"<text x='50%' y='16'{wide}>{escape(shortened(name))}</text></svg>")


STYLES = {"forward": "F", "backward": "B", "input": "B", "weight": "W"}    # and their letters


def style_of(kind, name):
    """Return the class of a bar: of what is computed that of its pass, which begins its name."""
    word = name.partition(" ")[0]
    return kind if kind != "compute" else word if word in STYLES else "other"


def shortened(name):
    """Return what stands in a bar.

    >>> shortened("input gradient 3"), shortened("update")
    ('B3', 'update')
    """
    first, last = name.partition(" ")[0], name.rpartition(" ")[2]
    return STYLES[first] + last if first in STYLES and last.isdecimal() else name


def key(lines):
    """Say what the colours mean that are there."""
    used = set()
    for line in lines:
        used.update(style_of(kind, name) for kind, name, *_ in line.events)
    items = [f"<li><svg><rect width='100%' height='100%' rx='2' class='{style}'/></svg>{words}</li>"
             for style, words in KEY.items() if style in used]
    return f"<ul class='key'>{''.join(items)}</ul>"


def axis(whole_s):
    """Draw the time below all lines."""
    ticks = []
    for i in range(TICKS + 1):
        anchor = {0: "start", TICKS: "end"}.get(i, "middle")
        ticks.append(f"<text x='{100 * i / TICKS:g}%' y='12' text-anchor='{anchor}'>"
                     f"{duration_of(whole_s * i / TICKS)}</text>")
    return ("<div class='line'><div class='empty'></div><svg class='axis' aria-hidden='true'>"
            f"{''.join(ticks)}</svg></div>")


def duration_of(s):
    """Write a time of the picture.

    >>> duration_of(0.0123), duration_of(75.0)
    ('12.3 ms', '75 s')
    """
    for size, unit in ((1, "s"), (1e-3, "ms")):
        if s >= size:
            return f"{s / size:.3g} {unit}"
    return f"{1e6 * s:.3g} us" if s else "0"


# ---- the numbers ----

def shares(line, began, whole_s):
    """Return the row of a rank: shares of its step, and what it sent."""
    computing, sending = (times_of(line.events, kind) for kind in ("compute", "communicate"))
    neither_s = whole_s - covered_s(computing + sending)
    parts = covered_s(computing), covered_s(sending), neither_s
    return [line.name, *(f"{s / whole_s:.1%}" for s in parts), short(line.sent_bytes)]


def times_of(events, kind):
    """Return when a rank did what is of a kind: (began, ended) of each."""
    return [event[2:] for event in events if event[0] == kind]


def covered_s(times):
    """Return how much time pairs of (began, ended) cover; what overlaps counts once."""
    total, reached = 0.0, float("-inf")
    for began, ended in sorted(times):
        total += max(0.0, ended - max(began, reached))
        reached = max(reached, ended)
    return total


UNITS = (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")


def short(x, unit="B"):
    """Write a number as people say it.

    >>> short(991031250.0), short(12)
    ('991 MB', '12 B')
    """
    for size, prefix in UNITS:
        if x >= 0.9995 * size:
            return f"{x / size:.3g} {prefix}{unit}"
    return f"{x:.3g} {unit}"
