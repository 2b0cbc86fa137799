"""A tiny reverse-mode autograd engine in NumPy, with Numba kernels below."""
import builtins

from minigrad.functional import grad, hessian_vector_product, jvp, value_and_grad, vjp
from minigrad.mistakes import check_writes, mark_written
from minigrad.ops import *  # noqa: F403
from minigrad.mode import no_grad, use, watch
from minigrad.tensor import OPS, Op, Step, Tensor, backprop, op

# `from minigrad import *` leaves Python's own sum, max, min, abs and others as they are.
names = {name for name in globals() if name[0] != "_"}
__all__ = sorted(names - {"builtins", *dir(builtins)})
