"""Losses: how surprised the model is by what came, in nats."""
import operator

import numpy as np

from minigrad.kernels import jit, vmath
from minigrad.kernels.llvm import at, widest_vectors
from minigrad.kernels.memory import empty, empty_like
from minigrad.kernels.rows import is_float, plain, row_kernel, worth_it
from minigrad.kernels.softmax import softmax_row
from minigrad.mode import mode
from minigrad.ops.elementwise import exp, where
from minigrad.ops.embedding import check_ids
from minigrad.ops.linear import rows
from minigrad.ops.reduce import sum
from minigrad.ops.shape import reshape
from minigrad.ops.softmax import log_softmax
from minigrad.tensor import detach, op

IGNORE = -100      # a target that does not count; the same number as in torch


REDUCTIONS = ("mean", "sum", "none")


def cross_entropy_inputs(draw):
    shape = draw.shape(min_dims=1, max_dims=3, min_side=1)
    V = draw.side(1, 9)
    logits = draw.array((*shape, V))
    options = {"reduction": draw_reduction(draw)}
    if options["reduction"] == "mean" and draw.boolean():
        options["n"] = draw.choice([3, np.array(2.5)])
    if draw.boolean():
        options["label_smoothing"] = draw.choice([0.0, 0.25])
    if draw.boolean():
        options["weight"] = np.arange(1, V + 1) / V
    if draw.boolean():
        targets = draw.array((*shape, V))
    else:
        targets = draw_targets(draw, shape, V)
    return (logits, targets), options

def draw_reduction(draw):
    return draw.choice((*REDUCTIONS, "none"))

def draw_targets(draw, shape, V):
    """Draw targets of which the first counts and others may not."""
    targets = draw.indices(shape, V)
    ignored = draw.array(shape, "mask")
    ignored.flat[:1] = False
    return np.where(ignored, IGNORE, targets)

def shifted_logits(f, logits, targets):
    """The same number added to all logits changes nothing."""
    return f(logits + 1.5, targets), f(logits, targets)

@op(inputs=cross_entropy_inputs, replayed=True, shift=shifted_logits)
def cross_entropy(logits, targets, ignore_index=IGNORE, reduction="mean", label_smoothing=0.0,
                  weight=None, n=None):
    r"""Surprise, -log of the probability given to the target, in the mean over the targets.

    .. math:: \text{loss}_i = - \sum_c q_{ic} \log p_{ic} = \text{logsumexp}(z_i) - z_{i, t_i},
              \quad p = \text{softmax}(z), \quad q_i = \text{one\_hot}(t_i)

    dz = (p - q) g / N, since each row of q sums to 1: probability is moved from where it was to
    the target.

    Parameters
    ----------
    logits : (..., V) float
    targets : (...) int, or (..., V) float
        0 to V - 1, or `ignore_index` for a position that does not count. Floats are q itself: how
        much of each class is wanted, dq = -log(p) g / N.
    ignore_index : int
    reduction : "mean", "sum" or "none"
    label_smoothing : float, 0 to 1
        The share of q that is taken from the targets and given to all classes alike.
    weight : (V,), optional
        What q is multiplied with, for each class; N is then the weight of all integer targets.
    n : float or () array, optional
        What the mean divides the sum by instead of N: how many targets a whole step has, of which
        these are a part. The losses and gradients of all parts then add up to those of the whole.

    Returns
    -------
    loss : () in nats per target, or (...); the mean is nan if no target counts, as in torch.

    Notes
    -----
    The kernel knows `ignore_index` and `reduction`; with other options the reference runs.

    References
    ----------
    Szegedy et al. 2016, arXiv:1512.00567, section 7, for the smoothing.
    """
    q, counts, N = wanted(targets, logits, ignore_index, label_smoothing, weight)
    log_p, _ = log_softmax.forward(rows(logits))          # (N, V)
    losses = -(q * possible(log_p, q)).sum(axis=-1)
    n = divisor(N, reduction, n)
    share = share_of(targets, label_smoothing, weight, logits.shape)
    loss = reduced(losses, n, reduction, logits.shape[:-1])
    return loss, (log_p, q, counts, n, share, logits.shape)

@cross_entropy.vjp
def cross_entropy_vjp(g, log_p, q, counts, n, share, shape):
    g = np.reshape(g, (-1, 1)) / np.float64(n)            # (N, 1) or (1, 1)
    g = g.astype(log_p.dtype)
    total = q.sum(axis=-1, keepdims=True)
    surplus = np.exp(log_p) * total - q
    dz = np.where(counts, g, 0) * surplus
    if share is None:                                     # whole numbers
        return dz.reshape(shape), None
    slope = share * possible(log_p, q)
    dq = -g * slope.astype(log_p.dtype)
    return dz.reshape(shape), dq.reshape(shape)

