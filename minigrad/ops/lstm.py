"""Long short-term memory: a state that gates let pass, over a sequence."""
import numpy as np

from minigrad.kernels import gemm, vmath
from minigrad.kernels.jit import helper
from minigrad.kernels.llvm import widest_vectors
from minigrad.kernels.memory import empty, empty_like
from minigrad.kernels.rows import plain, row_kernel
from minigrad.kernels.scan import (
    at_time, begin, multiply, narrowed, packed, room, slope, takes, tanh_slope)
from minigrad.ops.elementwise import sigmoid, tanh
from minigrad.ops.linear import linear, rows
from minigrad.ops.rnn import (
    check_floats, gates_of, over_time, sequences, side_by_side, weight_gradient)
from minigrad.ops.shape import stack
from minigrad.tensor import op


def lstm_inputs(draw):
    return sequences(draw, 4, 2)

@op(inputs=lstm_inputs, replayed=True)
def lstm(x, weight, h0, c0):
    r"""Carry a state through a sequence, behind gates: what is kept, taken in and shown.

    .. math:: i, f, o = \sigma(z_i), \sigma(z_f), \sigma(z_o), \quad n = \tanh(z_n),
              \quad z = x_t + W h_{t-1}
    .. math:: c_t = f \odot c_{t-1} + i \odot n, \quad h_t = o \odot \tanh(c_t)

    Going back in time, dc_{t-1} = f dc_t: where the gate f is open, the gradient passes unchanged,
    and does not vanish. dz is the product rule at each gate; dh_{t-1} = W^T dz; and dW is the
    sum over all times of dz h_{t-1}^T, one product at the end.

    Parameters
    ----------
    x : (B, T, 4 H)
        What the input gives to the gates i, f, n, o: `linear(input, input_weight, bias)`.
    weight : (4 H, H)
    h0, c0 : (B, H)
        The state before.

    Returns
    -------
    h, c : (B, T, H)

    Raises
    ------
    TypeError
        If one of them holds whole numbers.

    References
    ----------
    Hochreiter & Schmidhuber 1997, Neural Computation 9(8); with the forget gate of Gers et al.
    2000. The order of the gates is torch's.
    """
    check_floats(x, weight, h0, c0)
    gates, h, c = [], [], []
    before, cell = h0, c0                                     # (B, H)
    for t in range(x.shape[1]):
        z = x[:, t] + before @ weight.T                       # (B, 4 H)
        i, f, n, o = opened(z)
        cell = f * cell + i * n
        before = o * np.tanh(cell)
        gates.append(side_by_side(i, f, n, o))
        h.append(before)
        c.append(cell)
    gates, h, c = map(over_time, (gates, h, c))
    return (h, c), (gates, h, c, weight, h0, c0)

@lstm.vjp
def lstm_vjp(g, gates, h, c, weight, h0, c0):
    g_h, g_c = g
    dh = dc = np.zeros_like(h0)                               # (B, H)
    dx = []
    for t in reversed(range(h.shape[1])):
        i, f, n, o = gates_of(gates[:, t], 4)
        earlier = c[:, t - 1] if t else c0
        shown = np.tanh(c[:, t])
        dh = dh + g_h[:, t]
        dc = dc + g_c[:, t]
        dc = dc + dh * o * (1 - shown * shown)
        di = dc * n * i * (1 - i)
        df = dc * earlier * f * (1 - f)
        dn = dc * i * (1 - n * n)
        do = dh * shown * o * (1 - o)
        dz = side_by_side(di, df, dn, do)                     # (B, 4 H)
        dx.append(dz)
        dh, dc = dz @ weight, dc * f
    dx = over_time(dx[::-1])
    return dx, weight_gradient(dx, h, h0), dh, dc

@lstm.parts
def lstm_parts(x, weight, h0, c0):
    check_floats(x, weight, h0, c0)
    h, c = [], []
    for t in range(x.shape[1]):
        z = x[:, t] + linear(h0, weight)
        i, f, n, o = opened(z)
        c0 = f * c0 + i * n
        h0 = o * tanh(c0)
        h.append(h0)
        c.append(c0)
    return stack(h, axis=1), stack(c, axis=1)


def opened(z):
    """Return the gates i, f, the new n and the gate o, each (B, H), of (B, 4 H)."""
    i, f, n, o = gates_of(z, 4)
    return sigmoid(i), sigmoid(f), tanh(n), sigmoid(o)


# ---- fast path -------------------------------------------------------------------------------
# All of a sequence is one call: no Python between the steps, the gates of a step while its product
# is in the cache. Loops write to one array each: so they vectorise.

