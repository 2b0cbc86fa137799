"""Runs of 30 steps that are made both here and by torch: settings, parameters, gradients."""
import numpy as np

N_STEPS = 30
START = {"w": np.linspace(-1.5, 2.0, 12).reshape(3, 4), "b": np.array([0.5, -0.25, 0.0, 3.0])}

# name -> (optimizer, settings under our names, settings of the group of b alone)
CASES = {
    "sgd": ("SGD", {"learning_rate": 0.05}, {}),
    "sgd, decay": ("SGD", {"learning_rate": 0.05, "weight_decay": 0.1}, {}),
    "sgd, momentum": ("SGD", {"learning_rate": 0.02, "momentum": 0.9}, {}),
    "sgd, nesterov": ("SGD", {"learning_rate": 0.02, "momentum": 0.9, "nesterov": True,
                              "weight_decay": 0.01}, {"momentum": 0.5, "weight_decay": 0.0}),
    "adamw": ("AdamW", {}, {}),
    "adamw, settings": ("AdamW", {"learning_rate": 0.1, "betas": (0.8, 0.95), "eps": 1e-3,
                                  "weight_decay": 0.3}, {}),
    "adamw, groups": ("AdamW", {"learning_rate": 0.05, "weight_decay": 0.1},
                      {"learning_rate": 0.01, "weight_decay": 0.0}),
}


def gradient(p, name, step):
    """Make the gradient of one parameter: of many magnitudes, and now and then none for b."""
    if name == "b" and step % 4 == 1:
        return None
    return 10.0 ** (step % 5 - 3) * (np.sin(3 * p) + 0.5 * p + 0.1 * (step - 12))


def scale(step):
    """Return what the schedule multiplies the learning rates with."""
    return 1 / (1 + step / 10)
