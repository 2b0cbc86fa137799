"""Every operation, by name, and the operators and methods they give Tensor."""
from minigrad.ops.activations import exact_gelu, gelu, relu_squared, silu, swiglu
from minigrad.ops.add_norm import add_layer_norm, add_rms_norm
from minigrad.ops.attention import attention, self_attention
from minigrad.ops.conv1d import conv1d
from minigrad.ops.cross_attention import cross_attention
from minigrad.ops.distillation import distillation_loss
from minigrad.ops.dropout import dropout, keyed_dropout
from minigrad.ops.einsum import dot, einsum
from minigrad.ops.elementwise import (
    add, div, mul, neg, pow, sub,
    exp, log, maximum, relu, sigmoid, sqrt, tanh, where)
from minigrad.ops.embedding import embedding, placed_embedding
from minigrad.ops.flat import (
    COMPARISONS, all, any, argmax, argmin,
    astype, clone, full_like, one_hot, ones_like, zeros_like,
    ceil, floor, isfinite, isinf, isnan, round, sign)
from minigrad.ops.gru import gru
from minigrad.ops.linear import linear, matmul
from minigrad.ops.linear_cross_entropy import linear_cross_entropy
from minigrad.ops.loss import cross_entropy, kl_divergence
from minigrad.ops.losses import (
    binary_cross_entropy_with_logits, huber_loss, l1_loss, mse_loss, nll_loss)
from minigrad.ops.lstm import lstm
from minigrad.ops.mingru import mingru
from minigrad.ops.more import (
    abs, clip, cos, erf, minimum, sin, tan,
    elu, leaky_relu, logsigmoid, softplus,
    exp2, expm1, log10, log1p, log2, logaddexp,
    reciprocal, rsqrt, square)
from minigrad.ops.norm import layer_norm, rms_norm
from minigrad.ops.places import (
    chunk, diag, diagonal, expand, flatten, flip, gather,
    masked_fill, moveaxis, pad, repeat, roll, squeeze,
    tile, trace, tril, triu, unsqueeze)
from minigrad.ops.pool import pool
from minigrad.ops.rare import (
    arccos, arccosh, arcsin, arcsinh, arctan, arctan2, arctanh,
    cbrt, cosh, cross, hypot, kron, outer, sinh, tensordot,
    celu, glu, hardshrink, hardsigmoid, hardswish, hardtanh,
    mish, prelu, relu6, selu, softmin, softshrink, softsign, tanhshrink, threshold)
from minigrad.ops.reduce import max, mean, sum
from minigrad.ops.rnn import rnn
from minigrad.ops.rotary import qk_rotary, rotary, rotary_angles
from minigrad.ops.scans import (
    argsort, cumprod, cumsum, min, prod, sort, std, topk, var)
from minigrad.ops.shape import (
    broadcast_to, reshape, swapaxes, transpose,
    concatenate, getitem, index, scatter, split, stack)
from minigrad.ops.softmax import log_softmax, logsumexp, softmax
from minigrad.tensor import Tensor

__all__ = [name for name in dir() if name[0].islower()
           and name != "trace"]                       # minigrad.stepper.record is the stepper


def binary(function):
    """Make a method of x and y; an Op, which is no function, does not become one by itself."""
    return lambda x, y: function(x, y)


def reflected(function):
    """Make the method that Python calls for y + x where y is no Tensor."""
    return lambda x, y: function(y, x)


def several(function):
    """Let a method take a tuple or its elements: x.reshape((2, 3)) and x.reshape(2, 3)."""
    def method(x, *sizes):
        if len(sizes) == 1 and not isinstance(sizes[0], int):
            sizes = sizes[0]
        return function(x, sizes)
    return method


ARITHMETIC = {
    "add": add,
    "sub": sub,
    "mul": mul,
    "truediv": div,
    "matmul": matmul,
    "pow": pow,
}
OTHERS = {
    "__neg__": lambda x: neg(x),
    "__abs__": lambda x: abs(x),
    "__getitem__": getitem,
    "T": property(lambda x: transpose(x)),
    "mT": property(lambda x: swapaxes(x, -1, -2)),
    "transpose": several(lambda x, axes: transpose(x, axes or None)),
    "permute": several(transpose),
    "reshape": several(reshape),
    "view": several(reshape),
    "expand": several(expand),
}
METHODS = """
    abs all any arccos arccosh arcsin arcsinh arctan arctan2 arctanh argmax argmin argsort astype
    broadcast_to ceil chunk clip clone cos cosh cross cumprod cumsum diag diagonal dot elu erf exp
    exp2 expm1 flatten flip floor gather gelu hypot isfinite isinf isnan kron leaky_relu log log10
    log1p log2 log_softmax logaddexp logsumexp masked_fill matmul max maximum mean min minimum
    moveaxis outer pad prelu prod reciprocal relu repeat roll round rsqrt sigmoid sign silu sin
    sinh softmax softplus sort split sqrt square squeeze std sum swapaxes tan tanh tile topk trace
    tril triu unsqueeze var
"""

for name, function in ARITHMETIC.items():
    setattr(Tensor, f"__{name}__", binary(function))
    setattr(Tensor, f"__r{name}__", reflected(function))
for name, function in (OTHERS | COMPARISONS).items():
    setattr(Tensor, name, function)
for name in METHODS.split():
    function = globals()[name]
    setattr(Tensor, name, lambda x, *args, _of=function, **params: _of(x, *args, **params))
