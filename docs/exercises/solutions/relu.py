"""max(x, 0), with a backward pass that is a bad guest.

The values are right. But somebody else may still need g.
"""
import numpy as np


def forward(x):
    return np.maximum(x, 0)


def vjp(g, x):
    return g * (x > 0),
