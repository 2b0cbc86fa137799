"""Which values an input may take, and how its memory may lie.

A domain is one or several words: "real" (the default), "positive", "away_from_zero", "spread" (no
two elements close to each other), "moderate" (at most 10 in magnitude), "masked" (some elements
-inf, but no whole row), "mask" (booleans), "index(v)" (integers below the size of axis
v) and "constant" (any of these, but no gradient is expected).
"""
import functools
import re

import numpy as np

STYLES = ("normal", "log_scale", "ties", "near 0.01", "near 0.001", "near 0.0001")
LARGEST, SMALLEST = 100.0, 1e-3                        # of the log-scaled magnitudes
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
    x = spread(rng, shape) if "spread" in found else make_reals(rng, shape, style)
    if "moderate" in found:
        x = 10 * x / max(10.0, np.abs(x).max(initial=0))
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
        exponent = rng.uniform(np.log10(SMALLEST), np.log10(LARGEST), shape)
        return np.where(rng.random(shape) < 0.5, -1, 1) * 10**exponent
    if style.startswith("near"):
        beside = (0.6, 0.99, 1.01, 1.6, 1e-9)[:rng.integers(4, 6)]
        size = float(style.split()[1]) * rng.choice(beside, shape)
        return np.asarray(np.where(rng.random(shape) < 0.5, -1, 1) * size)
    return np.asarray(rng.normal(size=shape))


def spread(rng, shape):
    """Make distinct values: no two closer than a quarter of the typical distance."""
    size = int(np.prod(shape))
    ranks = rng.permutation(size) + rng.uniform(-0.3, 0.3, size)
    return ((ranks - size / 2 + 0.3) * 10**rng.uniform(-0.5, 0.5)).reshape(shape)


def make_indices(rng, shape, n, style="normal"):
    """Make integers below n, of which many are equal in style "ties"."""
    few = min(n, 2) if style == "ties" else n
    return np.asarray(rng.integers(0, max(few, 1), shape))


def holds(x, domain):
    """Say whether a float array lies in a domain (ties and spreads are judged roughly)."""
    found = words(domain)
    finite = x[np.isfinite(x)]
    gaps = np.diff(np.sort(finite))
    return bool((finite.size == x.size or "masked" in found)
                and ("positive" not in found or np.all(x > 0))
                and ("away_from_zero" not in found or np.all(np.abs(x) >= 0.1))
                and ("spread" not in found or np.all(gaps > 0.1))
                and ("moderate" not in found or np.all(np.abs(x) <= 10)))


def enlarge(x, domain):
    """Scale an array up to 10,000, as logits that diverge, where its domain allows it."""
    found = words(domain)
    if x.dtype.kind != "f" or found & {"moderate", "constant"}:
        return x
    return np.asarray(x * (1e4 / max(1.0, np.abs(x[np.isfinite(x)]).max(initial=0))))


def calm(x, domain):
    """Scale an array down to at most 4, so that products of several inputs keep their digits."""
    if not isinstance(x, np.ndarray) or x.dtype.kind != "f" or words(domain) - {"real", "masked"}:
        return x
    return np.asarray(x * min(1.0, 4 / max(1.0, np.abs(x[np.isfinite(x)]).max(initial=0))))


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
        back = (slice(None, None, -1),) * x.ndim
        return np.ascontiguousarray(x[back])[back]
    if layout == "with its last two axes swapped in memory" and x.ndim > 1:
        return np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2)
    if layout == "with zero strides" and x.size:
        first = x[..., :1].copy()
        return np.lib.stride_tricks.as_strided(first, x.shape, (*first.strides[:-1], 0))
    filler = np.nan if x.dtype.kind == "f" else 1      # whoever reads beside the slice shows it
    larger = np.full((*x.shape[:-1], 2 * x.shape[-1] + 1), filler, x.dtype)
    larger[..., 1::2] = x
    return larger[..., 1::2]
