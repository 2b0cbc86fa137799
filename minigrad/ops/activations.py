"""Activations: each is one pass over memory at level "fast", and small steps at level "parts"."""
import numpy as np

from minigrad.kernels import vmath
from minigrad.kernels.llvm import widest_vectors
from minigrad.kernels.memory import empty, empty_like
from minigrad.kernels.rows import element_kernel, fits, plain, row_kernel
from minigrad.kernels.vmath import like
from minigrad.ops.elementwise import exp, maximum, sigmoid, tanh
from minigrad.ops.linear import rows
from minigrad.ops.more import erf
from minigrad.ops.shape import concatenate
from minigrad.tensor import op


@op("()->()", replayed=True)
def relu_squared(x):
    """max(x, 0)**2: dx = 2 g max(x, 0). Source: So et al. 2021, arXiv:2109.08668."""
    return np.square(np.maximum(x, 0)), (x,)

@relu_squared.vjp
def relu_squared_vjp(g, x):
    return 2 * g * maximum(x, 0.0),


def mirrored(f, x):
    """The gates of x and -x add up to 1."""
    y = f(x)
    return y - f(-x), x

@op("()->()", replayed=True, mirror=mirrored)
def silu(x):
    """x sigmoid(x): dx = g (s + x s (1 - s)), s = sigmoid(x). Elfwing et al., arXiv:1702.03118."""
    return x * sigmoid(x), (x,)

@silu.vjp
def silu_vjp(g, x):
    s = sigmoid(x)
    return g * (s + x * s * (1 - s)),

@silu.parts
def silu_parts(x):
    return x * sigmoid(x)


@op("()->()", replayed=True, mirror=mirrored)
def gelu(x):
    """x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x**3): GELU in its tanh form, as in GPT-2.

    It is x/2 (1 + tanh u) written with one sigmoid less work. By the product rule
    dx = g (s + 2 x s (1 - s) du/dx), s = sigmoid(2u).
    torch calls this gelu(approximate="tanh"). Source: Hendrycks & Gimpel, arXiv:1606.08415.
    """
    return x * sigmoid(2 * gelu_argument(x)), (x,)

@gelu.vjp
def gelu_vjp(g, x):
    s = sigmoid(2 * gelu_argument(x))
    square = np.minimum(x * x, 1e4)                   # beyond, 1 - s is 0
    slope = SQRT_2_OVER_PI * (1 + 3 * 0.044715 * square)
    of_gate = x * s * (1 - s)
    return g * (s + of_gate * (2 * slope)),

@gelu.parts
def gelu_parts(x):
    return 0.5 * x * (1 + tanh(gelu_argument(x)))


SQRT_2_OVER_PI = (2 / np.pi) ** 0.5

def gelu_argument(x):
    return SQRT_2_OVER_PI * (x + 0.044715 * (x * x * x))


@op("()->()", replayed=True, mirror=mirrored)
def exact_gelu(x):
    """x Phi(x), Phi(x) = (1 + erf(x / sqrt(2))) / 2: GELU as it was defined, as in BERT.

    By the product rule dx = g (Phi(x) + x phi(x)), with the normal density phi = Phi'.
    torch calls this gelu. Source: Hendrycks & Gimpel, arXiv:1606.08415, equation 1.
    """
    return x * normal_share(x), (x,)

@exact_gelu.vjp
def exact_gelu_vjp(g, x):
    peak = (2 * np.pi) ** -0.5
    density = exp(-0.5 * (x * x)) * peak
    return g * (normal_share(x) + x * density),

@exact_gelu.parts
def exact_gelu_parts(x):
    return x * normal_share(x)


def normal_share(x):
    """How much of the normal distribution lies below x."""
    return 0.5 * (1 + erf(x * 0.5 ** 0.5))


def two_halves(draw):
    *axes, n = draw.shape(min_dims=1)
    return (draw.array((*axes, 2 * n)),), {}

@op(inputs=two_halves, replayed=True)
def swiglu(x):
    """silu(gate) * value: gates, the first half of the last axis, open values, the other half.

    Side by side, as one projection makes them.

    Parameters
    ----------
    x : (..., 2 n)

    Returns
    -------
    (..., n)

    Raises
    ------
    ValueError
        If the last axis has an odd number of features.

    References
    ----------
    Shazeer 2020, arXiv:2002.05202.
    """
    gate, value = halves(x)
    return silu(gate) * value, (gate, value)

@swiglu.vjp
def swiglu_vjp(g, gate, value):
    dgate, = silu_vjp(g * value, gate)
    dvalue = g * silu(gate)
    return concatenate([dgate, dvalue], axis=-1),