@cross_entropy.parts
def cross_entropy_parts(logits, targets, ignore_index=IGNORE, reduction="mean",
                        label_smoothing=0.0, weight=None, n=None):
    q, counts, N = wanted(targets, logits, ignore_index, label_smoothing, weight)
    log_p = log_softmax(rows(logits))                     # (N, V)
    surprise = where(impossible(log_p, q), 0.0, log_p) * q
    counted = where(counts, surprise, 0.0)
    losses = -sum(counted, axis=-1)                       # (N,)
    n = divisor(N, reduction, n)
    if reduction == "none":
        return reshape(losses, shape=logits.shape[:-1])
    return sum(losses) / n


def wanted(targets, logits, ignore_index, label_smoothing, weight):
    """Return how much of each class is wanted, (N, V), which rows count, (N, 1), and how many."""
    z, V = rows(detach(logits)), logits.shape[-1]
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing is {label_smoothing}: give a share from 0 to 1")
    weight = of_classes(weight, z)
    if is_probabilities(targets, logits.shape):
        if isinstance(targets, list):
            targets = np.asarray(targets, z.dtype)
        q = (1 - label_smoothing) * rows(targets) + label_smoothing / V
        counts = np.ones((len(z), 1), bool)
        return q * weight, counts, len(z)
    t, valid = check_targets(logits, targets, ignore_index)
    to_all = label_smoothing / max(1, V)
    q = np.full(z.shape, to_all, z.dtype)
    places = np.flatnonzero(valid), t[valid]
    q[places] += 1 - label_smoothing
    counts = valid[:, None]                               # (N, 1)
    q *= weight * counts
    n_counted = weight[t[valid]].sum(dtype=np.float64)
    return q, counts, float(n_counted)

def impossible(log_p, q):
    """Where 0 times -inf (or nan, of a row that does not count) is to be 0."""
    return (detach(q) == 0) & ~np.isfinite(detach(log_p))

def possible(log_p, q):
    return np.where(impossible(log_p, q), 0, log_p)

def is_probabilities(targets, shape):
    targets = np.asarray(detach(targets))
    return targets.shape == shape and targets.dtype.kind in "fc"

def share_of(targets, label_smoothing, weight, shape):
    """Return what a target's own gradient is multiplied with; None for whole numbers."""
    if not is_probabilities(targets, shape):
        return None
    return (1 - label_smoothing) * (1 if weight is None else detach(weight))

def of_classes(weight, z):
    """Return a weight for each class, (V,), 1 unless given."""
    if weight is None:
        return np.ones(z.shape[-1], z.dtype)
    if np.shape(weight) != z.shape[-1:]:
        raise ValueError(f"weight has shape {np.shape(weight)}, but there are {z.shape[-1]} "
                         "classes: give one number for each")
    return np.asarray(detach(weight), z.dtype)

