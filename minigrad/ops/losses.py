"""Losses that are made of other operations, and so need no vjp.

Each takes `reduction`: "mean", "sum", or "none" for one loss per element (torch's words).
"""
import numpy as np

from minigrad.ops.elementwise import where
from minigrad.ops.linear import rows
from minigrad.ops.loss import IGNORE, check_targets, divisor, of_classes
from minigrad.ops.more import abs, clip, softplus, square
from minigrad.ops.reduce import sum
from minigrad.ops.shape import getitem, reshape
from minigrad.tensor import Tensor


def nll_loss(log_p, targets, ignore_index=IGNORE, reduction="mean", weight=None):
    """Return -log_p of the target: what follows log_softmax to make cross_entropy.

    Parameters
    ----------
    log_p : (..., V)
        (torch has the classes in the second axis.)
    targets : (...) int
    ignore_index, reduction, weight
        As in `cross_entropy`.

    Returns
    -------
    loss : () or (...)
    """
    t, valid = check_targets(log_p, targets, ignore_index)
    weight = of_classes(weight, log_p)
    share = np.where(valid, weight[np.where(valid, t, 0)], 0)                 # (N,)
    chosen = getitem(rows(log_p), (np.arange(len(t)), np.where(valid, t, 0)))
    losses = where(valid, -chosen, 0.0) * share
    n = divisor(float(share.sum(dtype=np.float64)), reduction)
    return reshape(losses, shape=log_p.shape[:-1]) if reduction == "none" else sum(losses) / n


def mse_loss(x, target, reduction="mean"):
    """Return (x - target)**2."""
    return of_elements(square(difference(x, target)), reduction)


def l1_loss(x, target, reduction="mean"):
    """Return |x - target|."""
    return of_elements(abs(difference(x, target)), reduction)


def huber_loss(x, target, reduction="mean", delta=1.0):
    """Return d**2 / 2 where |d| = |x - target| is at most delta, else delta (|d| - delta / 2).

    References
    ----------
    Huber 1964, The Annals of Mathematical Statistics 35(1).
    """
    if not delta > 0:
        raise ValueError(f"delta is {delta}: give a number above 0")
    d = difference(x, target)
    held = clip(d, -delta, delta)
    return of_elements(held * (d - 0.5 * held), reduction)


def binary_cross_entropy_with_logits(x, target, reduction="mean", weight=None, pos_weight=None):
    r"""Surprise about yes or no, where the probability of yes is sigmoid(x).

    .. math:: \text{loss} = -t \log \sigma(x) - (1 - t) \log(1 - \sigma(x))
              = (1 - t) \, x + \log(1 + e^{-x})

    Parameters
    ----------
    x : (...)
        Logits: of any size, since sigmoid(x) is never made.
    target : (...), 0 to 1
    weight : array that broadcasts to (...), optional
        What each loss is multiplied with.
    pos_weight : array that broadcasts to (...), optional
        What the surprise about yes is multiplied with.

    Returns
    -------
    loss : () in nats, or (...)
    """
    check_alike(x, target)
    sure = softplus(-x)                                                       # -log sigmoid(x)
    if pos_weight is not None:
        sure = sure * (1 + (in_dtype(pos_weight, x) - 1) * target)
    losses = (1 - target) * x + sure
    if weight is not None:
        losses = losses * in_dtype(weight, x)
    return of_elements(losses, reduction)


def in_dtype(weight, x):
    """Return numbers in the dtype of x; a Tensor as it is."""
    return weight if isinstance(weight, Tensor) else np.asarray(weight, x.dtype)


def difference(x, target):
    check_alike(x, target)
    return x - target


def check_alike(x, target):
    """Refuse shapes that would broadcast: (n,) against (n, 1) gives n**2 differences."""
    if np.shape(x) != np.shape(target):
        raise ValueError(f"the prediction has shape {np.shape(x)}, but the target "
                         f"{np.shape(target)}: reshape one of them")


def of_elements(losses, reduction):
    """Return the mean or the sum of all losses, or the losses."""
    n = divisor(losses.size, reduction)
    return losses if reduction == "none" else sum(losses) / n
