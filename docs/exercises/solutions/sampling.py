"""What tokens are drawn with: temperature, top-k and top-p, written from nothing.

logits is (V,). Divide by the temperature (0: all on the likeliest), keep the top_k likeliest (None:
all), then of what is left the fewest likeliest that together reach top_p. Both times what is left
sums to 1 again. Logits may be as large as 500.
"""
import numpy as np


def probabilities(logits, temperature=1.0, top_k=None, top_p=1.0):
    if temperature == 0:
        return np.eye(len(logits))[logits.argmax()]
    p = np.exp((logits - logits.max()) / temperature)
    p /= p.sum()
    order = np.argsort(-p)                              # the likeliest first
    if top_k:
        p[order[top_k:]] = 0
        p /= p.sum()
    before = np.cumsum(p[order]) - p[order]
    p[order[before >= top_p]] = 0
    return p / p.sum()
