"""The softmax of attention, down the columns of a block of scores, a vector of queries at a time.

Keys are rows and queries are columns here: so the maximum and the sum over the keys are kept in
one register each, and no row has a tail. (Along short rows the loops that LLVM makes took four
times as long as all products together.) Under NUMBA_DISABLE_JIT=1 plain twins run.
"""
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from minigrad import jit, vmath
from minigrad.tiles import INT, _load, _store, _vector, _view, lanes


class Block:
    """A block of scores in LLVM: rows a step apart, of which key j is seen by query r from
    j <= first + r on."""

    def __init__(self, context, builder, signature, n, scale, first):
        self.context, self.builder, self.n, self.first = context, builder, n, first
        self.kind, self.size = _vector(signature.args[0])
        self.scale = self.splat(scale)
        self.float32 = self.size == 4

    def number(self, x):
        return ir.Constant(self.kind, [float(x)] * self.kind.count)

    def splat(self, x):
        one = ir.VectorType(x.type, self.kind.count)
        first = self.builder.insert_element(ir.Constant(one, ir.Undefined), x, ir.IntType(32)(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.kind.count), None)
        return self.builder.shuffle_vector(first, first, zeros)

    def seen(self, j):
        """Which queries see key j."""
        places = ir.Constant(ir.VectorType(INT, self.kind.count), list(range(self.kind.count)))
        return self.builder.icmp_signed("<=", self.splat(self.builder.sub(j, self.first)), places)

    def load(self, pointer, offset):
        return _load(self.builder, pointer, offset, self.kind, self.size)

    def store(self, x, pointer, offset):
        _store(self.builder, x, pointer, offset, self.size)

    def multiply_add(self, x, y, z):
        name = f"llvm.fmuladd.v{self.kind.count}f{8 * self.size}"
        kind = ir.FunctionType(self.kind, [self.kind] * 3)
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name),
                                 [x, y, z])

    def larger(self, x, y):
        return self.builder.select(self.builder.fcmp_ordered(">", x, y), x, y)

    def exp(self, x):
        """e**x for x <= 0 in the steps of `vmath.exp`; 0 where it would be subnormal.

        (Each subnormal product stops the processor for 150 cycles, and masked scores are many.)
        """
        b, pick = self.builder, lambda pair: self.number(pair[0 if self.float32 else 1])
        integer, mantissa = (ir.IntType(32), 23) if self.float32 else (INT, 52)
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


# ---- forward ---------------------------------------------------------------------------------

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
        block = Block(context, builder, signature, n, scale, first)
        lowest, zero, one = block.number(-np.inf), block.number(0), block.number(1)
        peak = cgutils.alloca_once_value(builder, lowest)
        total = cgutils.alloca_once_value(builder, zero)
        with cgutils.for_range(builder, n) as loop:
            place = builder.mul(loop.index, step)
            x = builder.fmul(block.load(scores, place), block.scale)
            x = builder.select(block.seen(loop.index), x, lowest)
            block.store(x, scores, place)
            builder.store(block.larger(x, builder.load(peak)), peak)
        m = builder.load(peak)
        m = builder.select(builder.fcmp_ordered("==", m, lowest), zero, m)
        with cgutils.for_range(builder, n) as loop:
            place = builder.mul(loop.index, step)
            e = block.exp(builder.fsub(block.load(scores, place), m))
            block.store(e, scores, place)
            builder.store(builder.fadd(builder.load(total), e), total)
        s = builder.load(total)
        share = builder.select(builder.fcmp_ordered("==", s, zero), zero, builder.fdiv(one, s))
        with cgutils.for_range(builder, n) as loop:
            place = builder.mul(loop.index, step)
            block.store(builder.fmul(block.load(scores, place), share), scores, place)
        block.store(m, peaks, INT(0))
        block.store(s, totals, INT(0))
        return context.get_dummy_value()
    word = types.intp
    return types.void(scores, word, word, word, scores.dtype, peaks, totals), codegen


# ---- backward --------------------------------------------------------------------------------

def _plain_weigh_vjp(scores, dscores, step, n, first, scale, lse):
    width = lanes(scores.dtype)
    s, ds = (_view(x, (n, width), (step, 1)) for x in (scores, dscores))
    seen = np.arange(n)[:, None] <= first + np.arange(width)
    s[:] = np.where(seen, np.exp(s * scale - _view(lse, (width,), (1,))), 0)
    ds[:] = np.where(seen, ds, 0)
    ds[:] = s * (ds - (s * ds).sum(axis=0)) * scale


@jit.intrinsic(_plain_weigh_vjp)
def weigh_vjp(typing, scores, dscores, step, n, first, scale, lse):
    """Turn scores into weights again, and the gradient of the weights into that of the scores."""
    def codegen(context, builder, signature, args):
        scores, dscores, step, n, first, scale, lse = args
        block = Block(context, builder, signature, n, scale, first)
        zero, shift = block.number(0), block.load(lse, INT(0))
        dot = cgutils.alloca_once_value(builder, zero)
        with cgutils.for_range(builder, n) as loop:
            place, seen = builder.mul(loop.index, step), block.seen(loop.index)
            x = builder.fsub(builder.fmul(block.load(scores, place), block.scale), shift)
            p = builder.select(seen, block.exp(x), zero)
            dp = builder.select(seen, block.load(dscores, place), zero)
            block.store(p, scores, place)
            block.store(dp, dscores, place)
            builder.store(block.multiply_add(p, dp, builder.load(dot)), dot)
        mean = builder.load(dot)
        with cgutils.for_range(builder, n) as loop:
            place = builder.mul(loop.index, step)
            p = builder.fmul(block.load(scores, place), block.scale)
            dp = builder.fsub(block.load(dscores, place), mean)
            block.store(builder.fmul(p, dp), dscores, place)
        return context.get_dummy_value()
    word = types.intp
    return types.void(scores, scores, word, word, word, scores.dtype, lse), codegen
