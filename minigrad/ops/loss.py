"""Losses: how surprised the model is by what came, in nats."""
import numpy as np

from minigrad import gemm, jit, vmath
from minigrad.buffers import empty, empty_like
from minigrad.mode import mode
from minigrad.ops.elementwise import exp, where
from minigrad.ops.embedding import check_ids
from minigrad.ops.linear import linear, rows
from minigrad.ops.reduce import sum
from minigrad.ops.softmax import log_softmax
from minigrad.parallel import plain, row_kernel, widest_vectors, worth_it
from minigrad.tensor import op
from minigrad.tiles import at
from minigrad.weights import weigh_row

IGNORE = -100      # a target that does not count; the same number as in torch


def cross_entropy_inputs(draw):
    shape = draw.shape(max_dims=2, min_side=1)
    V = draw.side(1, 9)
    return (draw.array((*shape, V)), draw_targets(draw, shape, V)), {}

def draw_targets(draw, shape, V):
    """Draw targets of which the first counts and others may not."""
    targets = draw.indices(shape, V)
    ignored = draw.array(shape, "mask")
    ignored.flat[:1] = False
    return np.where(ignored, IGNORE, targets)

@op(inputs=cross_entropy_inputs, shift=lambda f, z, t: (f(z + 1.5, t), f(z, t)))
def cross_entropy(logits, targets, ignore_index=IGNORE):
    r"""Mean surprise, -log of the probability given to the target.

    .. math:: \text{loss} = \frac1N \sum_i (\text{logsumexp}(z_i) - z_{i, t_i})

    dz = (softmax(z) - one_hot(t)) g / N: probability is moved from where it was to the target.

    Parameters
    ----------
    logits : (..., V) float
    targets : (...) int
        0 to V - 1, or `ignore_index` for a position that does not count.
    ignore_index : int

    Returns
    -------
    loss : () in nats per target; nan if none counts, as in torch.
    """
    z, t, valid, n = check_targets(logits, targets, ignore_index)
    log_p = log_softmax.forward(z)[0]                                          # (N, V)
    losses = np.where(valid, -log_p[np.arange(len(t)), t], 0)
    return losses.sum(dtype=z.dtype) / n, (log_p, t, valid, n, logits.shape)

@cross_entropy.vjp
def cross_entropy_vjp(g, log_p, t, valid, n, shape):
    dz = np.exp(log_p)
    dz[np.arange(len(t)), t] -= 1
    dz *= np.where(valid, g / n, 0)[:, None]
    return dz.reshape(shape), None

@cross_entropy.parts
def cross_entropy_parts(logits, targets, ignore_index=IGNORE):
    z, t, valid, n = check_targets(logits, targets, ignore_index)
    chosen = log_softmax(z)[np.arange(len(t)), t]                              # (N,)
    return -sum(where(valid, chosen, 0.0)) / n


def check_targets(logits, targets, ignore_index):
    """Return logits as (N, V), targets as (N,) with 0 where ignored, which count, how many."""
    targets = np.asarray(getattr(targets, "data", targets)) if not isinstance(
        targets, np.ndarray) else targets
    if targets.shape != logits.shape[:-1]:
        raise ValueError(f"logits have shape {logits.shape}, so targets must have shape "
                         f"{logits.shape[:-1]}, but they have {targets.shape}")
    t = targets.reshape(-1)
    valid = t != ignore_index
    t = np.where(valid, t, 0)
    check_ids(t, logits.shape[-1], "targets")
    n = valid.sum(dtype=logits.dtype)
    return rows(logits), t, valid, n if n > 0 else np.asarray(np.nan, logits.dtype)[()]


def linear_cross_entropy_inputs(draw):
    shape = draw.shape(max_dims=2, min_side=1)
    V, C = draw.side(1, 9), draw.side(1, 5)
    return (draw.array((*shape, C)), draw.array((V, C)), draw_targets(draw, shape, V)), {}

@op(inputs=linear_cross_entropy_inputs, scale=lambda f, x, w, t: (f(2 * x, w, t), f(x, 2 * w, t)))
def linear_cross_entropy(x, weight, targets, ignore_index=IGNORE):
    """cross_entropy(linear(x, weight), targets), without ever storing all the logits.

    They are made in blocks of rows, forward and once more backward, and forgotten.

    Parameters
    ----------
    x : (..., C)
    weight : (V, C)
    targets : (...) int
    ignore_index : int

    Returns
    -------
    loss : () in nats per target
    """
    if x.shape[:-1] != targets.shape or x.shape[-1] != weight.shape[-1]:
        raise ValueError("x must be (..., C), weight (V, C) and targets (...)")
    total, n = x.dtype.type(0), (targets != ignore_index).sum()
    for block in row_blocks(targets):
        part = targets.reshape(-1)[block]
        if np.any(part != ignore_index):
            loss, saved = cross_entropy.forward(rows(x)[block] @ weight.T, part, ignore_index)
            total += loss * saved[3]
    n = x.dtype.type(n) if n else x.dtype.type(np.nan)
    return total / n, (x, weight, targets, ignore_index, n)

