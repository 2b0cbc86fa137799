"""The innermost loops of the matrix multiply, written in LLVM's vectors through Numba intrinsics.

A tile of C, `ROWS` x (`VECTORS` vectors), stays in registers while k runs: every step loads one
row of B (a few vectors) and multiplies it by one number from each row of A. The widths follow
from the machine: 6 x 4 where there are 32 vector registers (AVX-512, Arm), 6 x 2 where there are
16 (AVX2, SSE). Each intrinsic has a plain Python twin that runs under NUMBA_DISABLE_JIT=1.

A pointer is made by `at(array, offset)`; in the twins it is a view of one element.
"""
import platform

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from minigrad.kernels.cache import cpu_features, vector_bytes
from minigrad.kernels.jit import intrinsic

REGISTERS = 32 if "avx512f" in cpu_features() or platform.machine() in ("arm64", "aarch64") else 16
ROWS, VECTORS = (6, 4) if REGISTERS == 32 else (6, 2)

RUN = 16          # steps of k between two requests for a row of C

INT, I32 = ir.IntType(64), ir.IntType(32)


def lanes(dtype):
    """Return how many numbers of a dtype one vector register holds."""
    return vector_bytes() // np.dtype(dtype).itemsize


# ---- helpers for building LLVM instructions ----

def _number(pointer):
    """Return the LLVM type and the bytes of what a Numba pointer points to."""
    return (ir.FloatType(), 4) if pointer.dtype == types.float32 else (ir.DoubleType(), 8)


def _int(value):
    return ir.Constant(INT, value)


def _load(builder, pointer, kind, size):
    x = builder.load(builder.bitcast(pointer, kind.as_pointer()))
    x.align = size
    return x


def _store(builder, value, pointer, size):
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer())).align = size


def _opaque(builder, pointer):
    """Hide where a pointer comes from.

    LLVM would compute the rows of A from one another, eight dependent additions in every step.
    """
    kind = ir.FunctionType(pointer.type, [pointer.type])
    return builder.asm(kind, "", "=r,0", [pointer], side_effect=False)


def _broadcast(builder, x, n):
    undefined = ir.Constant(ir.VectorType(x.type, n), ir.Undefined)
    first = builder.insert_element(undefined, x, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, n), [0] * n))


def _prefetch(builder, pointer, write=0, level=3):
    byte = ir.IntType(8).as_pointer()
    hint = ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32])
    function = cgutils.get_or_insert_function(builder.module, hint, "llvm.prefetch.p0i8")
    builder.call(function, [builder.bitcast(pointer, byte),
                            *(ir.Constant(I32, v) for v in (write, level, 1))])


# ---- pointers ----

def _plain_at(array, offset):
    """Point to an element by its distance, in elements, from the first; it may lie before it."""
    step = array.itemsize if offset >= 0 else -array.itemsize
    return np.lib.stride_tricks.as_strided(array, (abs(offset) + 1,), (step,))[-1:]


@intrinsic(_plain_at)
def at(typing, array, offset):
    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.gep(data, [args[1]])
    return types.CPointer(array.dtype)(array, types.intp), codegen


def _view(pointer, shape, steps):
    """View memory from a plain pointer on, with strides in elements."""
    strides = [s * pointer.itemsize for s in steps]
    return np.lib.stride_tricks.as_strided(pointer, shape, strides)


# ---- the register tile ----

def _plain_tile(vectors):
    def tile(kc, a, rsa, csa, b, ldb, c, ldc, add, ahead, step):
        n = vectors * lanes(c.dtype)
        product = _view(a, (ROWS, kc), (rsa, csa)) @ _view(b, (kc, n), (ldb, 1))
        out = _view(c, (ROWS, n), (ldc, 1))
        out[:] = out + product if add else product
    return tile


def _tile_of(vectors):
    """Make tile(kc, a, rsa, csa, b, ldb, c, ldc, add, ahead, step), some vectors wide.

    C[i, j] (+)= sum_k a[i rsa + k csa] b[k ldb + j] for i < ROWS and j < n, the tile's width. On
    the way it asks the memory for `VECTORS` cache lines at each of ahead, ahead + step, ...:
    what the caller will need next.
    """
    @intrinsic(_plain_tile(vectors))
    def tile(typing, kc, a, rsa, csa, b, ldb, c, ldc, add, ahead, step):
        def codegen(context, builder, signature, args):
            kc, a, rsa, csa, b, ldb, c, ldc, add, ahead, step = args
            scalar, size = _number(signature.args[6])
            n = vector_bytes() // size
            vector = ir.VectorType(scalar, n)
            rows_a = [_opaque(builder, builder.gep(a, [builder.mul(rsa, _int(i))]))
                      for i in range(ROWS)]
            sums = _loop(builder, kc, rows_a, csa, (b, ldb), (c, ldc), (ahead, step),
                         vector, vectors)
            with builder.if_else(builder.icmp_signed("!=", add, _int(0))) as (then, otherwise):
                for block, adding in ((then, True), (otherwise, False)):
                    with block:
                        for i, line in enumerate(sums):
                            for v, x in enumerate(line):
                                p = builder.gep(c, [builder.add(builder.mul(ldc, _int(i)),
                                                                _int(v * n))])
                                if adding:
                                    x = builder.fadd(_load(builder, p, vector, size), x)
                                _store(builder, x, p, size)
            return context.get_dummy_value()
        word = types.intp
        return types.void(word, a, word, word, b, word, c, word, word, ahead, word), codegen
    return tile


