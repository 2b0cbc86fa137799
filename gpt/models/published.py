"""Read published models: a folder as transformers writes it, or a GGUF file."""
import json
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np

from gpt.files.opening import open_weights
from gpt.models.config import ModelConfig
from gpt.models.decoder import block_weights
from gpt.models.families import GGUF, HUGGINGFACE
from gpt.models.nets import net_named
from gpt.models.quantising import hold, room_for_blocks
from gpt.models.rope import frequencies
from gpt.models.tables import load_weights, settings_from, stored_parts
from gpt.settings import ConfigError


def read_huggingface(folder, dtype=np.float32, as_stored=False):
    """Read a folder with config.json and safetensors.

    Parameters
    ----------
    folder : path
    dtype : float dtype
        Of the model.
    as_stored : bool
        Whether the matrices of a decoder stay what they are in the file, blocks or floats of 16
        bits, where kernels multiply by such; see `quantising`.

    Returns
    -------
    model : Module

    Raises
    ------
    ConfigError, FileError
        If it is of no family that is known here, or its files are damaged.
    """
    theirs = read_settings(Path(folder) / "config.json")
    family = family_of(theirs.get("model_type"), HUGGINGFACE)
    weights = open_weights(folder)
    config = settings_from(family, theirs, weights, ModelConfig)
    check_size(config, weights)
    return filled(family, config, weights, dtype, as_stored)


def read_gguf(path, dtype=np.float32, as_stored=False):
    """Read a GGUF file, or a folder that holds one.

    Returns
    -------
    model : Module
    metadata : dict
        What else the file says; its tokenizer is there.

    Raises
    ------
    ConfigError, FileError
        As for `read_huggingface`.
    """
    weights = open_weights(path)
    facts = {name: x.tolist() if isinstance(x, np.ndarray) else x
             for name, x in weights.metadata.items()}
    kind = facts.get("general.architecture")
    family = family_of(kind, GGUF)
    theirs = {name.removeprefix(f"{kind}."): x for name, x in facts.items()}
    if "token_embd.weight" not in weights:
        raise ConfigError(f"{path} holds no token_embd.weight: it is no whole model")
    theirs.update(vocab_size=weights.shape("token_embd.weight")[0],
                  tie_weights="output.weight" not in weights)
    config = settings_from(family, theirs, weights, ModelConfig)
    check_size(config, weights)
    if "rope_freqs.weight" in weights:
        config = stretched(config, weights["rope_freqs.weight"])
    return filled(family, config, weights, dtype, as_stored), weights.metadata


def filled(family, config, weights, dtype, as_stored):
    """Make a model and fill it."""
    model, room = net_named(family.net).module(config, Blank(), dtype), {}
    if as_stored:
        room = room_for_blocks(model, stored_parts(model, weights, family))
    load_weights(model, weights, family, room)
    hold(model, room)
    return model


OF_POSITIONS = 1 << 22                            # numbers that tables of positions may have


def check_size(config, weights):
    """Refuse settings of a net that is larger than its file, before there is room made for it."""
    held = sum(prod(weights.shape(name)) for name in weights)
    n_layer = config.n_layer + config.n_encoder_layer
    rows = config.vocab_size + config.n_segment + config.relative_buckets // config.d_model
    if config.position == "learned":
        rows += config.context_length
    asked = n_layer * block_weights(config) + config.d_model * rows
    if asked > held:
        raise ConfigError(f"the settings are those of a net with at least {asked:,} weights, but "
                          f"{held:,} are there")
    if config.context_length * config.head_width > max(held, OF_POSITIONS):
        raise ConfigError(f"context_length is {config.context_length}, but tables of so many "
                          f"positions would be larger than the net, of {held:,} weights")


class Blank(np.random.Generator):
    """In place of a random generator, and of what it draws: zeros, to be filled from a file."""

    def __init__(self):
        super().__init__(np.random.PCG64(0))

    def standard_normal(self, shape, dtype):
        self.zeros = np.zeros(shape, dtype)
        return self

    def __mul__(self, std):
        return self.zeros                         # a product would touch all of their memory


def family_of(kind, families):
    if kind not in list(families):
        raise ConfigError(f"this is a model of kind {kind!r:.60}, but what can be read is "
                          f"{', '.join(families)}")
    return families[kind]


def read_settings(path):
    """Read a JSON file that holds a dict."""
    try:
        settings = json.loads(path.read_bytes().decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read: {error!s:.100}") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"{path} holds no settings")
    return settings


# ---- what a GGUF says by a tensor ----

LLAMA3 = ("llama3:8:1:4:8192", "llama3:32:1:4:8192")       # of Llama 3.1, 3.3; of Llama 3.2


def stretched(config, divisors):
    """Return the config with the scaling by which these, (D / 2,), divide the frequencies."""
    for scaling in LLAMA3:
        known = replace(config, rope_scaling=scaling)
        expected = frequencies(config) / frequencies(known)                     # (D / 2,)
        if np.shape(divisors) == expected.shape and np.allclose(divisors, expected, rtol=1e-4):
            return known
    raise ConfigError("rope_freqs.weight stretches rotary positions in a way that is not known "
                      f"here: neither {' nor '.join(LLAMA3)}")
