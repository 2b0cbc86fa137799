"""Scaling laws: how the loss falls with the size of a model and with its tokens."""