@linear_cross_entropy.vjp
def linear_cross_entropy_vjp(g, x, weight, targets, ignore_index, n):
    dx, dweight = np.zeros(rows(x).shape, x.dtype), np.zeros_like(weight)
    for block in row_blocks(targets):
        part = targets.reshape(-1)[block]
        if np.any(part != ignore_index):
            z = rows(x)[block] @ weight.T
            _, (log_p, t, valid, _, shape) = cross_entropy.forward(z, part, ignore_index)
            dz, _ = cross_entropy_vjp(g, log_p, t, valid, n, shape)
            dx[block] = dz @ weight
            dweight += dz.T @ rows(x)[block]
    return dx.reshape(x.shape), dweight, None

@linear_cross_entropy.parts
def linear_cross_entropy_parts(x, weight, targets, ignore_index=IGNORE):
    return cross_entropy(linear(x, weight), targets, ignore_index=ignore_index)


def row_blocks(targets, size=256):
    return [slice(i, i + size) for i in range(0, targets.size, size)]


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
def cross_entropy_fast(logits, targets, ignore_index=IGNORE):
    if not suits(logits, targets, logits.size):
        return cross_entropy.forward(logits, targets, ignore_index)
    t, share = counted(logits, targets, ignore_index)
    dz = empty_like(logits) if mode.recording else np.empty((0, 0), logits.dtype)
    losses = empty(t.shape, logits.dtype)
    _cross_entropy(len(t), rows(plain(logits)), t, ignore_index, share, losses, rows(dz))
    return summed(losses), (dz,)

@cross_entropy.fast_vjp
def cross_entropy_fast_vjp(g, *saved):
    if len(saved) > 1:                                        # of the reference
        return cross_entropy_vjp(g, *saved)
    return saved[0] if g == 1 else saved[0] * g, None


@linear_cross_entropy.fast
def linear_cross_entropy_fast(x, weight, targets, ignore_index=IGNORE):
    if (not suits(x, targets, x.size * len(weight)) or x.dtype != weight.dtype
            or x.shape[-1] != weight.shape[-1]):
        return linear_cross_entropy.forward(x, weight, targets, ignore_index)
    t, share = counted(x, targets, ignore_index, len(weight))
    losses, unused = empty(t.shape, x.dtype), np.empty((0, 0), x.dtype)
    for block in blocks_of_rows(t, weight):
        z = gemm.matmul(rows(x)[block], weight.T)
        _cross_entropy(len(z), z, t[block], ignore_index, share, losses[block], unused)
    return summed(losses), (x, weight, t, ignore_index, share, losses)

@linear_cross_entropy.fast_vjp
def linear_cross_entropy_fast_vjp(g, x, weight, t, ignore_index, share, *losses):
    if not losses:                                            # of the reference: n, not share
        return linear_cross_entropy_vjp(g, x, weight, t, ignore_index, share)
    dx, dweight, again = empty_like(x), empty_like(weight), empty_like(losses[0])
    scale = empty_like(share)
    jit.run(np.multiply, share, g, scale)
    for block in blocks_of_rows(t, weight):
        z = gemm.matmul(rows(x)[block], weight.T)
        _cross_entropy(len(z), z, t[block], ignore_index, scale, again[block], z)
        gemm.matmul(z, weight, out=rows(dx)[block])
        gemm.matmul(z.T, rows(x)[block], out=dweight, accumulate=block.start > 0)
    return dx, dweight, None


def suits(x, targets, work):
    """Whether to run the kernels."""
    return (type(x) is type(targets) is np.ndarray and x.dtype.char in "fd" and worth_it(work)
            and targets.dtype.kind in "iu" and targets.shape == x.shape[:-1] and targets.size > 0)

def counted(x, targets, ignore_index, n_classes=None):
    """Return the targets as (N,) int64, and the share (1,) in the mean of each that counts."""
    t, share = plain(targets.astype(np.int64, copy=False)).reshape(-1), np.empty(1, x.dtype)
    jit.run(count_targets, t, ignore_index, n_classes or x.shape[-1], share)
    return t, share

def count_targets(t, ignore_index, n_classes, out):
    """Write 1 / (how many targets count) after a look whether each is in range or ignored."""
    n = t.size                                        # unsigned, what is below 0 is large, too
    if t.view(np.uint64).max() >= n_classes or 0 <= ignore_index < n_classes:
        check_ids(t[t != ignore_index], n_classes, "targets")
        n = np.count_nonzero(t != ignore_index)
    out[0] = 1 / n if n else np.nan

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
            m = m if abs(m) < np.inf else zero
            for j in range(z.shape[1]):
                total += vmath.exp(z[i, j] - m)
        losses[i] = scale[0] * (m + vmath.log(total) - score if counts else zero)
