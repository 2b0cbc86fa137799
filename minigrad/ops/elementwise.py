"""Elementwise operations. Broadcasting is undone by the engine, not here."""
import numpy as np

from minigrad import vmath
from minigrad.buffers import empty_like
from minigrad.parallel import BLOCK, element_kernel, fits, plain, row_kernel, widest_vectors
from minigrad.tensor import op
from minigrad.vmath import like


@op("(),()->()", order=lambda f, x, y: (f(x, y), f(y, x)))
def add(x, y):
    """x + y. Both inputs move the output one for one, so both receive g."""
    return x + y, ()

@add.vjp
def add_vjp(g):
    return g, g


@op("(),()->()")
def sub(x, y):
    """x - y."""
    return x - y, ()

@sub.vjp
def sub_vjp(g, wants):
    return g, -g if wants[1] else None


@op("(),()->()", order=lambda f, x, y: (f(x, y), f(y, x)))
def mul(x, y):
    """x * y. Each input moves the output as fast as the other one is large."""
    return x * y, (x, y)

@mul.vjp
def mul_vjp(g, x, y, wants):
    return g * y if wants[0] else None, g * x if wants[1] else None


@op("(),()->()", y="away_from_zero")
def div(x, y):
    """x / y. The quotient rule: d(x/y) = dx / y - (x/y) dy / y."""
    out = x / y
    return out, (y, out)

@div.vjp
def div_vjp(g, y, out, wants):
    dx = g / y
    return dx, -dx * out if wants[1] else None


@op("()->()")
def neg(x):
    """-x."""
    return -x, ()

@neg.vjp
def neg_vjp(g):
    return -g,


@op("()->()", x="moderate", addition=lambda f, x: (f(x) * f(x), f(x + x)))
def exp(x):
    """e**x, its own derivative: dx = g * y."""
    y = np.exp(x)
    return y, (y,)

@exp.vjp
def exp_vjp(g, y):
    return g * y,


@op("()->()", x="positive")
def log(x):
    """Natural logarithm, for x > 0: dx = g / x."""
    return np.log(x), (x,)

@log.vjp
def log_vjp(g, x):
    return g / x,


@op("(),()->()", x="positive moderate", y="moderate")
def pow(x, y):
    """x**y, for x > 0 or a y that is whole: dx = g y x**(y-1), dy = g x**y log(x)."""
    out = x**y
    return out, (x, y, out)

@pow.vjp
def pow_vjp(g, x, y, out, wants):
    dx = g * y * (x + (x == 0) * (y == 0)) ** (y - 1) if wants[0] else None    # 0**0 is flat in x
    safe_x = where(x > 0, x, out ** 0) if wants[1] else None    # 0**y has no slope in y: log(1)
    return dx, g * out * log(safe_x) if wants[1] else None


@op("()->()", odd=lambda f, x: (f(-x), -f(x)))
def tanh(x):
    """Hyperbolic tangent: dx = g (1 - y**2)."""
    y = np.tanh(x)
    return y, (y,)

@tanh.vjp
def tanh_vjp(g, y):
    return g * (1 - y * y),


@op("()->()", mirror=lambda f, x: (f(-x), 1 - f(x)))
def sigmoid(x):
    """1 / (1 + e**-x): dx = g y (1 - y). Computed from tanh, which cannot overflow."""
    y = 0.5 * np.tanh(0.5 * x) + 0.5
    return y, (y,)

@sigmoid.vjp
def sigmoid_vjp(g, y):
    return g * (y * (1 - y)),


@op("()->()", x="positive")
def sqrt(x):
    """Square root, for x > 0: dx = g / (2 y)."""
    y = np.sqrt(x)
    return y, (y,)

@sqrt.vjp
def sqrt_vjp(g, y):
    return 0.5 * g / y,


@op("(),()->()", x="spread", y="spread")
def maximum(x, y):
    """The larger of x and y. It alone receives g; where they tie, each receives half."""
    return np.maximum(x, y), (x, y)

@maximum.vjp
def maximum_vjp(g, x, y):
    half = where(x == y, 0.5 * g, 0.0)
    return where(x > y, g, half), where(y > x, g, half)


@op("(),(),()->()", condition="mask")
def where(condition, x, y):
    """x where the condition holds, else y. What was not chosen receives nothing."""
    return np.where(condition, x, y), (condition,)

@where.vjp
def where_vjp(g, condition):
    return None, where(condition, g, 0.0), where(condition, 0.0, g)


# ---- activations: each is one pass at level "fast", and small steps at level "parts" ---------

@op("()->()", x="away_from_zero", mirror=lambda f, x: (f(x) - f(-x), x))
def relu(x):
    """max(x, 0). g passes where x > 0; at the kink x = 0 it does not, as in torch."""
    y = np.maximum(x, 0)
    return y, (y,)

@relu.vjp
def relu_vjp(g, y):
    return where(y > 0, g, 0.0),


@op("()->()")
def relu_squared(x):
    """max(x, 0)**2: dx = 2 g max(x, 0). Source: So et al. 2021, arXiv:2109.08668."""
    return np.square(np.maximum(x, 0)), (x,)

@relu_squared.vjp
def relu_squared_vjp(g, x):
    return 2 * g * maximum(x, 0.0),


@op("()->()", mirror=lambda f, x: (f(x) - f(-x), x))
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


