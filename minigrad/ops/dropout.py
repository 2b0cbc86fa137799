"""Dropout."""
import numpy as np


def dropout(x, rate, rng=None):
    """Set each element to zero with probability `rate` and scale up the rest.

    Parameters
    ----------
    x : (...)
    rate : float, 0 to below 1
        Taken as the nearest multiple of 1/65536: two random bytes decide on an element.
    rng : numpy.random.Generator, optional
        Without one nothing is dropped: that is how evaluation differs from training.

    Returns
    -------
    (...)

    Raises
    ------
    ValueError
        If `rate` is outside [0, 1).

    References
    ----------
    Srivastava et al. 2014, Journal of Machine Learning Research 15.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"the dropout rate is {rate}, but it must be at least 0 and below 1")
    if rng is None or rate == 0:
        return x
    dropped = min(round(rate * 65536), 65535)
    kept = rng.integers(0, 65536, x.shape, np.uint16) >= dropped
    return x * np.multiply(kept, 65536 / (65536 - dropped), dtype=x.dtype)
