"""Rotary positions, written from nothing.

x is (T, D). At position t, from 0, feature i and feature i + D/2 are a point in a plane: turn it
about the origin, from the first axis towards the second, by the angle t * 10000**(-2i/D).
"""
import numpy as np


def rotate(x):
    T, D = x.shape
    return np.zeros((T, D))  # your lines
