"""Elementwise operations. Broadcasting is undone by the engine, not here."""
import numpy as np

from minigrad.kernels import vmath
from minigrad.kernels.rows import element_kernel, fits
from minigrad.tensor import op


def either_first(f, x, y):
    return f(x, y), f(y, x)

@op("(),()->()", replayed=True, order=either_first)
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
    return g, -g if wants[1] else None                # no pass over memory for nobody


@op("(),()->()", order=either_first)
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
    return dx, -dx * out if wants[1] else None        # x / y**2 = (x / y) / y


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
    if isinstance(y, np.ndarray) and y.dtype.kind != "f":     # unsigned, 0 - 1 is no -1
        y = y.astype(out.dtype)
    dx = g * y * where((x == 0) & (y == 0), 1.0, x) ** (y - 1) if wants[0] else None  # 0**0 is flat
    safe_x = where(x <= 0, out ** 0, x) if wants[1] else None    # 0**y has no slope in y: log(1)
    return dx, g * out * log(safe_x) if wants[1] else None


@op("()->()", odd=lambda f, x: (f(-x), -f(x)))
def tanh(x):
    """Hyperbolic tangent: dx = g (1 - y**2)."""
    y = np.tanh(x)
    return y, (y,)

@tanh.vjp
def tanh_vjp(g, y):
    return g * (1 - y * y),                           # of y alone: x need not be kept


@op("()->()", mirror=lambda f, x: (f(-x), 1 - f(x)))
def sigmoid(x):
    """1 / (1 + e**-x): dx = g y (1 - y). Computed from e**-|x|, which cannot overflow."""
    e = np.exp(np.minimum(x, -1.0 * x))
    y = np.where(x < 0, e, 1.0) / (1 + e)             # below 0 it is e**x / (1 + e**x)
    return y, (y,)

@sigmoid.vjp
def sigmoid_vjp(g, y):
    return g * (y * (1 - y)),                         # e**-x over (1 + e**-x)**2


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
    larger = where(x == y, 0.5 * g, g)                # nan is on both sides, as in torch
    return where(x < y, 0.0, larger), where(y < x, 0.0, larger)


@op("(),(),()->()", condition="mask")
def where(condition, x, y):
    """x where the condition holds, else y. What was not chosen receives nothing."""
    return np.where(condition, x, y), (np.array(condition, bool),)     # a copy: others may write

@where.vjp
def where_vjp(g, condition):
    return None, where(condition, g, 0.0), where(condition, 0.0, g)


@op("()->()", x="away_from_zero", mirror=lambda f, x: (f(x) - f(-x), x))
def relu(x):
    """max(x, 0). g passes where x > 0; at the kink x = 0 it does not, as in torch."""
    y = np.maximum(x, 0)
    return y, (y,)

@relu.vjp
def relu_vjp(g, y):
    return where(y <= 0, 0.0, g),                     # so that g passes at nan, which is no zero


# ---- fast path -------------------------------------------------------------------------------
# One pass over memory each; times against torch stand in docs/benchmarks.md.

@element_kernel
def _add(x, y):
    return x + y

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
    zero, one = vmath.like(x, 0), vmath.like(x, 1)
    e = vmath.exp(-abs(x))
    return (e if x < zero else one) / (one + e)

@add.fast(when=fits)
def add_fast(x, y):
    return _add(x, y), ()

@exp.fast(when=fits)
def exp_fast(x):
    y = _exp(x)
    return y, (y,)

@log.fast(when=fits)
def log_fast(x):
    return _log(x), (x,)

@tanh.fast(when=fits)
def tanh_fast(x):
    y = _tanh(x)
    return y, (y,)

@sigmoid.fast(when=fits)
def sigmoid_fast(x):
    y = _sigmoid(x)
    return y, (y,)
