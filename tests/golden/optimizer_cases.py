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
    "sgd, dampening": ("SGD", {"learning_rate": 0.02, "momentum": 0.9, "dampening": 0.3},
                       {"dampening": 0.9, "weight_decay": 0.1}),
    "adam": ("Adam", {}, {}),
    "adam, settings": ("Adam", {"learning_rate": 0.1, "betas": (0.8, 0.95), "eps": 1e-3,
                                "weight_decay": 0.3}, {"learning_rate": 0.05}),
    "adam, no memory": ("Adam", {"learning_rate": 0.1, "betas": (0.0, 0.0)}, {}),
    "adagrad": ("Adagrad", {"learning_rate": 0.01}, {}),
    "adagrad, settings": ("Adagrad", {"learning_rate": 0.3, "rate_decay": 0.1, "eps": 1e-3,
                                      "weight_decay": 0.1, "initial": 0.5}, {"rate_decay": 0.0}),
    "rmsprop": ("RMSprop", {"learning_rate": 0.01}, {}),
    "rmsprop, settings": ("RMSprop", {"learning_rate": 0.05, "beta": 0.8, "eps": 1e-3,
                                      "weight_decay": 0.1, "momentum": 0.9}, {"momentum": 0.0}),
    "rmsprop, centered": ("RMSprop", {"learning_rate": 0.02, "centered": True}, {"beta": 0.5}),
}

# torch's names for our settings, where they differ
NAMES = {"learning_rate": "lr", "rate_decay": "lr_decay", "beta": "alpha",
         "initial": "initial_accumulator_value"}

# Gradients of one step, as torch's clip_grad_norm_ leaves them: largest norm, its p.
CLIPPED = [(1.0, 2.0), (1.0, 1.0), (0.5, 3.0), (0.5, 0.5), (1.0, np.inf), (1e3, 2.0)]

# One element for each gradient, and two steps in float32: this one, then one of 1.
EXTREME = np.array([1e20, -1e19, 2e18, 1e-20, 1e-30, 1e-42, 0.0, 3e38], np.float32)
EXTREME_CASES = {
    "adamw": ("AdamW", {"learning_rate": 0.1}), "adam": ("Adam", {"learning_rate": 0.1}),
    "adamw, eps 0": ("AdamW", {"learning_rate": 0.1, "eps": 0.0}),
    "adamw, betas 0": ("AdamW", {"learning_rate": 0.1, "betas": (0.0, 0.0)}),
    "sgd": ("SGD", {"learning_rate": 0.1, "momentum": 0.9}),
    "adagrad": ("Adagrad", {"learning_rate": 0.1}),
    "rmsprop": ("RMSprop", {"learning_rate": 0.1}),
    "rmsprop, centered": ("RMSprop", {"learning_rate": 0.1, "beta": 0.5, "centered": True})}


def gradient(p, name, step):
    """Make the gradient of one parameter: of many magnitudes, and now and then none for b."""
    if name == "b" and step % 4 == 1:
        return None
    return 10.0 ** (step % 5 - 3) * (np.sin(3 * p) + 0.5 * p + 0.1 * (step - 12))


def scale(step):
    """Return what the schedule multiplies the learning rates with."""
    return 1 / (1 + step / 10)
