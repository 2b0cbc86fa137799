"""Backpropagation through a whole MLP by hand; each line is held to the engine.

x is (B, C), w1 is (C, F), w2 is (F, V), and targets holds B ids. The loss is the mean of
-log(p[b, targets[b]]). dh is d(loss)/d(h), and so on.
"""
import numpy as np


def backward(x, targets, w1, b1, w2, b2):
    a = x @ w1 + b1                                     # (B, F)
    h = np.tanh(a)
    logits = h @ w2 + b2                                # (B, V)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)

    dlogits = dh = da = dw2 = db2 = dw1 = db1 = dx = None  # a line for each
    return {"dlogits": dlogits, "dh": dh, "da": da, "dw2": dw2, "db2": db2, "dw1": dw1,
            "db1": db1, "dx": dx}
