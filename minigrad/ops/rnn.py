"""The plain recurrent net: one state, one product a step."""
import numpy as np

from minigrad.kernels import gemm, vmath
from minigrad.kernels.llvm import widest_vectors
from minigrad.kernels.memory import empty_like
from minigrad.kernels.rows import plain, row_kernel
from minigrad.kernels.scan import (
    at_time, begin, multiply, narrowed, packed, room, takes, tanh_slope)
from minigrad.ops.elementwise import tanh
from minigrad.ops.linear import linear, rows
from minigrad.ops.shape import concatenate, stack
from minigrad.tensor import op


def sequences(draw, n_gates, n_states):
    """Draw what a recurrent op takes: (B, T, gates H), (gates H, H), and (B, H) for each state."""
    B = draw.integer(1, 5)
    T = draw.integer(1, 3)
    H = draw.side(1, 3)
    x = draw.array((B, T, n_gates * H))
    weight = draw.array((n_gates * H, H)) * H ** -0.5
    states = [draw.array((B, H)) for _ in range(n_states)]
    return (x, weight, *states), {}


def rnn_inputs(draw):
    return sequences(draw, 1, 1)

@op(inputs=rnn_inputs, replayed=True)
def rnn(x, weight, h0):
    r"""Carry a state through a sequence.

    .. math:: h_t = \tanh(x_t + W h_{t-1})

    Backpropagation through time: each state gets the gradient that the output shows it, and what
    the next step passes back, dh_{t-1} = W^T dz with dz = dh (1 - h_t^2). All steps used the same
    weights, so dW is the sum over time of dz h_{t-1}^T: one product at the end.

    Parameters
    ----------
    x : (B, T, H)
        What the input gives: `linear(input, input_weight, bias)`.
    weight : (H, H)
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
    Elman 1990, Cognitive Science 14(2).
    """
    check_floats(x, weight, h0)
    h, before = [], h0
    for t in range(x.shape[1]):
        before = np.tanh(x[:, t] + before @ weight.T)         # (B, H)
        h.append(before)
    h = over_time(h)
    return h, (h, weight, h0)

@rnn.vjp
def rnn_vjp(g, h, weight, h0):
    dh, dx = np.zeros_like(h0), []
    for t in reversed(range(h.shape[1])):
        y = h[:, t]                                           # (B, H)
        dz = (g[:, t] + dh) * (1 - y * y)
        dx.append(dz)
        dh = dz @ weight
    dx = over_time(dx[::-1])
    return dx, weight_gradient(dx, h, h0), dh

@rnn.parts
def rnn_parts(x, weight, h0):
    check_floats(x, weight, h0)
    h = []
    for t in range(x.shape[1]):
        h0 = tanh(x[:, t] + linear(h0, weight))
        h.append(h0)
    return stack(h, axis=1)


def check_floats(*arrays):
    """Refuse states and inputs of whole numbers: a gate is between 0 and 1."""
    for x in arrays:
        if x.dtype.kind != "f":
            raise TypeError(f"a recurrent net takes floats, but got {x.dtype}: convert it with "
                            "astype(np.float32)")


def over_time(steps):
    """Put arrays (B, n) of the steps side by side: (B, T, n)."""
    return np.stack(steps, axis=1)


def side_by_side(*gates):
    """Put gates, (B, H) each, side by side."""
    return np.concatenate(gates, axis=-1)


def gates_of(z, n):
    """Cut (..., n H) into n of (..., H), array or Tensor."""
    H = z.shape[-1] // n
    return [z[..., k * H:(k + 1) * H] for k in range(n)]


def weight_gradient(dz, h, h0):
    """Return the sum over time and sequences of dz times the state before: (gates H, H)."""
    before = earlier(h, h0)
    return rows(dz).T @ rows(before)


def earlier(h, h0):
    """Return the state before each step, (B, T, H)."""
    first = h0[:, None]                                       # (B, 1, H)
    return concatenate([first, h[:, :-1]], axis=1)


# ---- fast path -------------------------------------------------------------------------------
# All of a sequence is one call, with no Python between the steps. Loops write to one array each:
# so they vectorise.

@rnn.fast(when=takes)
def rnn_fast(x, weight, h0):
    h, state = empty_like(x), empty_like(h0)
    z = room(*h0.shape, x.dtype)
    panels = packed(weight, True, len(x))
    _rnn(len(x), plain(x), panels, plain(h0), h, z, state)
    return h, (h, weight, h0)

@rnn.fast_vjp
def rnn_fast_vjp(g, h, weight, h0):
    dx, before = empty_like(h), empty_like(h)
    dh = room(*h0.shape, h.dtype)
    panels = packed(weight, False, len(h))
    _rnn_vjp(len(h), plain(g), h, plain(h0), panels, dx, before, dh)
    dweight = gemm.matmul(rows(dx).T, rows(before))
    return dx, dweight, narrowed(dh, h0)


@row_kernel
def _rnn(start, stop, x, panels, h0, h, z, state):
    widest_vectors()
    B, T, H = h.shape
    begin(h0, start, stop, state)
    for t in range(T):
        multiply(state, 0, H, start, stop, panels, z)
        for b in range(start, stop):
            given, new, y = x[b, t], z[b], state[b]
            for j in range(H):
                y[j] = vmath.tanh(given[j] + new[j])
            h[b, t] = y


@row_kernel
def _rnn_vjp(start, stop, g, h, h0, panels, dx, dearlier, dh):
    widest_vectors()
    B, T, H = h.shape
    dh[start:stop] = 0
    for t in range(T - 1, -1, -1):
        for b in range(start, stop):
            dearlier[b, t] = at_time(h, h0, b, t - 1)
            dy, y, shown = dh[b], h[b, t], g[b, t]
            dz = dx[b, t]
            for j in range(H):
                total = shown[j] + dy[j]
                dz[j] = total * tanh_slope(y[j])
        multiply(dx, t * H, T * H, start, stop, panels, dh)
