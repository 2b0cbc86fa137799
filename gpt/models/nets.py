"""The nets there are: what a run trains, by name."""
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from gpt.models.config import ModelConfig
from gpt.models.conv import ConvConfig, ConvNet
from gpt.models.decoder import GPT
from gpt.models.encoder import Encoder
from gpt.models.encoder_decoder import EncoderDecoder
from gpt.models.recurrent import GRU, LSTM, RNN, MinGRU, Recurrent, RecurrentConfig
from gpt.settings import row_named


class Net(NamedTuple):
    """What a run needs to know of a net; the loop, the plan and the files serve all.

    The module is made of (config, rng, dtype), and has
    - `stream(batch, state=None, rng=None)`, which gives (B, T, C), and `head`, (V, C);
    - `start(batch)`, the state of sequences of which nothing has been read;
    - `token_embedding`; and its call and `loss` are `scores` and `mean_loss` of heads.py, where
      it reads ids alone, as no encoder does.
    """

    config: type                   # its settings: a frozen dataclass, whose fields become flags
    module: Callable
    begins: dict = {}              # settings of the run that go with it, where none are given
    sees: str = "before"           # each place: what comes before it, both sides, or a source, too


# Measured on the characters of tinyshakespeare (docs/training.md): many small steps. A net without
# settings of its own begins with those of the preset.
RECURRENT = dict(optimizer="adamw", learning_rate=0.01, beta1=0.9, beta2=0.99, weight_decay=0.2,
                 batch_tokens=1024, context_length=64, d_model=256, d_embedding=64, n_layer=1,
                 carry_state=True)

NETS = {"decoder": Net(ModelConfig, GPT),
        "rnn": Net(RecurrentConfig, partial(Recurrent, cell=RNN),
                   RECURRENT | {"learning_rate": 0.002}),
        "lstm": Net(RecurrentConfig, partial(Recurrent, cell=LSTM), RECURRENT),
        "gru": Net(RecurrentConfig, partial(Recurrent, cell=GRU), RECURRENT),
        "mingru": Net(RecurrentConfig, partial(Recurrent, cell=MinGRU),
                      RECURRENT | {"n_layer": 3}),
        "encoder": Net(ModelConfig, Encoder, dict(causal=False), "both"),
        "encoder_decoder": Net(ModelConfig, EncoderDecoder,
                               dict(position="learned", n_layer=2), "source"),
        "conv": Net(ConvConfig, ConvNet, dict(n_layer=5, d_model=128, context_length=128))}


# What is said of a net, where its settings have it and it is not nothing.
FEATURES = {"n_layer": "{:d} layers", "n_head": "{:d} heads", "d_model": "{:d} wide",
            "context_length": "context {:d}", "ngram_rows": "tables of {:,} rows",
            "dropout": "dropout {:g}"}


def described(config):
    """Describe the settings of a net, in a few words each."""
    return [words.format(value) for name, words in FEATURES.items()
            if (value := getattr(config, name, None))]


def net_named(name):
    """Return the row of a net; where there is none, a ConfigError says the nearest."""
    return row_named(name, NETS, "net")
