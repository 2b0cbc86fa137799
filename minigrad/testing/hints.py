"""What the pattern of a wrong gradient says about the mistake, the surest first.

A hint is a function from Evidence to a sentence, to nothing, or to NO_SAY.
"""
import numpy as np

from minigrad.testing.arrays import each, is_array
from minigrad.testing.evidence import all_same, row_sum, same

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
    n, m = e.dx.shape[-2:] if e.dx.ndim > 1 else (0, 0)
    if n == m > 1 and all_same(e.dx.mT, e.slopes):
        return "it is the transpose of the slopes: a transposition is missing or too much"


def has_other_ratio(e):
    sizes = np.abs(e.slopes)
    used = sizes > 1e-4 * sizes.max()
    if not used.any() or has_other_sign(e):
        return None
    ratios = e.dx[used] / e.slopes[used]
    r = float(ratios[0])
    is_scaled = all_same(e.dx, r * e.slopes)
    if r == 0 or same(r, 1) or not is_scaled:
        return None
    return (f"the ratio of yours to the slope is constant, {r:.6g}: a scale is missing or too much"
            + named(e, r))


def one_ratio(texts):
    """Return what all texts about a ratio say: the same number, or the size of an axis."""
    of_axes = all("size of an axis" in text for text in texts)
    if of_axes or len({*texts}) == 1:
        return texts[0]
    numbers = {text.split(" (")[0] for text in texts}
    return numbers.pop() if len(numbers) == 1 else None


def named(e, r):
    """Name a ratio after a size or a constant that equals it."""
    arrays = filter(is_array, (*e.point.arrays, *e.point.outputs))
    sizes = {n for x in arrays for n in (*x.shape, x.size)}
    for n in sorted(sizes - {0, 1}):
        if same(r, n):
            return f" ({n} is the size of an axis: a sum where a mean was meant?)"
        if same(r, 1 / n):
            return f" (1/{n}, the size of an axis: a mean where a sum was meant?)"
    return ""


def ignores_g(e):
    """Try another g: nothing changes."""
    ones = each(np.ones_like, e.point.g)
    is_other = any(not same(part, 1).all() for part in filter(is_array, e.point.g))
    if is_other and e.dx.any() and all_same(e.dx, e.pull(ones)):
        return ("the result does not depend on g: multiply by the gradient that arrives (a loss "
                "like out.sum() hides this, because its g is all ones)")


def forgets_repeats(e):
    rows = indices(e.wrong, 0) if e.dx.ndim else set()
    for ids in e.point.arrays if rows else ():
        if not is_array(ids) or ids.dtype.kind not in "iu":
            continue
        values, counts = np.unique(ids, return_counts=True)
        repeated = set(values[counts > 1].tolist())
        if rows <= repeated:
            return ("only rows whose id occurs more than once are wrong: add up their gradients "
                    "(np.add.at, not dx[ids] = g)")


def indices(mask, axis):
    """Return the indices along an axis of all elements that are True."""
    return set(np.nonzero(mask)[axis].tolist())


def ends_early(e):
    n = e.dx.shape[-1] if e.dx.ndim else 0
    if n <= max(VECTORS[2:]):
        return NO_SAY
    if width := width_of_tail(indices(e.wrong, -1), n):
        return (f"only the last {n % width} of {n} elements are wrong, from {n - n % width} "
                f"on: the tail of a loop in steps of {width}")
    if width := width_of_tail(indices(e.wrong.ravel(), 0), e.dx.size):
        return (f"only the last {e.dx.size % width} elements are wrong: the tail of a loop in "
                f"steps of {width}")


def width_of_tail(places, n):
    """Return the width of the steps that n elements were taken in, if places are what is left."""
    start = min(places, default=0)
    fitting = [width for width in VECTORS if width < n and n - n % width == start]
    return fitting[0] if fitting else None


def is_clipped(e):
    wrong, limit = e.wrong, np.abs(e.dx).max()
    is_held = same(np.abs(e.dx), limit) & (np.abs(e.slopes) > limit)
    is_round = same(limit, round(limit, 3))
    if wrong.any() and is_held[wrong].all() and is_round:
        return f"what is wrong is exactly {limit:.4g} in magnitude: a clip was left in"


def has_float32_digits(e):
    size = np.abs(e.slopes).max()
    error = np.abs(e.dx - e.slopes)
    if size and (error <= 1e-5 * size).all():
        return "it agrees to about 7 digits: something on the way is float32"


def misses_row_term(e):
    """Look at the error along the last axis: constant, or a multiple of something known."""
    if e.dx.ndim == 0 or e.dx.shape[-1] < 2:
        return None
    error = e.dx - e.slopes
    balanced = same_sum(e.slopes) and not same_sum(e.dx)
    tail = (" (the slopes of a row sum to zero, yours do not)" if balanced else "")
    along = np.broadcast_to(error[..., :1], error.shape)
    if all_same(error, along):
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
    """Say whether every row sums to zero, up to rounding."""
    sizes = row_sum(np.abs(a))
    return bool((np.abs(row_sum(a)) <= 1e-6 * sizes + 1e-12).all())


def known_factors(e):
    x, y = e.x, e.point.outputs[0]
    yield "the output y", y
    yield "the input x", x
    yield "x - mean(x)", x - x.mean(axis=-1, keepdims=True)
    if e.g is not None:
        yield "g", e.g
        yield "g * y", e.g * y


def is_row_multiple(error, known):
    """Say whether error[row] = c(row) known[row], for rows of at least 2 elements."""
    squares = row_sum(known * known)
    c = row_sum(error * known) / np.maximum(squares, 1e-300)
    rest = np.abs(error - c * known)
    return bool((rest <= 1e-5 * np.abs(error).max()).all())


def misses_copies(e):
    """Compare with the shape of the output: a broadcast input must sum over its copies."""
    x, y = e.x, e.point.outputs[0]
    ratio = e.dx.sum() / e.slopes.sum()
    is_clear = x.size == 1 or x.ndim < y.ndim or not np.isfinite(ratio)
    if x.size < y.size and is_clear:
        return ("the input is smaller than the output, so it was used several times: its "
                "gradient is the sum over all uses, not one of them and not their mean")


def is_misplaced(e):
    yours = np.sort(e.dx, axis=None)
    slopes = np.sort(e.slopes, axis=None)
    if yours.size > 1 and all_same(yours, slopes):
        return "the values are right but in other places: an order, axis or reshape is mixed up"


def of_others(e):
    """Yield (j, gradient) for the other inputs that have one."""
    for j, dx in enumerate(e.point.grads):
        if dx is not None and e.point.arrays[j] is not e.x:
            yield j, dx


def is_another_input(e):
    for j, other in of_others(e):
        if all_same(other, e.slopes):
            return f"the slopes are what you return for input {j}: two gradients are exchanged"


def repeats_another(e):
    for j, other in of_others(e):
        if e.dx.any() and all_same(other, e.dx):
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
    size = max(np.abs(e.slopes).max(), 1e-300)
    ratio = np.abs(e.dx - e.slopes).max() / size
    return (f"no known pattern; the largest error is {ratio:.2g} of the largest slope, in "
            f"{int(e.wrong.sum())} of {e.dx.size} elements: check each term of the formula, or "
            "compute it with the parts of the operation")


HINTS = (says_nan, says_zero, ignores_g, has_other_sign, is_transposed, is_another_input,
         repeats_another, forgets_repeats, ends_early, has_float32_digits, has_other_ratio,
         is_clipped, misses_row_term, lacks_some, is_misplaced, misses_copies)
