"""Softmax in vectors: along rows of any length, and down the columns of attention's scores.

Written as loops over numbers, LLVM works on a vector at a time too, but spends more on what stands
around a short loop than in it: it asks whether arrays overlap, and leaves up to 15 numbers to a
scalar loop. In attention it took four times as long as all products together.

Down columns, keys are rows and queries are columns, so that the maximum and the sum over the keys
are kept in one register each. Under NUMBA_DISABLE_JIT=1 plain twins run.
"""
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from minigrad.kernels import jit, vmath
from minigrad.kernels.tiles import INT, _load, _store, _vector, _view, lanes

I32 = ir.IntType(32)


class Vectors:
    """LLVM instructions on vectors of the type that a Numba pointer points to."""

    def __init__(self, builder, pointer):
        self.builder = builder
        self.kind, self.size = _vector(pointer)
        self.float32 = self.size == 4
        self.places = ir.Constant(ir.VectorType(INT, self.kind.count), [*range(self.kind.count)])

    def number(self, x):
        return ir.Constant(self.kind, [float(x)] * self.kind.count)

    def splat(self, x):
        one = ir.VectorType(x.type, self.kind.count)
        first = self.builder.insert_element(ir.Constant(one, ir.Undefined), x, I32(0))
        zeros = ir.Constant(ir.VectorType(I32, self.kind.count), None)
        return self.builder.shuffle_vector(first, first, zeros)

    def load(self, pointer, offset, mask=None, default=None):
        """Load a vector, with a mask only some of its numbers; the others are the default."""
        if mask is None:
            return _load(self.builder, pointer, offset, self.kind, self.size)
        place = self.place(pointer, offset)
        return self.call("masked.load", self.kind, [place, I32(self.size), mask, default],
                         suffix=self.of_pointer())

    def store(self, x, pointer, offset, mask=None):
        if mask is None:
            return _store(self.builder, x, pointer, offset, self.size)
        place = self.place(pointer, offset)
        return self.call("masked.store", ir.VoidType(), [x, place, I32(self.size), mask],
                         suffix=self.of_pointer())

    def place(self, pointer, offset):
        return self.builder.bitcast(self.builder.gep(pointer, [offset]), self.kind.as_pointer())

    def of_pointer(self):
        return f".p0v{self.kind.count}f{8 * self.size}"

    def call(self, name, result, args, suffix="", flags=()):
        """Call an intrinsic function of LLVM."""
        kind = ir.FunctionType(result, [x.type for x in args])
        function = cgutils.get_or_insert_function(
            self.builder.module, kind, f"llvm.{name}.v{self.kind.count}f{8 * self.size}{suffix}")
        return self.builder.call(function, args, fastmath=flags)

    def multiply_add(self, x, y, z):
        return self.call("fmuladd", self.kind, [x, y, z])

    def larger(self, x, y):
        return self.builder.select(self.builder.fcmp_ordered(">", x, y), x, y)

    def exp(self, x):
        """e**x for x <= 0 in the steps of `vmath.exp`; 0 where it would be subnormal.

        (Each subnormal product stops the processor for 150 cycles, and masked scores are many.)
        """
        b, pick = self.builder, lambda pair: self.number(pair[0 if self.float32 else 1])
        integer, mantissa = (I32, 23) if self.float32 else (INT, 52)
        integers = ir.VectorType(integer, self.kind.count)
        low, shifter = pick((-87.0, -708.0)), pick((1.5 * 2.0**23 + 127, 1.5 * 2.0**52 + 1023))
        below = b.fcmp_ordered("<", x, low)
        x = b.select(below, low, x)                                       # NaN stays
        t = self.multiply_add(x, self.number(0.5 * vmath.LOG2_E), shifter)
        n = b.fsub(t, shifter)
        r = self.multiply_add(n, pick([-2 * c for c in vmath.LN2_HIGH]), x)
        r = self.multiply_add(n, pick([-2 * c for c in vmath.LN2_LOW]), r)
        bits = b.shl(b.bitcast(t, integers), ir.Constant(integers, [mantissa] * self.kind.count))
        root = b.bitcast(bits, self.kind)
        c = vmath.EXP_32 if self.float32 else vmath.EXP_64
        slope = self.number(c[-1])
        for a in (*c[-2::-1], 1, 1):
            slope = self.multiply_add(slope, r, self.number(a))
        return b.select(below, self.number(0), b.fmul(b.fmul(slope, root), root))


