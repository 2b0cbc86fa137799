"""Where the time of a computation goes, op by op, beside what the machine could do.

    with profile() as p:
        loss = model(x).mean()
        loss.backward()
    print(p)
    p.roofline("roofline.svg")

The time of an op is that of its body, forward or vjp, without the ops that it runs in turn. What
remains of the wall clock is nobody's: Python, the engine, allocation, an optimizer (unless it
stands in `with p.part("adamw"):`). Work is counted by running the formula once for each shape on
arrays that count, while the clock stands still.
"""
from contextlib import contextmanager
from functools import wraps
from time import perf_counter

from minigrad.kernels import threads
from minigrad.mode import watch
from minigrad.stepper.counting import count_op, shapes, size_bytes
from minigrad.stepper.declines import counting_declines
from minigrad.stepper.roofline import drawn, machine
from minigrad.tensor import OPS, detach


class Line:
    """What was measured of one op in one direction: the sum over its calls."""

    def __init__(self):
        self.calls, self.seconds = 0, 0.0
        self.flops, self.nbytes = 0, 0

    @property
    def intensity(self):
        """Operations for each byte of what went in and came out."""
        return self.flops / max(self.nbytes, 1)

    @property
    def gflops(self):
        return 1e-9 * self.flops / max(self.seconds, 1e-12)

    @property
    def gbytes(self):
        return 1e-9 * self.nbytes / max(self.seconds, 1e-12)


class Profile:
    """What `profile` measured.

    Attributes
    ----------
    lines : dict from (name, "forward" | "backward" | "part") to Line
    wall_s : float
        From the start of the block to its end.
    """

    def __init__(self):
        self.lines, self.wall_s, self.running = {}, 0.0, True
        self.inner = []                               # of each open part: seconds of parts in it
        self.stopped_s = 0.0                          # how long the clock stood still
        self.work = {}                                # op and shapes -> flops (forward, backward)

    @property
    def nobodys_s(self):
        """Seconds of the wall clock that no op and no part accounts for."""
        return self.wall_s - sum(line.seconds for line in self.lines.values())

    def clock(self):
        return perf_counter() - self.stopped_s

    @contextmanager
    def part(self, name, direction="part"):
        """Give the time of a block a line of its own (ops in it keep theirs)."""
        line = self.lines.setdefault((name, direction), Line())
        self.inner.append(0.0)
        start = self.clock()
        try:
            yield line
        finally:
            seconds = self.clock() - start
            line.calls += 1
            line.seconds += seconds - self.inner.pop()
            if self.inner:
                self.inner[-1] += seconds

    def forward(self, op, body):
        """Wrap a body of an op so that its calls are measured."""
        @wraps(body)
        def measured(*args, **params):
            if not self.running:
                return body(*args, **params)
            with self.part(op.name, "forward") as line:
                out, saved = body(*args, **params)
            flops, _ = self.flops_of(op, args, params)
            line.flops += flops
            line.nbytes += size_bytes((args, out, saved))
            return out, saved
        return measured

    def backward(self, node):
        """Let the vjp of a node that was just recorded be measured when it runs."""
        op, vjp = node.op, node.vjp
        args = list(map(detach, node.inputs))
        _, flops = self.flops_of(op, args, node.params)

        @wraps(vjp)
        def measured(g, *saved):
            if not self.running:
                return vjp(g, *saved)
            with self.part(op.name, "backward") as line:
                grads = vjp(g, *saved)
            line.flops += flops
            line.nbytes += size_bytes((g, saved, grads))
            return grads
        node.vjp = measured

    def flops_of(self, op, args, params):
        """Count the operations of an op on such shapes, forward and backward."""
        start = perf_counter()
        key = op, shapes(args), shapes(tuple(params.items()))
        if key not in self.work:
            self.running = False
            self.work[key] = count_op(op, args, params)
            self.running = True
        self.stopped_s += perf_counter() - start
        return self.work[key]

    def __str__(self):
        return table(self, machine())

    def roofline(self, path):
        """Draw all ops below the machine's roofline and write the SVG to `path`."""
        with open(path, "w", encoding="utf-8") as file:
            file.write(drawn(self, machine()))


@contextmanager
def profile():
    """Measure every op inside the block: `with profile() as p:`.

    Returns
    -------
    p : Profile
        Print it for a table; `p.roofline(path)` draws it. Complete when the block has ended.
    """
    p = Profile()
    pairs = [(op, pair) for op in OPS.values() for pair in op.bodies.values()]
    bodies = [body for _, (body, _) in pairs]
    for (op, pair), body in zip(pairs, bodies):
        pair[0] = p.forward(op, body)
    start = p.clock()
    try:
        with watch(p.backward), counting_declines() as p.declines:
            yield p
    finally:
        p.wall_s, p.running = p.clock() - start, False
        for (_, pair), body in zip(pairs, bodies):
            pair[0] = body


# ---- as text ---------------------------------------------------------------------------------

HEAD = "op", "pass", "calls", "ms", "of wall", "GFLOP/s", "of peak", "GB/s", "of memory"
NO_RATES = "", "", "", ""


def table(p, limits):
    """Write one line for each op and direction, the slowest first, and nobody's time."""
    slowest_first = sorted(p.lines, key=lambda key: -p.lines[key].seconds)
    rows = [HEAD]
    for key in slowest_first:
        line = p.lines[key]
        times, rates = time_cells(line.seconds, p.wall_s), rate_cells(line, limits)
        rows.append((*key, str(line.calls), *times, *rates))
    times = time_cells(p.nobodys_s, p.wall_s)
    rows.append(("nobody's", "", "", *times, *NO_RATES))
    peak, bandwidth = limits
    return "\n".join([*aligned(rows), f"wall {1e3 * p.wall_s:.2f} ms; matrix multiply at best "
                      f"{peak:.0f} GFLOP/s, memory {bandwidth:.1f} GB/s, "
                      f"{threads.n_threads()} threads",
                      *(f"without its kernel: {name}, {n} times"
                        for name, n in p.declines.most_common())])


def time_cells(seconds, wall_s):
    return f"{1e3 * seconds:.2f}", f"{seconds / wall_s:.1%}"


def rate_cells(line, limits):
    if not line.nbytes:
        return NO_RATES
    peak, bandwidth = limits
    return (f"{line.gflops:.1f}", f"{line.gflops / peak:.0%}",
            f"{line.gbytes:.1f}", f"{line.gbytes / bandwidth:.0%}")


def aligned(rows):
    """Write rows with their cells below one another: names to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    for name, direction, *cells in rows:
        left = map(str.ljust, (name, direction), widths)
        right = map(str.rjust, cells, widths[2:])
        yield "  ".join([*left, *right]).rstrip()
