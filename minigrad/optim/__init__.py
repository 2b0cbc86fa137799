"""Optimizers, gradient clipping and learning-rate schedules."""
from minigrad.optim.clipping import clip_grad_norm, clip_grad_value, sum_of_squares
from minigrad.kernels.pieces import PIECE
from minigrad.optim.optimizers import (
    SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop, decay_groups)
from minigrad.optim.rules import adagrad, adam, adamw, rmsprop, sgd
from minigrad.optim.schedules import (
    cosine_schedule, linear_schedule, progress, slanted_schedule, trapezoid_schedule, warmup)

__all__ = [
    "SGD", "Adam", "AdamW", "Adagrad", "RMSprop", "Optimizer", "decay_groups",
    "sgd", "adam", "adamw", "adagrad", "rmsprop",
    "clip_grad_norm", "clip_grad_value", "sum_of_squares", "PIECE",
    "cosine_schedule", "linear_schedule", "slanted_schedule", "trapezoid_schedule",
    "progress", "warmup"]
