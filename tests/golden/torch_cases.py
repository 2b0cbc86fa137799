"""All that is computed both here and by torch."""
from golden.torch_case import CASES, upstream  # noqa: F401
from golden.torch_cases_of_nets import mask  # noqa: F401 (which takes in those of arrays)
