"""Recurrent nets that are computed both here and by torch: the arrays they are given."""
import numpy as np

# name -> gates, width of the input, width of the state, number of states
CASES = {"rnn": (1, 3, 4, 1), "lstm": (4, 3, 4, 2), "gru": (3, 3, 4, 1)}
B, T = 2, 5


def real(*shape, seed):
    """Make distinct numbers on a grid, shuffled: the same on every machine."""
    size = int(np.prod(shape))
    grid = -1.1 + 2.3 * (np.arange(size) + 0.375) / size
    return grid[np.random.RandomState(seed).permutation(size)].reshape(shape)


def arrays_of(name):
    """Return the input, the weights as torch names them, and the states before."""
    gates, n_in, H, n_states = CASES[name]
    shapes = {"x": (B, T, n_in), "weight_ih": (gates * H, n_in), "weight_hh": (gates * H, H),
              "bias_ih": (gates * H,), "bias_hh": (gates * H,), "h0": (B, H), "c0": (B, H)}
    names = list(shapes)[:5 + n_states]
    return {key: real(*shapes[key], seed=i) for i, key in enumerate(names)}


def upstream(shape):
    """Make the gradient that comes from above: no two elements alike."""
    return np.linspace(-1.3, 0.9, int(np.prod(shape))).reshape(shape)
