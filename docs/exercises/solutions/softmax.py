"""Softmax over the last axis.

Each output depends on every input, through the sum below the fraction.
"""
import numpy as np


def forward(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True, initial=-np.inf))
    return e / e.sum(axis=-1, keepdims=True)


def vjp(g, x):
    y = forward(x)
    return y * (g - (g * y).sum(axis=-1, keepdims=True)),
