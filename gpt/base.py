"""A base: the model that a run goes on from, with its settings, its tokenizer and its weights."""
import hashlib
from dataclasses import fields, replace

from gpt.command import find_run
from gpt.models.quantising import thaw
from gpt.opening import open_model
from gpt.settings import ConfigError
from gpt.training.config import SET_ANEW, Config
from gpt.training.forecast import NoNumbers
from gpt.training.tasks import TASKS


def open_base(given, runs="runs"):
    """Open the model that `given["base"]` names, and write there where it was found.

    Returns
    -------
    Opened

    Raises
    ------
    ConfigError
        If it cannot be opened, or something else is given that comes from the base.
    """
    place = find_run(given["base"], runs)
    given["base"] = str(place)
    opened = open_model(place)
    thaw(opened.model)
    names = [f.name for f in fields(opened.model.config)]
    comes = {*names, "net", "tokenizer", "vocabulary"} - {*SET_ANEW}
    for name in given:
        if name in comes:
            raise ConfigError(f"--{name} comes from the base {place}: leave it out, or leave out "
                              "--base to begin with new weights")
    return opened


def with_shape_of(opened, config, given):
    """Return the config of a run with the net of a base.

    Raises
    ------
    ConfigError
        If a run trains no such net, or its weights do not fit the settings that are given.
    """
    anew = {name: given[name] for name in SET_ANEW if name in given}
    model, train = replace(opened.model.config, **anew), replace(config.train, net=opened.net)
    config = Config(model, config.data, train, config.preset)
    expected = config.new_net(NoNumbers()).state_dict()
    found = weights_of(opened)
    if not found.keys() <= expected.keys():
        raise ConfigError(f"{config.train.base} learnt the task {opened.task} with a net that no "
                          "run trains: name a decoder")
    for name, x in found.items():
        if x.shape != expected[name].shape:
            raise ConfigError(f"with {anew} the weights {name} of {config.train.base} do not fit: "
                              f"leave out {' and '.join(f'--{name}' for name in anew)}")
    return config


def weights_of(opened):
    """Return the arrays of the net of a base, without what its task has put on it."""
    found, task = opened.model.state_dict(), TASKS.get(opened.task)
    if not task or not task.puts:
        return found
    names = [name for name in found if not name.startswith(task.puts)]
    return {name: found[name] for name in names}


def fingerprint(tensors):
    """Return the SHA256 of tensors, their names and shapes, wherever they came from."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        x = tensors[name]
        digest.update(f"{name} {x.dtype.str} {x.shape}".encode())
        digest.update(memoryview(x).cast("B") if x.flags.c_contiguous else x.tobytes())
    return digest.hexdigest()
