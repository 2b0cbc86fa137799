"""Learning-rate schedules: what to multiply the rate with at step 0, 1, ..., total_steps - 1."""
import math


def cosine_schedule(step: int, total_steps: int,
                    warmup_steps: int = 0, final: float = 0.1):
    """Rise linearly to 1, then follow half a cosine to `final` at `total_steps`.

    Source: Loshchilov & Hutter 2017, arXiv:1608.03983, equation 5, without restarts.

    Parameters
    ----------
    step : int
        From 0 on.
    total_steps, warmup_steps : int
    final : float
        A share of the rate.

    Returns
    -------
    float
        From 0 to 1: the `scale` of Optimizer.step.
    """
    done = progress(step, warmup_steps, total_steps)
    wave = 0.5 * (1 + math.cos(math.pi * done))        # from 1 to 0
    return warmup(step, warmup_steps) * (final + (1 - final) * wave)


def linear_schedule(step: int, total_steps: int,
                    warmup_steps: int = 0, final: float = 0.0):
    """Rise linearly to 1, then fall linearly to `final` at `total_steps`.

    Parameters and result are those of `cosine_schedule`.
    """
    done = progress(step, warmup_steps, total_steps)
    falling = 1 + (final - 1) * done
    return warmup(step, warmup_steps) * falling


def trapezoid_schedule(step: int, total_steps: int,
                       warmup_steps: int = 0, decay_steps: int = 0, final: float = 0.0):
    """Rise linearly to 1, stay, and fall linearly to `final` in the last `decay_steps`.

    Parameters and result are those of `cosine_schedule`.

    Source: Hägele et al. 2024, arXiv:2405.18392.
    """
    start = total_steps - decay_steps
    falling = 1 + (final - 1) * progress(step, start, total_steps)
    return warmup(step, warmup_steps) * falling


def slanted_schedule(step: int, total_steps: int, cut: float = 0.1, ratio: float = 32.0):
    """Rise linearly from 1 / ratio to 1 in the first share `cut` of the steps, then fall to it.

    Source: Howard & Ruder 2018, arXiv:1801.06146, equation 3.

    Parameters
    ----------
    step : int
        From 0 on.
    total_steps : int
    cut : float
        From 0 to 1.
    ratio : float
        How much smaller the lowest rate is than the highest.

    Returns
    -------
    float
        From 1 / ratio to 1: the `scale` of Optimizer.step.
    """
    top = cut * total_steps
    p = 1 - progress(step, top, total_steps)
    if step < top:
        p = step / top
    return (1 + p * (ratio - 1)) / ratio


def warmup(step: int, warmup_steps: int):
    """Return what part of the warm-up is done: never 0, and 1 at the step after it."""
    done = (step + 1) / (warmup_steps + 1)
    return min(1.0, done)


def progress(step: int, start: int, stop: int):
    """Return where `step` lies between start (0) and stop (1)."""
    length = max(1, stop - start)
    done = (step - start) / length
    return min(1.0, max(0.0, done))
