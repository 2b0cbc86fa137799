"""What tests of optimizers and of clipping begin with: parameters that have a gradient."""
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from minigrad import Tensor

GOLDEN = load_file(Path(__file__).parent.parent / "golden" / "optimizer_values.safetensors")
LEVELS = ["fast", "reference"]


def matrices(seed, *shapes, dtype=np.float64):
    """Make parameters that already have a gradient."""
    rng = np.random.default_rng(seed)
    parameters = [Tensor(rng.standard_normal(s).astype(dtype), requires_grad=True) for s in shapes]
    for p in parameters:
        p.grad = rng.standard_normal(p.shape).astype(dtype)
    return parameters
