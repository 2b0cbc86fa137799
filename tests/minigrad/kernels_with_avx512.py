"""Run kernels whose machine code is another with AVX-512 in the emulator, for test_emulated.py.

    python kernels_with_avx512.py

Each is compared with NumPy here; what is wrong ends the script.
"""
import numpy as np
from emulator import Machine, compiled, leave
from numba import types

from minigrad.kernels import cache, few, gemm
from minigrad.kernels.packed import BLOCK, KINDS
from minigrad.kernels.quantised import bytes_of, dequantised, rounded

F32 = types.float32
SIZES = [(7, 20, 5), (13, 70, 130), (70, 33, 65)]            # m, k, n


def array(number, n_axes):
    return types.Array(number, n_axes, "C")


def load(machine, function, signature):
    elf, name = compiled(function, (types.intp, types.intp, *signature))
    return machine.load(elf)[name]


def check(found, exact, terms):
    error = np.abs(found - exact)
    assert (error <= 4 * np.finfo(np.float32).eps * terms).all(), error.max()


def check_products(machine, rng):
    """The matrix multiply, with operands as they lie and turned, a bias, and what is there."""
    function = load(machine, gemm._shares, gemm._signature(np.dtype(np.float32)))
    work = machine.copy(gemm._workspace(np.dtype(np.float32), 1))
    free = machine.used
    for m, k, n in SIZES:
        x, w = rng.standard_normal((m, k), np.float32), rng.standard_normal((k, n), np.float32)
        bias = rng.standard_normal(n, np.float32)
        exact, terms = x.astype(float) @ w + bias + 1, np.abs(x) @ np.abs(w) + np.abs(bias) + 1
        for i in range(4):
            machine.used = free
            a, b = np.array(x, order="CF"[i // 2]), np.array(w, order="CF"[i % 2])
            a, b, c = (machine.copy(y)[None, None] for y in (a, b, np.ones((m, n), np.float32)))
            packed = a.strides[-1] != 4
            shares, cuts = gemm.best_cuts((1, m, k, n), packed, 1, np.dtype(np.float32))
            others = machine.copy(bias), machine.copy(cuts)
            machine.call(function, 0, shares, a, b, c, *others, True, work)
            check(c[0, 0], exact, terms)


def blocks_of(name, shape, rng):
    """Return random blocks of weights of a kind (Q8_0, Q4_0, Q4_1)."""
    fields = {"Q8_0": [("d", "<f2"), ("q", "i1", BLOCK)], "Q4_0": [("d", "<f2"), ("low", "u1", 16)],
              "Q4_1": [("d", "<f2"), ("m", "<f2"), ("low", "u1", 16)]}[name]
    blocks = np.zeros(shape, fields)
    for field, *_ in fields:
        part = blocks[field]
        part[...] = (rng.standard_normal(part.shape) if field in "dm"
                     else rng.integers(-99, 99, part.shape).astype(part.dtype))
    return blocks


def check_one_row(machine, rng, name, n=11, n_blocks=6):
    """A row, rounded to integers, by weights in blocks: what AVX-512's VNNI is for."""
    kind, kernel = KINDS[name], few.KERNELS[name]["one"].driver.py_func.__globals__["rows"]
    signature = (array(types.uint8, 2), array(types.int16, 1), array(F32, 2), array(F32, 2),
                 array(F32, 2))
    function = load(machine, kernel, signature)
    weight = blocks_of(name, (n, n_blocks), rng)
    x = rng.standard_normal(n_blocks * BLOCK, np.float32)
    integers, scales, minima = rounded(x[None], kind)
    out = machine.copy(np.full((1, n), np.nan, np.float32))
    arrays = map(machine.copy, (bytes_of(weight), integers, scales, minima))
    machine.call(function, 0, n, *arrays, out)
    numbers = dequantised(weight).astype(float)
    peaks = np.abs(x).reshape(-1, BLOCK).max(axis=1)
    worst = np.abs(numbers) @ np.repeat(peaks / few.MOST, BLOCK)    # half a unit of each, twice
    assert (np.abs(out[0] - numbers @ x) <= 0.51 * worst + 1e-4).all()


def main():
    assert cache.vector_bytes() == 64
    few.round_row = few.round_row.py_func                 # `rounded` calls it here
    machine, rng = Machine(), np.random.default_rng(0)
    check_products(machine, rng)
    for name in ("Q8_0", "Q4_0", "Q4_1"):
        check_one_row(machine, rng, name)
    print("all right")


if __name__ == "__main__":
    main()
    leave()