@swiglu.parts
def swiglu_parts(x):
    gate, value = halves(x)
    return silu(gate) * value


def halves(x):
    """Cut (..., 2 n) into two of (..., n)."""
    width = x.shape[-1] if x.ndim else 1
    n, odd = divmod(width, 2)
    if odd:
        raise ValueError(f"swiglu takes gates and as many values side by side, but x has shape "
                         f"{x.shape}: give an even number of features")
    return x[..., :n], x[..., n:]


# ---- fast path -------------------------------------------------------------------------------

@relu_squared.fast(when=fits)
def relu_squared_fast(x):
    return relu_squared_kernel(x), (x,)

@relu_squared.fast_vjp
def relu_squared_fast_vjp(g, x):
    return _relu_squared_vjp(g, x),

@element_kernel
def relu_squared_kernel(x):
    zero = like(x, 0)
    y = zero if x < zero else x                       # nan stays
    return y * y

@element_kernel
def _relu_squared_vjp(g, x):
    zero = like(x, 0)
    return g * (zero if x < zero else x + x)


@silu.fast(when=fits)
def silu_fast(x):
    return silu_kernel(x), (x,)

@silu.fast_vjp
def silu_fast_vjp(g, x):
    return _silu_vjp(g, x),

@element_kernel
def silu_kernel(x):
    return x * vmath.sigmoid(x)

@element_kernel
def _silu_vjp(g, x):
    return g * silu_slope(x)

@vmath.scalar
def silu_slope(x):
    s = vmath.sigmoid(x)
    return s + x * s * (like(x, 1) - s)


@gelu.fast(when=fits)
def gelu_fast(x):
    return gelu_kernel(x), (x,)

@gelu.fast_vjp
def gelu_fast_vjp(g, x):
    return _gelu_vjp(g, x),

@element_kernel
def gelu_kernel(x):
    a, b = like(x, GELU_1), like(x, GELU_3)
    return x * vmath.sigmoid(x * (a + b * (x * x)))

@element_kernel
def _gelu_vjp(g, x):
    a, b = like(x, GELU_1), like(x, GELU_3)
    square, most = x * x, like(x, 1e4)
    square = square if square < most else most
    s = vmath.sigmoid(x * (a + b * square))
    slope = a + like(x, 3 * GELU_3) * square
    of_gate = x * s * (like(x, 1) - s)
    return g * (s + of_gate * slope)

GELU_1 = 2 * SQRT_2_OVER_PI               # 2u = GELU_1 x + GELU_3 x**3
GELU_3 = GELU_1 * 0.044715


@exact_gelu.fast(when=fits)
def exact_gelu_fast(x):
    return exact_gelu_kernel(x), (x,)

@exact_gelu.fast_vjp
def exact_gelu_fast_vjp(g, x):
    return _exact_gelu_vjp(g, x),

@element_kernel
def exact_gelu_kernel(x):
    return x * below(x)

@element_kernel
def _exact_gelu_vjp(g, x):
    e = vmath.exp(like(x, -0.5) * (x * x))
    density = e * like(x, 0.3989422804014327)
    return g * (below(x) + x * density)

@vmath.scalar
def below(x):
    z = x * like(x, 0.7071067811865476)
    return like(x, 0.5) * (like(x, 1) + vmath.erf(z))


def has_halves(x):
    if not fits(x) or x.ndim == 0:
        return False
    return x.shape[-1] % 2 == 0

@swiglu.fast(when=has_halves)
def swiglu_fast(x):
    *places, width = x.shape
    out = empty((*places, width // 2), x.dtype)
    x_rows = rows(plain(x))
    swiglu_kernel(len(x_rows), x_rows, rows(out))
    return out, (x,)

@swiglu.fast_vjp
def swiglu_fast_vjp(g, x):
    dx = empty_like(x)
    x_rows, g_rows = rows(plain(x)), rows(plain(g))
    _swiglu_vjp(len(x_rows), x_rows, g_rows, rows(dx))
    return dx,

@row_kernel
def swiglu_kernel(start, stop, x, out):
    widest_vectors()
    n = out.shape[1]
    for i in range(start, stop):
        for j in range(n):
            gate, value = x[i, j], x[i, n + j]
            out[i, j] = gate * vmath.sigmoid(gate) * value

@row_kernel
def _swiglu_vjp(start, stop, x, g, dx):
    widest_vectors()
    n = g.shape[1]
    for i in range(start, stop):
        for j in range(n):
            gate, value = x[i, j], x[i, n + j]
            dy = g[i, j]
            dx[i, j] = dy * value * silu_slope(gate)
            dx[i, n + j] = dy * gate * vmath.sigmoid(gate)