@lstm.fast(when=takes)
def lstm_fast(x, weight, h0, c0):
    B, T, _ = x.shape
    H, dtype = h0.shape[1], x.dtype
    gates, state = empty_like(x), empty_like(h0)
    h = empty((B, T, H), dtype)
    c = empty_like(h)
    z = room(B, 4 * H, dtype)
    panels = packed(weight, True, B)
    given = map(plain, (x, h0, c0))
    _lstm(len(x), *given, panels, gates, h, c, z, state)
    return (h, c), (gates, h, c, weight, h0, c0)

@lstm.fast_vjp
def lstm_fast_vjp(g, gates, h, c, weight, h0, c0):
    dx, earlier = empty_like(gates), empty_like(h)
    dh, dc = room(*h0.shape, h.dtype), empty_like(h0)
    given = map(plain, (*g, h0, c0))
    saved = gates, h, c, packed(weight, False, len(h))
    _lstm_vjp(len(h), *given, *saved, dx, earlier, dh, dc)
    dweight = gemm.matmul(rows(dx).T, rows(earlier))
    return dx, dweight, narrowed(dh, h0), dc


@row_kernel
def _lstm(start, stop, x, h0, c0, panels, gates, h, c, z, state):
    widest_vectors()
    B, T, H = h.shape
    begin(h0, start, stop, state)
    for t in range(T):
        multiply(state, 0, H, start, stop, panels, z)
        for b in range(start, stop):
            before = at_time(c, c0, b, t - 1)
            gate, cell = gates[b, t], c[b, t]
            step(x[b, t], z[b], before, gate, cell, state[b])
            h[b, t] = state[b]

@helper
def step(given, new, before, gate, c, state):
    """Take one sequence a step further: open its gates, then let the state through."""
    H = c.size
    f, n = gate[H:], gate[2 * H:]
    o = gate[3 * H:]
    n_given, n_new = given[2 * H:], new[2 * H:]
    o_given, o_new = given[3 * H:], new[3 * H:]
    for j in range(2 * H):
        gate[j] = vmath.sigmoid(given[j] + new[j])
    for j in range(H):
        n[j] = vmath.tanh(n_given[j] + n_new[j])
    for j in range(H):
        o[j] = vmath.sigmoid(o_given[j] + o_new[j])
    for j in range(H):
        kept = f[j] * before[j]
        c[j] = kept + gate[j] * n[j]
    for j in range(H):
        state[j] = o[j] * vmath.tanh(c[j])


@row_kernel
def _lstm_vjp(start, stop, g_h, g_c, h0, c0, gates, h, c, panels, dx, dearlier, dh, dc):
    widest_vectors()
    B, T, H = h.shape
    n = 4 * H
    dh[start:stop] = 0
    dc[start:stop] = 0
    for t in range(T - 1, -1, -1):
        for b in range(start, stop):
            dearlier[b, t] = at_time(h, h0, b, t - 1)
            before = at_time(c, c0, b, t - 1)
            gate, cell = gates[b, t], c[b, t]
            dcell, of_gates = dc[b], dx[b, t]
            do = of_gates[3 * H:]
            show(g_h[b, t], g_c[b, t], gate, cell, dh[b], dcell, do)
            step_vjp(gate, before, dcell, of_gates)
        multiply(dx, t * n, T * n, start, stop, panels, dh)

@helper
def show(g_h, g_c, gate, c, dh, dc, do):
    """Bring what the output was told to the cell, and to the gate o."""
    H = c.size
    o = gate[3 * H:]
    for j in range(H):
        dh[j] += g_h[j]
    for j in range(H):
        do[j] = vmath.tanh(c[j])
    for j in range(H):
        of_cell = o[j] * tanh_slope(do[j])
        dc[j] += g_c[j] + dh[j] * of_cell
    for j in range(H):
        of_gate = do[j] * dh[j]
        do[j] = of_gate * slope(o[j])

@helper
def step_vjp(gate, before, dc, dz):
    """Bring the gradient of the cell to the gates, and to the cell before."""
    H = dc.size
    f, n = gate[H:], gate[2 * H:]
    df, dn = dz[H:], dz[2 * H:]
    for j in range(H):
        total = dc[j] * n[j]
        dz[j] = total * slope(gate[j])
    for j in range(H):
        total = dc[j] * before[j]
        df[j] = total * slope(f[j])
    for j in range(H):
        total = dc[j] * gate[j]
        dn[j] = total * tanh_slope(n[j])
    for j in range(H):
        dc[j] *= f[j]
