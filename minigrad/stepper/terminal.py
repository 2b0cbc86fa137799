"""The stepper in a terminal: plain lines, so it works over ssh and with a screen reader."""
import sys

import numpy as np

from minigrad.stepper.variants import VARIANTS, right_sums, run as run_variant
from minigrad.stepper.words import backward_of, label, sentence, waiting

HELP = """\
n or Enter   next step               p            previous step
j 12         jump to step 12         j NAME       jump to where NAME is made
b nan        stop at the first nan   b 10         stop where |g| > 10
b NAME       stop where NAME acts    b            list the breakpoints, b - clears them
c            continue to the next breakpoint
s            the slope by finite differences, beside the gradient of this node
w            wrong on purpose: list the mistakes;  w 1 runs the first
l            list the steps around here
q            quit                    ?            this help"""


class Reader:
    """Where a reader of a record stands, and where it wants to stop."""

    def __init__(self, t, write):
        self.t, self.write, self.at, self.stops = t, write, 0, []

    @property
    def event(self):
        return self.t.events[self.at]

    def show(self):
        """Print the step."""
        n = len(self.t.events)
        self.write(f"[{self.at + 1}/{n}] {sentence(self.t, self.event)}")
        for word, text in self.details():
            self.write(f"    {word:<8} {text}")

    def details(self):
        """Yield what stands below the sentence of a step: (word, text)."""
        t, event = self.t, self.event
        node = t.nodes[event.node]
        if event.kind in ("make", "send"):
            yield "line", f"{node.place.line}  {node.place.text}"
        if event.kind == "make" and node.place.inner:
            yield "inside", node.place.inner
        if event.kind == "make" and node.formula:
            yield "formula", node.formula
        if event.kind == "send":
            yield "vjp", backward_of(t, event)
        if event.raw:
            yield "summed", "broadcasting copied, so its vjp adds"
        if event.kind != "make":
            rest = [f"{label(t.nodes[x])} {n}/{of}" for x, n, of in waiting(t, self.at)]
            yield "waiting", ", ".join(rest) or "none"

    def go(self, to):
        """Step to a place, or say why not."""
        n = len(self.t.events)
        if not 0 <= to < n:
            return self.write(f"there is no step {to + 1}: the steps are 1 to {n}")
        self.at = to
        self.show()

    def jump(self, text):
        if text.lstrip("-").isdigit():
            return self.go(int(text) - 1)
        for i, event in enumerate(self.t.events):
            if text == label(self.t.nodes[event.node]):
                return self.go(i)
        self.write(f"no node is called {text!r}: type l to see some")

    def stop(self, text):
        """Set, list or clear breakpoints."""
        if text == "-":
            self.stops.clear()
        elif text:
            self.stops.append(text)
        self.write("breakpoints: " + (", ".join(self.stops) or "none"))

    def run_on(self, _):
        """Go to the next event that a breakpoint asks for, or to the end."""
        events = self.t.events
        for i in range(self.at + 1, len(events)):
            if any(matches(self.t, events[i], stop) for stop in self.stops):
                return self.go(i)
        self.write("no breakpoint was met")
        self.go(len(events) - 1)

    def slope(self, _):
        """Compare the gradient of this node with a nudge."""
        event = self.event
        found = gradient_at_peak(self.t, event.to if event.kind == "send" else event.node)
        if found is None:
            return self.write("no gradient reaches this node")
        node, index, g = found
        name = label(self.t.nodes[node])
        place = f"[{', '.join(map(str, index))}]" if index else ""
        slope = self.t.slope(node, index)
        self.write(f"    {name}{place}: gradient {g:.8g}, "
                   f"(L(x + h) - L(x - h)) / 2h = {slope:.8g}, h = 6e-06")

    def wrong(self, text):
        """List the variants, or run one."""
        if text.isdigit() and 0 < int(text) <= len(VARIANTS):
            outcome = run_variant(self.t, VARIANTS[int(text) - 1])
            self.write(f"{outcome.variant.title}: {outcome.variant.why}")
            return self.write(outcome.verdict)
        for i, variant in enumerate(VARIANTS):
            self.write(f"w {i + 1}  {variant.title}")

    def near(self, _):
        first, last = max(0, self.at - 5), self.at + 5
        for i, event in enumerate(self.t.events[first:last + 1], first):
            mark = ">" if i == self.at else " "
            self.write(f"{mark}{i + 1:5}  {sentence(self.t, event)}")


def matches(t, event, stop):
    """Whether a breakpoint asks for this event: "nan", a number for |g|, or a name."""
    seen = [x for x in (event.g, event.sent, event.total) if x is not None]
    if stop == "nan":
        return any(x.bad for x in seen)
    try:
        return any(x.peak > float(stop) for x in seen)
    except ValueError:
        node = t.nodes[event.node]
        return stop in (label(node), node.op and node.op.name, *node.place.group)


def gradient_at_peak(t, node):
    """Find the largest element of a node's gradient: (node, index, g), or None.

    Only elements that the record holds are looked at.
    """
    g = right_sums(t.events).get(node)
    if g is None or t.nodes[node].several or not g.size:
        return None
    row, column = np.unravel_index(abs(g.cells).argmax(), g.cells.shape)
    n_columns = g.shape[-1] if g.shape else 1
    flat = g.rows[row] * n_columns + g.columns[column]
    index = np.unravel_index(flat, g.shape)
    return node, tuple(map(int, index)), float(g.cells[row, column])


def keyboard():
    """Yield lines as they are typed, until the end of the input."""
    while True:
        sys.stdout.write("(step) ")
        sys.stdout.flush()
        try:
            line = sys.stdin.readline() if sys.stdin else ""
        except KeyboardInterrupt:
            line = ""
        if not line:
            print()
            return
        yield line.rstrip("\n")


def run(t, lines=None, write=print):
    """Read commands and obey them."""
    reader = Reader(t, write)
    reader.go(0)
    commands = {
        "n": lambda _: reader.go(reader.at + 1), "p": lambda _: reader.go(reader.at - 1),
        "j": reader.jump, "b": reader.stop, "c": reader.run_on,
        "s": reader.slope, "w": reader.wrong, "l": reader.near,
        "?": lambda _: write(HELP)}
    for line in keyboard() if lines is None else lines:
        command, _, text = line.strip().partition(" ")
        if command == "q":
            return
        if command not in commands and command:
            write(f"{command!r} is no command; ? lists them")
        else:
            commands[command or "n"](text.strip())
