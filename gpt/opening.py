"""Open whatever is a model: whoever uses one asks here, and nobody else knows what kinds there are.

A kind is a row of KINDS: a function that tells by a look at a place whether it is one, and a
function that reads it. The rows are asked in order, and the first that says yes reads.
"""
import hashlib
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bpe.files import file_sha256
from gpt.data.reading import CorpusError
from gpt.data.tokens.kinds import load_tokenizer, tokenizer_of_gguf
from gpt.files.safetensors import open_safetensors
from gpt.files.weights import FileError
from gpt.models.encoder import Encoder
from gpt.models.encoder_decoder import EncoderDecoder
from gpt.models.lora import Part, merged
from gpt.models.nets import NETS, net_named
from gpt.models.published import Blank, read_gguf, read_huggingface
from gpt.models.quantising import hold
from gpt.models.sampling import write
from gpt.settings import ConfigError
from gpt.training import checkpoint
from gpt.training.checkpoint import CheckpointError, below
from gpt.training.config import Config, TrainConfig
from gpt.training.folder import check_folder
from gpt.training.tasks import TASKS, task_named
from minigrad.kernels.memory import trim
from minigrad.kernels.quantised import DTYPES


FIRST, FIRST_TASK = next(iter(NETS)), next(iter(TASKS))     # what is not named


class Opened(NamedTuple):
    """A model to be used, and what is known of it; only the first two must be."""

    model: object                  # with `config`, `stream`, `head`, `start`
    tokenizer: object              # with `encode_array`, `decode`, `decoder`, `special_tokens`
    task: str = "causal"           # what it learnt: a row of `training.tasks.TASKS`
    step: int | None = None        # of its training, if that is known
    text: Callable | None = None   # () -> Dataset: what it learnt from, if that came along
    net: str = FIRST               # what it is: a row of `models.nets.NETS`
    head: dict = {}                # settings of what its task has put on the net
    template: str | None = None    # how it is talked to, as a program in Jinja that is never run
    config: Config | None = None   # all settings of its run, if those are known

    @property
    def base(self):
        """What its adapters stand beside; None if it has none."""
        adapted = self.config and self.config.train.lora_rank
        return self.config.train.base if adapted else None

    @property
    def talks(self):
        """Whether it learnt to answer as its template says, rather than to continue a text."""
        return self.task != FIRST_TASK and self.template not in (None, "none")

    def write(self, prompt="", **how):
        """Yield a continuation of a prompt, piece by piece, as `models.sampling.write` does."""
        return write(self.model, self.tokenizer, prompt, **how)

    def data(self):
        """Open the text that it learnt from and was validated on: a Dataset.

        Raises
        ------
        ConfigError
            If that did not come along.
        """
        if self.text is None:
            raise ConfigError("this model came without the text it learnt from: name a text")
        return self.text()


class Kind(NamedTuple):
    """A row of KINDS."""

    is_one: Callable               # (place) -> bool, by names and first bytes: it must be quick
    read: Callable                 # (place, step, base) -> Opened; both are None unless the user
                                   # names one


def open_model(place, step=None, base=None):
    """Open the model at a place.

    Parameters
    ----------
    place : path
        Of anything that is in KINDS.
    step : int, optional
        A checkpoint other than the best one, of a run.
    base : path or Opened, optional
        Where the model lies now that the adapters of a run stand beside, or that model: then its
        arrays are theirs, too.

    Returns
    -------
    Opened

    Raises
    ------
    ConfigError, CheckpointError, CorpusError
        If there is no model, or it cannot be read.

    Notes
    -----
    Its weights can be read while nothing of the text that it learnt from is there.
    """
    place = Path(place)
    kind = next((kind for kind in KINDS.values() if kind.is_one(place)), None)
    if kind is None:
        if not place.is_file():
            check_folder(place)
        raise ConfigError(f"{place} is neither {' nor '.join(KINDS)}: name one")
    opened = kind.read(place, step, base)
    trim()                                            # what reading took besides: 5 MB of SmolLM2
    if step not in (None, opened.step):
        raise ConfigError(f"{place} has no steps to choose from: leave out --from_step")
    if base and not opened.base:
        remedy = "name a run of adapters" if isinstance(base, Opened) else "leave out --base"
        raise ConfigError(f"{place} holds all its weights: {remedy}")
    return opened


