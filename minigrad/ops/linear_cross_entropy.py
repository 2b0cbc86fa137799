"""Cross-entropy of a linear layer, whose scores are never stored whole."""
import numpy as np

from minigrad.kernels import gemm, jit, quantised
from minigrad.kernels.memory import empty, empty_like
from minigrad.ops.embedding import kept
from minigrad.ops.linear import linear, rows
from minigrad.ops.loss import (
    IGNORE, counted, cross_entropy, cross_entropy_kernel, cross_entropy_vjp, divisor,
    draw_reduction, draw_targets, loss_of, nothing, reduced, suits)
from minigrad.tensor import op


def linear_cross_entropy_inputs(draw):
    shape = draw.shape(max_dims=2, min_side=1)
    V = draw.side(1, 9)
    C = draw.side(1, 5)
    x = draw.array((*shape, C))
    weight = draw.array((V, C))
    targets = draw_targets(draw, shape, V)
    return (x, weight, targets), {"reduction": draw_reduction(draw)}

def either_doubled(f, x, weight, targets):
    """A factor can stand at x or at the weight."""
    of_x = f(2 * x, weight, targets)
    of_weight = f(x, 2 * weight, targets)
    return of_x, of_weight

@op(inputs=linear_cross_entropy_inputs, replayed=True, scale=either_doubled)
def linear_cross_entropy(x, weight, targets, ignore_index=IGNORE, reduction="mean", n=None):
    """cross_entropy(linear(x, weight), targets), without ever storing all the logits.

    They are made in blocks of rows, forward and once more backward, and forgotten.

    Parameters
    ----------
    x : (..., C)
    weight : (V, C)
    targets : (...) int
    ignore_index : int
    reduction : "mean", "sum" or "none"
    n : float or () array, optional
        As for `cross_entropy`.

    Returns
    -------
    loss : () in nats per target, or (...)
    """
    alike = x.shape[-1] == weight.shape[-1]
    if not alike or x.shape[:-1] != np.shape(targets):
        raise ValueError("x must be (..., C), weight (V, C) and targets (...)")
    t = np.array(targets).reshape(-1)                     # (N,)
    losses = np.empty(len(t), x.dtype)
    for block in row_blocks(t):
        z = rows(x)[block] @ weight.T
        loss, _ = cross_entropy.forward(z, t[block], ignore_index, "none")
        losses[block] = loss
    n_counted = np.count_nonzero(t != ignore_index)
    n = divisor(n_counted, reduction, n)
    loss = reduced(losses, n, reduction, np.shape(targets))
    return loss, (x, weight, t, ignore_index, n)

@linear_cross_entropy.vjp
def linear_cross_entropy_vjp(g, x, weight, t, ignore_index, n):
    dx = np.zeros(rows(x).shape, x.dtype)
    dweight = np.zeros_like(weight)
    g = np.reshape(g, -1)                                 # (N,) or (1,)
    g = np.broadcast_to(g, len(t)) / np.float64(n)
    for block in row_blocks(t):
        z = rows(x)[block] @ weight.T
        _, saved = cross_entropy.forward(z, t[block], ignore_index, "none")
        dz, _ = cross_entropy_vjp(g[block], *saved)
        dx[block] = dz @ weight
        dweight += dz.T @ rows(x)[block]
    return dx.reshape(x.shape), dweight, None

@linear_cross_entropy.parts
def linear_cross_entropy_parts(x, weight, targets, ignore_index=IGNORE, reduction="mean", n=None):
    return cross_entropy(linear(x, weight), targets, ignore_index=ignore_index,
                         reduction=reduction, n=n)


def row_blocks(t, size=256):
    starts = range(0, len(t), size)
    return [slice(i, i + size) for i in starts]


# ---- fast path -------------------------------------------------------------------------------

LOGITS_BYTES = 16 << 20    # of scores at a time, where they are not stored whole


def go_together(x, weight, targets, *_, **__):
    if x.dtype != weight.dtype:
        return False
    if x.shape[-1] != weight.shape[-1]:
        return False
    work = x.size * len(weight)
    return suits(x, targets, work)

@linear_cross_entropy.fast(when=go_together)
def linear_cross_entropy_fast(x, weight, targets, ignore_index=IGNORE, reduction="mean", n=None):
    V = len(weight)
    t, share = counted(x, targets, ignore_index, reduction, n, V)
    t = kept(t)
    losses = empty(t.shape, x.dtype)
    unused = nothing(x)
    for block in blocks_of_rows(t, weight):
        z = quantised.product(rows(x)[block], weight)
        of_block = t[block], ignore_index, share, losses[block]
        cross_entropy_kernel(len(z), z, *of_block, unused)
    loss = loss_of(losses, reduction, targets.shape)
    return loss, (x, weight, t, ignore_index, share, losses)

@linear_cross_entropy.fast_vjp
def linear_cross_entropy_fast_vjp(g, x, weight, t, ignore_index, share, losses, wants):
    dx, dweight = empty_like(x), empty_like(weight) if wants[1] else None
    unused, scale = empty_like(losses), empty_like(share)
    alike = np.ndim(g) == 0
    jit.run(np.multiply, share, g if alike else 1, scale)
    for block in blocks_of_rows(t, weight):
        some = rows(x)[block]
        z = quantised.product(some, weight)                         # and then dz
        of_block = t[block], ignore_index, scale, unused[block]
        cross_entropy_kernel(len(z), z, *of_block, z)
        if not alike:
            of_rows = g.reshape(-1, 1)                    # (N, 1)
            jit.run(np.multiply, z, of_rows[block], z)
        quantised.product_vjp(z, weight, out=rows(dx)[block])
        later = block.start > 0
        if wants[1]:
            gemm.matmul(z.T, some, out=dweight, accumulate=later)
    return dx, dweight, None

def blocks_of_rows(t, weight):
    """Cut the rows so that the scores of a block take about LOGITS_BYTES, and 64 rows at least."""
    row_bytes = len(weight) * weight.itemsize
    return row_blocks(t, max(64, LOGITS_BYTES // row_bytes))