def divisor(n_counted, reduction, n=None):
    """Return what the sum of the losses is divided by: `n`, or the number that count."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction is {reduction!r}: give one of {', '.join(REDUCTIONS)}")
    if n is None:
        return (n_counted or np.nan) if reduction == "mean" else 1
    if reduction != "mean":
        raise ValueError(f"n is {n}, but reduction is {reduction!r}: only a mean is divided")
    if not n > 0:
        raise ValueError(f"n is {n}, but must be above 0: how many targets a step has")
    return float(n)

def reduced(losses, n, reduction, shape):
    """Return the losses (N,) as `shape`, or their sum over n, (), summed in float32 at least."""
    if reduction == "none":
        return losses.reshape(shape)
    dtype = np.result_type(losses.dtype, np.float32)
    total = losses.sum(dtype=dtype)
    return (total / n).astype(losses.dtype)

def check_targets(logits, targets, ignore_index):
    """Return the targets as (N,), and which of them count."""
    targets = np.asarray(detach(targets))
    if targets.shape != logits.shape[:-1]:
        raise ValueError(f"logits have shape {logits.shape}, so targets must have shape "
                         f"{logits.shape[:-1]}, or be floats of shape {logits.shape}, but they are "
                         f"{targets.dtype} of shape {targets.shape}")
    t = targets.reshape(-1)
    valid = t != operator.index(ignore_index)
    check_ids(t[valid], logits.shape[-1], "targets")
    return t, valid


def from_itself(f, log_p, log_q):
    """Nothing is lost by the right code."""
    lost = f(log_p, log_p)
    return lost, 0 * lost

@op("(n),(n)->()", log_p="moderate", itself=from_itself)
def kl_divergence(log_p, log_q):
    """Sum of p (log p - log q) over the last axis: the nats lost by coding p as if it were q.

    Parameters
    ----------
    log_p, log_q : (..., n)
        Log-probabilities, as from `log_softmax` (torch's kl_div takes q first).

    Returns
    -------
    (...) in nats
    """
    lost = np.exp(log_p) * (log_p - log_q)                # (..., n)
    return lost.sum(axis=-1), (log_p, log_q)

@kl_divergence.vjp
def kl_divergence_vjp(g, log_p, log_q):
    g_p = g[..., None] * exp(log_p)
    return g_p * (log_p - log_q + 1), -g_p

@kl_divergence.parts
def kl_divergence_parts(log_p, log_q):
    return sum(exp(log_p) * (log_p - log_q), axis=-1)


# ---- fast path -------------------------------------------------------------------------------

# One pass over each row, while it is in cache: where a gradient may be asked for, dz is made along
# with the loss and is all that is saved.

def are_plain(logits, targets, ignore_index=IGNORE, reduction="mean", label_smoothing=0.0,
              weight=None, n=None):
    return not label_smoothing and weight is None and suits(logits, targets, logits.size)

@cross_entropy.fast(when=are_plain)
def cross_entropy_fast(logits, targets, ignore_index=IGNORE, reduction="mean", label_smoothing=0.0,
                       weight=None, n=None):
    z = rows(plain(logits))                               # (N, V)
    t, share = counted(z, targets, ignore_index, reduction, n, z.shape[1])
    dz = empty_like(logits) if mode.recording else nothing(z)
    losses = empty(t.shape, z.dtype)
    cross_entropy_kernel(len(t), z, t, ignore_index, share, losses, rows(dz))
    return loss_of(losses, reduction, targets.shape), (dz,)

@cross_entropy.fast_vjp
def cross_entropy_fast_vjp(g, dz):
    if g.ndim == 0 and g == 1:                                # the loss is where backward begins
        return dz, None
    scaled = empty_like(dz)
    jit.run(np.multiply, dz, g[..., None], scaled)
    return scaled, None


def suits(x, targets, work):
    """Whether to run the kernels."""
    if not type(x) is type(targets) is np.ndarray:
        return False
    if not (is_float(x.dtype) and worth_it(work)):
        return False
    if targets.shape != x.shape[:-1] or not targets.size:
        return False
    whole = targets.dtype.kind in "iu"
    return whole and np.can_cast(targets.dtype, np.int64)

def counted(x, targets, ignore_index, reduction, n, n_classes):
    """Return the targets as (N,) int64, and the share (1,) in the loss of each that counts."""
    t = targets.astype(np.int64, copy=False)
    t = plain(t).reshape(-1)
    share = np.empty(1, x.dtype)
    operator.index(ignore_index)
    jit.run(count_targets, t, ignore_index, n_classes, reduction, n, share)
    return t, share

def count_targets(t, ignore_index, n_classes, reduction, n, out):
    """Look whether each target is in range or ignored; write 1 / (how many count) or 1."""
    N = t.size
    largest = t.view(np.uint64).max()                     # unsigned, what is below 0 is large, too
    if largest >= n_classes or 0 <= ignore_index < n_classes:
        wanted = t[t != ignore_index]
        check_ids(wanted, n_classes, "targets")
        N = len(wanted)
    out[0] = 1 / divisor(N, reduction, n)

def nothing(x):
    """Return the empty matrix, where no gradient is to be written."""
    return np.empty((0, 0), x.dtype)

def loss_of(losses, reduction, shape):
    """Return the losses as `shape`, or their sum, ()."""
    if reduction == "none":
        return losses.reshape(shape)
    loss = np.empty((), losses.dtype)
    jit.run(np.add.reduce, losses, None, None, loss)
    return loss

@row_kernel
def cross_entropy_kernel(start, stop, z, t, ignored, scale, losses, dz):
    """Write the loss of each row and, unless dz is empty, its gradient, both times `scale`."""
    widest_vectors()
    zero = z.dtype.type(0)
    for i in range(start, stop):
        counts = t[i] != ignored
        score = z[i, t[i] if counts else 0]               # before dz, which may be z, is written
        if dz.shape[0]:
            share = scale[0] if counts else zero
            source, target = at(z[i], 0), at(dz[i], 0)
            m, total = softmax_row(source, target, z.shape[1], share)
            if counts:
                dz[i, t[i]] -= scale[0]
        else:
            m, total = vmath.peak_of(z[i]), zero
            for j in range(z.shape[1]):
                total += vmath.exp(z[i, j] - m)
        loss = m + vmath.log(total) - score if counts else zero
        losses[i] = scale[0] * loss