# ---- a run ----

def is_run(place):
    return any((place / name).exists() for name in ("checkpoints", "manifest.json"))


def read_run(place, step, base):
    """Read the checkpoint of the best validation loss, or of a step."""
    kept = place / "checkpoints"
    tensors, facts = checkpoint.load(kept, step)
    best = facts["best_step"] or facts["step"]        # none was evaluated yet
    if step is None and best != facts["step"]:
        tensors, facts = checkpoint.load(kept, best)
    config = Config.from_dict(facts["config"])
    of_base, kept = base_weights(facts, base), below(tensors, "model")
    model = beside_base(config, kept, of_base) if of_base else with_weights(config, kept)
    tokenizer = tokenizer_at(place / "data" / "tokenizer.json")
    if tokenizer.fingerprint() != facts["tokenizer"]:
        raise ConfigError(f"{place}/data/tokenizer.json is not the tokenizer that this model was "
                          "trained with: put that back")
    learnt, task = config.train, task_named(config.train.task)
    text = partial(task.load, place / "data", facts.get("data_sha256"))
    head = {name: getattr(learnt, name) for name in task.head}
    return Opened(model, tokenizer, learnt.task, facts["step"], text, learnt.net, head,
                  config.data.template or None, config)


def with_weights(config, tensors, kinds=None):
    """Make a net of tensors; those that have a kind are blocks, as bytes (n, bytes of a row)."""
    if not kinds:
        model = config.new_net(np.random.default_rng(0))
        model.load_state_dict(tensors)
        return model
    model = config.new_net(Blank())
    hold(model, {name: tensors[name].view(DTYPES[kind]) for name, kind in kinds.items()})
    for name, x in model.state_dict().items():
        if name not in kinds:
            x[...] = tensors[name]
    return model


# ---- the base of a run ----

def beside_base(config, tensors, of_base):
    """Make a net of what has learnt and of the weights of its base."""
    model = config.net_from(of_base, np.random.default_rng(0))
    part = Part(model, lambda name, x: name in tensors or name not in of_base)
    part.load_state_dict(tensors)
    return model


def base_weights(facts, base=None):
    """Return the weights that the adapters of a checkpoint stand beside; None if it has none.

    Parameters
    ----------
    facts : dict
        Of the checkpoint.
    base : path or Opened, optional
        Where they are, if not where they were, or the model that has them.

    Raises
    ------
    ConfigError
        If they are not there, or are others.
    """
    settings = facts["config"]["train"]
    if not settings.get("lora_rank"):
        return None
    place = base or settings["base"]
    try:
        weights = weights_of(place if isinstance(place, Opened) else open_model(place))
    except ConfigError as error:
        raise ConfigError(f"the adapters of this run need their base: {error}; say where it is "
                          "with --base") from error
    if fingerprint(weights) != facts["base_sha256"]:
        named = "the model that is open" if isinstance(place, Opened) else place
        raise ConfigError(f"{named} is not the base of this run, whose weights have the SHA256 "
                          f"{facts['base_sha256']:.16}...: name that with --base")
    return weights


def weights_of(opened):
    """Return the arrays of the net of a base, without what its task has put on it."""
    found, task = merged(opened.model).state_dict(), TASKS.get(opened.task)
    if not task or not task.puts:
        return found
    names = [name for name in found if not name.startswith(task.puts)]
    return {name: found[name] for name in names}


