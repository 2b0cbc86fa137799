"""What tokens are drawn with: temperature, top-k and top-p, written from nothing.

logits is (V,). Divide by the temperature (0: all on the likeliest), keep the top_k likeliest (None:
all), then of what is left the fewest likeliest that together reach top_p. Both times what is left
sums to 1 again. Logits may be as large as 500.
"""
import numpy as np


def probabilities(logits, temperature=1.0, top_k=None, top_p=1.0):
    return np.zeros(len(logits))  # your lines
