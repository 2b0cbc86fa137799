"""What is rarely used: activations, arcs and hyperbolas, products of whole arrays.

Nothing else of the engine is made of these. Names and arguments are NumPy's where NumPy has the
function, torch's where it has not.
"""
import math
import operator

import numpy as np

from minigrad.mistakes import normalized_axes
from minigrad.ops.elementwise import sigmoid, sqrt, tanh, where
from minigrad.ops.flat import constant, sign
from minigrad.ops.linear import matmul
from minigrad.ops.more import abs, clip, elu, log1p, softplus
from minigrad.ops.places import moveaxis
from minigrad.ops.shape import getitem, reshape, split, transpose
from minigrad.ops.softmax import softmax
from minigrad.tensor import op

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772   # mean 0 and variance 1 stay


# ---- activations -----------------------------------------------------------------------------

def hardtanh(x, min_val=-1.0, max_val=1.0):
    """x held between two numbers; unlike `clip`, flat on the border too."""
    held = constant(np.clip, x, min_val, max_val)
    return where((x <= min_val) | (x >= max_val), held, x)


def relu6(x):
    """x held between 0 and 6."""
    return hardtanh(x, 0.0, 6.0)


def hardsigmoid(x):
    """A sigmoid of three straight lines: 0 up to -3, 1 from 3 on."""
    return relu6(x + 3) / 6


def hardswish(x):
    """x hardsigmoid(x): 0 up to -3, x from 3 on. Source: Howard et al. 2019, arXiv:1905.02244."""
    middle = hardtanh(x, -3.0, 3.0)
    return where(x >= 3, x, middle * (middle + 3) / 6)


def softsign(x):
    """x / (1 + |x|), from 1 / x where x is large, so that nothing cancels."""
    is_small = abs(x) < 1
    near = where(is_small, x, 0.0)
    far = where(is_small, 1.0, x)
    of_far = 1 / (sign(far) + 1 / far)
    return where(is_small, near / (1 + abs(near)), of_far)


def mish(x):
    """x tanh(softplus(x)). Source: Misra 2019, arXiv:1908.08681."""
    return x * tanh(softplus(x))


def selu(x):
    """`elu`, scaled so that activations keep mean 0 and variance 1 (arXiv:1706.02515)."""
    return SELU_SCALE * elu(x, alpha=SELU_ALPHA)


def celu(x, alpha=1.0):
    """x where x > 0, else alpha (e**(x / alpha) - 1): smooth for every alpha (arXiv:1704.07483)."""
    return alpha * elu(x / alpha)


def glu(x, axis=-1):
    """The first half of an axis times the sigmoid of the other (arXiv:1612.08083)."""
    value, gate = split(x, 2, axis=axis)
    return value * sigmoid(gate)


def prelu(x, weight):
    """x where x > 0, else weight x; the weight broadcasts (torch: along axis 1)."""
    below = where(x > 0, 0.0, x)
    return where(x > 0, x, weight * below)


def softmin(x, axis=-1):
    """The softmax of -x."""
    return softmax(-1.0 * x, axis=axis)


def tanhshrink(x):
    """x - tanh(x)."""
    return x - tanh(x)


def hardshrink(x, lambd=0.5):
    """x, but 0 from -lambd to lambd."""
    return where((x >= -lambd) & (x <= lambd), 0.0, x)


def softshrink(x, lambd=0.5):
    """x moved by lambd towards 0, which is reached from -lambd to lambd."""
    return x - clip(x, -lambd, lambd)


def threshold(x, threshold, value):
    """x where it is larger than the threshold, else the value."""
    return where(x <= threshold, value, x)


# ---- arcs and hyperbolas ---------------------------------------------------------------------

def odd(f, x):
    return f(-x), -f(x)

def even(f, x):
    return f(-x), f(x)


@op("()->()", x="moderate", odd=odd)
def sinh(x):
    """Hyperbolic sine: dx = g cosh(x)."""
    return np.sinh(x), (x,)

@sinh.vjp
def sinh_vjp(g, x):
    return g * cosh(x),


@op("()->()", x="moderate", even=even)
def cosh(x):
    """Hyperbolic cosine: dx = g sinh(x)."""
    return np.cosh(x), (x,)

@cosh.vjp
def cosh_vjp(g, x):
    return g * sinh(x),


@op("(),()->()", x="away_from_zero", y="away_from_zero",
    order=lambda f, x, y: (f(x, y), f(y, x)))
def hypot(x, y):
    """sqrt(x**2 + y**2), without overflow on the way: dx = g x / out."""
    out = np.hypot(x, y)
    return out, (x, y, out)

@hypot.vjp
def hypot_vjp(g, x, y, out):
    return g * (x / out), g * (y / out)


@op("(),()->()", y="away_from_zero", x="away_from_zero")
def arctan2(y, x):
    """The angle of the point (x, y): with r = hypot(x, y), dy = g x / r**2 and dx = -g y / r**2.

    At (0, 0), which has no angle, nothing flows, as in torch.
    """
    return np.arctan2(y, x), (y, x)

