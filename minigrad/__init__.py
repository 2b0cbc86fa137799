"""A tiny reverse-mode autograd engine in NumPy, with Numba kernels below."""
from minigrad.functional import grad, hessian_vector_product, jvp, value_and_grad, vjp
from minigrad.ops import *  # noqa: F403
from minigrad.tensor import OPS, Op, Step, Tensor, backprop, check_writes, no_grad, op, use, watch
