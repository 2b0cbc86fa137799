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
import functools
import time
from contextlib import contextmanager

import numpy as np

from minigrad.kernels import gemm, jit, threads
from minigrad.mode import watch
from minigrad.stepper.cost import count
from minigrad.tensor import OPS


class Line:
    """What was measured of one op in one direction: the sum over its calls."""

    def __init__(self):
        self.calls, self.seconds, self.flops, self.nbytes = 0, 0.0, 0, 0

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
        return time.perf_counter() - self.stopped_s

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
        @functools.wraps(body)
        def measured(*args, **params):
            if not self.running:
                return body(*args, **params)
            with self.part(op.name, "forward") as line:
                out, saved = body(*args, **params)
            line.flops += self.flops_of(op, args, params)[0]
            line.nbytes += size_bytes((args, out, saved))
            return out, saved
        return measured

    def backward(self, node):
        """Let the vjp of a node that was just recorded be measured when it runs."""
        op, vjp = node.op, node.vjp
        args = [x.data if hasattr(x, "data") else x for x in node.inputs]
        flops = self.flops_of(op, args, node.params)[1]

        @functools.wraps(vjp)
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
        start = time.perf_counter()
        key = op, shapes(args), shapes(tuple(params.items()))
        if key not in self.work:
            self.running = False
            self.work[key] = count_both(op, args, params)
            self.running = True
        self.stopped_s += time.perf_counter() - start
        return self.work[key]

    def __str__(self):
        return table(self, machine())

    def roofline(self, path):
        """Draw all ops below the machine's roofline and write the SVG to `path`."""
        with open(path, "w", encoding="utf-8") as file:
            file.write(svg(self, machine()))


@contextmanager
def profile():
    """Measure every op inside the block: `with profile() as p:`.

    Returns
    -------
    p : Profile
        Print it for a table; `p.roofline(path)` draws it. Complete when the block has ended.
    """
    p = Profile()
    bodies = [(op, pair, pair[0]) for op in OPS.values() for pair in op.bodies.values()]
    for op, pair, body in bodies:
        pair[0] = p.forward(op, body)
    start = p.clock()
    try:
        with watch(p.backward):
            yield p
    finally:
        p.wall_s, p.running = p.clock() - start, False
        for _, pair, body in bodies:
            pair[0] = body


def count_both(op, args, params):
    """Count the operations of the formula and of its vjp; 0 where they cannot be counted."""
    forward, out = count(op.forward, *args, **params)
    if forward is None:
        return 0, 0
    value, saved = out
    vjp = op.bodies["reference"][1]
    ones = tuple(map(np.ones_like, value)) if type(value) is tuple else np.ones_like(value)
    if getattr(vjp, "asks", False):
        saved = (*saved, tuple(True for _ in args))
    return forward, count(vjp, ones, *saved)[0] or 0


def shapes(x):
    """Describe arguments by what an amount of work depends on: the shapes of arrays, all else."""
    if isinstance(x, tuple | list):
        return tuple(map(shapes, x))
    return str(x) if isinstance(x, slice) else getattr(x, "shape", x)


def size_bytes(values, seen=None):
    """Sum the bytes of all arrays in nested tuples, each array once."""
    seen = set() if seen is None else seen
    if isinstance(values, tuple | list):
        return sum(size_bytes(v, seen) for v in values)
    if not isinstance(values, np.ndarray) or id(values) in seen:
        return 0
    seen.add(id(values))
    return values.nbytes


# ---- the machine -----------------------------------------------------------------------------

@functools.cache
def machine():
    """Measure the peak of the matrix multiply (GFLOP/s) and of the memory (GB/s), all threads."""
    a, b, c = (np.ones((960, 960), np.float32) for _ in range(3))
    peak = 2e-9 * 960**3 / fastest(lambda: gemm.matmul(a, b, c), 12)
    x, y = np.ones(8_000_000, np.float32), np.zeros(8_000_000, np.float32)
    bandwidth = 3e-9 * x.nbytes / fastest(lambda: _scale(x, y), 6)
    return peak, bandwidth


@jit.kernel(parallel=True)
def _scale(x, out):
    """out = 2 x + out: two arrays read, one written."""
    for i in jit.prange(x.size):
        out[i] += x.dtype.type(2) * x[i]


def fastest(function, calls):
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


# ---- as text ---------------------------------------------------------------------------------

