"""Cross-entropy of a linear layer, whose scores are never stored whole."""
import numpy as np

from minigrad.kernels import gemm, jit, quantised
from minigrad.kernels.memory import empty, empty_like
from minigrad.mode import mode
from minigrad.ops.elementwise import where
from minigrad.ops.embedding import kept
from minigrad.ops.linear import linear, rows
from minigrad.ops.loss import (
    IGNORE, counted, cross_entropy, cross_entropy_kernel, cross_entropy_vjp, divisor,
    draw_reduction, draw_targets, loss_of, nothing, reduced, suits)
from minigrad.tensor import detach, op


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

    They are made in blocks of rows and forgotten: gradients are made along with a loss that is one
    number, else the logits once more. Rows whose target does not count cost nothing, and what
    stands in them does not matter.

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
    losses = np.zeros(len(t), x.dtype)
    for some in asked_rows(t, ignore_index, weight):
        z = rows(x)[some] @ weight.T
        loss, _ = cross_entropy.forward(z, t[some], ignore_index, "none")
        losses[some] = loss
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
    for some in asked_rows(t, ignore_index, weight):
        z = rows(x)[some] @ weight.T
        _, saved = cross_entropy.forward(z, t[some], ignore_index, "none")
        dz, _ = cross_entropy_vjp(g[some], *saved)
        dx[some] = dz @ weight
        dweight += dz.T @ rows(x)[some]
    return dx.reshape(x.shape), dweight, None

@linear_cross_entropy.parts
def linear_cross_entropy_parts(x, weight, targets, ignore_index=IGNORE, reduction="mean", n=None):
    counts = np.asarray(detach(targets)) != ignore_index
    x = where(counts[..., None], x, np.zeros((), x.dtype))   # what is not asked is not used
    return cross_entropy(linear(x, weight), targets, ignore_index=ignore_index,
                         reduction=reduction, n=n)


LOGITS_BYTES = 16 << 20    # of scores at a time, as they are not stored whole
LEAST_ROWS = 256           # as each block reads the weights, which may be large

def asked_rows(t, ignore_index, weight):
    """Cut the rows that have a target into blocks whose scores take about LOGITS_BYTES, LEAST_ROWS
    at least: slices where they lie side by side, else their numbers."""
    asked = np.flatnonzero(t != ignore_index)
    row_bytes = len(weight) * weight.itemsize
    most = max(LEAST_ROWS, LOGITS_BYTES // row_bytes)
    n_blocks = -(-len(asked) // most)
    for some in np.array_split(asked, n_blocks) if n_blocks else ():        # alike: none is small
        first, stop = some[0], some[-1] + 1
        together = stop - first == len(some)
        yield slice(first, stop) if together else some


# ---- fast path -------------------------------------------------------------------------------

def go_together(x, weight, targets, *_, **__):
    if x.dtype != weight.dtype:
        return False
    if x.shape[-1] != weight.shape[-1]:
        return False
    work = x.size * len(weight)
    return suits(x, targets, work)

@linear_cross_entropy.fast(when=go_together)
def linear_cross_entropy_fast(x, weight, targets, ignore_index=IGNORE, reduction="mean", n=None,
                              wants=(False, False)):
    V = len(weight)
    t, share = counted(x, targets, ignore_index, reduction, n, V)
    t = kept(t)
    losses, made = empty(t.shape, x.dtype), []            # gradients, to be given away once
    if mode.recording and any(wants) and reduction != "none":     # most often it ends the graph
        made.append(gradients_of(x, weight, wants))
    of_all = t, ignore_index, share, losses
    gradients = made[0] if made else (None, None)
    jit.run_as_one(_score, None, rows(x), weight, *of_all, *gradients)
    loss = loss_of(losses, reduction, targets.shape)
    return loss, (x, weight, t, ignore_index, share, made)

@linear_cross_entropy.fast_vjp
def linear_cross_entropy_fast_vjp(g, x, weight, t, ignore_index, share, made, wants):
    dx, dweight = (scaled(g, *made.pop()) if made else
                   gradients_again(g, x, weight, t, ignore_index, share, wants))
    return dx.reshape(x.shape), dweight, None

def scaled(g, *gradients):
    for x in gradients:
        if x is not None and g != 1:
            jit.run(np.multiply, x, g, x)
    return gradients

def gradients_again(g, x, weight, t, ignore_index, share, wants):
    """Make them for each row's own g, or once more, as who got the first may have changed them."""
    scale = empty_like(share)
    alike = np.ndim(g) == 0
    jit.run(np.multiply, share, g if alike else 1, scale)
    g = None if alike else g.reshape(-1, 1)               # (N, 1)
    gradients, losses = gradients_of(x, weight, wants), empty(t.shape, x.dtype)
    of_all = t, ignore_index, scale, losses
    jit.run_as_one(_score, g, rows(x), weight, *of_all, *gradients)
    return gradients

def gradients_of(x, weight, wants):
    """Return what the gradients of x, (N, C), and of weight are written to, None if unwanted."""
    return empty_like(rows(x)), empty_like(weight) if wants[1] else None

def _score(g, x, weight, t, ignore_index, share, out_losses, out_dx, out_dweight):
    """Write the losses times `share`, 0 where nothing is asked; nothing is computed of such a row.

    Gradients are written, too, unless they are None; those of a row times its g, (N, 1), if any.
    """
    np.multiply(share, 0, out_losses)                     # nan where nothing is asked at all
    if out_dx is not None:
        out_dx[...] = 0
    accumulate = False
    for some in asked_rows(t, ignore_index, weight):
        z = quantised.product(x[some], weight, mode.precision == "int8")
        losses = empty((len(z),), x.dtype)
        dz = nothing(x) if out_dx is None else z          # written over the scores
        cross_entropy_kernel(len(z), z, t[some], ignore_index, share, losses, dz)
        out_losses[some] = losses
        if out_dx is None:
            continue
        if g is not None:
            np.multiply(z, g[some], z)
        out_dx[some] = quantised.product_vjp(z, weight)
        if out_dweight is not None:
            gemm.matmul(z.T, x[some], out=out_dweight, accumulate=accumulate)
        accumulate = True
    if not accumulate and out_dweight is not None:
        out_dweight[...] = 0
