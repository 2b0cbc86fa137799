"""exp, tanh, log and erf that vectorise: polynomials, for use inside kernels.

Numba's own `math.exp` is one library call per element. The functions here are straight-line
arithmetic without a branch, so LLVM works on 8 or 16 elements at once. Each takes and returns a
scalar of its argument's type; infinities, NaN, subnormals and both zeros come out as in NumPy.

Largest error, in units in the last place, that the tests allow over the whole range:

======  =======  =======
        float32  float64
======  =======  =======
exp     1.7      2.0
tanh    3.3      4.0
log     1.0      2.0
erf     1.5      2.0
======  =======  =======

They are compiled without `reassoc`: r = x - n ln2 is exact only in the order written. The
coefficients are minimax fits (Remez exchange in 60 digits) over the interval named beside them.
"""
import math

import numba
import numpy as np

from minigrad.kernels import jit
from minigrad.kernels.llvm import (
    at, exponent, lanes_before, lanes_of, largest, like, load, load_some, multiply_add, pick,
    polynomial, power_of_two, significand, splat, where, widest_vectors)


def scalar(function):
    """Compile a function of numbers that LLVM, not Numba, inlines: so it keeps its own flags."""
    return _inlined(function, {"contract", "nsz"})


def over_row(function):
    """Compile a function with a loop over a row, for use inside kernels; sums may be reordered."""
    return _inlined(function, jit.FAST_MATH)


def _inlined(function, fastmath):
    if not jit.COMPILED:
        return function
    return numba.njit(fastmath=fastmath, error_model="numpy", forceinline=True,
                      no_cfunc_wrapper=True)(function)


# ---- exp and tanh ----------------------------------------------------------------------------

LOG2_E = 1.4426950408889634
LN2_HIGH = (0.693359375, 0.6931471803691238)                      # float32, float64: n * it is
LN2_LOW = (-2.1219444005469057e-4, 1.9082149292705877e-10)        # exact; the two add up to ln 2

# (e**r - 1 - r) / r**2 on |r| <= ln 2
EXP_32 = (0.5000003457779991, 0.16666614240499983, 0.041661274715570434, 0.008336099895640417,
          0.0014104343510446947, 0.00019611742130541787)
EXP_64 = (0.4999999999999993, 0.16666666666666938, 0.04166666666670209, 0.008333333333269924,
          0.001388888888357659, 0.00019841269892773751, 2.4801590830334075e-05,
          2.7557300652288156e-06, 2.7556157935548556e-07, 2.5055033295703343e-08,
          2.106234115131928e-09, 1.593558517560944e-10)


@scalar
def shifter(x):
    """The number that, added to a small float, rounds it to a whole one in its low bits."""
    return pick(x, 1.5 * 2.0**23 + 127, 1.5 * 2.0**52 + 1023)


@scalar
def _split(x, t):
    """Return 2**n and (e**r - 1) / r and r, where x = 2 n ln2 + r and t = n + shifter(x).

    Whole multiples of 2 ln2, not of ln2, so that 2**2n is the square of a normal number, even
    where it is subnormal or overflows.
    """
    n = t - shifter(x)
    high = pick(x, -2 * LN2_HIGH[0], -2 * LN2_HIGH[1])
    low = pick(x, -2 * LN2_LOW[0], -2 * LN2_LOW[1])
    r = multiply_add(n, low, multiply_add(n, high, x))
    root = power_of_two(t)
    slope = multiply_add(polynomial(r, EXP_32, EXP_64), r, like(x, 1))
    return root, slope, r


@scalar
def exp(x):
    """e**x."""
    low = pick(x, -105.0, -746.0)                                 # there e**x is 0
    x = low if x < low else x                                     # NaN stays
    top = pick(x, 65.0, 515.0) + shifter(x)                       # there 2**2n is inf
    t = x * like(x, 0.5 * LOG2_E) + shifter(x)
    root, slope, r = _split(x, top if t > top else t)
    return (slope * r + like(x, 1)) * root * root


@scalar
def exp_or_zero(x):
    """e**x for a vector of x <= 0; 0 where it would be subnormal.

    (Each subnormal product stops the processor for 150 cycles, and masked scores are many.)
    """
    low = pick(x, -87.0, -708.0)
    below = x < low
    x = where(below, low, x)                                      # NaN stays
    t = multiply_add(x, like(x, 0.5 * LOG2_E), shifter(x))
    root, slope, r = _split(x, t)
    y = multiply_add(slope, r, like(x, 1)) * (root * root)
    return where(below, like(x, 0), y)


@scalar
def tanh(x):
    """(e**2x - 1) / (e**2x + 1), from e**2x - 1 so that small x keep their digits."""
    one, a = like(x, 1), abs(x)
    top = pick(x, 10.0, 20.0)
    a = top if a > top else a                                     # NaN stays
    a = a + a
    t = a * like(x, 0.5 * LOG2_E) + shifter(x)
    root, slope, r = _split(a, t)
    power = root * root
    e = power * (slope * r) + (power - one)
    return math.copysign(e / (e + like(x, 2)), x)


@scalar
def sigmoid(x):
    """1 / (1 + e**-x): 0 where it would be less than the smallest normal number."""
    one = like(x, 1)
    return one / (one + exp(-x))


# ---- log -------------------------------------------------------------------------------------