def table(p, limits):
    """Write one line for each op and direction, the slowest first, and nobody's time."""
    peak, bandwidth = limits
    rows = [("op", "pass", "calls", "ms", "of wall", "GFLOP/s", "of peak", "GB/s", "of memory")]
    for (name, direction), line in sorted(p.lines.items(), key=lambda item: -item[1].seconds):
        rates = (f"{line.gflops:.1f}", f"{line.gflops / peak:.0%}", f"{line.gbytes:.1f}",
                 f"{line.gbytes / bandwidth:.0%}") if line.nbytes else ("", "", "", "")
        rows.append((name, direction, str(line.calls), f"{1e3 * line.seconds:.2f}",
                     f"{line.seconds / p.wall_s:.1%}", *rates))
    rows.append(("nobody's", "", "", f"{1e3 * p.nobodys_s:.2f}", f"{p.nobodys_s / p.wall_s:.1%}",
                 "", "", "", ""))
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(cell.ljust(w) if i < 2 else cell.rjust(w)
                       for i, (cell, w) in enumerate(zip(row, widths))).rstrip() for row in rows]
    return "\n".join([*lines, f"wall {1e3 * p.wall_s:.2f} ms; matrix multiply at best "
                      f"{peak:.0f} GFLOP/s, memory {bandwidth:.1f} GB/s, "
                      f"{threads.n_threads()} threads"])


# ---- as a picture ----------------------------------------------------------------------------

WIDTH, HEIGHT, LEFT, TOP = 760, 460, 60, 20
COLORS = {"forward": "#2b6cb0", "backward": "#c05621"}


def svg(p, limits):
    """Draw GFLOP/s over FLOP per byte, both logarithmic: a dot per op, its area its time."""
    peak, bandwidth = limits
    points = [(name, direction, line) for (name, direction), line in p.lines.items()
              if line.flops and line.nbytes and line.seconds]
    xs = [peak / bandwidth, *(line.intensity for *_, line in points)]
    ys = [peak, *(line.gflops for *_, line in points)]
    x_axis, y_axis = decades(xs), decades(ys)

    def place(x, y):
        return (LEFT + (WIDTH - LEFT - 20) * share(x, x_axis),
                HEIGHT - 50 - (HEIGHT - 50 - TOP) * share(y, y_axis))

    ridge, low, high = peak / bandwidth, 10.0**x_axis[0], 10.0**x_axis[1]
    start = max(low, 10.0**y_axis[0] / bandwidth)
    roof = [place(start, start * bandwidth), place(ridge, peak), place(high, peak)]
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
             'font-family="sans-serif" font-size="11">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for power in range(x_axis[0], x_axis[1] + 1):
        x, bottom = place(10.0**power, 10.0**y_axis[0])
        parts.append(f'<path d="M{x:.1f} {TOP}V{bottom:.1f}" stroke="#ddd"/>'
                     f'<text x="{x:.1f}" y="{bottom + 15:.1f}" text-anchor="middle">'
                     f'{10.0**power:g}</text>')
    for power in range(y_axis[0], y_axis[1] + 1):
        left, y = place(low, 10.0**power)
        parts.append(f'<path d="M{left:.1f} {y:.1f}H{WIDTH - 20}" stroke="#ddd"/>'
                     f'<text x="{left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">'
                     f'{10.0**power:g}</text>')
    parts.append('<path fill="none" stroke="#444" stroke-width="2" d="M' + "L".join(
        f"{x:.1f} {y:.1f}" for x, y in roof) + '"/>')
    x, y = roof[2]
    parts.append(f'<text x="{x:.1f}" y="{y - 6:.1f}" text-anchor="end">{peak:.0f} GFLOP/s, '
                 f'{bandwidth:.1f} GB/s</text>')
    for name, direction, line in points:
        x, y = place(line.intensity, line.gflops)
        radius = 3 + 25 * (line.seconds / p.wall_s) ** 0.5
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill-opacity="0.5" '
                     f'fill="{COLORS[direction]}"><title>{name} {direction}: '
                     f'{1e3 * line.seconds:.2f} ms, {line.gflops:.1f} GFLOP/s</title></circle>'
                     f'<text x="{x:.1f}" y="{y + 3:.1f}" text-anchor="middle">{name}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 12}" text-anchor="middle">FLOP for each '
                 'byte in or out; GFLOP/s upwards; blue forward, brown backward; area is time'
                 '</text></svg>')
    return "\n".join(parts)


def decades(values):
    """Return the powers of ten around positive values."""
    logs = np.log10(values)
    return int(np.floor(logs.min())), int(np.ceil(logs.max())) + 1


def share(value, axis):
    """Place a value on a logarithmic axis, from 0 to 1."""
    return (np.log10(value) - axis[0]) / (axis[1] - axis[0])