@arctan2.vjp
def arctan2_vjp(g, y, x):
    r = hypot(x, y)
    r = where(r == 0, 1.0, r)
    dy, dx = x / r / r, y / r / r                     # r * r may overflow
    return g * dy, -g * dx


@op("()->()", odd=odd)
def arcsinh(x):
    """The x whose sinh is given: dx = g / sqrt(x**2 + 1)."""
    return np.arcsinh(x), (x,)

@arcsinh.vjp
def arcsinh_vjp(g, x):
    return g / hypot(x, 1.0),


def arctan(x):
    """The angle from -pi/2 to pi/2 whose tangent is given."""
    return arctan2(x, 1.0)


def arcsin(x):
    """The angle from -pi/2 to pi/2 whose sine is given."""
    return arctan2(x, sqrt(1.0 - x) * sqrt(1.0 + x))


def arccos(x):
    """The angle from 0 to pi whose cosine is given."""
    return arctan2(sqrt(1.0 - x) * sqrt(1.0 + x), x)


def arccosh(x):
    """The x > 0 whose cosh is given: cosh(2 x) - 1 is 2 sinh(x)**2, which is exact near 1."""
    return 2 * arcsinh(sqrt((x - 1.0) / 2))


def arctanh(x):
    """The x whose tanh is given: half of log((1 + y) / (1 - y)), of floats."""
    return 0.5 * (log1p(1.0 * x) - log1p(-1.0 * x))


@op("()->()", x="away_from_zero", odd=odd)
def cbrt(x):
    """Cubic root, of negative numbers too: dx = g / (3 y**2)."""
    y = np.cbrt(x)
    return y, (y,)

@cbrt.vjp
def cbrt_vjp(g, y):
    return g / (3 * y * y),


# ---- products --------------------------------------------------------------------------------

def outer(x, y):
    """Each element of x times each of y, both flattened: (m, n)."""
    column = reshape(x, shape=(-1, 1))                # (m, 1)
    row = reshape(y, shape=(1, -1))                   # (1, n)
    return column * row


def kron(x, y):
    """A copy of y for each element of x, scaled by it, in the places of x."""
    ndim = max(x.ndim, y.ndim)
    m = (1,) * (ndim - x.ndim) + x.shape
    n = (1,) * (ndim - y.ndim) + y.shape
    x = reshape(x, shape=interleaved(m, (1,) * ndim))         # (m, 1, ...)
    y = reshape(y, shape=interleaved((1,) * ndim, n))         # (1, n, ...)
    return reshape(x * y, shape=tuple(map(operator.mul, m, n)))       # (m n, ...)


def interleaved(a, b):
    return tuple(size for pair in zip(a, b) for size in pair)


def cross(x, y, axis=-1):
    """The vector at right angles to two, as long as their parallelogram is large.

    The axis has 3 elements in both.
    """
    sides = [z.shape[i] for z in (x, y) for i in normalized_axes(axis, z.ndim)]
    if sides != [3, 3]:
        raise ValueError(f"x has shape {x.shape} and y {y.shape}, but axis {axis} must have 3 "
                         "elements in both")
    x, y = moveaxis(x, axis, -1), moveaxis(y, axis, -1)       # (..., 3)
    x1, x2 = turned(x, 1), turned(x, 2)
    y1, y2 = turned(y, 1), turned(y, 2)
    return moveaxis(x1 * y2 - x2 * y1, -1, axis)


def turned(x, n):
    """Return the 3 elements of the last axis from element n on, then from the first."""
    order = np.arange(n, n + 3) % 3
    return getitem(x, (..., order))


def tensordot(x, y, axes=2):
    """Sum products over some axes of x and as many of y; the others stay, those of x first.

    Parameters
    ----------
    x, y : (...)
    axes : int, or two of (int or tuple of int)
        The last of x with the first of y, so many; or which of x with which of y.
    """
    if np.ndim(axes) == 0 and not isinstance(axes, tuple):
        axes = tuple(range(x.ndim - axes, x.ndim)), tuple(range(axes))
    a = normalized_axes(axes[0], x.ndim)
    b = normalized_axes(axes[1], y.ndim)
    sizes = [x.shape[i] for i in a]
    if sizes != [y.shape[j] for j in b]:
        raise ValueError(f"axes {a} of shape {x.shape} and {b} of shape {y.shape} must have the "
                         "same sizes")
    m = [i for i in range(x.ndim) if i not in a]
    n = [j for j in range(y.ndim) if j not in b]
    rows, columns = [x.shape[i] for i in m], [y.shape[j] for j in n]
    k = math.prod(sizes)
    x = reshape(transpose(x, (*m, *a)), shape=(math.prod(rows), k))           # (m, k)
    y = reshape(transpose(y, (*b, *n)), shape=(k, math.prod(columns)))        # (k, n)
    return reshape(matmul(x, y), shape=(*rows, *columns))
