"""Nets for tests."""
import numpy as np

from gpt.models.decoder import GPT


def make(config, seed=0, dtype=np.float64):
    """Make a model in which no weight is zero, so that nothing is hidden."""
    rng = np.random.default_rng(seed)
    model = GPT(config, rng, dtype)
    for x in model.parameters():
        x.data += (0.1 * rng.standard_normal(x.shape)).astype(dtype)
    return model
