"""Attention of one new position with a KV cache, written from nothing.

q, k and v are (D,), those of the new position. cache is a pair of lists, the keys and the values of
all positions before; it is empty at first, and holds the new ones afterwards. Return what attention
gives at the new position, (D,).
"""
import numpy as np


def attend(q, k, v, cache):
    keys, values = cache
    return np.zeros_like(v)  # your lines
