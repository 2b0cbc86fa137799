"""The frequencies of rotary positions, as published models stretch them to longer texts."""
import numpy as np

from gpt.settings import ConfigError

NUMBERS = {"linear": 1, "llama3": 4}          # how many numbers stand behind each kind


def read_scaling(text):
    """Read "kind:number:..." as (kind, numbers); ("", []) for no scaling.

    Raises
    ------
    ConfigError
        If there is no such kind, or it takes other numbers.

    Examples
    --------
    >>> read_scaling("llama3:8:1:4:8192")
    ('llama3', [8.0, 1.0, 4.0, 8192.0])
    """
    if not text:
        return "", []
    kind, *numbers = text.split(":")
    try:
        numbers = [float(number) for number in numbers]
    except ValueError:
        numbers = []
    if len(numbers) != NUMBERS.get(kind) or min(numbers) <= 0:
        raise ConfigError(f"rope_scaling is {text!r}, but must be linear:FACTOR or "
                          f"llama3:FACTOR:LOW:HIGH:CONTEXT, numbers above 0")
    return kind, numbers


def frequencies(config):
    """Return the angle that each pair of features turns by from one position to the next.

    Parameters
    ----------
    config : ModelConfig

    Returns
    -------
    (D / 2,) float64

    References
    ----------
    Su et al. 2021, arXiv:2104.09864; Chen et al. 2023, arXiv:2306.15595, equation 4; Llama 3.1
    leaves pairs that turn HIGH times within the CONTEXT of the training as they are, slows those
    down that turn LOW times or less, and goes from one to the other in between.
    """
    D = config.head_width
    frequency = config.rope_theta ** (-np.arange(0, D, 2) / D)                  # (D / 2,)
    kind, numbers = read_scaling(config.rope_scaling)
    if kind == "linear":
        return frequency / numbers[0]
    if kind == "llama3":
        factor, low, high, context = numbers
        turns = context * frequency / (2 * np.pi)                               # (D / 2,)
        kept = np.clip((turns - low) / (high - low), 0, 1)                      # 1 as it was
        return frequency * (kept + (1 - kept) / factor)
    return frequency


# ---- as config.json has it ----

FIELDS = {"linear": ("factor",),
          "llama3": ("factor", "low_freq_factor", "high_freq_factor",
                     "original_max_position_embeddings")}


def rope_from(theirs):
    """Return rope_theta and rope_scaling as we have them, of those that `theirs` says."""
    rope = theirs.get("rope_parameters") or theirs.get("rope_scaling") or {}
    if not isinstance(rope, dict):
        raise ConfigError(f"rope_scaling is {rope!r:.60}, but must be an object")
    theta = rope.get("rope_theta", theirs.get("rope_theta"))
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return {"rope_theta": theta, "rope_scaling": ""}
    if kind not in list(FIELDS):
        raise ConfigError(f"rotary positions are scaled by {kind!r}, but what is known here is "
                          f"{' and '.join(FIELDS)}")
    numbers = [f"{rope.get(name)}" for name in FIELDS[kind]]
    return {"rope_theta": theta, "rope_scaling": ":".join([kind, *numbers])}


def rope_to(config):
    """Undo `rope_from`."""
    kind, numbers = read_scaling(config.rope_scaling)
    numbers = [int(x) if x.is_integer() else x for x in numbers]
    scaling = dict(zip(FIELDS.get(kind, ()), numbers))
    kind = {"rope_type": kind or "default"}
    return {"rope_theta": config.rope_theta,
            "rope_scaling": kind | scaling if scaling else None,
            "rope_parameters": {"rope_theta": config.rope_theta, **kind, **scaling}}
