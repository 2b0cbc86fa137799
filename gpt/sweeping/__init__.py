"""Sweeps: the same training with many settings, on one machine or on many."""
