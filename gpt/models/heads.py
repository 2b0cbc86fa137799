"""What is computed from the residual stream at its end."""
from minigrad import cross_entropy, linear, linear_cross_entropy

SMALL_VOCABULARY = 4096    # whose scores are stored, not made a second time on the way back


def surprise(x, head, targets, n=None):
    """Return the surprise at the next tokens, in nats: the mean, or the sum divided by n.

    Parameters
    ----------
    x : (B, T, C)
    head : (V, C)
    targets : (B, T) int
        One of -100 does not count.
    n : float or () array, optional
        How many targets a whole step has, of which these are a part.
    """
    if len(head) <= SMALL_VOCABULARY:
        return cross_entropy(linear(x, head), targets, n=n)
    return linear_cross_entropy(x, head, targets, n=n)
