"""Rotary positions, written from nothing.

x is (T, D). At position t, from 0, feature i and feature i + D/2 are a point in a plane: turn it
about the origin, from the first axis towards the second, by the angle t * 10000**(-2i/D).
"""
import numpy as np


def rotate(x):
    T, D = x.shape
    angle = np.arange(T)[:, None] * 10000.0 ** (-2 * np.arange(D // 2) / D)    # (T, D / 2)
    cos, sin = np.cos(angle), np.sin(angle)
    a, b = x[:, :D // 2], x[:, D // 2:]
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=1)