def _loop(builder, kc, rows_a, csa, rows_b, rows_c, rows_ahead, vector, vectors):
    """Emit the loop over k (at least one step) and return the sums, [row][vector].

    It is cut into runs of `RUN` steps. Before each, one row of C is asked for, so that the tile
    is in the cache when the sums are done, and one row of what is needed next: spread out, these
    misses cost nothing; in a burst they held up the loads of B (8 % of the time).
    """
    n, size = vector.count, vector_bytes() // vector.count
    fma = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fmuladd.v{n}f{8 * size}")
    before, run, body, tail, after = builder.block, *(
        builder.append_basic_block(name) for name in ("run", "k", "tail", "done"))
    builder.branch(run)

    builder.position_at_end(run)
    outer = _Phis(builder)
    k, ka, kb = outer.add(_int(0)), outer.add(_int(0)), outer.add(rows_b[0])
    row_c, row_ahead = outer.add(rows_c[0]), outer.add(rows_ahead[0])
    zero = ir.Constant(vector, None)
    sums = [[outer.add(zero) for _ in range(vectors)] for _ in rows_a]
    for v in range(vectors):
        _prefetch(builder, builder.gep(row_c, [_int(v * n)]), write=1)
    for v in range(VECTORS):
        _prefetch(builder, builder.gep(row_ahead, [_int(v * n)]), level=2)
    stop = builder.add(k, _int(RUN))
    stop = builder.select(builder.icmp_signed("<", stop, kc), stop, kc)
    builder.branch(body)

    builder.position_at_end(body)
    inner = _Phis(builder)
    first = [k, ka, kb, *(s for line in sums for s in line)]
    k, ka, kb, *flat = (inner.add(x) for x in first)
    row_b = [_load(builder, builder.gep(kb, [_int(v * n)]), vector, size)
             for v in range(vectors)]
    new = []
    for i, row in enumerate(rows_a):
        x = _broadcast(builder, builder.load(builder.gep(row, [ka])), n)
        new += [builder.call(fma, [x, y, s])
                for y, s in zip(row_b, flat[i * vectors:(i + 1) * vectors])]
    following = [builder.add(k, _int(1)), builder.add(ka, csa),
                 builder.gep(kb, [rows_b[1]]), *new]
    inner.close(run, body, following)
    builder.cbranch(builder.icmp_signed("<", following[0], stop), body, tail)

    builder.position_at_end(tail)
    outer.close(before, tail, [*following[:3], builder.gep(row_c, [rows_c[1]]),
                              builder.gep(row_ahead, [rows_ahead[1]]), *new])
    builder.cbranch(builder.icmp_signed("<", following[0], kc), run, after)
    builder.position_at_end(after)
    return [new[i * vectors:(i + 1) * vectors] for i in range(len(rows_a))]


class _Phis:
    """The variables of a loop: their value on entry, and after each round."""

    def __init__(self, builder):
        self.builder, self.pairs = builder, []

    def add(self, first):
        phi = self.builder.phi(first.type)
        self.pairs.append((phi, first))
        return phi

    def close(self, before, last, following):
        for (phi, first), after in zip(self.pairs, following):
            phi.add_incoming(first, before)
            phi.add_incoming(after, last)


# ---- packing ----

def _plain_copy(length_of):
    def copy(target, source):
        n = (length_of(target.dtype),)
        _view(target, n, (1,))[:] = _view(source, n, (1,))
    return copy


def _plain_transpose(target, ldt, source, lds):
    n = lanes(target.dtype)
    _view(target, (n, n), (ldt, 1))[:] = _view(source, (n, n), (lds, 1)).T


def _copy_of(length_of):
    """Make copy(d, s): a run of n elements through vector registers."""
    @intrinsic(_plain_copy(length_of))
    def copy(typing, target, source):
        def codegen(context, builder, signature, args):
            scalar, size = _number(signature.args[0])
            n, width = length_of(np.dtype(f"f{size}")), vector_bytes() // size
            for i in range(0, n, width):
                kind = ir.VectorType(scalar, min(width, n - i))
                x = _load(builder, builder.gep(args[1], [_int(i)]), kind, size)
                _store(builder, x, builder.gep(args[0], [_int(i)]), size)
            return context.get_dummy_value()
        return types.void(target, source), codegen
    return copy


@intrinsic(_plain_transpose)
def transpose(typing, target, ldt, source, lds):
    """target[i ldt + j] = source[j lds + i] for a square block one vector wide.

    log2(n) rounds; each exchanges, between rows that lie `half` apart, the blocks of `half`
    columns off the diagonal.
    """
    def codegen(context, builder, signature, args):
        target, ldt, source, lds = args
        scalar, size = _number(signature.args[0])
        n = vector_bytes() // size
        vector = ir.VectorType(scalar, n)
        rows = [_load(builder, builder.gep(source, [builder.mul(lds, _int(i))]), vector, size)
                for i in range(n)]
        half = n // 2
        while half:
            keep = [j if not j & half else n + j - half for j in range(n)]
            swap = [j + half if not j & half else n + j for j in range(n)]
            for i in range(n):
                if not i & half:
                    pair = rows[i], rows[i + half]
                    rows[i], rows[i + half] = (
                        builder.shuffle_vector(*pair, ir.Constant(ir.VectorType(I32, n), mask))
                        for mask in (keep, swap))
            half //= 2
        for i, row in enumerate(rows):
            _store(builder, row, builder.gep(target, [builder.mul(ldt, _int(i))]), size)
        return context.get_dummy_value()
    return types.void(target, types.intp, source, types.intp), codegen


tile1, tile2, tile3, tile4 = (_tile_of(v) for v in (1, 2, 3, 4))
copy_rows = _copy_of(lambda dtype: ROWS + 2)
copy_panel = _copy_of(lambda dtype: VECTORS * lanes(dtype))
