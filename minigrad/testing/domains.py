"""Which values an input may take, and how its memory may lie.

A domain is one or several words: "real" (the default), "positive", "away_from_zero", "spread" (no
two elements close to each other), "moderate" (at most 10 in magnitude), "masked" (some elements
-inf, but no whole row), "mask" (booleans), "index(v)" (integers below the size of axis
v) and "constant" (any of these, but no gradient is expected).
"""
import functools
import re

import numpy as np

from minigrad.testing.arrays import backwards, is_float, largest

STYLES = ("normal", "log_scale", "ties", "near 0.01", "near 0.001", "near 0.0001")
LARGEST, SMALLEST = 100.0, 1e-3                        # of the log-scaled magnitudes
NEAR = (0.6, 0.99, 1.01, 1.6, 1e-9)                    # of the magnitude that others are near
WORDS = {"real", "positive", "away_from_zero", "spread", "moderate", "masked", "mask", "constant"}


# ---- values ----------------------------------------------------------------------------------

@functools.cache
def words(domain):
    """Split a domain into its words and refuse unknown ones."""
    found = frozenset(domain.split())
    unknown = {w for w in found - WORDS if not index_axis(w)}
    if unknown:
        raise ValueError(f"unknown domain {sorted(unknown)[0]!r}: use {', '.join(sorted(WORDS))} "
                         "or index(v)")
    return found


def index_axis(domain):
    """Return v of "index(v)", else None."""
    match = re.search(r"index\((\w+)\)", domain)
    return match and match[1]


def make_values(rng, shape, domain="real", style="normal", below=None):
    """Make an array of a domain.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple
    domain : str
    style : str
        "normal", "log_scale" (magnitudes from 1e-3 to 100), "ties" (small whole numbers) or
        "near 0.01" (on both sides of plus and minus that, and of zero).
    below : int, optional
        For "index(v)": the size of axis v.

    Returns
    -------
    ndarray, float64 or, for masks and indices, bool or int64
    """
    found = words(domain)
    if "mask" in found:
        return np.asarray(rng.random(shape) < 0.5)
    if index_axis(domain):
        return make_indices(rng, shape, below, style)
    x = drawn_apart(rng, shape) if "spread" in found else make_reals(rng, shape, style)
    if "moderate" in found:
        x = 10 * x / max(10.0, largest(x))
    if "positive" in found:
        x = np.maximum(np.abs(x), 0.01)
    if "away_from_zero" in found:
        x = x + np.where(x < 0, -0.1, 0.1)
    if "masked" in found and shape:
        hidden = rng.random(shape) < rng.choice([0.0, 0.5])
        for axis in range(x.ndim):                     # never all of a row, along any axis
            hidden.swapaxes(0, axis)[:1] = False
        x = np.where(hidden, -np.inf, x)
    return np.asarray(x)


def make_reals(rng, shape, style):
    if style == "ties":
        x = rng.integers(-2, 3, shape).astype(float)
        if x.size:
            x.flat[rng.integers(x.size)] = 0.0         # for certain
        return x
    if style == "log_scale":
        low, high = np.log10(SMALLEST), np.log10(LARGEST)
        sizes = 10 ** rng.uniform(low, high, shape)
        return signs(rng, shape) * sizes
    if style.startswith("near"):
        center = float(style.split()[1])
        beside = NEAR[:rng.integers(4, 6)]
        sizes = center * rng.choice(beside, shape)
        return np.asarray(signs(rng, shape) * sizes)
    return np.asarray(rng.normal(size=shape))


def signs(rng, shape):
    return np.where(rng.random(shape) < 0.5, -1, 1)


def drawn_apart(rng, shape):
    """Make distinct values: no two closer than a quarter of the typical distance."""
    size = int(np.prod(shape))
    ranks = rng.permutation(size) + rng.uniform(-0.3, 0.3, size)
    distance = 10 ** rng.uniform(-0.5, 0.5)
    return ((ranks - size / 2 + 0.3) * distance).reshape(shape)


def make_indices(rng, shape, n, style="normal"):
    """Make integers below n, of which many are equal in style "ties"."""
    few = min(n, 2) if style == "ties" else n
    ids = rng.integers(0, max(few, 1), shape)
    return np.asarray(ids)


def holds(x, domain):
    """Say whether a float array lies in a domain (ties and spreads are judged roughly)."""
    found, sizes = words(domain), np.abs(x)
    finite = x[np.isfinite(x)]
    gaps = np.diff(np.sort(finite))
    kept = {                                           # word -> what it asks of each element
        "positive": x > 0,
        "away_from_zero": sizes >= 0.1,
        "spread": gaps > 0.1,
        "moderate": sizes <= 10,
    }
    is_finite = finite.size == x.size or "masked" in found
    return is_finite and all(np.all(kept.get(word, True)) for word in found)


def enlarge(x, domain):
    """Scale an array up to 10,000, as logits that diverge, where its domain allows it."""
    if not is_float(x) or words(domain) & {"moderate", "constant"}:
        return x
    factor = 1e4 / max(1.0, largest(x))
    return np.asarray(x * factor)


def calm(x, domain):
    """Scale an array down to at most 4, so that products of several inputs keep their digits."""
    if not is_float(x) or words(domain) - {"real", "masked"}:
        return x
    factor = min(1.0, 4 / max(1.0, largest(x)))
    return np.asarray(x * factor)


def direction(rng, x, domain):
    """Make a random direction to move x along: relative to x where zero must not be crossed."""
    v = rng.normal(size=x.shape)
    if words(domain) & {"positive", "away_from_zero"}:
        v = v * np.abs(x)
    return np.where(np.isfinite(x), v, 0.0)


# ---- memory ----------------------------------------------------------------------------------

LAYOUTS = ("in Fortran order", "a slice of a larger array", "with negative strides",
           "with its last two axes swapped in memory", "with zero strides")


def lay(x, layout):
    """Return the values of x in another memory layout.

    Zero strides need equal values along an axis: there the first of them stands for all.
    """
    if x.ndim == 0:
        return x
    if layout == "in Fortran order":
        return np.asfortranarray(x)
    if layout == "with negative strides":
        return backwards(np.ascontiguousarray(backwards(x)))
    if layout == "with its last two axes swapped in memory" and x.ndim > 1:
        return np.ascontiguousarray(x.mT).mT
    if layout == "with zero strides" and x.size:
        first = x[..., :1].copy()
        strides = (*first.strides[:-1], 0)
        return np.lib.stride_tricks.as_strided(first, x.shape, strides)
    filler = np.nan if is_float(x) else 1              # whoever reads beside the slice shows it
    *others, n = x.shape
    larger = np.full((*others, 2 * n + 1), filler, x.dtype)
    larger[..., 1::2] = x
    return larger[..., 1::2]
