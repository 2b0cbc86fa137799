"""Is my backward pass right? `check_op` says so in one line, and if not, what is wrong."""
from minigrad.testing.check import GradientError, Report, check_op, op_test
from minigrad.testing.laws import LAWS
from minigrad.testing.mutants import Mutant, Score, mutate_op, mutation_score

__all__ = ["GradientError", "LAWS", "Mutant", "Report", "Score", "check_op", "mutate_op",
           "mutation_score", "op_test"]
