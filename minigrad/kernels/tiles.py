"""Small matrix products on memory where it lies, for kernels that multiply as one step of many.

`gemm` packs its operands, which pays for large ones. Here C[i, j] (+)= sum_k A[i, k] B[k, j] is
done in register tiles straight from strided memory: rows of B and C are contiguous, A has any
strides. Pointers are not checked; under NUMBA_DISABLE_JIT=1 plain twins run.
"""
import platform

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from minigrad.kernels import cache, jit
from minigrad.kernels.microkernel import I32, INT, _plain_at, _view, at, lanes  # noqa: F401 (at: for callers)

VECTOR_BYTES = cache.vector_bytes()
# Rows of a tile of two vectors of columns: as many as 32 registers (AVX-512, Arm) or 16 hold, and
# a power of two.
ROWS = 8 if VECTOR_BYTES == 64 or platform.machine() in ("arm64", "aarch64") else 4


# ---- vectors ---------------------------------------------------------------------------------

def _vector(pointer):
    """Return the vector type that fills a register, and the bytes of an element."""
    kind, size = (ir.FloatType(), 4) if pointer.dtype == types.float32 else (ir.DoubleType(), 8)
    return ir.VectorType(kind, VECTOR_BYTES // size), size


def _load(builder, pointer, offset, vector, size):
    place = builder.bitcast(builder.gep(pointer, [offset]), vector.as_pointer())
    x = builder.load(place)
    x.align = size
    return x


def _store(builder, x, pointer, offset, size):
    place = builder.bitcast(builder.gep(pointer, [offset]), x.type.as_pointer())
    builder.store(x, place).align = size


def _shuffle(builder, x, y, places):
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(I32, len(places)), places))


def _rows(builder, pointer, step, m, n):
    """Point to n rows; from row m on it is row m - 1 again, so that no other memory is touched."""
    last = builder.sub(m, ir.Constant(INT, 1))
    rows = []
    for i in range(n):
        i = ir.Constant(INT, i)
        i = builder.select(builder.icmp_signed("<", i, last), i, last)
        rows.append(builder.gep(pointer, [builder.mul(step, i)]))
    return rows


# ---- the register tile -----------------------------------------------------------------------

def _plain_tile(width):
    def tile(m, kc, a, rsa, csa, b, ldb, c, ldc, add):
        n = width * lanes(c.dtype)
        product = _view(a, (m, kc), (rsa, csa)) @ _view(b, (kc, n), (ldb, 1))
        out = _view(c, (m, n), (ldc, 1))
        out[:] = out + product if add else product
    return tile


def _tile_of(width):
    """Make a tile that is `width` vectors wide and has m <= ROWS rows; k runs over kc >= 1."""
    @jit.intrinsic(_plain_tile(width))
    def tile(typing, m, kc, a, rsa, csa, b, ldb, c, ldc, add):
        def codegen(context, builder, signature, args):
            m, kc, a, rsa, csa, b, ldb, c, ldc, add = args
            vector, size = _vector(signature.args[7])
            rows_c = _rows(builder, c, ldc, m, ROWS)
            sums = _sums(builder, kc, _rows(builder, a, rsa, m, ROWS), csa, b, ldb,
                         vector, size, width)
            places = [(row, ir.Constant(INT, v * vector.count))
                      for row in rows_c for v in range(width)]
            with builder.if_else(builder.icmp_signed("!=", add, INT(0))) as (then, otherwise):
                with then:
                    before = [_load(builder, *place, vector, size) for place in places]
                    for x, y, place in zip(before, sums, places):
                        _store(builder, builder.fadd(x, y), *place, size)
                with otherwise:
                    for y, place in zip(sums, places):
                        _store(builder, y, *place, size)
            return context.get_dummy_value()
        word = types.intp
        return types.void(word, word, a, word, word, b, word, c, word, word), codegen
    return tile


