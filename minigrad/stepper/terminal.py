"""The stepper in a terminal: plain lines, so it works over ssh and with a screen reader."""
import sys

from minigrad.stepper.variants import VARIANTS, run as run_variant
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

    def show(self):
        """Print the step."""
        t, event = self.t, self.t.events[self.at]
        node = t.nodes[event.node]
        self.write(f"[{self.at + 1}/{len(t.events)}] {sentence(t, event)}")
        if event.kind == "make":
            self.write(f"    line     {node.place.line}  {node.place.text}")
            if node.place.inner:
                self.write(f"    inside   {node.place.inner}")
            if node.formula:
                self.write(f"    formula  {node.formula}")
        if event.kind == "send":
            self.write(f"    line     {node.place.line}  {node.place.text}")
            self.write(f"    vjp      {backward_of(t, event)}")
            if event.raw:
                self.write("    summed   broadcasting copied, so its vjp adds")
        if event.kind != "make":
            rest = [f"{label(t.nodes[x])} {n}/{of}" for x, n, of in waiting(t, self.at)]
            self.write(f"    waiting  {', '.join(rest) or 'none'}")

    def go(self, to):
        """Step to a place, or say why not."""
        if 0 <= to < len(self.t.events):
            self.at = to
            self.show()
        else:
            self.write(f"there is no step {to + 1}: the steps are 1 to {len(self.t.events)}")

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

    def run_on(self):
        """Go to the next event that a breakpoint asks for, or to the end."""
        for i in range(self.at + 1, len(self.t.events)):
            if any(matches(self.t, self.t.events[i], stop) for stop in self.stops):
                return self.go(i)
        self.write("no breakpoint was met")
        self.go(len(self.t.events) - 1)

    def slope(self, _):
        """Compare the gradient of this node with a nudge."""
        event = self.t.events[self.at]
        found = gradient_at_peak(self.t, event.to if event.kind == "send" else event.node)
        if found is None:
            return self.write("no gradient reaches this node")
        node, index, g = found
        place = f"[{', '.join(map(str, index))}]" if index else ""
        self.write(f"    {label(self.t.nodes[node])}{place}: gradient {g:.8g}, "
                   f"(L(x + h) - L(x - h)) / 2h = {self.t.slope(node, index):.8g}, h = 6e-06")

    def wrong(self, text):
        """List the variants, or run one."""
        if text.isdigit() and 0 < int(text) <= len(VARIANTS):
            outcome = run_variant(self.t, VARIANTS[int(text) - 1])
            self.write(f"{outcome.variant.title}: {outcome.variant.why}")
            return self.write(outcome.verdict)
        for i, variant in enumerate(VARIANTS):
            self.write(f"w {i + 1}  {variant.title}")

    def near(self, _):
        for i in range(max(0, self.at - 5), min(len(self.t.events), self.at + 6)):
            mark = ">" if i == self.at else " "
            self.write(f"{mark}{i + 1:5}  {sentence(self.t, self.t.events[i])}")


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
    value = t.nodes[node].value
    sums = {e.node: e.g for e in t.events if e.kind != "make"}
    g = sums.get(node)
    if g is None or type(value) is tuple or not g.size:
        return None
    row, column = divmod(int(abs(g.cells).argmax()), g.cells.shape[1])
    flat = int(g.rows[row]) * (value.shape[-1] if value.ndim else 1) + int(g.columns[column])
    index, rest = [], flat
    for n in reversed(value.shape):
        rest, i = divmod(rest, n)
        index.append(i)
    return node, tuple(reversed(index)), float(g.cells[row, column])


def keyboard():
    """Yield lines as they are typed, until the end of the input."""
    while True:
        sys.stdout.write("(step) ")
        sys.stdout.flush()
        line = sys.stdin.readline()
        if not line:
            return
        yield line.rstrip("\n")


def run(t, lines=None, write=print):
    """Read commands and obey them."""
    reader = Reader(t, write)
    reader.go(0)
    commands = {"n": lambda _: reader.go(reader.at + 1), "p": lambda _: reader.go(reader.at - 1),
                "j": reader.jump, "b": reader.stop, "c": lambda _: reader.run_on(),
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
