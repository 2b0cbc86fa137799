"""What the machine could do, and a picture of how near each op comes to that."""
from functools import cache
from math import ceil, floor, log10
from time import perf_counter

import numpy as np

from minigrad.kernels import gemm, jit

WIDTH, HEIGHT = 760, 460                              # of the picture
LEFT, RIGHT, TOP, BOTTOM = 60, 740, 20, 410           # of the plot in it
COLORS = {"forward": "#2b6cb0", "backward": "#c05621"}


# ---- the machine -----------------------------------------------------------------------------

@cache
def machine():
    """Measure the peak of the matrix multiply (GFLOP/s) and of the memory (GB/s), all threads."""
    n = 960
    a, b, c = np.ones((3, n, n), np.float32)
    peak = 2e-9 * n**3 / fastest(gemm.matmul, (a, b, c), 12)
    x, y = np.ones((2, 8_000_000), np.float32)
    bandwidth = 3e-9 * x.nbytes / fastest(_scale, (x, y), 6)
    return peak, bandwidth


@jit.kernel(parallel=True)
def _scale(x, out):
    """out = 2 x + out: two arrays read, one written."""
    for i in jit.prange(x.size):
        out[i] += x.dtype.type(2) * x[i]


def fastest(function, args, calls):
    times = []
    for _ in range(calls):
        start = perf_counter()
        function(*args)
        times.append(perf_counter() - start)
    return min(times)


# ---- the picture -----------------------------------------------------------------------------

def drawn(p, limits):
    """Draw GFLOP/s over FLOP per byte, both logarithmic: a dot per op, its area its time."""
    peak, bandwidth = limits
    lines = {key: line for key, line in p.lines.items()
             if line.flops and line.nbytes and line.seconds}
    intensities = [line.intensity for line in lines.values()]
    rates = [line.gflops for line in lines.values()]
    x_axis = Axis([peak / bandwidth, *intensities], LEFT, RIGHT)
    y_axis = Axis([peak, *rates], BOTTOM, TOP)
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *grid(x_axis, y_axis),
        *roof(peak, bandwidth, x_axis, y_axis),
        *(dot(key, line, line.seconds / p.wall_s, x_axis, y_axis)
          for key, line in lines.items()),
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 12}" text-anchor="middle">FLOP for each '
        'byte in or out; GFLOP/s upwards; blue forward, brown backward; area is time'
        '</text></svg>'])


class Axis:
    """A logarithmic axis over the powers of ten around positive values."""

    def __init__(self, values, start, end):
        first, last = floor(log10(min(values))), ceil(log10(max(values))) + 1
        self.decades = [10.0**power for power in range(first, last + 1)]
        self.start, self.first = start, first
        self.step = (end - start) / (last - first)    # of a decade

    def __call__(self, value):
        return self.start + (log10(value) - self.first) * self.step


def grid(x_axis, y_axis):
    """Draw a line and a number for each power of ten."""
    for decade in x_axis.decades:
        x = x_axis(decade)
        yield (f'<path d="M{x:.1f} {TOP}V{BOTTOM}" stroke="#ddd"/>'
               f'<text x="{x:.1f}" y="{BOTTOM + 15}" text-anchor="middle">{decade:g}</text>')
    for decade in y_axis.decades:
        y = y_axis(decade)
        yield (f'<path d="M{LEFT} {y:.1f}H{RIGHT}" stroke="#ddd"/>'
               f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{decade:g}</text>')


def roof(peak, bandwidth, x_axis, y_axis):
    """Draw what the machine allows: rising with memory, then flat."""
    start = max(x_axis.decades[0], y_axis.decades[0] / bandwidth)
    intensities = start, peak / bandwidth, x_axis.decades[-1]
    corners = [(x, min(x * bandwidth, peak)) for x in intensities]
    path = "L".join(f"{x_axis(x):.1f} {y_axis(y):.1f}" for x, y in corners)
    yield f'<path fill="none" stroke="#444" stroke-width="2" d="M{path}"/>'
    yield (f'<text x="{RIGHT}" y="{y_axis(peak) - 6:.1f}" text-anchor="end">{peak:.0f} GFLOP/s, '
           f'{bandwidth:.1f} GB/s</text>')


def dot(key, line, share, x_axis, y_axis):
    name, direction = key
    x, y = x_axis(line.intensity), y_axis(line.gflops)
    radius = 3 + 25 * share ** 0.5
    return (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill-opacity="0.5" '
            f'fill="{COLORS[direction]}"><title>{name} {direction}: '
            f'{1e3 * line.seconds:.2f} ms, {line.gflops:.1f} GFLOP/s</title></circle>'
            f'<text x="{x:.1f}" y="{y + 3:.1f}" text-anchor="middle">{name}</text>')