def _sums(builder, kc, rows_a, csa, b, ldb, vector, size, width):
    """Emit the loop over k: every step multiplies a row of B by one number of each row of A."""
    fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3),
                                         f"llvm.fmuladd.v{vector.count}f{8 * size}")
    before, body = builder.block, builder.append_basic_block("k")
    after = builder.append_basic_block("done")
    builder.branch(body)
    builder.position_at_end(body)
    k, ka, kb = builder.phi(INT), builder.phi(INT), builder.phi(b.type)
    sums = [builder.phi(vector) for _ in range(len(rows_a) * width)]
    of_b = [_load(builder, kb, INT(v * vector.count), vector, size) for v in range(width)]
    new = []
    for row in rows_a:
        number = builder.load(builder.gep(row, [ka]))
        x = builder.insert_element(ir.Constant(vector, ir.Undefined), number, I32(0))
        x = _shuffle(builder, x, x, [0] * vector.count)
        new += [builder.call(fma, [x, y, sums[len(new) + v]]) for v, y in enumerate(of_b)]
    next_k = builder.add(k, INT(1))
    following = [next_k, builder.add(ka, csa), builder.gep(kb, [ldb]), *new]
    first = [INT(0), INT(0), b, *[ir.Constant(vector, [0.0] * vector.count)] * len(sums)]
    for phi, x, y in zip([k, ka, kb, *sums], first, following):
        phi.add_incoming(x, before)
        phi.add_incoming(y, body)
    builder.cbranch(builder.icmp_signed("<", next_k, kc), body, after)
    builder.position_at_end(after)
    return new


_tile_1, _tile_2 = _tile_of(1), _tile_of(2)


@jit.helper
def strip(m, n, kc, a, rsa, csa, b, ldb, c, ldc, add, width):
    """Set (or add to) m <= ROWS rows of C, n columns wide; n a multiple of width, the lanes."""
    for j in range(0, n - width, 2 * width):
        _tile_2(m, kc, a, rsa, csa, step(b, j), ldb, step(c, j), ldc, add)
    if n // width % 2:
        _tile_1(m, kc, a, rsa, csa, step(b, n - width), ldb, step(c, n - width), ldc, add)


def _plain_step(pointer, n):
    return _plain_at(pointer, n)


@jit.intrinsic(_plain_step)
def step(typing, pointer, n):
    """Move a pointer by n elements."""
    return pointer(pointer, types.intp), lambda context, builder, _, args: builder.gep(
        args[0], [args[1]])


# ---- transpose -------------------------------------------------------------------------------

def _plain_transpose(m, source, lds, out, ldo):
    n = lanes(out.dtype)
    rows = np.minimum(np.arange(n), m - 1)
    _view(out, (n, n), (ldo, 1))[:] = _view(source, (m, n), (lds, 1))[rows].T


@jit.intrinsic(_plain_transpose)
def transpose(typing, m, source, lds, out, ldo):
    """out[i, j] = source[j, i] for a square as wide as a vector, of whose rows m are there;
    beyond them the last one is repeated.

    log2(n) rounds, each a perfect shuffle of the upper with the lower half of the rows.
    """
    def codegen(context, builder, signature, args):
        m, source, lds, out, ldo = args
        vector, size = _vector(signature.args[3])
        n = vector.count
        rows = [_load(builder, row, INT(0), vector, size)
                for row in _rows(builder, source, lds, m, n)]
        low = [i // 2 + n * (i % 2) for i in range(n)]
        high = [i + n // 2 for i in low]
        for _ in range(n.bit_length() - 1):
            pairs = list(zip(rows[:n // 2], rows[n // 2:]))
            rows = [_shuffle(builder, x, y, half) for x, y in pairs for half in (low, high)]
        for i, row in enumerate(rows):
            _store(builder, row, out, builder.mul(ldo, INT(i)), size)
        return context.get_dummy_value()
    word = types.intp
    return types.void(word, source, word, out, word), codegen
