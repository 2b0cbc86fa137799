"""A gradient beside the slopes, element by element: what the hints look at."""
from typing import NamedTuple

import numpy as np

from minigrad.testing import domains
from minigrad.testing.points import Point, slope_along


class Evidence(NamedTuple):
    """What the hints look at: one gradient, the measured slopes, and where they came from."""
    dx: np.ndarray
    slopes: np.ndarray
    x: np.ndarray
    point: object
    i: int                                             # which input

    @property
    def g(self):
        return self.point.g[0]

    @property
    def wrong(self):
        return ~same(self.dx, self.slopes)

    @property
    def gap(self):
        gap = np.abs(self.dx - self.slopes)
        return np.where(np.isfinite(gap), gap, np.inf)

    def pull(self, g, saved=None):
        """Return the gradient of this input for another g, or with other saved arrays."""
        return self.point.passed.pull(g, None, saved)[self.i]

    def elsewhere(self, **changes):
        """Run the case with other arrays or another g."""
        return Point(self.point.subject, self.point.case._replace(**changes))


def elementwise_slopes(point, i):
    """Measure the slope along each element of input i."""
    x, domain = point.arrays[i], point.subject.domain_of(i)
    is_positive = "positive" in domains.words(domain)
    slopes = np.zeros(x.shape)
    for at in np.ndindex(x.shape):
        v = np.zeros(x.shape)
        v[at] = np.isfinite(x[at])
        if is_positive:                                # and has to stay so
            v[at] *= abs(x[at])
        slope = slope_along(point, {i: v}, 0.0)
        slopes[at] = slope.value / max(v[at], 1e-300)
    return slopes


def same(a, b, rtol=1e-5):
    """Compare elements, up to rounding; those of b say how small is nothing."""
    size = np.maximum(np.abs(a), np.abs(b))
    scale = np.max(np.abs(b), initial=1e-3)
    with np.errstate(invalid="ignore"):
        return np.abs(a - b) <= rtol * size + 1e-7 * scale


def row_sum(a):
    """Return the sums along the last axis, (..., 1)."""
    return a.sum(axis=-1, keepdims=True)


def all_same(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and bool(same(a, b).all())