# ---- along a row -----------------------------------------------------------------------------

def _plain_weigh_row(row, out, n, scale):
    x = _view(row, (n,), (1,))
    m = x.max()
    m = m if m > -np.inf else type(m)(0)
    e = np.exp(x - m)
    _view(out, (n,), (1,))[:] = e * (scale / e.sum())
    return m, e.sum()


@jit.intrinsic(_plain_weigh_row)
def weigh_row(typing, row, out, n, scale):
    """Set out to scale * softmax(row), n numbers; out may be row.

    Returns m and s with logsumexp(row) = m + log(s); m is not -inf.
    """
    def codegen(context, builder, signature, args):
        row, out, n, scale = args
        v = Vectors(builder, signature.args[0])
        count, number = v.kind.count, scale.type
        whole = builder.and_(n, INT(-count))
        rest = builder.sub(n, whole)
        inside = builder.icmp_signed("<", v.places, v.splat(rest))

        def each(visit):
            with cgutils.for_range_slice(builder, INT(0), whole, INT(count), INT) as (j, _):
                visit(j, None)
            with builder.if_then(builder.icmp_signed(">", rest, INT(0))):
                visit(whole, inside)

        def find_peak(j, mask):
            builder.store(v.larger(v.load(row, j, mask, lowest), builder.load(peak)), peak)

        def raise_and_add(j, mask):
            e = v.exp(builder.fsub(v.load(row, j, mask, lowest), v.splat(m)))
            v.store(e, out, j, mask)
            e = e if mask is None else builder.select(mask, e, zero)
            builder.store(builder.fadd(builder.load(total), e), total)

        def divide(j, mask):
            v.store(builder.fmul(v.load(out, j, mask, zero), share), out, j, mask)

        lowest, zero = v.number(-np.inf), v.number(0)
        peak = cgutils.alloca_once_value(builder, lowest)
        total = cgutils.alloca_once_value(builder, zero)
        each(find_peak)
        m = v.call("vector.reduce.fmax", number, [builder.load(peak)], flags=("nnan",))
        empty = builder.fcmp_ordered("==", m, ir.Constant(number, -np.inf))
        m = builder.select(empty, ir.Constant(number, 0.0), m)
        each(raise_and_add)
        s = v.call("vector.reduce.fadd", number, [ir.Constant(number, 0.0), builder.load(total)],
                   flags=("reassoc",))
        share = v.splat(builder.fdiv(scale, s))
        each(divide)
        return context.make_tuple(builder, signature.return_type, (m, s))
    kind = types.UniTuple(row.dtype, 2)
    return kind(row, row, types.intp, row.dtype), codegen


# ---- down columns ----------------------------------------------------------------------------

def seen_by(v, j, first):
    """Which of a vector of queries see key j: query r sees those up to first + r."""
    return v.builder.icmp_signed("<=", v.splat(v.builder.sub(j, first)), v.places)


def _plain_weigh(scores, step, n, first, scale, peaks, totals):
    width = lanes(scores.dtype)
    s, rows = _view(scores, (n, width), (step, 1)), np.arange(n)[:, None]
    s[:] = np.where(rows <= first + np.arange(width), s * scale, -np.inf)
    peak = s.max(axis=0)
    peak = np.where(peak > -np.inf, peak, 0)
    s[:] = np.exp(s - peak)
    total = s.sum(axis=0)
    s *= np.where(total > 0, 1 / np.where(total > 0, total, 1), 0)
    _view(peaks, (width,), (1,))[:], _view(totals, (width,), (1,))[:] = peak, total


