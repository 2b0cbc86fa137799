"""Softmax in vectors: along rows of any length, and down the columns of attention's scores.

Written as loops over numbers, LLVM works on a vector at a time too, but spends more on what stands
around a short loop than in it: it asks whether arrays overlap, and leaves up to 15 numbers to a
scalar loop. In attention it took four times as long as all products together.

Down columns, keys are rows and queries are columns, so that the maximum and the sum over the keys
are kept in one register each; sums are taken in the order of the keys, however LLVM unrolls.
"""
import numpy as np

from minigrad.kernels.jit import EXACT_MATH, helper
from minigrad.kernels.llvm import (
    lanes_before, lanes_from, lanes_of, like, load, load_some, multiply_add, splat, store,
    store_some, total, where)
from minigrad.kernels.vmath import exp_or_zero, largest_at


@helper(inline=True)
def softmax_row(row, out, n, scale):
    """Set out to scale * softmax(row), n numbers; out may be row.

    Returns m and s with logsumexp(row) = m + log(s); m is not -inf.
    """
    zero = splat(like(scale, 0))
    lowest = splat(like(scale, -np.inf))
    width = lanes_of(zero)
    whole = n // width * width
    rest = lanes_before(n - whole, zero)
    sums = zero
    m = largest_at(row, n)
    m = like(m, 0) if m == like(m, -np.inf) else m
    shift = splat(m)
    j = 0
    while j < whole:
        e = exp_or_zero(load(row, j) - shift)
        store(e, out, j)
        sums = e + sums
        j += width
    if whole < n:
        e = exp_or_zero(load_some(row, whole, rest, lowest) - shift)
        store_some(e, out, whole, rest)
        sums = where(rest, e, zero) + sums
    s = total(sums)
    share = splat(scale / s)
    for j in range(0, whole, width):
        store(load(out, j) * share, out, j)
    if whole < n:
        e = load_some(out, whole, rest, zero)
        store_some(e * share, out, whole, rest)
    return m, s


@helper(inline=True, fastmath=EXACT_MATH)
def softmax_columns(scores, step, n, first, scale, peaks, totals):
    """Turn n rows of scores into weights, each column summing to 1, or 0 where no key is seen.

    Query r sees the keys up to first + r. Left at `peaks` and `totals` are m and s with
    logsumexp = m + log(s).
    """
    zero = splat(like(scale, 0))
    lowest = splat(like(scale, -np.inf))
    peak, s, factor = lowest, zero, splat(scale)
    for j in range(n):
        x = load(scores, j * step) * factor
        x = where(lanes_from(j - first, zero), x, lowest)
        store(x, scores, j * step)
        peak = where(peak < x, x, peak)
    m = where(peak == lowest, zero, peak)
    for j in range(n):
        e = exp_or_zero(load(scores, j * step) - m)
        store(e, scores, j * step)
        s = e + s
    one = splat(like(scale, 1))
    share = where(s == zero, zero, one / s)
    for j in range(n):
        store(load(scores, j * step) * share, scores, j * step)
    store(m, peaks, 0)
    store(s, totals, 0)


@helper(inline=True, fastmath=EXACT_MATH)
def softmax_columns_vjp(scores, dscores, step, n, first, scale, lse):
    """Turn scores into weights again, and the gradient of the weights into that of the scores."""
    zero, factor = splat(like(scale, 0)), splat(scale)
    shift = load(lse, 0)
    dot = zero
    for j in range(n):
        seen = lanes_from(j - first, zero)
        p = exp_or_zero(load(scores, j * step) * factor - shift)
        p = where(seen, p, zero)
        dp = where(seen, load(dscores, j * step), zero)
        store(p, scores, j * step)
        store(dp, dscores, j * step)
        dot = multiply_add(p, dp, dot)
    for j in range(n):
        p = load(scores, j * step) * factor
        dp = load(dscores, j * step) - dot
        store(p * dp, dscores, j * step)
