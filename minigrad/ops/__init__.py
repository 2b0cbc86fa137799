"""Every operation, by name, and the operators and methods they give Tensor."""
from minigrad.ops.activations import exact_gelu, gelu, relu_squared, silu, swiglu
from minigrad.ops.attention import attention, self_attention
from minigrad.ops.dropout import dropout, keyed_dropout
from minigrad.ops.einsum import dot, einsum
from minigrad.ops.elementwise import (
    add, div, exp, log, maximum, mul, neg, pow, relu, sigmoid, sqrt, sub, tanh, where)
from minigrad.ops.embedding import embedding, placed_embedding
from minigrad.ops.flat import (
    COMPARISONS, all, any, argmax, argmin, astype, ceil, clone, floor, full_like, isfinite, isinf,
    isnan, one_hot, ones_like, round, sign, zeros_like)
from minigrad.ops.linear import linear, matmul
from minigrad.ops.loss import cross_entropy, kl_divergence, linear_cross_entropy
from minigrad.ops.losses import (
    binary_cross_entropy_with_logits, huber_loss, l1_loss, mse_loss, nll_loss)
from minigrad.ops.more import (
    abs, clip, cos, elu, erf, exp2, expm1, leaky_relu, log10, log1p, log2, logaddexp, logsigmoid,
    minimum, reciprocal, rsqrt, sin, softplus, square, tan)
from minigrad.ops.norm import add_layer_norm, add_rms_norm, layer_norm, rms_norm
from minigrad.ops.places import (
    chunk, diag, diagonal, expand, flatten, flip, gather, masked_fill, moveaxis, pad, repeat, roll,
    squeeze, tile, trace, tril, triu, unsqueeze)
from minigrad.ops.rare import (
    arccos, arccosh, arcsin, arcsinh, arctan, arctan2, arctanh, cbrt, celu, cosh, cross,
    glu, hardshrink, hardsigmoid, hardswish, hardtanh, hypot, kron, mish, outer, prelu, relu6, selu,
    sinh, softmin, softshrink, softsign, tanhshrink, tensordot, threshold)
from minigrad.ops.reduce import max, mean, sum, var
from minigrad.ops.rotary import qk_rotary, rotary, rotary_angles
from minigrad.ops.scans import argsort, cumprod, cumsum, min, prod, sort, std, topk
from minigrad.ops.shape import (
    broadcast_to, concatenate, getitem, index, reshape, scatter, split, stack, swapaxes, transpose)
from minigrad.ops.softmax import log_softmax, logsumexp, softmax
from minigrad.tensor import Tensor

__all__ = [name for name in dir() if not name.startswith("_") and name[0].islower()
           and name != "trace"]                       # minigrad.stepper.record is the stepper


def several(function):
    """Let a method take a tuple or its elements: x.reshape((2, 3)) and x.reshape(2, 3)."""
    def method(x, *sizes):
        if len(sizes) == 1 and not isinstance(sizes[0], int):
            sizes = sizes[0]
        return function(x, sizes)
    return method


OPERATORS = {
    "__add__": lambda x, y: add(x, y), "__radd__": lambda x, y: add(y, x),
    "__sub__": lambda x, y: sub(x, y), "__rsub__": lambda x, y: sub(y, x),
    "__mul__": lambda x, y: mul(x, y), "__rmul__": lambda x, y: mul(y, x),
    "__truediv__": lambda x, y: div(x, y), "__rtruediv__": lambda x, y: div(y, x),
    "__matmul__": lambda x, y: matmul(x, y), "__rmatmul__": lambda x, y: matmul(y, x),
    "__pow__": lambda x, y: pow(x, y), "__rpow__": lambda x, y: pow(y, x),
    "__neg__": lambda x: neg(x), "__getitem__": getitem,
    "reshape": several(reshape), "transpose": several(lambda x, axes: transpose(x, axes or None)),
    "permute": several(transpose), "view": several(reshape), "expand": several(expand),
    "T": property(lambda x: transpose(x)), "mT": property(lambda x: swapaxes(x, -1, -2)),
    "__abs__": lambda x: abs(x), **COMPARISONS,
}
METHODS = (exp, log, sqrt, tanh, sigmoid, relu, gelu, silu, maximum, matmul, swapaxes, sum, mean,
           max, var, logsumexp, softmax, log_softmax, broadcast_to, split,
           abs, all, any, arccos, arccosh, arcsin, arcsinh, arctan, arctan2, arctanh, argmax,
           argmin, argsort, astype, ceil, chunk, clip, clone, cos, cosh, cross, cumprod, cumsum,
           diag, diagonal, dot, elu, erf, exp2, expm1, flatten, flip, floor, gather, hypot,
           isfinite, isinf, isnan, kron, leaky_relu, log1p, log2, log10, logaddexp, masked_fill,
           min, minimum, moveaxis, outer, pad, prelu, prod, reciprocal, repeat, roll, round, rsqrt,
           sign, sin, sinh, softplus, sort, square, squeeze, std, tan, tile, topk, trace, tril,
           triu, unsqueeze)

for name, function in OPERATORS.items():
    setattr(Tensor, name, function)
for function in METHODS:
    name = getattr(function, "name", None) or function.__name__
    setattr(Tensor, name, lambda x, *args, _of=function, **params: _of(x, *args, **params))
