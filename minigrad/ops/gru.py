"""Gated recurrent units: an LSTM with one state and one gate less."""
import numpy as np

from minigrad.kernels import gemm, jit, vmath
from minigrad.kernels.jit import helper
from minigrad.kernels.llvm import widest_vectors
from minigrad.kernels.memory import empty, empty_like
from minigrad.kernels.rows import plain, row_kernel
from minigrad.kernels.scan import (
    at_time, begin, multiply, packed, room, slope, takes, tanh_slope)
from minigrad.ops.elementwise import sigmoid, tanh
from minigrad.ops.linear import linear, rows, sum_of_rows
from minigrad.ops.rnn import (
    check_floats, gates_of, over_time, sequences, side_by_side, weight_gradient)
from minigrad.ops.shape import stack
from minigrad.tensor import op


def gru_inputs(draw):
    (x, weight, h0), params = sequences(draw, 3, 1)
    bias = draw.array(h0.shape[1:])
    return (x, weight, bias, h0), params

@op(inputs=gru_inputs, replayed=True)
def gru(x, weight, bias, h0):
    r"""Carry a state through a sequence; a gate mixes what it was with what is new.

    .. math:: r, z = \sigma(x_r + W_r h_{t-1}), \sigma(x_z + W_z h_{t-1}), \quad
              n = \tanh(x_n + r \odot (W_n h_{t-1} + b))
    .. math:: h_t = (1 - z) \odot n + z \odot h_{t-1}

    Where z is open the gradient passes unchanged, dh_{t-1} = z dh_t, beside what goes through the
    gates. Inside n the gate r weighs the product of the state, which has a bias of its own there.

    Parameters
    ----------
    x : (B, T, 3 H)
        What the input gives to r, z and n: `linear(input, input_weight, bias)`.
    weight : (3 H, H)
    bias : (H,)
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
    Cho et al. 2014, arXiv:1406.1078, in the form of torch (and cuDNN).
    """
    check_floats(x, weight, bias, h0)
    gates, inner, h = [], [], []
    before = h0                                               # (B, H)
    for t in range(x.shape[1]):
        y = before @ weight.T                                 # (B, 3 H)
        r, z, n, of_state = opened(x[:, t], y, bias)
        before = n + z * (before - n)
        gates.append(side_by_side(r, z, n))
        inner.append(of_state)
        h.append(before)
    gates, inner, h = map(over_time, (gates, inner, h))
    return h, (gates, inner, h, weight, h0)

@gru.vjp
def gru_vjp(g, gates, inner, h, weight, h0):
    dh, dx, dy = np.zeros_like(h0), [], []
    for t in reversed(range(h.shape[1])):
        r, z, n = gates_of(gates[:, t], 3)
        dh = dh + g[:, t]
        before = h[:, t - 1] if t else h0
        dn = dh * (1 - z) * (1 - n * n)
        dz = dh * (before - n) * z * (1 - z)
        dr = dn * inner[:, t] * r * (1 - r)
        of_input = side_by_side(dr, dz, dn)                   # (B, 3 H)
        of_state = side_by_side(dr, dz, dn * r)
        dx.append(of_input)
        dy.append(of_state)
        dh = dh * z + of_state @ weight
    dx = over_time(dx[::-1])
    dy = over_time(dy[::-1])
    _, _, of_bias = gates_of(rows(dy), 3)
    dbias = of_bias.sum(axis=0)
    return dx, weight_gradient(dy, h, h0), dbias, dh

@gru.parts
def gru_parts(x, weight, bias, h0):
    check_floats(x, weight, bias, h0)
    h = []
    for t in range(x.shape[1]):
        y = linear(h0, weight)
        _, z, n, _ = opened(x[:, t], y, bias)
        h0 = (1 - z) * n + z * h0
        h.append(h0)
    return stack(h, axis=1)


def opened(x, y, bias):
    """Return r, z, the new n, and what the state gives to it, each (B, H), of x and y (B, 3 H)."""
    x_r, x_z, x_n = gates_of(x, 3)
    y_r, y_z, y_n = gates_of(y, 3)
    r, of_state = sigmoid(x_r + y_r), y_n + bias
    return r, sigmoid(x_z + y_z), tanh(x_n + r * of_state), of_state


