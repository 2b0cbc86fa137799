"""Between which numbers the truth is, to 95 %: of shares, and of means over blocks."""
import math
from typing import NamedTuple

FEWEST = 8                         # blocks, from which on an interval is given


def wilson(k, n, z=1.96):
    """Return between which shares the true one is, of which k of n were seen, to 95 % certainty.

    Wilson 1927, JASA 22(158).

    >>> "{:.3f} {:.3f}".format(*wilson(430, 1000))
    '0.400 0.461'
    """
    if n == 0:
        return 0.0, 1.0
    zz = z * z
    middle = (k + zz / 2) / (n + zz)
    spread = k * (n - k) / n + zz / 4
    half = z * math.sqrt(spread) / (n + zz)
    return max(0.0, middle - half), min(1.0, middle + half)


class Interval(NamedTuple):
    """A mean with what is known of it to 95 %."""

    mean: float
    half: float                    # nan where there are too few blocks

    @property
    def low(self):
        return self.mean - self.half

    @property
    def high(self):
        return self.mean + self.half

    def __str__(self):
        return f"{self.mean:.3f}" if math.isnan(self.half) else f"{self.mean:.3f} ± {self.half:.3f}"


def half_width(residuals, total):
    """Return half the interval of a sum over blocks divided by a total, by what each deviates.

    Parameters
    ----------
    residuals : (n,)
        What each block has more than its share.
    total : float

    Returns
    -------
    half : float
        nan for fewer than 8 blocks.
    """
    n = len(residuals)
    if n < FEWEST:
        return math.nan
    variance = n / (n - 1) * float((residuals ** 2).sum())
    return t_quantile(n - 1) * math.sqrt(variance) / total


def t_quantile(df, z=1.959964):
    """Return the 97.5 % quantile of Student's t (Abramowitz & Stegun 26.7.5), from 7 on to 1e-3.

    >>> f"{t_quantile(30):.3f}"
    '2.042'
    """
    z3, z5, z7 = z ** 3, z ** 5, z ** 7
    first = (z3 + z) / 4
    second = (5 * z5 + 16 * z3 + 3 * z) / 96
    third = (3 * z7 + 19 * z5 + 17 * z3 - 15 * z) / 384
    return z + first / df + second / df ** 2 + third / df ** 3


def significant(interval):
    """Whether an interval leaves out 0."""
    return abs(interval.mean) > interval.half
