"""What to train unless told: the size by the time there is, the tokenizer by the text."""
import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from gpt.models.decoder import flops_per_token
from gpt.models.nets import net_named
from gpt.models.unfilled import NoNumbers
from gpt.training.config import Config, TrainConfig, setting_names
from gpt.training.plan import Plan
from gpt.training.tasks import matched, task_named


class Size(NamedTuple):
    """A row of the table: up to so many minutes of the reference machine, take this."""

    minutes: float
    n_layer: int
    d_model: int
    n_head: int
    context_length: int
    batch_tokens: int


# For 2 cores whose matmul reaches REFERENCE_GFLOPS; docs/training.md says what is measured of it.
REFERENCE_GFLOPS = 240
DEFAULT_MINUTES = 5
SIZES = (Size(1, 3, 96, 2, 128, 1024),
         Size(3, 4, 128, 2, 128, 1024),
         Size(7, 4, 128, 2, 256, 1024),
         Size(45, 6, 192, 3, 256, 2048),
         Size(120, 6, 256, 4, 256, 4096),
         Size(1e9, 8, 384, 6, 256, 8192))
# By characters a net with a state is ahead of a decoder for so many minutes (docs/models.md,
# docs/training.md).
SHORT_NETS = (1.5, "gru"), (30, "lstm"), (math.inf, None)
# Widths by the same minutes, and what is dropped: a wide net learns a short text by heart.
WIDTHS = {"lstm": ((1.5, 256, 0.0), (3, 384, 0.2), (math.inf, 512, 0.2))}
# Tokens of bpe by the bytes of the text; shorter texts are learnt by characters.
VOCABULARIES = {200_000: 0, 1_000_000: 512, 20_000_000: 1024, math.inf: 4096}
FEWEST, USUAL = 512, 1024          # where bpe is asked for, of short texts; of texts yet unread
MANY_CHARACTERS = 400              # more of them in a text, and bytes are better


class Recipe(NamedTuple):
    """A row of what else a preset or a net sets: up to so many passes over the text, take this."""

    passes: float
    settings: dict


# The last tokens are given with each, as attention needs long to find them. In part of a pass
# tables of what follows two and three tokens help; seen again, they learn the text by heart. After
# some passes so does the whole model, unless its weights are kept small.
LOOKING, SMALL = dict(look_back=4), dict(weight_decay=0.15)
RATES = dict(learning_rate=0.016, muon_learning_rate=0.02)
TABLES = dict(ngram_rows=4096) | RATES
RECIPES = {"fast": (Recipe(0.5, LOOKING | TABLES),
                    Recipe(4, LOOKING),
                    Recipe(math.inf, LOOKING | SMALL)),
           "portable": (Recipe(4, RATES),             # no other program is given tokens or tables
                        Recipe(math.inf, RATES | SMALL)),
           "lstm": (Recipe(2, dict(dropout=0.0)),
                    Recipe(math.inf, {}))}
USUAL_SHARE = 0.45                 # of the matmul peak, that training reaches


def choose_size(minutes, peak_gflops):
    """Return the settings of the model for a budget, as the table has them."""
    scaled = minutes * peak_gflops / REFERENCE_GFLOPS
    row = next(row for row in SIZES if scaled <= row.minutes)
    settings = row._asdict()
    del settings["minutes"]
    return settings


def choose_width(net, minutes, peak_gflops):
    """Return the settings of a net that has widths of its own; none for others, or by steps."""
    if net not in WIDTHS or not minutes:
        return {}
    scaled = minutes * peak_gflops / REFERENCE_GFLOPS
    _, width, rate = next(row for row in WIDTHS[net] if scaled <= row[0])
    return {"d_model": width, "dropout": rate}


