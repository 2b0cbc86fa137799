"""What the pattern of a wrong gradient says about the mistake, the surest first.

A hint is a function from Evidence to a sentence, to nothing, or to NO_SAY.
"""
import numpy as np

from minigrad.testing.evidence import all_same, same

NO_SAY = "too small a case to tell"
VECTORS = (32, 16, 8, 4)                               # widths of unrolled or vectorised loops


def says_nan(e):
    bad = ~np.isfinite(e.dx)
    return bad.any() and f"{bad.sum()} of {bad.size} elements are nan or inf"


def says_zero(e):
    if not e.dx.any():
        return "all zeros: this gradient is never computed, or written to another array"


def has_other_sign(e):
    if all_same(-e.dx, e.slopes):
        return "the sign is wrong everywhere: it is minus the slope"


def is_transposed(e):
    if e.dx.ndim > 1 and e.dx.shape[-1] == e.dx.shape[-2] > 1:
        if all_same(e.dx.swapaxes(-1, -2), e.slopes):
            return "it is the transpose of the slopes: a transposition is missing or too much"


def has_other_ratio(e):
    used = np.abs(e.slopes) > 1e-4 * np.abs(e.slopes).max()
    if not used.any() or has_other_sign(e):
        return None
    r = float(e.dx[used][0] / e.slopes[used][0])
    if r == 0 or same(r, 1) or not all_same(e.dx, r * e.slopes):
        return None
    return (f"the ratio of yours to the slope is constant, {r:.6g}: a scale is missing or too much"
            + named(e, r))


def one_ratio(texts):
    """Return what all texts about a ratio say: the same number, or the size of an axis."""
    if len({*texts}) == 1 or all("size of an axis" in text for text in texts):
        return texts[0]
    numbers = {text.split(" (")[0] for text in texts}
    return numbers.pop() if len(numbers) == 1 else None


def named(e, r):
    """Name a ratio after a size or a constant that equals it."""
    sizes = {n for x in (*e.point.arrays, *e.point.outputs) if isinstance(x, np.ndarray)
             for n in (*x.shape, x.size) if n > 1}
    for n in sorted(sizes):
        if same(r, n):
            return f" ({n} is the size of an axis: a sum where a mean was meant?)"
        if same(r, 1 / n):
            return f" (1/{n}, the size of an axis: a mean where a sum was meant?)"
    return ""


def ignores_g(e):
    """Try another g: nothing changes."""
    ones = tuple(None if g is None else np.ones_like(g) for g in e.point.g)
    if e.dx.any() and all_same(e.dx, e.point.passed.pull(ones)[e.i]) and not all(
            np.all(same(g, 1)) for g in e.point.g if g is not None):
        return ("the result does not depend on g: multiply by the gradient that arrives (a loss "
                "like out.sum() hides this, because its g is all ones)")


def forgets_repeats(e):
    for ids in e.point.arrays:
        if not (isinstance(ids, np.ndarray) and ids.dtype.kind in "iu") or e.dx.ndim < 1:
            continue
        values, counts = np.unique(ids, return_counts=True)
        repeated = set(values[counts > 1].tolist())
        rows = {int(at[0]) for at in np.argwhere(e.wrong)}
        if rows and rows <= repeated:
            return ("only rows whose id occurs more than once are wrong: add up their gradients "
                    "(np.add.at, not dx[ids] = g)")


def ends_early(e):
    n = e.dx.shape[-1] if e.dx.ndim else 0
    if n <= max(VECTORS[2:]):
        return NO_SAY
    columns = {int(at[-1]) for at in np.argwhere(e.wrong)} if n else set()
    for width in VECTORS:
        tail = set(range(n - n % width, n))
        if n > width and columns and columns <= tail and min(columns) == min(tail):
            return (f"only the last {n % width} of {n} elements are wrong, from {n - n % width} "
                    f"on: the tail of a loop in steps of {width}")
    flat = {int(np.ravel_multi_index(tuple(at), e.dx.shape)) for at in np.argwhere(e.wrong)}
    for width in VECTORS:
        tail = set(range(e.dx.size - e.dx.size % width, e.dx.size))
        if e.dx.size > width and flat and flat <= tail and min(flat) == min(tail):
            return f"only the last {e.dx.size % width} elements are wrong: the tail of a loop in " \
                   f"steps of {width}"


def is_clipped(e):
    limit = np.abs(e.dx).max()
    at_limit = same(np.abs(e.dx), limit) & e.wrong
    if e.wrong.any() and np.array_equal(at_limit, e.wrong) and np.all(
            np.abs(e.slopes[e.wrong]) > limit) and same(limit, round(limit, 3)):
        return f"what is wrong is exactly {limit:.4g} in magnitude: a clip was left in"


