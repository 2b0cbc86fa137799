"""Every setting, one line a field: the command line, its help and the docs come from here."""
import argparse
import difflib
import math
import sys
from dataclasses import MISSING, asdict, dataclass, field, fields, replace


class ConfigError(ValueError):
    """A setting that cannot work; the message says why, and what does."""


def setting(default, help, choices=None, **limits):
    """Declare a field with its help text, and what values it takes (`at_least`, `below`)."""
    return field(default=default, metadata={"help": help, "choices": choices, **limits})


COMPARISONS = {"at_least": lambda x, y: x >= y, "at_most": lambda x, y: x <= y,
               "above": lambda x, y: x > y, "below": lambda x, y: x < y}


def check_limits(config):
    """Refuse a value outside what its field declares."""
    for f in fields(config):
        value, limits = getattr(config, f.name), f.metadata
        if limits["choices"] and value not in limits["choices"]:
            raise ConfigError(f"{f.name} is {value!r}: choose {', '.join(limits['choices'])}")
        for word, holds in COMPARISONS.items():
            if word in limits and not holds(value, limits[word]):
                raise ConfigError(f"{f.name} is {value}, but must be {word.replace('_', ' ')} "
                                  f"{limits[word]}")


@dataclass(frozen=True)
class ModelConfig:
    """The shape of the model: the preset `fast`, where time and text do not choose otherwise."""

    vocab_size: int = setting(256, "number of tokens", at_least=1)
    context_length: int = setting(128, "tokens the model looks back on", at_least=1)
    n_layer: int = setting(6, "blocks", at_least=1)
    n_head: int = setting(3, "attention heads", at_least=1)
    n_kv_head: int = setting(0, "key and value heads, each shared by n_head / n_kv_head query "
                             "heads (arXiv:2305.13245); 0 for n_head", at_least=0)
    d_model: int = setting(192, "width of the residual stream", at_least=1)
    d_mlp: int = setting(0, "width of the MLP; 0 for 4 d_model, 8/3 d_model with swiglu",
                         at_least=0)
    position: str = setting("rotary", "learned (GPT-2), sinusoidal (arXiv:1706.03762), rotary "
                            "(arXiv:2104.09864; half-split pairs, or interleaved), none",
                            ("learned", "sinusoidal", "rotary", "rotary_interleaved", "none"))
    norm: str = setting("rms_gainless", "layer (arXiv:1607.06450), rms (arXiv:1910.07467), "
                        "rms_gainless: without a gain", ("layer", "rms", "rms_gainless"))
    norm_position: str = setting("pre", "before each sublayer (arXiv:2002.04745), after it, none",
                                 ("pre", "post", "none"))
    qk_norm: bool = setting(True, "RMS-normalize queries and keys (arXiv:2010.04245)")
    mlp: str = setting("relu_squared", "gelu (arXiv:1606.08415) or its tanh form gelu_tanh, "
                       "relu_squared (arXiv:2109.08668), silu, swiglu (arXiv:2002.05202)",
                       ("gelu", "gelu_tanh", "relu_squared", "silu", "swiglu"))
    bias: bool = setting(False, "biases in the linear layers and layer norms")
    tie_weights: bool = setting(False, "share the token embedding and the unembedding "
                                "(arXiv:1608.05859)")
    init: str = setting("zero", "of the output projections: zero (arXiv:1901.09321), or scaled "
                        "by 1/sqrt(2 n_layer) as in GPT-2", ("zero", "scaled"))
    stream_scalars: bool = setting(False, "learn, per block, how much of the residual stream and "
                                   "of the embedding enters it (modded-nanogpt, 2024)")
    ngram_rows: int = setting(0, "rows of a hashed table of bigram embeddings, and as many for "
                              "trigrams (arXiv:2106.12672); 0 for none", at_least=0)
    embedding_norm: bool = setting(True, "RMS-normalize the embedding before the first block")
    causal: bool = setting(True, "let a token see only those before it")
    dropout: float = setting(0.0, "rate of dropout in training", at_least=0, below=1)

    def __post_init__(self):
        check_limits(self)
        if self.d_model % self.n_head:
            below = self.d_model - self.d_model % self.n_head
            raise ConfigError(f"d_model is {self.d_model}, which {self.n_head} heads cannot share "
                              f"equally: use {f'{below} or ' if below else ''}"
                              f"{below + self.n_head}")
        if self.n_head % self.kv_heads:
            raise ConfigError(f"n_head is {self.n_head}, not a multiple of n_kv_head "
                              f"{self.n_kv_head}: use {self.n_head} or 1 key heads")
        if self.position.startswith("rotary") and self.d_head % 2:
            raise ConfigError(f"rotary positions pair features, but each head has {self.d_head}: "
                              f"use d_model {self.d_model + self.n_head} or other positions")

    @property
    def d_head(self):
        return self.d_model // self.n_head

    @property
    def kv_heads(self):
        return self.n_kv_head or self.n_head

    @property
    def mlp_width(self):
        if self.d_mlp:
            return self.d_mlp
        if self.mlp == "swiglu":
            return -(-8 * self.d_model // 3 // 16) * 16       # 2/3 of 4 d_model: 3 matrices, not 2
        return 4 * self.d_model


@dataclass(frozen=True)
class DataConfig:
    """What to learn from."""

    tokenizer: str = setting("auto", "bpe, char, byte, or the file of a trained bpe tokenizer")
    vocabulary: int = setting(0, "tokens that bpe learns; 0 to choose by the size of the text",
                              at_least=0)
    val_fraction: float = setting(0.1, "share of the text, at its end, held out to validate on",
                                  at_least=0.001, below=0.9)

    __post_init__ = check_limits


@dataclass(frozen=True)
class TrainConfig:
    """How to learn it."""

    minutes: float = setting(0.0, "time for the whole run; the steps are planned to fit",
                             at_least=0)
    steps: int = setting(0, "number of optimizer steps, instead of minutes", at_least=0)
    plan: str = setting("", "a plan from a manifest, to repeat a run that was planned by time")
    batch_tokens: int = setting(2048, "tokens per optimizer step", at_least=1)
    micro_batch: int = setting(0, "sequences per forward pass, gradients being added up; 0 for "
                               "all that fit", at_least=0)
    optimizer: str = setting("muon", "muon (Jordan et al. 2024) for the matrices with adamw "
                             "(arXiv:1711.05101) for the rest, or adamw for all",
                             ("muon", "adamw"))
    learning_rate: float = setting(0.006, "of adamw, at its highest", above=0)
    muon_learning_rate: float = setting(0.03, "of muon, at its highest", above=0)
    schedule: str = setting("trapezoid", "of the learning rate after the warm-up: constant and "
                            "then linear to zero, or cosine", ("trapezoid", "cosine"))
    warmup_steps: int = setting(20, "steps of linear warm-up", at_least=0)
    decay_fraction: float = setting(0.6, "share of the run in which a trapezoid decays",
                                    at_least=0, at_most=1)
    final_rate: float = setting(0.02, "the rate at the end, as a share of the highest",
                                at_least=0, at_most=1)
    weight_decay: float = setting(0.0, "decoupled weight decay of matrices", at_least=0)
    beta1: float = setting(0.8, "of adamw: memory of the gradient", at_least=0, below=1)
    beta2: float = setting(0.95, "of adamw: memory of its square", at_least=0, below=1)
    clip_norm: float = setting(1.0, "largest gradient norm; 0 for no clipping", at_least=0)
    context_growth: bool = setting(False, "begin with a quarter of the context, in more sequences")
    evaluations: int = setting(20, "evaluations, samples and checkpoints in the run; fewer under "
                               "3 minutes", at_least=1)
    eval_every: int = setting(0, "steps between them, instead", at_least=0)
    eval_tokens: int = setting(16384, "validation tokens in those (fewer under 3 minutes); the "
                               "last one takes all, or what 5 % of the time allow", at_least=1)
    seed: int = setting(0, "of everything random", at_least=0)

    __post_init__ = check_limits


PRESETS = {
    "fast": {},
    "gpt2": dict(position="learned", norm="layer", qk_norm=False, mlp="gelu_tanh", bias=True,
                 tie_weights=True, init="scaled", embedding_norm=False,
                 optimizer="adamw", learning_rate=1e-3, schedule="cosine", warmup_steps=100,
                 final_rate=0.1, weight_decay=0.1, beta1=0.9, beta2=0.99),
    "llama": dict(norm="rms", qk_norm=False, mlp="swiglu", init="scaled",
                  embedding_norm=False, optimizer="adamw", learning_rate=2e-3, schedule="cosine",
                  warmup_steps=100, final_rate=0.1, weight_decay=0.1, beta1=0.9, beta2=0.95),
}

PARTS = {"model": ModelConfig, "data": DataConfig, "train": TrainConfig}
SETTINGS = [f.name for kind in PARTS.values() for f in fields(kind)]


@dataclass(frozen=True)
class Config:
    """All settings of a run."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    preset: str = "fast"

    @classmethod
    def make(cls, preset="fast", **changes):
        """Make a config from a preset and settings by name, wherever they belong."""
        if preset not in PRESETS:
            raise ConfigError(f"there is no preset {preset!r}: choose {', '.join(PRESETS)}")
        return cls(preset=preset).changed(**{**PRESETS[preset], **changes})

    def changed(self, **changes):
        """Return a copy with some settings changed, given by name."""
        parts = {}
        for part, kind in PARTS.items():
            mine = {f.name: changes.pop(f.name) for f in fields(kind) if f.name in changes}
            parts[part] = replace(getattr(self, part), **mine)
        if changes:
            raise ConfigError(f"there is no setting {nearest(next(iter(changes)), SETTINGS)}")
        return replace(self, **parts)

    def to_dict(self):
        return asdict(self)

    @classmethod
    def from_dict(cls, settings):
        """Read what `to_dict` wrote; settings that this version does not know are an error."""
        try:
            parts = {part: kind(**settings[part]) for part, kind in PARTS.items()}
        except (KeyError, TypeError) as error:
            raise ConfigError(f"the settings are of another version of this program: {error}"
                              ) from error
        return cls(preset=settings["preset"], **parts)


# ---- the command line ----

class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence on stderr, status 2, with the nearest flag."""

    def error(self, message):
        print(f"{self.prog}: {message}", file=sys.stderr)
        raise SystemExit(2)

    def parse_args(self, args=None):
        """Parse; `--a-b` is `--a_b`, and a flag that does not exist names the nearest one."""
        args = [dashes_to_underscores(arg) for arg in (sys.argv[1:] if args is None else args)]
        parsed, unknown = self.parse_known_args(args)
        for arg in unknown:
            if arg.startswith("-"):
                flags = [flag for action in self._actions for flag in action.option_strings]
                self.error(f"there is no flag {nearest(arg.split('=')[0], flags)}")
            self.error(f"what is {arg!r}? --help lists what can be said")
        return parsed


def dashes_to_underscores(arg):
    flag, equals, value = arg.partition("=")
    return "--" + flag[2:].replace("-", "_") + equals + value if flag.startswith("--") else arg


def nearest(name, names):
    """Quote a name that does not exist, with the nearest one that does."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"{name!r}" + (f": did you mean {close[0]}?" if close else ": --help lists all")


def add_settings(parser):
    """Add a flag for every field of every part of the config."""
    for part, kind in PARTS.items():
        group = parser.add_argument_group(f"{part}: {kind.__doc__.splitlines()[0]}")
        for f in fields(kind):
            if (part, f.name) == ("model", "vocab_size"):     # the tokenizer's
                continue
            text = f"{f.metadata['help']} [{f.default}]".replace("%", "%%")
            if f.type is bool:
                group.add_argument(f"--{f.name}", help=text, default=MISSING, action="store_true")
                group.add_argument(f"--no_{f.name}", help=argparse.SUPPRESS, dest=f.name,
                                   default=MISSING, action="store_false")
            else:
                group.add_argument(f"--{f.name}", help=text, default=MISSING,
                                   type=finite if f.type is float else f.type,
                                   choices=f.metadata["choices"], metavar=None
                                   if f.metadata["choices"] else f.type.__name__)


def finite(text):
    """Read a float from the command line."""
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is no finite number")
    return value


def given_settings(parsed):
    """Collect the settings that were said on the command line."""
    return {name: getattr(parsed, name) for name in SETTINGS
            if getattr(parsed, name, MISSING) is not MISSING}
