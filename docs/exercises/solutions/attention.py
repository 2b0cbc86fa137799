"""The weights of causal attention.

q and k are (T, D). Position t may take from the positions 0 to t, and its weights sum to 1.
"""
import numpy as np


def weights(q, k):
    T, D = q.shape
    scores = np.where(np.tri(T), q @ k.T / np.sqrt(D), -np.inf)
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    return np.tril(p)
