"""A base: the model that a run goes on from, with its settings, its tokenizer and its weights."""
from dataclasses import fields, replace

from gpt.command import find_run
from gpt.models.unfilled import NoNumbers
from gpt.opening import fingerprint, open_model, weights_of
from gpt.settings import ConfigError
from gpt.training.config import SET_ANEW, Config
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
    given["base"] = str(place.absolute())             # a run of adapters will look for it there
    opened = open_model(place)
    names = [f.name for f in fields(opened.model.config)]
    comes = {*names, "net", "tokenizer", "vocabulary"} - {*SET_ANEW}
    for name in given:
        if name in comes:
            raise ConfigError(f"--{name} comes from the base {place}: leave it out, or leave out "
                              "--base to begin with new weights")
    return opened


def open_beside(task, given, base, runs="runs"):
    """Open the frozen model that a task asks, such as a teacher; None if it asks none.

    Raises
    ------
    ConfigError
        If none is named, it has other tokens than the base, or tokens are given, too.
    """
    if not task.beside:
        return None
    if task.beside == "base":
        return base
    if not given.get(task.beside, "").strip():
        raise ConfigError(f"this task learns from another model: name it with --{task.beside}")
    place = find_run(given[task.beside], runs)
    given[task.beside] = str(place.absolute())        # a run that goes on will look for it there
    opened = open_model(place)
    if opened.task not in TASKS or not TASKS[opened.task].writes:
        raise ConfigError(f"{place} learnt the task {opened.task}, and does not write: name "
                          "another")
    for name in ("tokenizer", "vocabulary"):
        if given.get(name) and not base:
            raise ConfigError(f"--{name} comes from the {task.beside} {place}, as both must read "
                              "the same tokens: leave it out")
    if base and (base.tokenizer.fingerprint() != opened.tokenizer.fingerprint()
                 or len(base.model.head) != len(opened.model.head)):
        raise ConfigError(f"the base {given['base']} and the {task.beside} {place} have different "
                          "tokens: both must read the same")
    return opened


def as_it_was(run):
    """Open the frozen model that the batches of a resumed run ask, if it is as it was.

    Raises
    ------
    ConfigError
        If it is not there, or is another.
    """
    place = getattr(run.config.train, run.task.beside)
    opened = open_model(place)
    if fingerprint(weights_of(opened)) != run.beside_sha256:
        raise ConfigError(f"{place} is not the {run.task.beside} that this run began with, whose "
                          f"weights have the SHA256 {run.beside_sha256:.16}...: put that back")
    return opened.model


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