# (log((1 + s) / (1 - s)) - 2 s) / s**3 in z = s**2, for 1/sqrt(2) <= (1 + s) / (1 - s) <= sqrt(2)
LOG_32 = (0.6666666564535353, 0.400003352429958, 0.2853730412482783, 0.23582250976948027)
LOG_64 = (0.6666666666666734, 0.3999999999941453, 0.28571428742434046, 0.22222198567271995,
          0.18183564685110354, 0.15314040179760105, 0.14796064403845555)


@scalar
def log(x):
    """Natural logarithm: -inf at 0, NaN below."""
    zero, one = like(x, 0), like(x, 1)
    half = like(x, 0.5)
    small = x < pick(x, 1.1754943508222875e-38, 2.2250738585072014e-308)   # not a normal number
    y = x * pick(x, 2.0**23, 2.0**52) if small else x
    n = exponent(y) - pick(x, 2.0**23 + 126, 2.0**52 + 1022)
    m = significand(y)
    n = n - pick(x, 23.0, 52.0) if small else n
    below = m < like(x, 0.7071067811865476)
    m = m + m if below else m
    n = n - one if below else n
    f = m - one
    s = f / (f + like(x, 2))
    z, square = s * s, half * f * f
    tail = s * (square + z * polynomial(z, LOG_32, LOG_64))
    tail = tail + n * pick(x, LN2_LOW[0], LN2_LOW[1])
    whole = n * pick(x, LN2_HIGH[0], LN2_HIGH[1])
    y = whole - ((square - tail) - f)
    y = y if x < like(x, np.inf) else x                           # inf and NaN are their own log
    y = y if x != zero else like(x, -np.inf)
    return like(x, np.nan) if x < zero else y


# ---- erf -------------------------------------------------------------------------------------

# erf(x) / x - 1 in z = x**2 <= 1
ERF_32 = (0.1283791659138796, -0.3761262713563657, 0.11283600172946888, -0.0268544445041816,
          0.005189535264476489, -0.0008020841315849435, 7.889121565515475e-05)
ERF_64 = (0.12837916709551256, -0.3761263890318355, 0.11283791670945252, -0.02686617064327609,
          0.005223977607422594, -0.0008548325989663285, 0.00012055295319724059,
          -1.4924744652489713e-05, 1.6447517586706547e-06, -1.6209175496494825e-07,
          1.3722975523443715e-08, -7.801189176134229e-10)
# -log(erfc(1 + t)) for t on [0, 2.95], and on [0, 4.95]
ERFC_32 = (1.8496055100667117, 2.6389675145238827, 0.8431070818225, 0.0415634803179124,
           -0.010046451170859295, 0.002011965277299471, -0.00028952734735660776,
           2.1686648197186222e-05)
ERFC_64 = (1.8496055099332482, 2.6389675142347757, 0.843107256359413, 0.041561098025075426,
           -0.010033825179090966, 0.0019779012157353287, -0.0002373164349722568,
           -2.6296325317464357e-05, 2.7198968117707145e-05, -9.671369333118355e-06,
           2.131931286984137e-06, -2.0480524285487374e-07, -5.8015325573935153e-08,
           3.339273564960138e-08, -8.51917752722693e-09, 1.319176186735669e-09,
           -1.1933371095249405e-10, 4.865394652967292e-12)


@scalar
def erf(x):
    """The error function: x times a polynomial up to 1, beyond it 1 - e**-(a polynomial)."""
    a, one = abs(x), like(x, 1)
    top = pick(x, 3.95, 5.95)
    a = top if a > top else a
    inner = a + a * polynomial(a * a, ERF_32, ERF_64)
    outer = one - exp(-polynomial(a - one, ERFC_32, ERFC_64))
    return math.copysign(inner if a < one else outer, x)


# ---- over a row ------------------------------------------------------------------------------

@over_row
def peak_of(row):
    """The largest element; NaN is none."""
    return largest_at(at(row, 0), row.size)


@over_row
def largest_at(row, n):
    """The largest of n > 0 numbers from a pointer on."""
    lowest = splat(like(row[0], -np.inf))
    width, peak = lanes_of(lowest), lowest
    whole = n // width * width
    for j in range(0, whole, width):
        x = load(row, j)
        peak = where(peak < x, x, peak)
    if whole < n:
        x = load_some(row, whole, lanes_before(n - whole, lowest), lowest)
        peak = where(peak < x, x, peak)
    return largest(peak)


@over_row
def log_total(row, m):
    """log(sum(e**(row - m))): with m the largest element, logsumexp is m + this."""
    widest_vectors()
    total = row.dtype.type(0)
    for j in range(row.size):
        total += exp(row[j] - m)
    return log(total)


# ---- roots of what may be too large to be squared ----

@jit.helper
def power_of_two_below(peak):
    """Return the largest 2**n that is not larger; 1 for inf and nan."""
    return like(peak, 2.0 ** (math.frexp(peak)[1] - 1) if peak < np.inf else 1.0)

@jit.helper(fastmath=set())                               # an estimate of 1 / sqrt(inf) is nan
def inverse_root(square, eps, scale):
    """Return 1 / sqrt(scale**2 square + eps), though scale**2 may be inf."""
    return like(square, 1) / np.sqrt(square + eps / scale / scale) / scale
