"""minGRU: gates that are blind to the state, so that no step waits for a product."""
import numpy as np

from minigrad.kernels import vmath
from minigrad.kernels.llvm import widest_vectors
from minigrad.kernels.memory import empty, empty_like
from minigrad.kernels.rows import plain, row_kernel
from minigrad.kernels.scan import at_time, slope, takes
from minigrad.ops.elementwise import sigmoid
from minigrad.ops.rnn import (
    check_floats, earlier, gates_of, over_time, sequences, side_by_side)
from minigrad.ops.shape import stack
from minigrad.tensor import op


def mingru_inputs(draw):
    (x, _, h0), params = sequences(draw, 2, 1)
    return (x, h0), params

@op(inputs=mingru_inputs, replayed=True)
def mingru(x, h0):
    r"""Mix a state with what is new, by a gate that knows the input alone.

    .. math:: z = \sigma(x_z), \quad h_t = (1 - z) \odot h_{t-1} + z \odot x_n

    All that is left of the loop over time is one multiplication and one addition a step. The
    gradient goes back as in `gru`: dh_{t-1} = (1 - z) dh_t; dx_n = z dh_t.

    Parameters
    ----------
    x : (B, T, 2 H)
        Scores of the gate, and what is new.
    h0 : (B, H)
        The state before.

    Returns
    -------
    h : (B, T, H)

    Raises
    ------
    TypeError
        If one of them holds whole numbers.

    References
    ----------
    Feng et al. 2024, arXiv:2410.01201, section 3.1.
    """
    check_floats(x, h0)
    z, n = gate_and_new(x)                                    # (B, T, H)
    h, before = [], h0
    for t in range(x.shape[1]):
        step = n[:, t] - before                               # (B, H)
        before = before + z[:, t] * step
        h.append(before)
    h = over_time(h)
    return h, (x, h, h0)

@mingru.vjp
def mingru_vjp(g, x, h, h0):
    z, n = gate_and_new(x)
    dh, steps = np.zeros_like(h0), []
    for t in reversed(range(h.shape[1])):
        dh = dh + g[:, t]                                     # of h[t]
        steps.append(dh)
        dh = dh * (1 - z[:, t])
    dh_t = over_time(steps[::-1])
    step = n - earlier(h, h0)
    dz = dh_t * step * z * (1 - z)
    return side_by_side(dz, dh_t * z), dh

@mingru.parts
def mingru_parts(x, h0):
    check_floats(x, h0)
    z, n = gate_and_new(x)
    h = []
    for t in range(x.shape[1]):
        opening = z[:, t]
        h0 = (1 - opening) * h0 + opening * n[:, t]
        h.append(h0)
    return stack(h, axis=1)


def gate_and_new(x):
    """Return the gate and what is new, (B, T, H), of (B, T, 2 H)."""
    score, new = gates_of(x, 2)
    return sigmoid(score), new


# ---- fast path -------------------------------------------------------------------------------

@mingru.fast(when=takes)
def mingru_fast(x, h0):
    B, T, _ = x.shape
    h = empty((B, T, h0.shape[1]), x.dtype)
    _mingru(B, plain(x), plain(h0), h)
    return h, (x, h, h0)

@mingru.fast_vjp
def mingru_fast_vjp(g, x, h, h0):
    dx, dh = empty_like(x), empty_like(h0)
    g, x, h0 = map(plain, (g, x, h0))
    _mingru_vjp(len(x), x, g, h, h0, dx, dh)
    return dx, dh

@row_kernel
def _mingru(start, stop, x, h0, h):
    widest_vectors()
    T, H = h.shape[1:]
    for b in range(start, stop):
        for t in range(T):
            before = at_time(h, h0, b, t - 1)
            y = h[b, t]
            score, n = x[b, t, :H], x[b, t, H:]
            for j in range(H):
                step = n[j] - before[j]
                y[j] = before[j] + vmath.sigmoid(score[j]) * step

@row_kernel
def _mingru_vjp(start, stop, x, g, h, h0, dx, dh):
    widest_vectors()
    T, H = h.shape[1:]
    for b in range(start, stop):
        dy = dh[b]
        dy[:] = 0
        for t in range(T - 1, -1, -1):
            before, shown = at_time(h, h0, b, t - 1), g[b, t]
            score, n = x[b, t, :H], x[b, t, H:]
            dz, dn = dx[b, t, :H], dx[b, t, H:]
            for j in range(H):
                dy[j] += shown[j]
            for j in range(H):
                dn[j] = vmath.sigmoid(score[j])
            for j in range(H):
                total = dy[j] * (n[j] - before[j])
                dz[j] = total * slope(dn[j])
            for j in range(H):
                taken = dy[j] * dn[j]
                dn[j] = taken
                dy[j] -= taken
