"""The mean cross-entropy, written from nothing, with its backward pass.

logits is (T, V), and targets holds T ids: the loss is the mean of -log(softmax(logits)[t, target]).
Logits may be as large as 10,000. targets get no gradient: None.
"""
import numpy as np


def forward(logits, targets):
    return np.mean(0.0)  # your lines


def vjp(g, logits, targets):
    return np.zeros_like(logits), None  # your lines