def fingerprint(tensors):
    """Return the SHA256 of tensors, their names and shapes, wherever they came from."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        x = np.asarray(tensors[name])
        digest.update(f"{name} {x.dtype.str} {x.shape}".encode())
        digest.update(memoryview(x).cast("B") if x.flags.c_contiguous else x.tobytes())
    return digest.hexdigest()



def tokenizer_at(path, load=load_tokenizer):
    try:
        return load(path)
    except (OSError, ValueError) as error:
        raise CorpusError(f"the tokenizer of this model cannot be read: {error}") from error


# ---- a shared folder: what `minigrad export` writes ----

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
MODEL_TYPE = "minigrad"            # told from other folders that have the same three files
SHARED_FORMATS = 1, 2              # of numbers; with weights in blocks


def is_shared(place):
    return facts_of(place).get("model_type") == MODEL_TYPE


def facts_of(place, name=CONFIG):
    """Return what `config.json` says, or another file; nothing where there is none."""
    try:
        facts = json.loads((place / name).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def read_shared(place, step, base):
    facts = facts_of(place)
    if facts.get("format") not in SHARED_FORMATS:
        raise ConfigError(f"{place} has format {facts.get('format')}, but this version reads "
                          f"formats up to {max(SHARED_FORMATS)}: use the version that wrote it")
    try:
        for name in WEIGHTS, TOKENIZER:
            if file_sha256(place / name) != facts["sha256"][name]:
                raise CheckpointError(f"{place / name} is damaged: copy the folder again")
        tokenizer = tokenizer_at(place / TOKENIZER)
        net = facts.get("net", FIRST)                 # earlier versions had but one
        task, head = facts["task"], facts.get("head", {})
        shape = net_named(net).config(**facts["model"])
        config = Config(shape, train=TrainConfig(net=net, task=task, **head))
        tensors = open_safetensors(place / WEIGHTS).arrays()
        model = with_weights(config, tensors, facts.get("blocks"))
        return Opened(model, tokenizer, task, facts["step"], net=net, head=head,
                      template=facts.get("template"))
    except OSError as error:
        raise CheckpointError(f"{error.filename} cannot be read: {error.strerror}") from error
    except (ConfigError, CheckpointError, CorpusError):
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{place / CONFIG} is damaged: copy the folder again ({error!s:.90})"
                              ) from error


# ---- a published model: a folder as transformers writes it, or a GGUF ----

LEARNT = {Encoder: "masked", EncoderDecoder: "seq2seq"}


def is_published(place):
    return "model_type" in facts_of(place)


def read_published(place, step, base):
    model = told_as_one(partial(read_huggingface, as_stored=True), place)
    task = LEARNT.get(type(model), "causal")
    if task == "seq2seq":
        model.begins, model.ends = around_answers(place, model.config.vocab_size)
    tokenizer = tokenizer_at(place / TOKENIZER)
    for note in getattr(tokenizer, "notes", ()):
        print(f"{place / TOKENIZER}: {note}", file=sys.stderr)
    return Opened(model, tokenizer, task, template=template_in(place))


def around_answers(place, vocab_size):
    """Return the ids that an encoder-decoder begins an answer with, and those that end it."""
    said = facts_of(place, "generation_config.json")
    facts = facts_of(place) | {name: x for name, x in said.items() if x is not None}
    first, ends = facts.get("decoder_start_token_id"), facts.get("eos_token_id")
    if first is None:
        first = facts.get("bos_token_id")
    begins = first, facts.get("forced_bos_token_id")
    sides = begins, ends if isinstance(ends, list) else [ends]
    sides = [tuple(i for i in side if i is not None) for side in sides]
    for i in (*sides[0], *sides[1]):
        if type(i) is not int or not 0 <= i < vocab_size:
            raise ConfigError(f"{place} says that an answer begins or ends with token {i!r:.40}, "
                              f"but there are {vocab_size}: mend generation_config.json")
    return sides


def template_in(place):
    """Return how a published model is talked to, from either of the files that may say it."""
    try:
        return (place / "chat_template.jinja").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        said = facts_of(place, "tokenizer_config.json").get("chat_template")
    if isinstance(said, list):                        # several, for several uses
        rows = [row for row in said if isinstance(row, dict) and row.get("name") == "default"]
        said = rows[0].get("template") if rows else None
    return said if isinstance(said, str) else None


def is_gguf(place):
    return place.suffix == ".gguf" or any(place.glob("*.gguf"))


def read_one_file(place, step, base):
    model, facts = told_as_one(partial(read_gguf, as_stored=True), place)
    said = facts.get("tokenizer.chat_template")
    template = said if isinstance(said, str) else None
    return Opened(model, tokenizer_at(facts, tokenizer_of_gguf), template=template)


def told_as_one(read, place):
    """Tell what is wrong with a file of others as with any model."""
    try:
        return read(place)
    except FileError as error:
        raise ConfigError(str(error)) from error


KINDS = {"a run": Kind(is_run, read_run),
         "a shared model": Kind(is_shared, read_shared),
         "a published model": Kind(is_published, read_published),
         "a GGUF": Kind(is_gguf, read_one_file)}
