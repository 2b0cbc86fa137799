"""Multiply matrices of all kinds on the tiles of an emulated processor, for test_bfloat16.py.

    python products_on_tiles.py RESULTS       an .npz file of a0, b0, bias0, sum0, by_1_0, a1, ...
"""
import sys

import numpy as np
from emulator import Machine, compiled, leave
from numba import types

from minigrad.kernels import on_tiles, pairs

# m, k, n: a tile, a strip, several, all kinds of edges
SIZES = [(16, 32, 16), (32, 32, 32), (64, 96, 128), (1, 1, 1), (17, 33, 31), (100, 65, 70)]
LAYOUTS = "rows", "columns"
# more steps than stay in the first-level cache; two blocks of k; two of k and of columns; strides
OTHERS = [(33, 1000, 34, "rows", "rows"), (40, 1100, 34, "columns", "rows"),
          (3, 1600, 1000, "rows", "columns"), (20, 40, 35, "apart", "apart"),
          (35, 40, 33, "rows", "apart")]
THREADS = 3                               # among which every fourth product is cut, too


def laid_out(x, layout):
    """Return an array equal to x whose memory lies differently."""
    if layout == "columns":
        return np.asfortranarray(x)
    if layout == "apart":
        wider = np.zeros((2 * len(x), 3 * x.shape[1]), x.dtype)[::2, ::3]
        wider[...] = x
        return wider
    return x


def cases(rng):
    """Yield a, b, bias, what is added to or None: random matrices of all sizes and layouts."""
    all_ways = [(*size, x, y) for size in SIZES for x in LAYOUTS for y in LAYOUTS]
    for i, (m, k, n, of_a, of_b) in enumerate([*all_ways, *OTHERS]):
        a, b = (rng.standard_normal(shape, np.float32) for shape in ((m, k), (k, n)))
        bias = rng.standard_normal(n if i % 3 == 1 else 0, np.float32)
        before = rng.standard_normal((m, n), np.float32) if i % 3 == 2 else None
        yield laid_out(a, of_a), laid_out(b, of_b), bias, before


def main(results):
    pairs.read_assembly()
    elf, name = compiled(on_tiles._shares, (types.intp, *on_tiles.SIGNATURE))
    machine, found = Machine(), {}
    function = machine.load(elf)[name]
    work = on_tiles._workspace(THREADS)
    work[:, :on_tiles.OF_SHAPES] = np.nan                 # nothing of it may be used
    work, free = machine.copy(work), machine.used
    for i, (a, b, bias, before) in enumerate(cases(np.random.default_rng(0))):
        shape = len(a), b.shape[1]
        c = np.full(shape, np.nan, np.float32) if before is None else before
        for n_threads in (1, THREADS) if i % 4 == 0 else (1,):
            machine.used = free
            arrays = [machine.copy(x) for x in (a, b.T, c, bias)]
            shares, cuts = on_tiles.best_cuts(*shape, n_threads)
            machine.call(function, 0, shares, *arrays, cuts, before is not None, work)
            found[f"by_{n_threads}_{i}"] = arrays[2].copy()
        found |= {f"a{i}": a, f"b{i}": b, f"bias{i}": bias,
                  f"sum{i}": np.zeros(shape, np.float32) if before is None else before}
    np.savez(results, **found)
    assert machine.beyond.tiles is None, "tiles are released"
    print(machine.beyond.count, "instructions done in place of Bochs")


if __name__ == "__main__":
    main(*sys.argv[1:])
    leave()
