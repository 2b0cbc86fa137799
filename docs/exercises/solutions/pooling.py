"""What a head reads of a text: the last vector, the largest and the mean of each channel.

x is (B, T, C), what a net left at T places of B texts. The first lengths[b] places are of text b,
at least one; the others are padding. Return (B, 3 C): last, largest and mean side by side.
"""
import numpy as np


def pool(x, lengths):
    B, T, C = x.shape
    real = np.arange(T) < lengths[:, None]            # (B, T)
    last = x[np.arange(B), lengths - 1]               # (B, C)
    kept = np.where(real[:, :, None], x, -np.inf)     # (B, T, C)
    largest = kept.max(axis=1)
    mean = np.where(real[:, :, None], x, 0).sum(axis=1) / lengths[:, None]
    return np.concatenate([last, largest, mean], axis=1)