# ---- fast path -------------------------------------------------------------------------------
# As for `rnn`: one call for a sequence.

@gru.fast(when=takes)
def gru_fast(x, weight, bias, h0):
    B, T, n = x.shape
    H, dtype = h0.shape[1], x.dtype
    gates, state = empty_like(x), empty_like(h0)
    h = empty((B, T, H), dtype)
    inner = empty_like(h)
    y, panels = room(B, n, dtype), packed(weight, True, B)
    given = map(plain, (x, bias, h0))
    _gru(len(x), *given, panels, gates, inner, h, y, state)
    return h, (gates, inner, h, weight, h0)

@gru.fast_vjp
def gru_fast_vjp(g, gates, inner, h, weight, h0):
    B, T, H = h.shape
    dx, dy = empty_like(gates), empty_like(gates)
    earlier, dh = empty_like(h), empty_like(h0)
    back = room(B, H, h.dtype)
    panels = packed(weight, False, B)
    saved = gates, inner, h, plain(h0), panels
    _gru_vjp(len(h), plain(g), *saved, dx, dy, earlier, dh, back)
    dweight = gemm.matmul(rows(dy).T, rows(earlier))
    dbias = empty((H,), dy.dtype)
    sums = sum_of_rows(rows(dy))
    jit.run(np.copyto, dbias, sums[2 * H:])
    return dx, dweight, dbias, dh


@row_kernel
def _gru(start, stop, x, bias, h0, panels, gates, inner, h, y, state):
    widest_vectors()
    B, T, H = h.shape
    begin(h0, start, stop, state)
    for t in range(T):
        multiply(state, 0, H, start, stop, panels, y)
        for b in range(start, stop):
            gate, of_state = gates[b, t], inner[b, t]
            step(x[b, t], y[b], bias, gate, of_state, state[b])
            h[b, t] = state[b]

@helper
def step(given, new, bias, gate, inner, state):
    """Take one sequence a step further."""
    H = inner.size
    z, n = gate[H:], gate[2 * H:]
    given_n, new_n = given[2 * H:], new[2 * H:]
    for j in range(2 * H):
        gate[j] = vmath.sigmoid(given[j] + new[j])
    for j in range(H):
        inner[j] = new_n[j] + bias[j]
    for j in range(H):
        of_state = gate[j] * inner[j]
        n[j] = vmath.tanh(given_n[j] + of_state)
    for j in range(H):
        kept = z[j] * (state[j] - n[j])
        state[j] = n[j] + kept


@row_kernel
def _gru_vjp(start, stop, g, gates, inner, h, h0, panels, dx, dy, dearlier, dh, dback):
    widest_vectors()
    B, T, H = h.shape
    n = 3 * H
    dh[start:stop] = 0
    dback[start:stop] = 0
    for t in range(T - 1, -1, -1):
        for b in range(start, stop):
            before = dearlier[b, t]
            before[:] = at_time(h, h0, b, t - 1)
            add(dback[b], g[b, t], dh[b])
            gate, of_state = gates[b, t], inner[b, t]
            step_vjp(gate, of_state, before, dh[b], dx[b, t], dy[b, t])
        multiply(dy, t * n, T * n, start, stop, panels, dback)
    for b in range(start, stop):
        for j in range(H):
            dh[b, j] += dback[b, j]

@helper
def add(a, b, out):
    for j in range(out.size):
        out[j] += a[j] + b[j]

@helper
def step_vjp(gate, inner, before, dh, dx, dy):
    """Bring the gradient of one state to the gates, and to the state before."""
    H = dh.size
    z, n = gate[H:], gate[2 * H:]
    dz, dn = dx[H:], dx[2 * H:]
    dy_n = dy[2 * H:]
    one = dh.dtype.type(1)
    for j in range(H):
        taken = dh[j] * (one - z[j])
        dn[j] = taken * tanh_slope(n[j])
    for j in range(H):
        total = dh[j] * (before[j] - n[j])
        dz[j] = total * slope(z[j])
    for j in range(H):
        total = dn[j] * inner[j]
        dx[j] = total * slope(gate[j])
    for j in range(H):
        dh[j] *= z[j]
    dy[:] = dx
    for j in range(H):
        dy_n[j] *= gate[j]
