"""What is computed both here and by torch: expressions, and the arrays they are given.

`make_torch_values.py` evaluates the second column, with torch, and keeps values and gradients;
tests/minigrad/test_torch_values.py evaluates the first one. No case draws random numbers from a
stream that a library may change.
"""
import numpy as np

CASES = {}                                            # name -> (ours, theirs, inputs)
INF = np.inf


def case(ours, theirs=None, label="", **inputs):
    """Add one case; without a second expression, torch's is the same as ours."""
    name = f"{ours} [{label}]" if label else ours
    assert name not in CASES, name
    inputs = {k: v if isinstance(v, np.ndarray) else np.asarray(v) for k, v in inputs.items()}
    CASES[name] = ours, theirs or ours, inputs


def upstream(shape):
    """Make the gradient that comes from above: no two elements alike."""
    size = int(np.prod(shape))
    return (np.linspace(-1.3, 0.9, size) if size > 1 else np.full(size, 0.7)).reshape(shape)


def real(*shape, seed=0, low=-2.3, high=2.9):
    """Make distinct numbers on a grid, shuffled: the same on every machine."""
    size = int(np.prod(shape))
    grid = low + (high - low) * (np.arange(size) + 0.375) / max(size, 1)
    return grid[np.random.RandomState(seed + size).permutation(size)].reshape(shape)


def positive(*shape, seed=0):
    return real(*shape, seed=seed, low=0.25, high=3.25)


def layouts(make):
    """Yield (label, array) for the shapes and memory layouts that trip implementations."""
    yield "0-d", make()
    yield "empty", make(0)
    yield "empty matrix", make(2, 0, 3)
    yield "size 1", make(1, 1)
    yield "matrix", make(3, 5)
    yield "negative strides", make(6, 8)[::-2, ::-3]
    yield "transposed", make(4, 2).T
    yield "zero stride", np.broadcast_to(make(3), (2, 3))
