"""Make the values of a counterexample rounder."""
import numpy as np

from minigrad.testing import domains
from minigrad.testing.arrays import is_float, replaced


def simplify(broken, fails, domain_of, most=200):
    """Replace the values of a failing case by rounder ones for as long as it fails.

    Parameters
    ----------
    broken : Broken
    fails : callable
        From a Case to Broken, whose case is the one to show, or None.
    domain_of : callable
        From the index of an input to its domain.
    most : int
        How many tries.

    Returns
    -------
    Broken
    """
    tries = 0
    for where in ("arrays", "g", "other_g"):
        for i, x in enumerate(getattr(broken.case, where) or ()):
            if not is_float(x):
                continue
            domain = domain_of(i) if where == "arrays" else "real"
            for candidate in rounder(x):
                now = getattr(broken.case, where)
                simpler = np.asarray(candidate(now[i]))
                tries += 1
                if tries > most:
                    return broken
                if np.array_equal(simpler, now[i]) or not domains.holds(simpler, domain):
                    continue
                case = broken.case._replace(**{where: replaced(now, i, simpler)})
                broken = fails(case) or broken
    return broken


def rounder(x):
    """Yield functions that make an array simpler: first all of it, then element by element."""
    for digits in (0, 1, 2):
        yield lambda x, digits=digits: np.round(x, digits) + 0.0       # no -0
    for at in list(np.ndindex(x.shape))[:30]:
        for value in (0.0, 1.0):
            yield lambda x, at=at, value=value: put(x, at, value)


def put(x, at, value):
    x = x.copy()
    x[at] = value
    return x