@jit.intrinsic(_plain_weigh)
def weigh(typing, scores, step, n, first, scale, peaks, totals):
    """Turn n rows of scores into weights, each column summing to 1, or 0 where no key is seen.

    Left at `peaks` and `totals` are m and s with logsumexp = m + log(s).
    """
    def codegen(context, builder, signature, args):
        scores, step, n, first, scale, peaks, totals = args
        v = Vectors(builder, signature.args[0])
        lowest, zero, one = v.number(-np.inf), v.number(0), v.number(1)
        peak = cgutils.alloca_once_value(builder, lowest)
        total = cgutils.alloca_once_value(builder, zero)
        with cgutils.for_range(builder, n) as loop:
            place = builder.mul(loop.index, step)
            x = builder.fmul(v.load(scores, place), v.splat(scale))
            x = builder.select(seen_by(v, loop.index, first), x, lowest)
            v.store(x, scores, place)
            builder.store(v.larger(x, builder.load(peak)), peak)
        m = builder.load(peak)
        m = builder.select(builder.fcmp_ordered("==", m, lowest), zero, m)
        with cgutils.for_range(builder, n) as loop:
            place = builder.mul(loop.index, step)
            e = v.exp(builder.fsub(v.load(scores, place), m))
            v.store(e, scores, place)
            builder.store(builder.fadd(builder.load(total), e), total)
        s = builder.load(total)
        share = builder.select(builder.fcmp_ordered("==", s, zero), zero, builder.fdiv(one, s))
        with cgutils.for_range(builder, n) as loop:
            place = builder.mul(loop.index, step)
            v.store(builder.fmul(v.load(scores, place), share), scores, place)
        v.store(m, peaks, INT(0))
        v.store(s, totals, INT(0))
        return context.get_dummy_value()
    word = types.intp
    return types.void(scores, word, word, word, scores.dtype, peaks, totals), codegen


def _plain_weigh_vjp(scores, dscores, step, n, first, scale, lse):
    width = lanes(scores.dtype)
    s, ds = (_view(x, (n, width), (step, 1)) for x in (scores, dscores))
    seen = np.arange(n)[:, None] <= first + np.arange(width)
    s[:] = np.exp(np.where(seen, s * scale - _view(lse, (width,), (1,)), -np.inf))
    ds[:] = np.where(seen, ds, 0)
    ds[:] = s * (ds - (s * ds).sum(axis=0)) * scale


@jit.intrinsic(_plain_weigh_vjp)
def weigh_vjp(typing, scores, dscores, step, n, first, scale, lse):
    """Turn scores into weights again, and the gradient of the weights into that of the scores."""
    def codegen(context, builder, signature, args):
        scores, dscores, step, n, first, scale, lse = args
        v = Vectors(builder, signature.args[0])
        zero, shift = v.number(0), v.load(lse, INT(0))
        dot = cgutils.alloca_once_value(builder, zero)
        with cgutils.for_range(builder, n) as loop:
            place, seen = builder.mul(loop.index, step), seen_by(v, loop.index, first)
            x = builder.fsub(builder.fmul(v.load(scores, place), v.splat(scale)), shift)
            p = builder.select(seen, v.exp(x), zero)
            dp = builder.select(seen, v.load(dscores, place), zero)
            v.store(p, scores, place)
            v.store(dp, dscores, place)
            builder.store(v.multiply_add(p, dp, builder.load(dot)), dot)
        mean = builder.load(dot)
        with cgutils.for_range(builder, n) as loop:
            place = builder.mul(loop.index, step)
            p = builder.fmul(v.load(scores, place), v.splat(scale))
            dp = builder.fsub(v.load(dscores, place), mean)
            v.store(builder.fmul(p, dp), dscores, place)
        return context.get_dummy_value()
    word = types.intp
    return types.void(scores, scores, word, word, word, scores.dtype, lse), codegen
