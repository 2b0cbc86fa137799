"""Softmax and its logarithm."""
import numpy as np

from minigrad.ops.elementwise import exp
from minigrad.ops.reduce import logsumexp, sum
from minigrad.tensor import detach, op


@op("(n)->(n)")
def softmax(x, axis=-1):
    """Turn logits into probabilities along an axis.

    y_i = exp(x_i) / sum_j exp(x_j), and the vector-Jacobian product is dx = y (g - <g, y>):
    the mean of g under y is taken away, because adding a constant to every logit changes nothing.

    Parameters
    ----------
    x : (..., n) float
        Logits. A row may contain -inf (a masked position), but not only -inf: that gives nan.

    Returns
    -------
    y : (..., n), each row non-negative and summing to 1.
    """
    e = np.exp(x - x.max(axis=axis, keepdims=True, initial=-np.inf))    # the shift avoids overflow
    y = e / e.sum(axis=axis, keepdims=True)
    return y, (y, axis)

@softmax.vjp
def softmax_vjp(g, y, axis):
    return y * (g - (g * y).sum(axis=axis, keepdims=True)),

@softmax.parts
def softmax_parts(x, axis=-1):
    e = exp(x - detach(x).max(axis=axis, keepdims=True, initial=-np.inf))
    return e / sum(e, axis=axis, keepdims=True)


@op("(n)->(n)")
def log_softmax(x, axis=-1):
    """Logarithm of softmax, y = x - logsumexp(x), without the loss of digits of log(softmax(x)).

    dx = g - softmax(x) sum(g): x_i moves y_i one for one, and all y through the sum.

    Parameters
    ----------
    x : (..., n) float
        Logits; -inf (masked) gives -inf.

    Returns
    -------
    y : (..., n), log-probabilities in nats.
    """
    shifted = x - x.max(axis=axis, keepdims=True, initial=-np.inf)
    y = shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))
    return y, (y, axis)

@log_softmax.vjp
def log_softmax_vjp(g, y, axis):
    return g - exp(y) * g.sum(axis=axis, keepdims=True),

@log_softmax.parts
def log_softmax_parts(x, axis=-1):
    return x - logsumexp(x, axis=axis, keepdims=True)
