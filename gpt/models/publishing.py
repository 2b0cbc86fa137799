"""Spell a decoder of ours as others do: for transformers, and for a GGUF."""
from dataclasses import replace

import numpy as np

from gpt.files.quantise import quantised
from gpt.models.decoder import GPT
from gpt.models.families import GGUF, HUGGINGFACE
from gpt.models.rope import frequencies, read_scaling
from gpt.models.tables import save_weights, settings_to
from gpt.models.unfilled import NoNumbers
from gpt.settings import ConfigError
from minigrad import rms_norm

DECODERS = ("gpt2", "llama", "mistral", "qwen2", "qwen3", "gemma")
BLOCK = 32                                        # weights that share a scale


def fitting(config, families):
    """Find the family that such a net belongs to.

    Returns
    -------
    kind : str
    settings : dict
        As they are said there.

    Raises
    ------
    ConfigError
        If there is none; with the first setting that the nearest family does not have.
    """
    refusals = {}
    for kind in filter(families.get, DECODERS):
        try:
            return kind, settings_to(families[kind], config)
        except ConfigError as error:
            refusals[kind] = error
    rotary = "qwen2" if config.qkv_bias else "llama"
    nearest = "gpt2" if config.position == "learned" else rotary
    raise ConfigError(f"{refusals[nearest]}; presets portable, llama and gpt2 train what can be "
                      "taken elsewhere")


def plain(model):
    """Say the same net as others do: they have gains in all norms, and none of an embedding.

    What is left out of ours is 1 there, and the rows of the embedding are normalised once for all.
    Of a table that is the unembedding, too, that would change the scores: it stays as it is.

    Raises
    ------
    ConfigError
        If it is no decoder.
    """
    if not isinstance(model, GPT):
        raise ConfigError(f"a net of the kind {type(model).__name__} cannot be taken elsewhere, a "
                          "decoder alone can: leave out --format")
    config, changes = model.config, {}
    if config.norm == "rms_gainless":
        changes["norm"] = "rms"
    if config.qk_norm and not config.qk_gain:
        changes.update(qk_norm=False, qk_gain=True)
    if config.embedding_norm and not config.tie_weights and not config.ngram_rows:
        changes["embedding_norm"] = False
    if not changes:
        return model
    same = GPT(replace(config, **changes), NoNumbers(), model.head.dtype)
    known = model.state_dict()
    for name, x in same.named_parameters():
        x.data = known.get(name, x.data)
    if "embedding_norm" in changes:
        table = same.token_embedding.weight
        table.data = rms_norm(table.data, eps=config.norm_eps)                  # (V, C)
    return same


def as_huggingface(model):
    """Spell a decoder as transformers does.

    Returns
    -------
    settings : dict
        Of config.json, but for the ids of special tokens.
    tensors : dict of str to array

    Raises
    ------
    ConfigError
        If no class of transformers is such a model.
    """
    model = plain(model)
    kind, settings = fitting(model.config, HUGGINGFACE)
    family = HUGGINGFACE[kind]
    settings.update(model_type=kind, architectures=[family.architecture],
                    torch_dtype=str(model.head.dtype))
    return settings, save_weights(model, family)


def as_gguf(model, precision="F16"):
    """Spell a decoder as llama.cpp reads it.

    Parameters
    ----------
    model : GPT
    precision : {"F16", "Q8_0", "Q4_0"}
        Of matrices; of those whose rows are no whole blocks, F16.

    Returns
    -------
    facts : dict
        Of the metadata, all but the tokenizer.
    tensors : dict of str to array

    Raises
    ------
    ConfigError
        If no architecture of llama.cpp is such a model.
    """
    model = plain(model)
    config = model.config
    if config.window:
        raise ConfigError(f"window is {config.window}, which no architecture of llama.cpp that is "
                          "known here keeps to: use --format transformers")
    kind, settings = fitting(config, GGUF)
    known = {name: x for name, x in settings.items() if name not in SAID_BY_TENSORS}
    facts = {"general.architecture": kind, f"{kind}.rope.dimension_count": config.head_width}
    facts.update({f"{kind}.{name}": x for name, x in known.items()})
    tensors = save_weights(model, GGUF[kind])
    packed = {name: stored(name, x, precision) for name, x in tensors.items()}
    return facts, packed | divisors(config)


SAID_BY_TENSORS = ("tie_weights", "rope_scaling", "expert_count", "attention.sliding_window")
EXACT = "position_embd.weight"                    # which programs expect in F32
OUTER = ("token_embd.weight", "output.weight")    # in which rounding is felt most


def stored(name, x, precision):
    """Round a matrix to what it is stored in."""
    if x.ndim < 2 or name == EXACT:
        return x.astype(np.float32)
    if x.shape[-1] % BLOCK:
        return quantised(x, "F16")
    return quantised(x, "Q8_0" if name in OUTER and precision == "Q4_0" else precision)


def divisors(config):
    """Say as a tensor by what Llama 3.1 divides each frequency."""
    scaling, _ = read_scaling(config.rope_scaling)
    if scaling != "llama3":
        return {}
    plain = frequencies(replace(config, rope_scaling=""))                       # (D / 2,)
    return {"rope_freqs.weight": (plain / frequencies(config)).astype(np.float32)}
