"""Is my backward pass right? `check_op` says it in one line, for ops, pairs and Tensor functions."""
try:
    import hypothesis  # noqa: F401
except ImportError as error:
    raise ImportError("minigrad.testing makes its examples with hypothesis: install it with "
                      "`python -m pip install hypothesis`, or with the extra minigrad[test]"
                      ) from error

from minigrad.testing.check import GradientError, Report, check_op, op_test
from minigrad.testing.laws import LAWS

__all__ = ["GradientError", "LAWS", "Report", "check_op", "op_test"]
