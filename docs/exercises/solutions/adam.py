"""One step of Adam, in place.

p, g, m and v are arrays of one shape; t counts the steps from 1.
"""
import numpy as np


def step(p, g, m, v, t, learning_rate, beta1=0.9, beta2=0.999, eps=1e-8):
    m += (1 - beta1) * (g - m)
    v += (1 - beta2) * (g * g - v)
    p -= learning_rate * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)
