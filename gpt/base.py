"""A base: the model that a run goes on from, with its settings, its tokenizer and its weights."""
from dataclasses import fields, replace

from gpt.command import find_run
from gpt.models.unfilled import NoNumbers
from gpt.opening import open_model, weights_of
from gpt.settings import ConfigError
from gpt.training.config import SET_ANEW, Config


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
    given["base"] = str(place.absolute())             # a run of adapters will look for it there
    opened = open_model(place)
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
