"""Keep gradients from growing too large."""
import math

import numpy as np

from minigrad.mode import mode
from minigrad.optim.kernels import squares_fast
from minigrad.tensor import Tensor


def clip_grad_norm(parameters, max_norm: float, norm_type: float = 2.0, eps: float = 0.0):
    r"""Scale all gradients together so that their joint norm is at most `max_norm`.

    .. math:: \|g\|_p = \big(\textstyle\sum |g_i|^p\big)^{1/p}, \quad
              g \leftarrow g \cdot \min(1, \text{max\_norm} / (\|g\|_p + \epsilon))

    Parameters
    ----------
    parameters : iterable of Tensor, or Tensor
        Those without a gradient are skipped.
    max_norm : float
        In units of the loss per unit of parameter; math.inf only measures.
    norm_type : float
        The p of the norm: 2, 1, math.inf for the largest element, or any other above 0.
    eps : float
        torch's is 1e-6, which makes the clipped norm a little less than `max_norm`.

    Returns
    -------
    norm : float
        The joint norm before scaling.

    Raises
    ------
    ValueError
        If a number is negative or not a number, or `norm_type` is not above 0.
    FloatingPointError
        If the norm is not finite; the gradients are left as they were.

    Notes
    -----
    Gradients are scaled in place. The norm is computed in float64.

    References
    ----------
    Pascanu et al. 2013, arXiv:1211.5063, Algorithm 1.

    Examples
    --------
    >>> from minigrad import Tensor
    >>> w = Tensor([0.0, 0.0], requires_grad=True)
    >>> w.grad = np.array([3.0, 4.0]); clip_grad_norm([w], 1.0), w.grad
    (5.0, array([0.6, 0.8]))
    """
    check_limit("max_norm", max_norm)
    check_limit("eps", eps)
    if not norm_type > 0:
        raise ValueError(f"norm_type is {norm_type}: give 2, 1, math.inf or another p above 0")
    gradients = gradients_of(parameters)
    norm = joint_norm(gradients, norm_type)            # in float64
    return clip_to_norm(gradients, norm, max_norm, eps)


def clip_to_norm(gradients, norm, max_norm, eps=0.0):
    """Scale arrays that have a joint norm, perhaps with others elsewhere, as `clip_grad_norm` does.
    """
    if not math.isfinite(norm):
        raise FloatingPointError(f"the norm of the gradients is {norm}: look for the step where "
                                 "the loss stopped being finite, or lower the learning rate")
    if norm + eps > max_norm:
        for g in gradients:
            multiply(g, max_norm / (norm + eps))
    return norm


def clip_grad_value(parameters, max_value: float):
    """Bring every element of the gradients between -max_value and max_value, in place.

    Unlike `clip_grad_norm` this changes the direction.

    Parameters
    ----------
    parameters : iterable of Tensor, or Tensor
        Those without a gradient are skipped.
    max_value : float
        In units of the loss per unit of parameter.

    Raises
    ------
    ValueError
        If `max_value` is negative or not a number.
    """
    check_limit("max_value", max_value)
    for g in gradients_of(parameters):
        np.clip(g, -max_value, max_value, out=g)


def check_limit(name, value):
    """Refuse what no gradient can be held to."""
    if not value >= 0:
        raise ValueError(f"{name} is {value}: give a number that is 0 or more")


def gradients_of(parameters):
    """Return the gradients of those that have one."""
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    return [p.grad for p in parameters if p.grad is not None]


def joint_norm(arrays, p=2.0):
    """Return the norm of all elements of some arrays, in float64.

    Powers that would be too large or too small for float64 are taken of the elements divided by
    the largest.
    """
    if p == 2:
        squares = sum_of_squares(arrays)
        if 1e-250 < squares < math.inf:
            return math.sqrt(squares)
    peaks = [np.abs(x).max() for x in arrays if x.size]
    peak = float(np.max(peaks, initial=0.0))           # nan if one is
    if p == math.inf or peak == 0 or not math.isfinite(peak):
        return peak
    total = sum(powers(x, peak, p) for x in arrays)
    return peak * float(total) ** (1 / p)


def powers(x, peak, p):
    """Return the sum of (|x| / peak)**p, in float64."""
    parts = np.divide(np.abs(x), peak, dtype=np.float64)
    return (parts ** p).sum()


def multiply(x, factor):
    """Multiply in place; in float64, if the dtype of x cannot hold the factor in full."""
    is_held = factor >= np.finfo(x.dtype).tiny
    dtype = x.dtype if is_held else np.float64
    np.multiply(x, factor, out=x, dtype=dtype, casting="same_kind")


def sum_of_squares(arrays):
    """Return the sum of all squared elements of some arrays, in float64."""
    return np.sum(squares(arrays), dtype=np.float64)


def squares(arrays):
    """Return sums of squared elements, of arrays or pieces of them in order, in float64."""
    if mode.level == "fast" and arrays:
        return squares_fast(arrays)
    return [np.square(x, dtype=np.float64).sum() for x in arrays]
