"""Losses: how surprised the model is by what came, in nats."""
import operator

import numpy as np

from minigrad.kernels import gemm, jit, vmath
from minigrad.kernels.llvm import at
from minigrad.kernels.memory import empty, empty_like
from minigrad.kernels.rows import is_float, plain, row_kernel, widest_vectors, worth_it
from minigrad.kernels.softmax import softmax_row as weigh_row
from minigrad.mode import mode
from minigrad.ops.elementwise import exp, where
from minigrad.ops.embedding import check_ids, kept
from minigrad.ops.linear import linear, rows
from minigrad.ops.reduce import sum
from minigrad.ops.shape import reshape
from minigrad.ops.softmax import log_softmax
from minigrad.tensor import detach, op

IGNORE = -100      # a target that does not count; the same number as in torch


REDUCTIONS = ("mean", "sum", "none")


def cross_entropy_inputs(draw):
    shape = draw.shape(min_dims=1, max_dims=3, min_side=1)
    V = draw.side(1, 9)
    logits, options = draw.array((*shape, V)), {"reduction": draw.choice(REDUCTIONS + ("none",))}
    if draw.boolean():
        options["label_smoothing"] = draw.choice([0.0, 0.25])
        options["weight"] = np.arange(1, V + 1) / V if draw.boolean() else None
    targets = draw.array((*shape, V)) if draw.boolean() else draw_targets(draw, shape, V)
    return (logits, targets), options

def draw_targets(draw, shape, V):
    """Draw targets of which the first counts and others may not."""
    targets = draw.indices(shape, V)
    ignored = draw.array(shape, "mask")
    ignored.flat[:1] = False
    return np.where(ignored, IGNORE, targets)

@op(inputs=cross_entropy_inputs, shift=lambda f, z, t: (f(z + 1.5, t), f(z, t)))
def cross_entropy(logits, targets, ignore_index=IGNORE, reduction="mean", label_smoothing=0.0,
                  weight=None):
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
    q, counts, n = wanted(targets, logits, ignore_index, label_smoothing, weight)
    log_p = log_softmax.forward(rows(logits))[0]                               # (N, V)
    losses = -(q * np.where(impossible(log_p, q), 0, log_p)).sum(axis=-1)
    n, share = divisor(n, reduction), share_of(targets, label_smoothing, weight, logits.shape)
    saved = log_p, q, counts, n, share, logits.shape
    return reduced(losses, n, reduction, logits.shape[:-1]), saved

@cross_entropy.vjp
def cross_entropy_vjp(g, log_p, q, counts, n, share, shape):
    g = (np.reshape(g, (-1, 1)) / np.float64(n)).astype(log_p.dtype)           # (N, 1) or (1, 1)
    dz = np.where(counts, g, 0) * (np.exp(log_p) * q.sum(axis=-1, keepdims=True) - q)
    if share is None:                                                          # whole numbers
        return dz.reshape(shape), None
    dq = -g * (share * np.where(impossible(log_p, q), 0, log_p)).astype(log_p.dtype)
    return dz.reshape(shape), dq.reshape(shape)

@cross_entropy.parts
def cross_entropy_parts(logits, targets, ignore_index=IGNORE, reduction="mean",
                        label_smoothing=0.0, weight=None):
    q, counts, n = wanted(targets, logits, ignore_index, label_smoothing, weight)
    log_p = log_softmax(rows(logits))                                          # (N, V)
    surprise = where(impossible(log_p, q), 0.0, log_p) * q
    losses = -sum(where(counts, surprise, 0.0), axis=-1)                       # (N,)
    n = divisor(n, reduction)
    return reshape(losses, shape=logits.shape[:-1]) if reduction == "none" else sum(losses) / n


def wanted(targets, logits, ignore_index, label_smoothing, weight):
    """Return how much of each class is wanted, (N, V), which rows count, (N, 1), and how many."""
    z, V = rows(detach(logits)), logits.shape[-1]
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing is {label_smoothing}: give a share from 0 to 1")
    weight = of_classes(weight, z)
    if is_probabilities(targets, logits.shape):
        targets = np.asarray(targets, z.dtype) if isinstance(targets, list) else targets
        q = (1 - label_smoothing) * rows(targets) + label_smoothing / V
        return q * weight, np.ones((len(z), 1), bool), len(z)
    t, valid = check_targets(logits, targets, ignore_index)
    q = np.full(z.shape, label_smoothing / max(1, V), z.dtype)
    q[np.arange(len(t))[valid], t[valid]] += 1 - label_smoothing
    q *= weight * valid[:, None]
    return q, valid[:, None], float(weight[t[valid]].sum(dtype=np.float64))