def has_float32_digits(e):
    size = np.abs(e.slopes).max()
    if size and np.all(np.abs(e.dx - e.slopes) <= 1e-5 * size):
        return "it agrees to about 7 digits: something on the way is float32"


def misses_row_term(e):
    """Look at the error along the last axis: constant, or a multiple of something known."""
    if e.dx.ndim == 0 or e.dx.shape[-1] < 2:
        return None
    error = e.dx - e.slopes
    balanced = same_sum(e.slopes) and not same_sum(e.dx)
    tail = (" (the slopes of a row sum to zero, yours do not)" if balanced else "")
    if all_same(error, np.broadcast_to(error[..., :1], error.shape)):
        return ("the error is the same for all elements of a row: a term such as a mean or a sum "
                "over the row is forgotten or has the wrong size" + tail)
    for name, known in known_factors(e):
        if known.shape == error.shape and is_row_multiple(error, known):
            return (f"the error is, row by row, a multiple of {name}: a term such as {name} * "
                    f"sum(...) over the row is forgotten or has the wrong size" + tail)
    if balanced:
        return ("the slopes of a row sum to zero, yours do not: a term that takes out what moves "
                "the whole row is forgotten")


def same_sum(a):
    return bool(np.all(np.abs(a.sum(axis=-1)) <= 1e-6 * np.abs(a).sum(axis=-1) + 1e-12))


def known_factors(e):
    centered = e.x - e.x.mean(axis=-1, keepdims=True)
    yield "the output y", e.point.outputs[0]
    yield "the input x", e.x
    yield "x - mean(x)", centered
    if e.g is not None:
        yield "g", e.g
        yield "g * y", e.g * e.point.outputs[0]


def is_row_multiple(error, known):
    """Say whether error[row] = c(row) known[row], for rows of at least 2 elements."""
    sizes = np.maximum((known * known).sum(axis=-1, keepdims=True), 1e-300)
    c = (error * known).sum(axis=-1, keepdims=True) / sizes
    return bool(np.all(np.abs(error - c * known) <= 1e-5 * np.abs(error).max()))


def misses_copies(e):
    """Compare with the shape of the output: a broadcast input must sum over its copies."""
    y = e.point.outputs[0]
    if e.x.size < y.size and y.ndim and (e.x.ndim < y.ndim or e.x.shape != y.shape):
        ratio = e.dx.sum() / e.slopes.sum() if e.slopes.sum() else np.nan
        if e.x.size == 1 or not np.isfinite(ratio) or e.x.ndim < y.ndim:
            return ("the input is smaller than the output, so it was used several times: its "
                    "gradient is the sum over all uses, not one of them and not their mean")


def is_misplaced(e):
    if e.dx.size > 1 and all_same(np.sort(e.dx, axis=None), np.sort(e.slopes, axis=None)):
        return "the values are right but in other places: an order, axis or reshape is mixed up"


def is_another_input(e):
    for j, other in enumerate(e.point.grads):
        if other is not None and other is not e.dx and e.point.arrays[j] is not e.x and all_same(
                np.asarray(other), e.slopes):
            return f"the slopes are what you return for input {j}: two gradients are exchanged"


def repeats_another(e):
    for j, other in enumerate(e.point.grads):
        if other is not None and e.point.arrays[j] is not e.x and e.dx.any() and all_same(
                np.asarray(other), e.dx):
            return f"it equals what you return for input {j}: one of the two is the other's"


def lacks_some(e):
    zeros = same(e.dx, 0) & e.wrong
    if zeros.any() and np.array_equal(zeros, e.wrong):
        return "what is wrong is zero in yours: those elements were skipped, masked or overwritten"
    extra = same(e.slopes, 0) & e.wrong
    if extra.any() and np.array_equal(extra, e.wrong):
        return ("where it is wrong the input has no influence: something masked or unused leaks "
                "into the gradient")


def differs_by_term(e):
    ratio = np.abs(e.dx - e.slopes).max() / max(np.abs(e.slopes).max(), 1e-300)
    return (f"no known pattern; the largest error is {ratio:.2g} of the largest slope, in "
            f"{int(e.wrong.sum())} of {e.dx.size} elements: check each term of the formula, or "
            "compute it with the parts of the operation")


HINTS = (says_nan, says_zero, ignores_g, has_other_sign, is_transposed, is_another_input,
         repeats_another, forgets_repeats, ends_early, has_float32_digits, has_other_ratio,
         is_clipped, misses_row_term, lacks_some, is_misplaced, misses_copies)
