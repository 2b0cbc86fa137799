"""Learning-rate schedules: what to multiply the rate with at step 0, 1, ..., total_steps - 1."""
import math


def cosine_schedule(step, total_steps, warmup_steps=0, final=0.1):
    """Rise linearly to 1, then follow half a cosine to `final` at `total_steps`.

    Source: Loshchilov & Hutter 2017, arXiv:1608.03983, equation 5, without restarts.
    """
    done = progress(step, warmup_steps, total_steps)
    falling = final + (1 - final) * 0.5 * (1 + math.cos(math.pi * done))
    return warmup(step, warmup_steps) * falling


def linear_schedule(step, total_steps, warmup_steps=0, final=0.0):
    """Rise linearly to 1, then fall linearly to `final` at `total_steps`."""
    done = progress(step, warmup_steps, total_steps)
    return warmup(step, warmup_steps) * (1 + (final - 1) * done)


def trapezoid_schedule(step, total_steps, warmup_steps=0, decay_steps=0, final=0.0):
    """Rise linearly to 1, stay, and fall linearly to `final` in the last `decay_steps`.

    Source: Hägele et al. 2024, arXiv:2405.18392.
    """
    done = progress(step, total_steps - decay_steps, total_steps)
    return warmup(step, warmup_steps) * (1 + (final - 1) * done)


def warmup(step, warmup_steps):
    """Return what part of the warm-up is done: never 0, and 1 at the step after it."""
    return min(1.0, (step + 1) / (warmup_steps + 1))


def progress(step, start, stop):
    """Return where `step` lies between start (0) and stop (1)."""
    return min(1.0, max(0.0, (step - start) / max(1, stop - start)))