def impossible(log_p, q):
    """Where 0 times -inf (or nan, of a row that does not count) is to be 0."""
    return (detach(q) == 0) & ~np.isfinite(detach(log_p))

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

def divisor(n, reduction):
    """Return what the sum of the losses is divided by."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction is {reduction!r}: give one of {', '.join(REDUCTIONS)}")
    return (n or np.nan) if reduction == "mean" else 1

def reduced(losses, n, reduction, shape):
    """Return the losses (N,) as `shape`, or their sum over n, (), summed in float32 at least."""
    if reduction == "none":
        return losses.reshape(shape)
    total = losses.sum(dtype=np.result_type(losses.dtype, np.float32))
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


def linear_cross_entropy_inputs(draw):
    shape = draw.shape(max_dims=2, min_side=1)
    V, C = draw.side(1, 9), draw.side(1, 5)
    arrays = draw.array((*shape, C)), draw.array((V, C)), draw_targets(draw, shape, V)
    return arrays, {"reduction": draw.choice((*REDUCTIONS, "none"))}

@op(inputs=linear_cross_entropy_inputs, scale=lambda f, x, w, t: (f(2 * x, w, t), f(x, 2 * w, t)))
def linear_cross_entropy(x, weight, targets, ignore_index=IGNORE, reduction="mean"):
    """cross_entropy(linear(x, weight), targets), without ever storing all the logits.

    They are made in blocks of rows, forward and once more backward, and forgotten.

    Parameters
    ----------
    x : (..., C)
    weight : (V, C)
    targets : (...) int
    ignore_index : int
    reduction : "mean", "sum" or "none"

    Returns
    -------
    loss : () in nats per target, or (...)
    """
    if x.shape[:-1] != np.shape(targets) or x.shape[-1] != weight.shape[-1]:
        raise ValueError("x must be (..., C), weight (V, C) and targets (...)")
    t, losses = np.array(targets).reshape(-1), np.empty(np.size(targets), x.dtype)
    for block in row_blocks(t):
        z = rows(x)[block] @ weight.T
        losses[block], _ = cross_entropy.forward(z, t[block], ignore_index, "none")
    n = divisor(np.count_nonzero(t != ignore_index), reduction)
    return reduced(losses, n, reduction, np.shape(targets)), (x, weight, t, ignore_index, n)

@linear_cross_entropy.vjp
def linear_cross_entropy_vjp(g, x, weight, t, ignore_index, n):
    dx, dweight = np.zeros(rows(x).shape, x.dtype), np.zeros_like(weight)
    g = np.broadcast_to(np.reshape(g, -1), len(t)) / np.float64(n)
    for block in row_blocks(t):
        z = rows(x)[block] @ weight.T
        _, saved = cross_entropy.forward(z, t[block], ignore_index, "none")
        dz, _ = cross_entropy_vjp(g[block], *saved)
        dx[block] = dz @ weight
        dweight += dz.T @ rows(x)[block]
    return dx.reshape(x.shape), dweight, None

@linear_cross_entropy.parts
def linear_cross_entropy_parts(x, weight, targets, ignore_index=IGNORE, reduction="mean"):
    return cross_entropy(linear(x, weight), targets, ignore_index=ignore_index,
                         reduction=reduction)


def row_blocks(t, size=256):
    return [slice(i, i + size) for i in range(0, len(t), size)]


@op("(n),(n)->()", log_p="moderate", itself=lambda f, p, q: (f(p, p), 0 * f(p, p)))
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
    return (np.exp(log_p) * (log_p - log_q)).sum(axis=-1), (log_p, log_q)

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

LOGITS_BYTES = 16 << 20    # of scores at a time, where they are not stored whole


@cross_entropy.fast
def cross_entropy_fast(logits, targets, ignore_index=IGNORE, reduction="mean", label_smoothing=0.0,
                       weight=None):
    if label_smoothing or weight is not None or not suits(logits, targets, logits.size):
        return cross_entropy.forward(logits, targets, ignore_index, reduction, label_smoothing,
                                     weight)
    t, share = counted(logits, targets, ignore_index, reduction, logits.shape[-1])
    dz = empty_like(logits) if mode.recording else np.empty((0, 0), logits.dtype)
    losses = empty(t.shape, logits.dtype)
    _cross_entropy(len(t), rows(plain(logits)), t, ignore_index, share, losses, rows(dz))
    return losses.reshape(targets.shape) if reduction == "none" else summed(losses), (dz,)

@cross_entropy.fast_vjp
def cross_entropy_fast_vjp(g, *saved):
    if len(saved) > 1:                                        # of the reference
        return cross_entropy_vjp(g, *saved)
    return saved[0] if g.ndim == 0 and g == 1 else saved[0] * g[..., None], None


@linear_cross_entropy.fast
def linear_cross_entropy_fast(x, weight, targets, ignore_index=IGNORE, reduction="mean"):
    if (not suits(x, targets, x.size * len(weight)) or x.dtype != weight.dtype
            or x.shape[-1] != weight.shape[-1]):
        return linear_cross_entropy.forward(x, weight, targets, ignore_index, reduction)
    t, share = counted(x, targets, ignore_index, reduction, len(weight))
    t = kept(t)
    losses, unused = empty(t.shape, x.dtype), np.empty((0, 0), x.dtype)
    for block in blocks_of_rows(t, weight):
        z = gemm.matmul(rows(x)[block], weight.T)
        _cross_entropy(len(z), z, t[block], ignore_index, share, losses[block], unused)
    loss = losses.reshape(targets.shape) if reduction == "none" else summed(losses)
    return loss, (x, weight, t, ignore_index, share, losses)

@linear_cross_entropy.fast_vjp
def linear_cross_entropy_fast_vjp(g, x, weight, t, ignore_index, share, *losses):
    if not losses:                                            # of the reference: n, not share
        return linear_cross_entropy_vjp(g, x, weight, t, ignore_index, share)
    dx, dweight, again = empty_like(x), empty_like(weight), empty_like(losses[0])
    scale, alike = empty_like(share), np.ndim(g) == 0
    jit.run(np.multiply, share, g if alike else 1, scale)
    for block in blocks_of_rows(t, weight):
        z = gemm.matmul(rows(x)[block], weight.T)
        _cross_entropy(len(z), z, t[block], ignore_index, scale, again[block], z)
        if not alike:
            z *= g.reshape(-1, 1)[block]
        gemm.matmul(z, weight, out=rows(dx)[block])
        gemm.matmul(z.T, rows(x)[block], out=dweight, accumulate=block.start > 0)
    return dx, dweight, None


def suits(x, targets, work):
    """Whether to run the kernels."""
    return (type(x) is type(targets) is np.ndarray and is_float(x.dtype) and worth_it(work)
            and targets.shape == x.shape[:-1] and targets.size > 0
            and targets.dtype.kind in "iu" and np.can_cast(targets.dtype, np.int64))

def counted(x, targets, ignore_index, reduction, n_classes):
    """Return the targets as (N,) int64, and the share (1,) in the loss of each that counts."""
    t, share = plain(targets.astype(np.int64, copy=False)).reshape(-1), np.empty(1, x.dtype)
    operator.index(ignore_index)
    jit.run(count_targets, t, ignore_index, n_classes, reduction, share)
    return t, share

def count_targets(t, ignore_index, n_classes, reduction, out):
    """Look whether each target is in range or ignored; write 1 / (how many count) or 1."""
    n = t.size                                        # unsigned, what is below 0 is large, too
    if t.view(np.uint64).max() >= n_classes or 0 <= ignore_index < n_classes:
        check_ids(t[t != ignore_index], n_classes, "targets")
        n = np.count_nonzero(t != ignore_index)
    out[0] = 1 / divisor(n, reduction)

def summed(losses):
    """Return the sum of the losses, ()."""
    loss = np.empty((), losses.dtype)
    jit.run(np.add.reduce, losses, None, None, loss)
    return loss

def blocks_of_rows(t, weight):
    """Cut the rows so that the scores of a block take about LOGITS_BYTES, and 64 rows at least."""
    return row_blocks(t, max(64, LOGITS_BYTES // (len(weight) * weight.itemsize)))


@row_kernel
def _cross_entropy(start, stop, z, t, ignored, scale, losses, dz):
    """Write the loss of each row and, unless dz is empty, its gradient, both times `scale`."""
    widest_vectors()
    zero = z.dtype.type(0)
    for i in range(start, stop):
        counts = t[i] != ignored
        score = z[i, t[i] if counts else 0]               # before dz, which may be z, is written
        if dz.shape[0]:
            m, total = weigh_row(at(z[i], 0), at(dz[i], 0), z.shape[1],
                                 scale[0] if counts else zero)
            if counts:
                dz[i, t[i]] -= scale[0]
        else:
            m, total = vmath.peak_of(z[i]), zero
            for j in range(z.shape[1]):
                total += vmath.exp(z[i, j] - m)
        losses[i] = scale[0] * (m + vmath.log(total) - score if counts else zero)