@op("()->()", mirror=lambda f, x: (f(x) - f(-x), x))
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
    slope = SQRT_2_OVER_PI * (1 + 3 * 0.044715 * x * x)
    return g * (s + 2 * x * s * (1 - s) * slope),

@gelu.parts
def gelu_parts(x):
    return 0.5 * x * (1 + tanh(gelu_argument(x)))


SQRT_2_OVER_PI = (2 / np.pi) ** 0.5

def gelu_argument(x):
    return SQRT_2_OVER_PI * (x + 0.044715 * (x * x * x))


@op("(),()->()")
def swiglu(gate, x):
    """silu(gate) * x: a gate that each hidden unit opens. Shazeer 2020, arXiv:2002.05202."""
    return silu(gate) * x, (gate, x)

@swiglu.vjp
def swiglu_vjp(g, gate, x):
    return silu_vjp(g * x, gate)[0], g * silu(gate)

@swiglu.parts
def swiglu_parts(gate, x):
    return silu(gate) * x


# ---- fast path -------------------------------------------------------------------------------
# One pass over memory each; times against torch stand in docs/benchmarks.md.

@element_kernel
def _exp(x):
    return vmath.exp(x)

@element_kernel
def _log(x):
    return vmath.log(x)

@element_kernel
def _tanh(x):
    return vmath.tanh(x)

@element_kernel
def _sigmoid(x):
    return vmath.sigmoid(x)

@exp.fast
def exp_fast(x):
    return one_saved(_exp(x)) if fits(x) else exp.forward(x)

@log.fast
def log_fast(x):
    return (_log(x), (x,)) if fits(x) else log.forward(x)

@tanh.fast
def tanh_fast(x):
    return one_saved(_tanh(x)) if fits(x) else tanh.forward(x)

@sigmoid.fast
def sigmoid_fast(x):
    return one_saved(_sigmoid(x)) if fits(x) else sigmoid.forward(x)

def one_saved(y):
    return y, (y,)


@relu_squared.fast
def relu_squared_fast(x):
    return (_relu_squared(x), (x,)) if fits(x) else relu_squared.forward(x)

@relu_squared.fast_vjp
def relu_squared_fast_vjp(g, x):
    return (_relu_squared_vjp(g, x),) if fits(x, g) else relu_squared_vjp(g, x)

@element_kernel
def _relu_squared(x):
    y = x if x > like(x, 0) else like(x, 0)
    return y * y

@element_kernel
def _relu_squared_vjp(g, x):
    return g * (x + x if x > like(x, 0) else like(x, 0))


@silu.fast
def silu_fast(x):
    return (_silu(x), (x,)) if fits(x) else silu.forward(x)

@silu.fast_vjp
def silu_fast_vjp(g, x):
    return (_silu_vjp(g, x),) if fits(x, g) else silu_vjp(g, x)

@element_kernel
def _silu(x):
    return x * vmath.sigmoid(x)

@element_kernel
def _silu_vjp(g, x):
    return g * silu_slope(x)

@vmath.scalar
def silu_slope(x):
    s = vmath.sigmoid(x)
    return s + x * s * (like(x, 1) - s)


@gelu.fast
def gelu_fast(x):
    return (_gelu(x), (x,)) if fits(x) else gelu.forward(x)

@gelu.fast_vjp
def gelu_fast_vjp(g, x):
    return (_gelu_vjp(g, x),) if fits(x, g) else gelu_vjp(g, x)

@element_kernel
def _gelu(x):
    return x * vmath.sigmoid(x * (like(x, GELU_1) + like(x, GELU_3) * (x * x)))

@element_kernel
def _gelu_vjp(g, x):
    square = x * x
    s = vmath.sigmoid(x * (like(x, GELU_1) + like(x, GELU_3) * square))
    slope = like(x, GELU_1) + like(x, 3 * GELU_3) * square
    return g * (s + x * s * (like(x, 1) - s) * slope)

GELU_1 = 2 * SQRT_2_OVER_PI               # 2u = GELU_1 x + GELU_3 x**3
GELU_3 = GELU_1 * 0.044715


@swiglu.fast
def swiglu_fast(gate, x):
    return (_swiglu(gate, x), (gate, x)) if fits(gate, x) else swiglu.forward(gate, x)

@swiglu.fast_vjp
def swiglu_fast_vjp(g, gate, x):
    if not fits(gate, x, g):
        return swiglu_vjp(g, gate, x)
    dgate, dx = empty_like(gate), empty_like(x)
    flat = [plain(a).reshape(-1) for a in (g, gate, x, dgate, dx)]
    _swiglu_vjp(-(-x.size // BLOCK), *flat)
    return dgate, dx

@element_kernel
def _swiglu(gate, x):
    return gate * vmath.sigmoid(gate) * x

@row_kernel
def _swiglu_vjp(start, stop, g, gate, x, dgate, dx):
    widest_vectors()
    g, gate, x = (g[start * BLOCK:stop * BLOCK], gate[start * BLOCK:stop * BLOCK],
                  x[start * BLOCK:stop * BLOCK])
    dgate, dx = dgate[start * BLOCK:stop * BLOCK], dx[start * BLOCK:stop * BLOCK]
    for i in range(x.size):
        dgate[i] = g[i] * x[i] * silu_slope(gate[i])
        dx[i] = g[i] * gate[i] * vmath.sigmoid(gate[i])