def choose_heads(preset, asked_width, d_model, n_head, **others):
    """Return how many heads share the width: twice as many where each begins by looking back."""
    if asked_width:
        d_model, n_head = asked_width, max(1, asked_width // 64)
    looks = preset == "portable" and d_model % (4 * n_head) == 0
    return 2 * n_head if looks else n_head


def other_net(config, peak_gflops):
    """Return the net that gets further than the decoder in so short a time; None if none does."""
    train = config.train
    scaled = train.minutes * peak_gflops / REFERENCE_GFLOPS
    by_characters = config.data.tokenizer in ("char", "byte")
    is_usual = train.net == TrainConfig.net and train.task == TrainConfig.task
    fitting = next(net for most, net in SHORT_NETS if scaled <= most)
    return fitting if is_usual and by_characters and scaled else None


def choose_tokenizer(corpus):
    """Return (kind, vocabulary) for a corpus."""
    size = next(v for limit, v in VOCABULARIES.items() if corpus.size_bytes < limit)
    if size:
        return "bpe", size
    try:
        texts = [text.decode() for text, _ in corpus.pieces()]
        characters = set().union(*texts)
    except UnicodeDecodeError:
        return "byte", 0
    return ("char", 0) if len(characters) <= MANY_CHARACTERS else ("byte", 0)


def choose_settings(corpus, preset, given, peak_gflops):
    """Complete what the user gave: size by the time, tokenizer by the text, the rest by both.

    Parameters
    ----------
    corpus : Corpus
    preset : str
    given : dict
        Settings by name.
    peak_gflops : float

    Returns
    -------
    config : Config
        Without the size of the vocabulary, which the tokenizer will tell.
    """
    settings = with_end(matched(given))
    minutes = settings.get("minutes")
    name = settings.get("net", Config.train.net)
    net, known = net_named(name), setting_names(name)
    size = choose_size(minutes or DEFAULT_MINUTES, peak_gflops)
    size = {name: x for name, x in size.items() if name in known and name not in net.begins}
    if "d_model" not in settings:
        size |= choose_width(name, minutes, peak_gflops)
    if "n_head" in size:
        size["n_head"] = choose_heads(preset, settings.get("d_model"), **size)
    usual = size | fewer_evaluations(minutes or LONG_MINUTES) | corpus.settings
    if not task_named(settings.get("task", Config.train.task)).carried:
        usual["carry_state"] = False
    settings = usual | settings
    kind, vocabulary = choose_tokenizer(corpus)
    if preset == "portable" and kind == "char":            # which is not known elsewhere
        kind, vocabulary = "bpe", FEWEST
    if settings.get("tokenizer", "auto") == "auto":
        settings.update(tokenizer=kind, vocabulary=settings.get("vocabulary") or vocabulary)
    elif settings["tokenizer"] == "bpe" and not settings.get("vocabulary"):
        settings["vocabulary"] = vocabulary or FEWEST
    config = Config.make(preset, **settings)
    rows = RECIPES.get(name, RECIPES.get(preset, ()))
    if not rows or not all(name in known for row in rows for name in row.settings):
        return config
    passes = expected_passes(config, corpus, peak_gflops)
    recipe = next(row.settings for row in rows if passes <= row.passes)
    unset = {name: value for name, value in recipe.items() if name not in given}
    return config.changed(**unset)


def with_end(given):
    """Return the settings with steps or minutes, wherever they are said, or the usual minutes."""
    settings = dict(given)
    if settings.get("plan"):
        settings["steps"] = Plan.parse(settings["plan"]).steps
    if not settings.get("steps") and not settings.get("minutes"):
        settings["minutes"] = DEFAULT_MINUTES
    return settings


# What goes on from a base. The rate is that of a width of 128 and falls with the width, as AdamW's
# should where a net of any width is to take steps alike (Yang et al. 2022, arXiv:2203.03466).
TUNING = dict(optimizer="adamw", learning_rate=1e-3, beta1=0.9, beta2=0.98, weight_decay=0.1)
TUNED_WIDTH = 128


def choose_tuning(model, given):
    """Complete what the user gave to go on with a net of these settings: its own are not chosen."""
    settings = with_end(given)
    minutes = settings.get("minutes") or LONG_MINUTES
    usual = TUNING | {"tokenizer": "of the base"} | fewer_evaluations(minutes)
    usual |= task_named(settings.get("task", Config().train.task)).begins
    usual["learning_rate"] *= min(1, TUNED_WIDTH / model.d_model)
    return Config().changed(**usual | settings)


def expected_passes(config, corpus, peak_gflops):
    """Estimate how often a run will see its text."""
    settings, vocabulary, bytes_per_token = config.train, 256, 1
    if config.data.tokenizer not in ("char", "byte"):
        vocabulary = config.data.vocabulary or USUAL
        bytes_per_token = 0.24 * math.log2(vocabulary)                       # of English, about
    tokens = settings.steps * settings.batch_tokens
    if not settings.steps:
        flops = flops_of(settings.net, replace(config.model, vocab_size=vocabulary))
        tokens = 60 * settings.minutes * USUAL_SHARE * 1e9 * peak_gflops / flops
    return tokens * bytes_per_token / (corpus.size_bytes * (1 - config.data.held_out))


def flops_of(net, model):
    """Count the operations of training on one token: without attention six for each weight."""
    if hasattr(model, "n_head"):
        return flops_per_token(model)
    weights = net_named(net).module(model, NoNumbers(), np.float32).parameters()
    return 6 * sum(x.size for x in weights)


LONG_MINUTES = 3                   # from here on evaluations cost little


def fewer_evaluations(minutes):
    """Return the settings that keep the evaluations of a short run below a tenth of it."""
    share = min(1, minutes / LONG_MINUTES)
    return {"evaluations": max(4, round(20 * share)),
            "eval_tokens": max(2048, int(16384 * share))}
