"""Causal convolution over time: each place sees itself and a few before it."""
import numpy as np

from minigrad.kernels import gemm, jit
from minigrad.kernels.llvm import widest_vectors
from minigrad.kernels.memory import empty, empty_like
from minigrad.kernels.rows import plain, row_kernel
from minigrad.kernels.scan import takes
from minigrad.ops.linear import added_up, linear, rows
from minigrad.ops.shape import concatenate
from minigrad.tensor import op


def conv1d_inputs(draw):
    B = draw.integer(1, 3)
    T = draw.integer(1, 4)
    K = draw.integer(1, 3)
    dilation = draw.integer(1, 2)
    C = draw.side(1, 3)
    shape = [K, C]
    if draw.boolean():
        shape.append(draw.side(1, 3))
    x = draw.array((B, T, C))
    weight = draw.array(shape)
    before = draw.array((B, (K - 1) * dilation, C))
    return (x, weight, before), {"dilation": dilation}

@op(inputs=conv1d_inputs, replayed=True)
def conv1d(x, weight, before, dilation=1):
    r"""Sum what stood at K places, up to the present one, each with weights of its own.

    .. math:: y_t = \sum_{k=1}^{K} u_{t - (K - k) d} \, W_k

    where u is x behind what came before it. Depthwise, W_k is a vector and each feature goes by
    itself; full, W_k is a matrix. A place was used by up to K later ones: its gradient is their
    sum, the same convolution with the time reversed. Every place used W_k: dW_k is a sum over all.

    Parameters
    ----------
    x : (B, T, C)
    weight : (K, C), depthwise; or (K, C, N)
        The last one is that of the present place (torch: cross-correlation, the same order).
    before : (B, (K - 1) dilation, C)
        What came before x; zeros at the beginning of a text.
    dilation : int
        Steps between the places.

    Returns
    -------
    (B, T, C) or (B, T, N)

    References
    ----------
    van den Oord et al. 2016, arXiv:1609.03499, section 2.1.
    """
    u = np.concatenate([before, x], axis=1)                   # (B, (K - 1) dilation + T, C)
    times = np.multiply if weight.ndim == 2 else np.matmul
    y = 0
    for W, seen in zip(weight, windows(u, weight, dilation)):
        y = y + times(seen, W)
    return y, (u, weight, dilation)

@conv1d.vjp
def conv1d_vjp(g, u, weight, dilation):
    du, dweight = np.zeros_like(u), []
    depthwise = weight.ndim == 2
    of_seen = windows(du, weight, dilation)
    for W, seen, dseen in zip(weight, windows(u, weight, dilation), of_seen):
        if depthwise:
            dseen += g * W
            dW = rows(seen * g).sum(axis=0)                   # (C,)
        else:
            dseen += g @ W.T
            dW = rows(seen).T @ rows(g)                       # (C, N)
        dweight.append(dW)
    dbefore, dx = parted(du, g)
    return dx, np.stack(dweight), dbefore

@conv1d.parts
def conv1d_parts(x, weight, before, dilation=1):
    u = concatenate([before, x], axis=1)
    y = 0
    for k, seen in enumerate(windows(u, weight, dilation)):
        W = weight[k]
        part = seen * W if W.ndim == 1 else linear(seen, W.T)
        y = y + part
    return y


def windows(u, weight, dilation):
    """Return the (B, T, C) of u that each of the K weights reads."""
    T = u.shape[1] - (len(weight) - 1) * dilation
    starts = range(0, len(weight) * dilation, dilation)
    return [u[:, start:start + T] for start in starts]


def parted(u, x):
    """Cut u into what came before x and the places of x."""
    start = u.shape[1] - x.shape[1]
    return u[:, :start], u[:, start:]


# ---- fast path -------------------------------------------------------------------------------

def are_windows(x, weight, before, dilation=1):
    """Whether the kernels take these, as those of a scan do."""
    return takes(x, weight, before)

@conv1d.fast(when=are_windows)
def conv1d_fast(x, weight, before, dilation=1):
    B, T, C = x.shape
    u = empty((B, before.shape[1] + T, C), x.dtype)
    u_before, u_x = parted(u, x)
    jit.run(np.copyto, u_before, before)
    jit.run(np.copyto, u_x, x)
    out = empty((B, T, weight.shape[-1]), x.dtype)
    if weight.ndim == 2:
        _depthwise(B * T, out, u, plain(weight), dilation)
        return out, (u, weight, dilation)
    for k, seen in enumerate(windows(u, weight, dilation)):
        gemm.matmul(seen, weight[k], out, accumulate=k > 0)
    return out, (u, weight, dilation)

@conv1d.fast_vjp
def conv1d_fast_vjp(g, u, weight, dilation):
    g, du = plain(g), empty_like(u)
    if weight.ndim == 2:
        parts = empty((len(u), *weight.shape), u.dtype)
        _depthwise_vjp(len(u), g, u, plain(weight), dilation, du, parts)
        dweight = added_up(parts)
    else:
        dweight = full_vjp(g, u, weight, dilation, du)
    dbefore, dx = parted(du, g)
    return plain(dx), dweight, plain(dbefore)

def full_vjp(g, u, weight, dilation, du):
    """Write the gradient of u, and return that of weights (K, C, N)."""
    *places, _ = g.shape
    read = empty((*places, u.shape[2]), u.dtype)
    dweight = empty_like(weight)
    jit.run(du.fill, 0)
    of_seen = windows(du, weight, dilation)
    for k, seen in enumerate(windows(u, weight, dilation)):
        gemm.matmul(g, weight[k].T, of_seen[k], accumulate=True)
        jit.run(np.copyto, read, seen)
        gemm.matmul(rows(read).T, rows(g), dweight[k])
    return dweight


@row_kernel
def _depthwise(start, stop, out, u, weight, dilation):
    widest_vectors()
    T, C = out.shape[1:]
    for i in range(start, stop):
        b, t = i // T, i % T
        y = out[b, t]
        y[:] = 0
        for k in range(len(weight)):
            seen, w = u[b, t + k * dilation], weight[k]
            for j in range(C):
                y[j] += seen[j] * w[j]

@row_kernel
def _depthwise_vjp(start, stop, g, u, weight, dilation, du, dparts):
    widest_vectors()
    T, C = g.shape[1:]
    for b in range(start, stop):
        du[b] = 0
        dparts[b] = 0
        for t in range(T):
            for k in range(len(weight)):
                at = t + k * dilation
                dy, w = g[b, t], weight[k]
                seen, dseen = u[b, at], du[b, at]
                dw = dparts[b, k]
                for j in range(C):
                    dseen[j] += dy[j] * w[j]
                for j in range(C):
                    dw[j] += dy[j] * seen[j]
