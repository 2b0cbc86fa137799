"""Layer norm over the last axis, without gain and bias.

x moves the output directly, through the mean, and through the standard deviation.
"""
import numpy as np

EPS = 1e-5


def forward(x):
    centered = x - x.mean(axis=-1, keepdims=True)
    return centered / np.sqrt(np.square(centered).mean(axis=-1, keepdims=True) + EPS)


def vjp(g, x):
    centered = x - x.mean(axis=-1, keepdims=True)
    std = np.sqrt(np.square(centered).mean(axis=-1, keepdims=True) + EPS)
    y = centered / std
    return (g - g.mean(axis=-1, keepdims=True) - y * (g * y).mean(axis=-1, keepdims=True)) / std,
