"""A gradient beside the slopes, element by element: what the hints look at."""
from typing import NamedTuple

import numpy as np

from minigrad.testing import domains
from minigrad.testing.points import slope_along


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


def elementwise_slopes(point, i):
    """Measure the slope along each element of input i."""
    slopes = np.zeros(point.arrays[i].shape)
    for at in np.ndindex(slopes.shape):
        v = np.zeros(slopes.shape)
        v[at] = np.isfinite(point.arrays[i][at])
        if "positive" in domains.words(point.subject.domain_of(i)):
            v[at] *= abs(point.arrays[i][at])
        size = max(v[at], 1e-300)
        slopes[at] = slope_along(point, {i: v}, 0.0).value / size
    return slopes


def same(a, b, rtol=1e-5):
    size = np.maximum(np.abs(a), np.abs(b))
    with np.errstate(invalid="ignore"):
        return np.abs(a - b) <= rtol * size + 1e-7 * np.max(np.abs(b), initial=1e-3)


def all_same(a, b):
    return np.shape(a) == np.shape(b) and bool(np.all(same(np.asarray(a), np.asarray(b))))
